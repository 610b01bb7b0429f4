//! Scaling, centring and normalisation of rows.

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
