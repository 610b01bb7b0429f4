//! Fully connected layers, forward and backward.

use super::product::{parallel_product, plain, product, row_blocks, transposed};
use super::simd::vectorised;
use crate::cpu::Matrix;
use crate::ops::Shape;

/// `Z = X W' + b`, then ReLU if asked.
pub fn linear(x: &Matrix<f32>, weight: &Matrix<f32>, bias: &Matrix<f32>, relu: bool, z: &mut Matrix<f32>) {
    let (inputs, outputs) = (x.cols(), weight.rows());
    row_blocks(z, outputs, |first, block| {
        let m = block.len() / outputs;
        linear_block(&x[first * inputs..][..m * inputs], weight, bias, relu, block);
    });
}

/// The same of a block of rows, on the calling thread.
pub fn linear_block(x: &[f32], weight: &Matrix<f32>, bias: &[f32], relu: bool, z: &mut [f32]) {
    let (inputs, outputs) = (weight.cols(), weight.rows());
    let size = (z.len() / outputs, outputs, inputs);
    product(
        size,
        plain(x, inputs),
        transposed(weight, inputs),
        0.0,
        z,
        outputs,
    );
    // Written so that NaN stays NaN.
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    vectorised(|| {
        for row in z.chunks_exact_mut(outputs) {
            for (z, &bias) in row.iter_mut().zip(bias) {
                let value = *z + bias;
                *z = if value < floor { floor } else { value };
            }
        }
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
