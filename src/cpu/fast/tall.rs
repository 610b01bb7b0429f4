//! The algebra of tall matrices: many rows, few columns.

use rayon::prelude::*;

use super::product::{plain, product, row_blocks, transposed};
use crate::cpu::Matrix;
use crate::ops::Shape;

/// Rows whose products are summed in f32 before they are added to the others in f64.
const PART: usize = 256;

/// Parts that wait to be added up at a time.
const WAVE: usize = 32;

/// `A' B`: parts of [`PART`] rows by the GEMM crate, added up in order.
pub fn gram(a: &Matrix<f32>, b: &Matrix<f32>) -> Vec<f64> {
    let (n, p, q) = (a.rows(), a.cols(), b.cols());
    let part = |first: usize| {
        let rows = PART.min(n - first);
        let mut sums = vec![0.0; p * q];
        let (a, b) = (transposed(&a[first * p..], p), plain(&b[first * q..], q));
        product((p, q, rows), a, b, 0.0, &mut sums, q);
        sums
    };
    let mut total = vec![0.0; p * q];
    for wave in (0..n).step_by(PART * WAVE) {
        let end = n.min(wave + PART * WAVE);
        let firsts: Vec<usize> = (wave..end).step_by(PART).collect();
        let parts: Vec<Vec<f32>> = firsts.into_par_iter().map(part).collect();
        for part in parts {
            for (total, part) in total.iter_mut().zip(part) {
                *total += f64::from(part);
            }
        }
    }
    total
}

/// `Y <- keep Y + X C`.
pub fn combine(x: &Matrix<f32>, coefficients: &Matrix<f32>, keep: f64, y: &mut Matrix<f32>) {
    let (p, q) = (coefficients.rows(), coefficients.cols());
    row_blocks(y, q, |first, rows| {
        let shape = (rows.len() / q.max(1), q, p);
        product(
            shape,
            plain(&x[first * p..], p),
            plain(coefficients, q),
            keep as f32,
            rows,
            q,
        );
    });
}
