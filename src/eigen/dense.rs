//! The leading eigenpairs of a full matrix, in f64: where few of many are wanted they are sought among products with the matrix, which
//! all threads share.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::full::{bytes_of_eigen, eigen};
use super::lanczos::{BLOCK, Symmetric, basis_columns, columns_held, leading};
use crate::error::Result;
use crate::progress::Progress;

/// Rows of a product that are one thread's task. Tasks are the same whatever the number of threads, and so are the bits.
const ROWS: usize = 128;

/// Columns of the left matrix of a Gram matrix that are one thread's task.
const COLUMNS: usize = 32;

/// A search is made where its basis has at most one column for so many of the matrix: with more of them all eigenvectors are as quickly
/// computed at once.
const COLUMNS_PER_DIRECTION: usize = 2;

/// Residuals, relative to the Frobenius norm of the matrix: a thousand times what rounding leaves.
const TOLERANCE: f64 = 1e-12;

/// Eigenvalues, falling, and eigenvectors, the columns of a row-major n x p matrix.
pub struct Leading {
    /// p of them.
    pub values: Vec<f64>,
    /// Of length 1.
    pub vectors: Vec<f64>,
}

/// Bytes that [`leading_of_full`] holds: the matrix, and the columns of the search and two more blocks; or what all eigenvectors take.
pub fn bytes_of_leading(n: usize, wanted: usize) -> f64 {
    match is_searched(n, wanted) {
        true => 8.0 * n as f64 * (n + columns_held(wanted) + 2 * wanted.min(BLOCK)) as f64,
        false => bytes_of_eigen(n),
    }
}

/// Whether few enough are wanted to be searched for.
fn is_searched(n: usize, wanted: usize) -> bool {
    COLUMNS_PER_DIRECTION * basis_columns(wanted.max(1)) <= n
}

/// The `wanted` largest eigenvalues of a symmetric n x n matrix, row-major, and their eigenvectors; NaN where it is not finite.
/// `unfinished` is told where it is interrupted.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted).
pub fn leading_of_full(
    matrix: &[f64],
    n: usize,
    wanted: usize,
    progress: &mut dyn Progress,
    unfinished: &str,
) -> Result<Leading> {
    let norm = matrix.iter().map(|v| v * v).sum::<f64>().sqrt();
    if is_searched(n, wanted) && norm.is_normal() {
        let matrix = Full { matrix, n };
        let tolerance = TOLERANCE * norm;
        let found = leading(&matrix, wanted, tolerance, norm, 0, progress, unfinished)?;
        // What has not converged after many restarts is computed with all others.
        let converged = found
            .residuals
            .iter()
            .all(|&residual| residual <= 2.0 * tolerance);
        if converged && found.values.len() == wanted {
            return Ok(Leading {
                values: found.values,
                vectors: found.vectors.numbers,
            });
        }
    }
    // All at once cannot be stopped within.
    progress.not_interrupted(unfinished)?;
    let (values, vectors) = eigen(matrix, n);
    progress.not_interrupted(unfinished)?;
    let chosen: Vec<usize> = (n - wanted..n).rev().collect();
    let row = |row: usize| chosen.iter().map(move |&c| (row, c));
    Ok(Leading {
        values: chosen.iter().map(|&c| values[c]).collect(),
        vectors: (0..n).flat_map(row).map(|(r, c)| vectors[r * n + c]).collect(),
    })
}

/// A full matrix.
struct Full<'a> {
    matrix: &'a [f64],
    n: usize,
}

/// Rows of so many numbers.
struct Block {
    columns: usize,
    numbers: Vec<f64>,
}

impl Block {
    fn zeros(n: usize, columns: usize) -> Self {
        Block {
            columns,
            numbers: vec![0.0; n * columns],
        }
    }
}

