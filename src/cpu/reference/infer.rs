//! The hard label of each row under a network.

use super::argmax::argmax;
use super::linear::linear;
use super::rounding::zeros;
use crate::cpu::Matrix;
use crate::ops::{Layer, Precision, Real, Shape};

/// The first column that holds the largest entry of each row of `Z`, `X -> ReLU(X W' + b) -> ... -> Z`.
pub fn infer<T: Real>(
    x: &Matrix<T>,
    layers: &[Layer<Matrix<T>>],
    precision: Option<Precision>,
    labels: &mut [u32],
) {
    let mut rows = x.clone();
    for (i, layer) in layers.iter().enumerate() {
        let mut z = zeros(x.rows(), layer.weight.rows());
        let relu = i + 1 < layers.len();
        linear(&rows, &layer.weight, &layer.bias, relu, precision, &mut z);
        rows = z;
    }
    argmax(&rows, labels);
}
