//! The soft-max of each row.

use super::product::row_blocks;
use super::simd::{exp, sum, vectorised};
use crate::cpu::Matrix;
use crate::ops::Shape;

/// `y_il = exp(z_il - max_a z_ia) / sum_b exp(z_ib - max_a z_ia)`.
pub fn softmax(logits: &Matrix<f32>, membership: &mut Matrix<f32>) {
    let k = logits.cols();
    row_blocks(membership, k, |first, block| {
        vectorised(|| {
            for (y, z) in block.chunks_exact_mut(k).zip(logits[first * k..].chunks_exact(k)) {
                let largest = z
                    .iter()
                    .fold(z[0], |largest, &z| if z > largest { z } else { largest });
                for (y, &z) in y.iter_mut().zip(z) {
                    *y = exp(z - largest);
                }
                let inverse = 1.0 / sum(y);
                for y in y {
                    *y *= inverse;
                }
            }
        });
    });
}
