//! Scaling, centring and normalisation of rows, and their places among quantiles.

use super::product::row_blocks;
use super::simd::{sum, vectorised};
use crate::cpu::Matrix;
use crate::ops::Shape;

/// `X <- factor X`.
pub fn scale(factor: f64, x: &mut Matrix<f32>) {
    let (factor, cols) = (factor as f32, x.cols());
    row_blocks(x, cols, |_, block| {
        vectorised(|| {
            for value in block {
                *value *= factor;
            }
        });
    });
}

/// `x_i <- x_i - mean`.
pub fn center_rows(mean: &Matrix<f32>, x: &mut Matrix<f32>) {
    let cols = x.cols();
    row_blocks(x, cols, |_, block| {
        vectorised(|| {
            for row in block.chunks_exact_mut(cols) {
                for (value, &mean) in row.iter_mut().zip(mean.iter()) {
                    *value -= mean;
                }
            }
        });
    });
}

/// `x_ij <- factors_j x_ij`.
pub fn scale_columns(factors: &Matrix<f32>, x: &mut Matrix<f32>) {
    let cols = x.cols();
    row_blocks(x, cols, |_, block| {
        vectorised(|| {
            for row in block.chunks_exact_mut(cols) {
                for (value, &factor) in row.iter_mut().zip(factors.iter()) {
                    *value *= factor;
                }
            }
        });
    });
}

/// `x_i <- length x_i / (|x_i| + 1e-6)`.
pub fn normalize_rows(length: f64, x: &mut Matrix<f32>) {
    let (length, cols) = (length as f32, x.cols());
    row_blocks(x, cols, |_, block| {
        vectorised(|| {
            let mut squares = vec![0.0; cols];
            for row in block.chunks_exact_mut(cols) {
                for (square, &value) in squares.iter_mut().zip(&*row) {
                    *square = value * value;
                }
                let factor = length / (sum(&squares).sqrt() + 1e-6);
                for value in row {
                    *value *= factor;
                }
            }
        });
    });
}

/// `to_i = (x_i, q(x_i))`, each q_j linear between knots.
pub fn append_quantiles(knots: &Matrix<f32>, levels: &Matrix<f32>, x: &Matrix<f32>, to: &mut Matrix<f32>) {
    let d = x.cols();
    let columns = |table: &Matrix<f32>| -> Vec<Vec<f32>> {
        let column = |j| table.iter().skip(j).step_by(d).copied().collect();
        (0..d).map(column).collect()
    };
    let (knots, levels) = (columns(knots), columns(levels));
    let place = |j: usize, value: f32| {
        let (knots, levels): (&[f32], &[f32]) = (&knots[j], &levels[j]);
        let t = knots.partition_point(|&knot| knot <= value).max(1) - 1;
        if t + 1 == knots.len() || value < knots[0] {
            return levels[t];
        }
        let share = (value - knots[t]) / (knots[t + 1] - knots[t]);
        levels[t] + share * (levels[t + 1] - levels[t])
    };
    let all = x.rows() * 2 * d;
    row_blocks(&mut to[..all], 2 * d, |first, block| {
        let from = x[first * d..].chunks_exact(d);
        for (to, from) in block.chunks_exact_mut(2 * d).zip(from) {
            let (same, places) = to.split_at_mut(d);
            same.copy_from_slice(from);
            for (j, (to, &value)) in places.iter_mut().zip(from).enumerate() {
                *to = place(j, value);
            }
        }
    });
}

/// Divides each path by its largest absolute value.
pub fn normalize_paths(
    positions: usize,
    least: f64,
    paths: &Matrix<f32>,
    to: &mut Matrix<f32>,
    first_row: usize,
) {
    let (least, cols) = (least as f32, paths.cols());
    let largest = |path: &[f32]| path.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
    // Rows that become one lie as they did.
    let first = first_row * to.cols();
    row_blocks(&mut to[first..][..paths.len()], cols, |first, block| {
        let from = &paths[first * cols..][..block.len()];
        for (to, from) in block.chunks_exact_mut(cols).zip(from.chunks_exact(cols)) {
            let threshold = least * largest(&from[..positions]);
            for (to, path) in to.chunks_exact_mut(positions).zip(from.chunks_exact(positions)) {
                let largest = largest(path);
                let factor = if largest > threshold { 1.0 / largest } else { 0.0 };
                for (to, &value) in to.iter_mut().zip(path) {
                    *to = factor * value;
                }
            }
        }
    });
}
