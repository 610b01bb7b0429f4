//! Products with a graph of all training rows.

use super::product::row_blocks;
use super::simd::vectorised;
use crate::cpu::Matrix;
use crate::data::csr::Csr;
use crate::ops::Shape;

/// `Y = A X`.
pub fn sparse_product(graph: &Csr, x: &Matrix<f32>, y: &mut Matrix<f32>) {
    let p = x.cols();
    row_blocks(y, p, |first, block| {
        vectorised(|| {
            for (i, y) in block.chunks_exact_mut(p).enumerate() {
                y.fill(0.0);
                for (j, value) in graph.row(first + i) {
                    for (y, &x) in y.iter_mut().zip(x.row(j)) {
                        *y += value * x;
                    }
                }
            }
        });
    });
}
