//! The filters of the scattering transform, as Kymatio 0.3.0 defines them: Morlet wavelets and a Gaussian, made in space in f64.

use num_complex::Complex;

use crate::cpu::fast::Fft2;

/// Beyond this exponent a Gaussian is nothing even in f64.
const NOTHING: f64 = -45.0;

/// Periods of the grid on either side of it from which filters reach into it.
const PERIODS: isize = 2;

/// What the areas of filters are divided by begins with 2 pi, which Kymatio cuts short here. Only the scale of paths depends on it.
#[allow(clippy::approx_constant, reason = "this number is meant")]
const TWICE_PI: f64 = 2.0 * 3.1415;

/// Width of the filters of scale 0, in pixels; those of scale j are 2^j times as wide.
const WIDTH: f64 = 0.8;

/// A wavelet on a grid.
#[derive(Clone, Copy)]
struct Wavelet {
    /// Width across the waves, in pixels.
    sigma: f64,
    /// Direction in which they travel, from the first axis to the second.
    theta: f64,
    /// Their frequency, in radians per pixel.
    frequency: f64,
    /// Width across over width along the fronts.
    slant: f64,
}

impl Wavelet {
    /// `exp(-u' C u + i f n u)` around the origin, over its area, wrapped around a grid of `rows` x `columns`; `C = R diag(1, slant^2) R' /
    /// (2 sigma^2)` with the rotation R by theta, and n its first column.
    fn gabor(self, rows: usize, columns: usize) -> Vec<Complex<f64>> {
        let Wavelet {
            sigma,
            theta,
            frequency,
            slant,
        } = self;
        // Kymatio keeps its rotations in f32.
        let [c, s] = [theta.cos(), theta.sin()].map(|v| f64::from(v as f32));
        let (flat, scale) = (slant * slant, 2.0 * sigma * sigma);
        let (xx, xy, yy) = (
            (c * c + flat * s * s) / scale,
            (1.0 - flat) * c * s / scale,
            (s * s + flat * c * c) / scale,
        );
        let area = TWICE_PI * sigma * sigma / slant;
        let (along_x, along_y) = (frequency * theta.cos(), frequency * theta.sin());
        let mut grid = vec![Complex::default(); rows * columns];
        let wrapped = |len: usize| {
            let len = len as isize;
            (-PERIODS * len..(PERIODS + 1) * len).map(move |at| (at as f64, at.rem_euclid(len) as usize))
        };
        for (x, row) in wrapped(rows) {
            for (y, column) in wrapped(columns) {
                let exponent = -(xx * x * x + 2.0 * xy * x * y + yy * y * y);
                if exponent > NOTHING {
                    let wave = Complex::cis(along_x * x + along_y * y);
                    grid[row * columns + column] += wave * (exponent.exp() / area);
                }
            }
        }
        grid
    }

    /// The Gabor function less the multiple of its envelope that makes its sum 0.
    fn morlet(self, rows: usize, columns: usize) -> Vec<Complex<f64>> {
        let mut waves = self.gabor(rows, columns);
        let envelope = Wavelet {
            frequency: 0.0,
            ..self
        }
        .gabor(rows, columns);
        let beta = waves.iter().sum::<Complex<f64>>() / envelope.iter().sum::<Complex<f64>>();
        for (wave, envelope) in waves.iter_mut().zip(envelope) {
            *wave -= beta * envelope;
        }
        waves
    }
}

/// The wavelet of scale `j` and the `turn`th of `angles` directions, in the Fourier domain, where it is real; columns x rows.
pub fn wavelet(
    fft: &Fft2<f64>,
    (rows, columns): (usize, usize),
    j: usize,
    turn: usize,
    angles: usize,
) -> Vec<f64> {
    use std::f64::consts::PI;
    // The first direction is such that the whole number of them below lies around 0: for 8, from 3 down to -4 eighths of pi.
    let first = (angles as f64 / 2.0 - 1.0).trunc();
    let scale = (1usize << j) as f64;
    let mut picture = Wavelet {
        sigma: WIDTH * scale,
        theta: (first - turn as f64) * PI / angles as f64,
        frequency: 0.75 * PI / scale,
        slant: 4.0 / angles as f64,
    }
    .morlet(rows, columns);
    let mut spectrum = vec![Complex::default(); fft.len()];
    let mut scratch = vec![Complex::default(); fft.scratch()];
    fft.forward(&mut picture, &mut spectrum, &mut scratch);
    spectrum.into_iter().map(|value| value.re).collect()
}

/// Where the lowest `kept` of `len` frequencies are.
pub fn lowest(len: usize, kept: usize) -> impl Fn(usize) -> usize {
    move |at| {
        if at < kept.div_ceil(2) {
            at
        } else {
            at + len - kept
        }
    }
}

/// The low-pass filter of `scales` scales along one axis of `len` pixels, taken at every 2^scales-th of them but the first and the last,
/// for pictures that hold every 2^level-th: a matrix, outputs x (len / 2^level).
///
/// In two dimensions it is a Gaussian, and thus a product of one such matrix from the left and one from the right: `S = P U Q'`.
/// Like Kymatio's, it is cut in the Fourier domain to the frequencies that the picture has.
pub fn low_pass(len: usize, scales: usize, level: usize) -> Vec<f64> {
    let sigma = WIDTH * (1usize << (scales - 1)) as f64;
    let mut gaussian = vec![0.0; len];
    for at in -PERIODS * len as isize..(PERIODS + 1) * len as isize {
        let x = at as f64 / sigma;
        gaussian[at.rem_euclid(len as isize) as usize] += (-0.5 * x * x).exp() / (TWICE_PI.sqrt() * sigma);
    }
    let turns = |k: usize, at: isize, len: usize| {
        (std::f64::consts::TAU * (k as f64 * at as f64 / len as f64).fract()).cos()
    };
    let kept = len >> level;
    let frequency = lowest(len, kept);
    let spectrum: Vec<f64> = (0..kept)
        .map(|k| {
            let terms = gaussian.iter().enumerate();
            terms
                .map(|(at, g)| g * turns(frequency(k), at as isize, len))
                .sum()
        })
        .collect();
    let (step, outputs) = (1 << (scales - level), (len >> scales) - 2);
    let mut matrix = Vec::with_capacity(outputs * kept);
    for output in 1..=outputs {
        for at in 0..kept {
            let apart = (output * step) as isize - at as isize;
            let sum: f64 = (0..kept).map(|k| spectrum[k] * turns(k, apart, kept)).sum();
            matrix.push(sum / kept as f64);
        }
    }
    matrix
}
