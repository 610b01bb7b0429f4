//! The algebra of tall matrices: many rows, few columns.

use super::rounding::for_each_row;
use crate::cpu::Matrix;
use crate::ops::{Real, Shape};

/// `A' B`, summed in f64.
pub fn gram<T: Real>(a: &Matrix<T>, b: &Matrix<T>) -> Vec<f64> {
    let (p, q) = (a.cols(), b.cols());
    let mut product = vec![0.0; p * q];
    for i in 0..a.rows() {
        for (&a, sums) in a.row(i).iter().zip(product.chunks_exact_mut(q.max(1))) {
            for (sum, &b) in sums.iter_mut().zip(b.row(i)) {
                *sum += a.to_f64() * b.to_f64();
            }
        }
    }
    product
}

/// `Y <- keep Y + X C`.
pub fn combine<T: Real>(x: &Matrix<T>, coefficients: &Matrix<T>, keep: f64, y: &mut Matrix<T>) {
    for_each_row(y, |i, y| {
        for (l, y) in y.iter_mut().enumerate() {
            let products = x.row(i).iter().enumerate();
            let sum: T = products.map(|(t, &x)| x * coefficients.row(t)[l]).sum();
            // What is not kept is not looked at: it may be no number.
            *y = if keep == 0.0 { sum } else { T::of(keep) * *y + sum };
        }
    });
}
