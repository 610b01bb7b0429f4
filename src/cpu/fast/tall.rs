//! The algebra of tall matrices: many rows, few columns.

use rayon::prelude::*;

use super::product::{parallel_product, plain, product, transposed};
use super::simd::vectorised;
use crate::cpu::Matrix;
use crate::ops::Shape;

/// Rows whose products are summed in f32 before they are added to the others in f64.
const PART: usize = 256;

/// `A' B`: parts of [`PART`] rows by the GEMM crate, added up in order.
pub fn gram(a: &Matrix<f32>, b: &Matrix<f32>) -> Vec<f64> {
    let (n, p, q) = (a.rows(), a.cols(), b.cols());
    let parts: Vec<Vec<f32>> = (0..n.div_ceil(PART))
        .into_par_iter()
        .map(|part| {
            let (first, rows) = (part * PART, PART.min(n - part * PART));
            let mut sums = vec![0.0; p * q];
            let (a, b) = (transposed(&a[first * p..], p), plain(&b[first * q..], q));
            product((p, q, rows), a, b, 0.0, &mut sums, q);
            sums
        })
        .collect();
    let mut total = vec![0.0; p * q];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += f64::from(part);
        }
    }
    total
}

/// `Y <- keep Y + X C`.
pub fn combine(x: &Matrix<f32>, coefficients: &Matrix<f32>, keep: f64, y: &mut Matrix<f32>) {
    let (p, q) = (coefficients.rows(), coefficients.cols());
    if keep == 0.0 {
        return parallel_product((q, p), plain(x, p), plain(coefficients, q), y, |_, _| {});
    }
    let keep = keep as f32;
    let before = y.to_vec();
    parallel_product((q, p), plain(x, p), plain(coefficients, q), y, |first, block| {
        vectorised(|| {
            for (y, &before) in block.iter_mut().zip(&before[first * q..]) {
                *y += keep * before;
            }
        });
    });
}
