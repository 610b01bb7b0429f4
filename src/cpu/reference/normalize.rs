//! Scaling, centring and normalisation of rows, and their places among quantiles.

use crate::cpu::Matrix;
use crate::ops::{Real, Shape};

/// `X <- factor X`.
pub fn scale<T: Real>(factor: f64, x: &mut Matrix<T>) {
    for value in x.iter_mut() {
        *value = *value * T::of(factor);
    }
}

/// `x_i <- x_i - mean`.
pub fn center_rows<T: Real>(mean: &Matrix<T>, x: &mut Matrix<T>) {
    for i in 0..x.rows() {
        for (value, &mean) in x.row_mut(i).iter_mut().zip(mean.iter()) {
            *value = *value - mean;
        }
    }
}

/// `x_ij <- factors_j x_ij`.
pub fn scale_columns<T: Real>(factors: &Matrix<T>, x: &mut Matrix<T>) {
    for i in 0..x.rows() {
        for (value, &factor) in x.row_mut(i).iter_mut().zip(factors.iter()) {
            *value = *value * factor;
        }
    }
}

/// `x_i <- length x_i / (|x_i| + 1e-6)`.
pub fn normalize_rows<T: Real>(length: f64, x: &mut Matrix<T>) {
    for i in 0..x.rows() {
        let norm = x.row(i).iter().map(|&v| v * v).sum::<T>().sqrt();
        let factor = T::of(length) / (norm + T::of(1e-6));
        for value in x.row_mut(i) {
            *value = *value * factor;
        }
    }
}

/// `to_i = (x_i, q(x_i))`, each q_j linear between knots.
pub fn append_quantiles<T: Real>(knots: &Matrix<T>, levels: &Matrix<T>, x: &Matrix<T>, to: &mut Matrix<T>) {
    let d = x.cols();
    let last = knots.rows() - 1;
    for i in 0..x.rows() {
        for (j, &value) in x.row(i).iter().enumerate() {
            let mut t = 0;
            while t < last && knots.row(t + 1)[j] <= value {
                t += 1;
            }
            let (knot, level) = (knots.row(t)[j], levels.row(t)[j]);
            let place = if t == last || value < knot {
                level
            } else {
                let share = (value - knot) / (knots.row(t + 1)[j] - knot);
                level + share * (levels.row(t + 1)[j] - level)
            };
            to.row_mut(i)[j] = value;
            to.row_mut(i)[d + j] = place;
        }
    }
}

/// Divides each path by its largest absolute value.
pub fn normalize_paths<T: Real>(
    positions: usize,
    least: f64,
    paths: &Matrix<T>,
    to: &mut Matrix<T>,
    first_row: usize,
) {
    let absolute = |v: T| if v < T::ZERO { -v } else { v };
    let merged = to.cols() / paths.cols();
    for i in 0..paths.rows() {
        let mut threshold = T::ZERO;
        for (p, path) in paths.row(i).chunks_exact(positions).enumerate() {
            let largest = path.iter().fold(
                T::ZERO,
                |most, &v| if absolute(v) > most { absolute(v) } else { most },
            );
            if p == 0 {
                threshold = T::of(least) * largest;
            }
            let factor = if largest > threshold {
                T::ONE / largest
            } else {
                T::ZERO
            };
            let first = i % merged * paths.cols() + p * positions;
            for (to, &value) in to.row_mut(first_row + i / merged)[first..].iter_mut().zip(path) {
                *to = factor * value;
            }
        }
    }
}
