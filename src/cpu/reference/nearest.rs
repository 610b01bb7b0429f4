//! The nearest rows of each query.

use rayon::prelude::*;

use crate::cpu::Matrix;
use crate::ops::{Nearest, Real, Shape};

/// The `count` rows of `x` that are nearest to each row of `queries`, by differences, the lower row first among equals.
pub fn nearest<T: Real>(queries: &Matrix<T>, x: &Matrix<T>, count: usize) -> Nearest {
    let found: Vec<Vec<(u32, f64)>> = (0..queries.rows())
        .into_par_iter()
        .map(|i| {
            let mut all: Vec<(u32, f64)> = (0..x.rows())
                .map(|j| (j as u32, squared(queries.row(i), x.row(j))))
                .collect();
            // Stable: rows come in rising order. NaN, of either sign, is further than all.
            all.sort_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
            all.truncate(count);
            all
        })
        .collect();
    let entries = || found.iter().flatten();
    Nearest {
        count,
        rows: entries().map(|entry| entry.0).collect(),
        squared: entries().map(|entry| entry.1).collect(),
    }
}

/// `|a - b|^2`, summed in `T`.
fn squared<T: Real>(a: &[T], b: &[T]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(&a, &b)| (a - b) * (a - b)).sum::<T>().to_f64()
}
