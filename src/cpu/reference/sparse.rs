//! Products with a graph of all training rows.

use super::rounding::for_each_row;
use crate::cpu::Matrix;
use crate::data::csr::Csr;
use crate::ops::Real;

/// `Y = A X`.
pub fn sparse_product<T: Real>(graph: &Csr, x: &Matrix<T>, y: &mut Matrix<T>) {
    for_each_row(y, |i, y| {
        y.fill(T::ZERO);
        for (j, value) in graph.row(i) {
            for (y, &x) in y.iter_mut().zip(x.row(j)) {
                *y += T::of(value.into()) * x;
            }
        }
    });
}
