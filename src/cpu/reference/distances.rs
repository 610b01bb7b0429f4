//! Squared distances between rows.

use super::rounding::{Operand, product_row, rounded, transposed};
use crate::cpu::Matrix;
use crate::ops::{Precision, Real, Shape};

/// Up to this many columns distances are taken by differences in every precision; products would cost more and lose digits.
pub const BY_DIFFERENCES: usize = 16;

/// The rows whose mean the products are taken around.
const CENTRE_ROWS: usize = 32;

/// Squared distances from each row to all rows.
pub enum Distances<'a, T: Real> {
    /// `|a - b|^2` as it stands, formed when asked for.
    Differences(&'a Matrix<T>),
    /// `|a|^2 + |b|^2 - 2 a.b` on centred rows, never below 0: as every fast computation takes them between long rows.
    Products {
        /// `|a|^2`.
        norms: Vec<T>,
        /// The centred rows, as both sides of the product.
        rows: Operand<'static, T>,
        columns: Operand<'static, T>,
    },
}

impl<'a, T: Real> Distances<'a, T> {
    /// The distances between the rows of `x`. Without a precision they are those of the formula.
    pub fn new(x: &'a Matrix<T>, precision: Option<Precision>) -> Self {
        let Some(precision) = precision.filter(|_| x.cols() > BY_DIFFERENCES) else {
            return Distances::Differences(x);
        };
        let centred = centred(x);
        let columns = transposed(&centred);
        let columns = Operand::new(&columns, Some(precision)).into_owned();
        let rows = Operand::new(&centred, Some(precision)).into_owned();
        // What was rounded before the product is rounded in the norms too: the distance of equal rows stays 0.
        let centred = match precision {
            Precision::Fp32 | Precision::Tf32x3 => centred,
            Precision::Tf32 | Precision::Bf16 => rounded(&centred, precision),
        };
        let norm = |i: usize| centred.row(i).iter().map(|&v| v * v).sum();
        Distances::Products {
            norms: (0..centred.rows()).map(norm).collect(),
            rows,
            columns,
        }
    }

    /// Those from row `i`.
    pub fn row(&self, i: usize) -> Vec<T> {
        match self {
            Distances::Differences(x) => (0..x.rows())
                .map(|j| {
                    let pairs = x.row(i).iter().zip(x.row(j));
                    pairs.map(|(&a, &b)| (a - b) * (a - b)).sum()
                })
                .collect(),
            Distances::Products { norms, rows, columns } => {
                let mut squared = vec![T::ZERO; norms.len()];
                product_row(rows, i, columns, &mut squared);
                for (j, squared) in squared.iter_mut().enumerate() {
                    *squared = norms[i] + norms[j] - T::of(2.0) * *squared;
                    // NaN is not below 0, and stays.
                    if *squared < T::ZERO {
                        *squared = T::ZERO;
                    }
                }
                // To itself exactly 0, but of what is no number NaN.
                squared[i] = norms[i] * T::ZERO;
                squared
            }
        }
    }
}

/// The rows around the mean of the first ones, which is near enough to that of all.
fn centred<T: Real>(x: &Matrix<T>) -> Matrix<T> {
    let count = x.rows().min(CENTRE_ROWS);
    let mean: Vec<T> = (0..x.cols())
        .map(|c| (0..count).map(|i| x.row(i)[c]).sum::<T>() / T::of(count as f64))
        .collect();
    let mut centred = x.clone();
    for i in 0..x.rows() {
        for (value, &mean) in centred.row_mut(i).iter_mut().zip(&mean) {
            *value = *value - mean;
        }
    }
    centred
}