/// Rows of `out <- keep out + X C`, rows of `depth` and of `columns` numbers.
fn multiply(x: &[f64], depth: usize, coefficients: &[f64], columns: usize, keep: Accum, out: &mut [f64]) {
    let rows = out.par_chunks_mut(ROWS * columns).zip(x.par_chunks(ROWS * depth));
    rows.for_each(|(out, x)| {
        let count = x.len() / depth;
        matmul(
            MatMut::from_row_major_slice_mut(out, count, columns),
            keep,
            MatRef::from_row_major_slice(x, count, depth),
            MatRef::from_row_major_slice(coefficients, depth, columns),
            1.0,
            Par::Seq,
        );
    });
}

impl Symmetric for Full<'_> {
    type Block = Block;

    fn size(&self) -> usize {
        self.n
    }

    fn columns(&self, block: &Block) -> usize {
        block.columns
    }

    fn block(&self, columns: usize, numbers: &[f64]) -> Result<Block> {
        Ok(Block {
            columns,
            numbers: numbers.to_vec(),
        })
    }

    fn product(&self, x: &Block) -> Result<Block> {
        let mut y = Block::zeros(self.n, x.columns);
        multiply(
            self.matrix,
            self.n,
            &x.numbers,
            x.columns,
            Accum::Replace,
            &mut y.numbers,
        );
        Ok(y)
    }

    fn gram(&self, x: &Block, y: &Block) -> Result<Vec<f64>> {
        let (n, p, q) = (self.n, x.columns, y.columns);
        let x = MatRef::from_row_major_slice(&x.numbers, n, p);
        let y = MatRef::from_row_major_slice(&y.numbers, n, q);
        let mut product = vec![0.0; p * q];
        product
            .par_chunks_mut(COLUMNS * q)
            .enumerate()
            .for_each(|(at, out)| {
                let (first, count) = (at * COLUMNS, out.len() / q);
                matmul(
                    MatMut::from_row_major_slice_mut(out, count, q),
                    Accum::Replace,
                    x.subcols(first, count).transpose(),
                    y,
                    1.0,
                    Par::Seq,
                );
            });
        Ok(product)
    }

    fn add(&self, x: &Block, coefficients: &[f64], y: &mut Block) -> Result<()> {
        multiply(
            &x.numbers,
            x.columns,
            coefficients,
            y.columns,
            Accum::Add,
            &mut y.numbers,
        );
        Ok(())
    }

    fn combined(&self, x: &Block, coefficients: &[f64], columns: usize) -> Result<Block> {
        let mut y = Block::zeros(self.n, columns);
        multiply(
            &x.numbers,
            x.columns,
            coefficients,
            columns,
            Accum::Replace,
            &mut y.numbers,
        );
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::random::{Purpose, Stream};

    /// `U diag(values) U'` with a random orthogonal U, a product of reflections.
    fn with_spectrum(values: &[f64], seed: u64) -> Vec<f64> {
        let n = values.len();
        let stream = Stream::new(seed, Purpose::Synthetic, 97);
        let mut a = vec![0.0; n * n];
        for (i, &value) in values.iter().enumerate() {
            a[i * n + i] = value;
        }
        for reflection in 0..3 {
            let v: Vec<f64> = (0..n)
                .map(|i| stream.normal((reflection * n + i) as u64)[0])
                .collect();
            let square: f64 = v.iter().map(|v| v * v).sum();
            // H A H with H = I - 2 v v' / v'v.
            let av: Vec<f64> = (0..n)
                .map(|i| a[i * n..][..n].iter().zip(&v).map(|(a, v)| a * v).sum::<f64>() / square)
                .collect();
            let vav = v.iter().zip(&av).map(|(v, av)| v * av).sum::<f64>() / square;
            for i in 0..n {
                for j in 0..n {
                    a[i * n + j] += -2.0 * (av[i] * v[j] + v[i] * av[j]) + 4.0 * vav * v[i] * v[j];
                }
            }
        }
        a
    }

    fn check(name: &str, values: &[f64], wanted: usize, seed: u64) {
        let n = values.len();
        let a = with_spectrum(values, seed);
        let found = leading_of_full(&a, n, wanted, &mut Silent, "").unwrap();
        let norm = a.iter().map(|v| v * v).sum::<f64>().sqrt();
        let bound = 2.0 * TOLERANCE * norm;
        let mut falling = values.to_vec();
        falling.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(found.vectors.len(), n * wanted, "{name}");
        let u = |row: usize, i: usize| found.vectors[row * wanted + i];
        for (i, (value, expected)) in found.values.iter().zip(&falling).enumerate() {
            let apart = (value - expected).abs();
            assert!(
                apart <= bound,
                "{name}, eigenvalue {i}: {apart:e} from {expected}"
            );
            let square: f64 = (0..n)
                .map(|r| {
                    let product: f64 = (0..n).map(|c| a[r * n + c] * u(c, i)).sum();
                    (product - value * u(r, i)).powi(2)
                })
                .sum();
            assert!(
                square.sqrt() <= bound,
                "{name}, vector {i}: residual {:e}",
                square.sqrt()
            );
            for j in 0..=i {
                let inner: f64 = (0..n).map(|r| u(r, i) * u(r, j)).sum();
                let expected = f64::from(u8::from(i == j));
                assert!((inner - expected).abs() < 1e-11, "{name}, {i} and {j}: {inner}");
            }
        }
    }

    #[test]
    fn few_of_many_eigenpairs_are_right_whatever_the_spectrum() {
        let seed = rand::random();
        println!("seed {seed}");
        let (n, wanted) = (701, 7);
        assert!(is_searched(n, wanted));
        let spectrum = |value: &dyn Fn(usize) -> f64| (0..n).map(value).collect::<Vec<_>>();
        check(
            "a power law",
            &spectrum(&|i| 1e3 / (1.0 + i as f64).powi(2)),
            wanted,
            seed,
        );
        check(
            "evenly spaced",
            &spectrum(&|i| 1.0 + i as f64 / n as f64),
            wanted,
            seed,
        );
        check("all equal", &spectrum(&|_| 3.0), wanted, seed);
        check("tenfold", &spectrum(&|i| 1.0 / (1 + i / 10) as f64), wanted, seed);
        check("of both signs", &spectrum(&|i| i as f64 - 350.0), wanted, seed);
        check(
            "fewer than wanted",
            &spectrum(&|i| if i < 3 { 1e-6 } else { 0.0 }),
            wanted,
            seed,
        );
        // Several blocks of fewer columns than are wanted.
        let n = 2 * basis_columns(130);
        let wide: Vec<f64> = (0..n).map(|i| 0.98f64.powi(i as i32)).collect();
        check("more than a block", &wide, 130, seed);
    }

    #[test]
    fn all_eigenpairs_and_matrices_without_any() {
        check("all of few", &[4.0, 2.0, 1.0], 3, 1);
        let zeros = leading_of_full(&vec![0.0; 700 * 700], 700, 2, &mut Silent, "").unwrap();
        assert_eq!(zeros.values, [0.0; 2]);
        let mut a = with_spectrum(&[1.0; 700], 2);
        a[700 * 5 + 3] = f64::NAN;
        let found = leading_of_full(&a, 700, 2, &mut Silent, "").unwrap();
        assert!(found.values.iter().chain(&found.vectors).all(|v| v.is_nan()));
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let values: Vec<f64> = (0..700).map(|i| 1.0 / (1.0 + i as f64)).collect();
        let a = with_spectrum(&values, 5);
        let bits = |threads: usize| -> Vec<u64> {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let found = pool.install(|| leading_of_full(&a, 700, 5, &mut Silent, "").unwrap());
            found.vectors.iter().map(|v| v.to_bits()).collect()
        };
        assert_eq!(bits(1), bits(3));
    }

    #[test]
    fn an_interrupted_search_says_so() {
        let a = with_spectrum(&[1.0; 700], 3);
        let mut progress = crate::progress::Unheard(&|| true);
        let found = leading_of_full(&a, 700, 2, &mut progress, "nothing was found");
        assert!(found.is_err_and(|e| e.to_string().contains("nothing was found")));
    }
}
