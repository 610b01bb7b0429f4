//! Fully connected layers, forward and backward.

use crate::cpu::Matrix;
use crate::ops::{Real, Shape};

/// `Z = X W' + b`, then ReLU if asked.
pub fn linear<T: Real>(x: &Matrix<T>, weight: &Matrix<T>, bias: &Matrix<T>, relu: bool, z: &mut Matrix<T>) {
    for i in 0..x.rows() {
        for o in 0..weight.rows() {
            let product: T = x.row(i).iter().zip(weight.row(o)).map(|(&x, &w)| x * w).sum();
            let value = product + bias[o];
            z.row_mut(i)[o] = if relu && value < T::ZERO { T::ZERO } else { value };
        }
    }
}

/// `dX = (dZ W) * [X > 0]`.
pub fn linear_backward_data<T: Real>(
    d_z: &Matrix<T>,
    weight: &Matrix<T>,
    x: &Matrix<T>,
    d_x: &mut Matrix<T>,
) {
    for i in 0..d_z.rows() {
        for c in 0..weight.cols() {
            let sum: T = (0..weight.rows()).map(|o| d_z.row(i)[o] * weight.row(o)[c]).sum();
            d_x.row_mut(i)[c] = if x.row(i)[c] > T::ZERO { sum } else { T::ZERO };
        }
    }
}

/// `dW = dZ' X`, `db = dZ' 1`.
pub fn linear_backward_weights<T: Real>(
    d_z: &Matrix<T>,
    x: &Matrix<T>,
    d_weight: &mut Matrix<T>,
    d_bias: &mut Matrix<T>,
) {
    let m = d_z.rows();
    for o in 0..d_z.cols() {
        d_bias[o] = (0..m).map(|i| d_z.row(i)[o]).sum();
        for c in 0..x.cols() {
            d_weight.row_mut(o)[c] = (0..m).map(|i| d_z.row(i)[o] * x.row(i)[c]).sum();
        }
    }
}
