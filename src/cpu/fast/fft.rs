//! Fourier transforms in two dimensions, by the crate `rustfft`.
//!
//! Pictures are rows x columns; spectra lie turned, columns x rows, so that each transform turns its numbers over only once.

use std::sync::Arc;

use num_complex::Complex;
use rustfft::{Fft, FftDirection, FftNum, FftPlanner, FftPlannerScalar};

/// Numbers that are transformed.
pub trait Transformed: FftNum {
    /// The transforms of so many numbers each.
    fn plans(lens: [usize; 2], direction: FftDirection) -> [Arc<dyn Fft<Self>>; 2];
}

impl Transformed for f32 {
    fn plans(lens: [usize; 2], direction: FftDirection) -> [Arc<dyn Fft<f32>>; 2] {
        let mut planner = FftPlanner::new();
        lens.map(|len| planner.plan_fft(len, direction))
    }
}

/// Only filters are computed in these, once: vectors would be a lot of code for nothing.
impl Transformed for f64 {
    fn plans(lens: [usize; 2], direction: FftDirection) -> [Arc<dyn Fft<f64>>; 2] {
        let mut planner = FftPlannerScalar::new();
        lens.map(|len| planner.plan_fft(len, direction))
    }
}

/// The transforms of pictures of one size.
pub struct Fft2<T> {
    rows: usize,
    columns: usize,
    forward: [Arc<dyn Fft<T>>; 2],
    inverse: [Arc<dyn Fft<T>>; 2],
}

impl<T: Transformed> Fft2<T> {
    /// Plans the transforms of pictures of `rows` x `columns`.
    pub fn new(rows: usize, columns: usize) -> Self {
        let plans = |direction| T::plans([columns, rows], direction);
        Fft2 {
            rows,
            columns,
            forward: plans(FftDirection::Forward),
            inverse: plans(FftDirection::Inverse),
        }
    }

    /// Numbers in a picture.
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Numbers that the transforms need beside their operands.
    pub fn scratch(&self) -> usize {
        let plans = self.forward.iter().chain(&self.inverse);
        plans
            .map(|plan| plan.get_inplace_scratch_len())
            .max()
            .unwrap_or(0)
    }

    /// The spectrum of `picture`, which is overwritten.
    pub fn forward(
        &self,
        picture: &mut [Complex<T>],
        spectrum: &mut [Complex<T>],
        scratch: &mut [Complex<T>],
    ) {
        self.forward[0].process_with_scratch(picture, scratch);
        turn(picture, self.columns, spectrum);
        self.forward[1].process_with_scratch(spectrum, scratch);
    }

    /// The picture of `spectrum`, which is overwritten, times the number of its numbers.
    pub fn inverse(
        &self,
        spectrum: &mut [Complex<T>],
        picture: &mut [Complex<T>],
        scratch: &mut [Complex<T>],
    ) {
        self.inverse[1].process_with_scratch(spectrum, scratch);
        turn(spectrum, self.rows, picture);
        self.inverse[0].process_with_scratch(picture, scratch);
    }
}

/// Writes the rows of `from`, `columns` numbers each, as columns of `to`.
fn turn<T: Copy>(from: &[T], columns: usize, to: &mut [T]) {
    /// Rows at a time: what is written in one go.
    const ROWS: usize = 4;
    let rows = from.len() / columns;
    let blocks = from.chunks_exact(ROWS * columns);
    let left = rows / ROWS * ROWS;
    for (row, from) in (left..rows).zip(blocks.remainder().chunks_exact(columns)) {
        for (column, &value) in from.iter().enumerate() {
            to[column * rows + row] = value;
        }
    }
    for (block, from) in blocks.enumerate() {
        for column in 0..columns {
            let values: [T; ROWS] = std::array::from_fn(|row| from[row * columns + column]);
            to[column * rows + block * ROWS..][..ROWS].copy_from_slice(&values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    #[test]
    fn spectra_are_the_sums_they_are_defined_by_and_lead_back() {
        let stream = Stream::new(rand::random(), Purpose::Synthetic, 84);
        for (rows, columns) in [(1, 1), (6, 6), (12, 20), (7, 5)] {
            let fft = Fft2::<f64>::new(rows, columns);
            let picture: Vec<Complex<f64>> = (0..fft.len() as u64)
                .map(|at| Complex::new(stream.normal(2 * at)[0], stream.normal(2 * at + 1)[0]))
                .collect();
            let mut spectrum = vec![Complex::default(); fft.len()];
            let mut scratch = vec![Complex::default(); fft.scratch()];
            fft.forward(&mut picture.clone(), &mut spectrum, &mut scratch);
            for k in 0..rows {
                for l in 0..columns {
                    let sum: Complex<f64> = picture
                        .iter()
                        .enumerate()
                        .map(|(at, value)| {
                            let (row, column) = ((at / columns) as f64, (at % columns) as f64);
                            let turns = k as f64 * row / rows as f64 + l as f64 * column / columns as f64;
                            value * Complex::cis(-std::f64::consts::TAU * turns)
                        })
                        .sum();
                    let apart = (sum - spectrum[l * rows + k]).norm();
                    assert!(apart < 1e-11, "{rows} x {columns}, ({k}, {l}): {apart}");
                }
            }
            let mut back = vec![Complex::default(); fft.len()];
            fft.inverse(&mut spectrum, &mut back, &mut scratch);
            for (back, value) in back.iter().zip(&picture) {
                assert!((back / fft.len() as f64 - value).norm() < 1e-13);
            }
        }
    }
}
