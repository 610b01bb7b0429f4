//! Steps of a scattering transform.

use num_complex::Complex;
use rayon::prelude::*;

use super::fft::Fft2;
use super::product::{plain, product, transposed};
use crate::cpu::Matrix;
use crate::ops::{ScatteringStep, Shape};

/// Memory for one picture at a time.
struct Workspace {
    picture: Vec<Complex<f32>>,
    spectrum: Vec<Complex<f32>>,
    folded: Vec<Complex<f32>>,
    moduli: Vec<f32>,
    means: Vec<f32>,
    scratch: Vec<Complex<f32>>,
}

/// `U_if = |x_i * psi_f|` and `P U_if Q'`; see [`Ops::scatter`](crate::ops::Ops::scatter).
pub fn scatter(
    step: &ScatteringStep,
    pictures: &Matrix<f32>,
    filters: &Matrix<f32>,
    low_pass: [&Matrix<f32>; 2],
    moduli: Option<&mut Matrix<f32>>,
    paths: &mut Matrix<f32>,
) {
    let ([height, width], [rows, columns]) = (step.picture, step.fine());
    let [coarse_rows, coarse_columns] = step.coarse;
    let points = coarse_rows * coarse_columns;
    let (heights, widths) = (low_pass[0].rows(), low_pass[1].rows());
    let (fine, coarse) = (
        Fft2::<f32>::new(rows, columns),
        Fft2::<f32>::new(coarse_rows, coarse_columns),
    );
    let mirrors = [(rows, height), (columns, width)].map(|(side, length)| -> Vec<usize> {
        let period = 2 * (length - 1) as isize;
        let pixel = |at: usize| {
            let at = (at as isize - step.margin as isize).rem_euclid(period);
            at.min(period - at) as usize
        };
        (0..side).map(pixel).collect()
    });
    let workspace = || Workspace {
        picture: vec![Complex::default(); rows * columns],
        spectrum: vec![Complex::default(); rows * columns],
        folded: vec![Complex::default(); points],
        moduli: vec![0.0; points],
        means: vec![0.0; heights * coarse_columns],
        scratch: vec![Complex::default(); fine.scratch().max(coarse.scratch())],
    };
    let of_group =
        |workspace: &mut Workspace, group: usize, mut moduli: Option<&mut [f32]>, paths: &mut [f32]| {
            let Workspace {
                picture,
                spectrum,
                folded,
                moduli: of_filter,
                means,
                scratch,
            } = workspace;
            for i in 0..step.group {
                let pixels = pictures.row(group * step.group + i);
                for (line, &from) in picture.chunks_exact_mut(columns).zip(&mirrors[0]) {
                    for (value, &column) in line.iter_mut().zip(&mirrors[1]) {
                        *value = pixels[from * width + column].into();
                    }
                }
                fine.forward(picture, spectrum, scratch);
                for f in 0..filters.rows() {
                    folded.fill(Complex::default());
                    // Spectra lie turned.
                    for (l, line) in spectrum.chunks_exact(rows).enumerate() {
                        for (k, value) in line.iter().enumerate() {
                            folded[l % coarse_columns * coarse_rows + k % coarse_rows] +=
                                value * filters.row(f)[k * columns + l];
                        }
                    }
                    coarse.inverse(folded, &mut picture[..points], scratch);
                    for (modulus, value) in of_filter.iter_mut().zip(&*picture) {
                        *modulus = (value.re * value.re + value.im * value.im).sqrt();
                    }
                    if let Some(moduli) = &mut moduli {
                        moduli[(i * filters.rows() + f) * points..][..points].copy_from_slice(of_filter);
                    }
                    let shape = (heights, coarse_columns, coarse_rows);
                    let (left, right) = (plain(low_pass[0], coarse_rows), plain(of_filter, coarse_columns));
                    product(shape, left, right, 0.0, means, coarse_columns);
                    let shape = (heights, widths, coarse_columns);
                    let (left, right) = (
                        plain(means, coarse_columns),
                        transposed(low_pass[1], coarse_columns),
                    );
                    let path = &mut paths[step.path(i, f) * heights * widths..][..heights * widths];
                    product(shape, left, right, 0.0, path, widths);
                }
            }
        };
    let cols = paths.cols();
    let groups = paths.par_chunks_mut(cols).enumerate();
    match moduli {
        Some(moduli) => groups
            .zip(moduli.par_chunks_mut(step.group * filters.rows() * points))
            .for_each_init(workspace, |workspace, ((group, paths), moduli)| {
                of_group(workspace, group, Some(moduli), paths);
            }),
        None => groups.for_each_init(workspace, |workspace, (group, paths)| {
            of_group(workspace, group, None, paths);
        }),
    }
}
