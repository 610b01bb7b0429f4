//! Fully connected layers, forward and backward.

use super::rounding::{product, transposed};
use crate::cpu::Matrix;
use crate::ops::{Precision, Real, Shape};

/// `Z = X W' + b`, then ReLU if asked.
pub fn linear<T: Real>(
    x: &Matrix<T>,
    weight: &Matrix<T>,
    bias: &Matrix<T>,
    relu: bool,
    precision: Option<Precision>,
    z: &mut Matrix<T>,
) {
    let product = product(x, &transposed(weight), precision);
    for i in 0..x.rows() {
        for o in 0..weight.rows() {
            let value = product.row(i)[o] + bias[o];
            z.row_mut(i)[o] = if relu && value < T::ZERO { T::ZERO } else { value };
        }
    }
}

/// `dX = (dZ W) * [X > 0]`.
pub fn linear_backward_data<T: Real>(
    d_z: &Matrix<T>,
    weight: &Matrix<T>,
    x: &Matrix<T>,
    precision: Option<Precision>,
    d_x: &mut Matrix<T>,
) {
    d_x.copy_from_slice(&product(d_z, weight, precision));
    for (d_x, &x) in d_x.iter_mut().zip(x.iter()) {
        *d_x = if x > T::ZERO { *d_x } else { T::ZERO };
    }
}

/// `dW = dZ' X`, `db = dZ' 1`.
pub fn linear_backward_weights<T: Real>(
    d_z: &Matrix<T>,
    x: &Matrix<T>,
    precision: Option<Precision>,
    d_weight: &mut Matrix<T>,
    d_bias: &mut Matrix<T>,
) {
    d_weight.copy_from_slice(&product(&transposed(d_z), x, precision));
    for o in 0..d_z.cols() {
        d_bias[o] = (0..d_z.rows()).map(|i| d_z.row(i)[o]).sum();
    }
}
