//! Fully connected layers, forward and backward.

use super::product::{parallel_product, plain, row_blocks, transposed};
use super::simd::vectorised;
use crate::cpu::Matrix;
use crate::ops::Shape;

/// `Z = X W' + b`, then ReLU if asked.
pub fn linear(x: &Matrix<f32>, weight: &Matrix<f32>, bias: &Matrix<f32>, relu: bool, z: &mut Matrix<f32>) {
    let (inputs, outputs) = (x.cols(), weight.rows());
    // Written so that NaN stays NaN.
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let (x, weight) = (plain(x, inputs), transposed(weight, inputs));
    parallel_product((outputs, inputs), x, weight, z, |_, block| {
        vectorised(|| {
            for row in block.chunks_exact_mut(outputs) {
                for (z, &bias) in row.iter_mut().zip(bias.iter()) {
                    let value = *z + bias;
                    *z = if value < floor { floor } else { value };
                }
            }
        });
    });
}

/// `dX = (dZ W) * [X > 0]`.
pub fn linear_backward_data(d_z: &Matrix<f32>, weight: &Matrix<f32>, x: &Matrix<f32>, d_x: &mut Matrix<f32>) {
    let (inputs, outputs) = (weight.cols(), weight.rows());
    let (d_z, weight) = (plain(d_z, outputs), plain(weight, inputs));
    parallel_product((inputs, outputs), d_z, weight, d_x, |first, block| {
        vectorised(|| {
            for (d_x, &x) in block.iter_mut().zip(&x[first * inputs..]) {
                *d_x = if x > 0.0 { *d_x } else { 0.0 };
            }
        });
    });
}

/// `dW = dZ' X`, `db = dZ' 1`.
pub fn linear_backward_weights(
    d_z: &Matrix<f32>,
    x: &Matrix<f32>,
    d_weight: &mut Matrix<f32>,
    d_bias: &mut Matrix<f32>,
) {
    let (m, inputs, outputs) = (x.rows(), x.cols(), d_z.cols());
    parallel_product(
        (inputs, m),
        transposed(d_z, outputs),
        plain(x, inputs),
        d_weight,
        |_, _| {},
    );
    row_blocks(d_bias, 1, |first, sums| {
        sums.fill(0.0);
        vectorised(|| {
            for row in d_z.chunks_exact(outputs) {
                for (sum, &value) in sums.iter_mut().zip(&row[first..]) {
                    *sum += value;
                }
            }
        });
    });
}
