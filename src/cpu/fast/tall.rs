//! The algebra of tall matrices: many rows, few columns.

use rayon::prelude::*;

use super::product::{BLOCK, plain, product, row_blocks, transposed};
use crate::cpu::Matrix;
use crate::ops::Shape;

/// Rows whose products are summed in f32 before they are added to the others in f64.
const PART: usize = 256;

/// Parts that wait to be added up at a time.
const WAVE: usize = 32;

/// Numbers of a product beyond which parts of it do not wait: threads share the product then, not the rows.
const LARGE: usize = 1 << 20;

/// `A' B`: parts of [`PART`] rows by the GEMM crate, added up in order.
pub fn gram(a: &Matrix<f32>, b: &Matrix<f32>) -> Vec<f64> {
    if a.cols() * b.cols() > LARGE {
        return large_gram(a, b);
    }
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

/// The same by blocks of rows of the product: as much memory as the product itself takes, and little more.
fn large_gram(a: &Matrix<f32>, b: &Matrix<f32>) -> Vec<f64> {
    let (n, p, q) = (a.rows(), a.cols(), b.cols());
    let mut total = vec![0.0; p * q];
    let blocks = total.par_chunks_mut(BLOCK * q).enumerate();
    blocks.for_each(|(block, total)| {
        let mut sums = vec![0.0; total.len()];
        for first in (0..n).step_by(PART) {
            let shape = (total.len() / q, q, PART.min(n - first));
            let a = transposed(&a[first * p + block * BLOCK..], p);
            product(shape, a, plain(&b[first * q..], q), 0.0, &mut sums, q);
            for (total, &sum) in total.iter_mut().zip(&sums) {
                *total += f64::from(sum);
            }
        }
    });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    #[test]
    fn a_large_product_is_that_of_its_columns() {
        let stream = Stream::new(rand::random(), Purpose::Synthetic, 85);
        let (n, p, q) = (2 * PART + 3, 9 * BLOCK + 1, LARGE / (9 * BLOCK) + 1);
        let random = |cols: usize, from: usize| {
            let values = (0..n * cols).map(|at| stream.normal((from + at) as u64)[0] as f32);
            Matrix::from_rows(n, cols, values.collect())
        };
        let (a, b) = (random(p, 0), random(q, n * p));
        let found = gram(&a, &b);
        for (row, column) in [
            (0, 0),
            (BLOCK, 1),
            (BLOCK - 1, q - 1),
            (p - 1, 0),
            (p - 1, q - 1),
            (p / 2, q / 3),
        ] {
            let terms = (0..n).map(|i| f64::from(a.row(i)[row]) * f64::from(b.row(i)[column]));
            let (sum, sizes) = terms.fold((0.0, 0.0), |(sum, sizes), v| (sum + v, sizes + v.abs()));
            // A sum of PART products in f32 errs by at most PART roundings of what it is a sum of.
            let bound = PART as f64 * f64::from(f32::EPSILON) / 2.0 * sizes;
            let apart = (found[row * q + column] - sum).abs();
            assert!(apart <= bound, "({row}, {column}): {apart:e}, at most {bound:e}");
        }
    }
}
