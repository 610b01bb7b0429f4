//! The leading eigenpairs of a large sparse symmetric matrix: block Lanczos with full orthogonalisation and thick restarts (Golub
//! and Underwood 1977; Wu and Simon 2000).

use crate::eigen::eigen;
use crate::error::Result;
use crate::network::to_real;
use crate::ops::{Ops, Shape};
use crate::progress::Progress;
use crate::random::{Purpose, Stream};

/// Columns of the basis, about, when it is restarted: some blocks more than are wanted.
const BASIS: usize = 320;

/// Blocks of the basis, at least: with fewer a restart would throw away what it has just built.
const BLOCKS: usize = 4;

/// Columns of a block at most. Where more vectors are wanted, a basis of several blocks of that width would take too long to project.
pub(super) const BLOCK: usize = 128;

/// Blocks of the basis beyond what is wanted, where that is more than a block.
const ROOM: usize = 6;

/// Restarts at most. What has not converged then is reported by its residual.
const RESTARTS: usize = 60;

/// What is told of a spectrum that is interrupted.
pub(super) const UNFINISHED: &str = "the spectrum was not finished";

/// Below this share of the largest, a direction of a block is rounding.
const NEGLIGIBLE: f64 = 1e-10;

/// Eigenvalues and eigenvectors, largest eigenvalue first.
pub struct Eigenpairs<O: Ops> {
    /// Eigenvalues, falling.
    pub values: Vec<f64>,
    /// Eigenvectors, the columns of an n x p matrix, of length 1.
    pub vectors: O::Matrix,
    /// `|A u - lambda u|` of each.
    pub residuals: Vec<f64>,
    /// Products with the matrix that were made, in columns.
    pub products: usize,
}

/// Columns of length n that are held at a time while `wanted` eigenvectors are sought, at most: the basis, and what a restart keeps of
/// it or, at the end, the eigenvectors and their residuals.
pub fn columns_held(wanted: usize) -> usize {
    let most = basis_columns(wanted);
    most + kept_columns(wanted, most).max(2 * wanted)
}

/// Columns of the basis, at most.
fn basis_columns(wanted: usize) -> usize {
    match wanted <= BLOCK {
        true => (BASIS / wanted).max(BLOCKS) * wanted,
        false => wanted + ROOM * BLOCK,
    }
}

/// Columns that a restart keeps of them: the best directions, with some room.
fn kept_columns(wanted: usize, most: usize) -> usize {
    wanted + (most - wanted) / 3
}

/// The `wanted` largest eigenvalues of `matrix`, n x n, whose eigenvalues are of order 1, and their eigenvectors, to residuals of
/// `tolerance` (those of f32 end near 1e-6). The block is as wide as what is wanted, or 128 columns, so that eigenvalues may be multiple.
pub fn leading<O: Ops>(
    ops: &O,
    matrix: &O::Graph,
    n: usize,
    wanted: usize,
    tolerance: f64,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Eigenpairs<O>> {
    let wanted = wanted.min(n);
    let most = basis_columns(wanted);
    let block = wanted.min(BLOCK);
    let stream = Stream::new(seed, Purpose::Start, 0);
    let mut drawn = 0;
    let mut random = |columns: usize| -> Result<O::Matrix> {
        let numbers = (0..(n * columns).div_ceil(2) as u64).flat_map(|i| stream.normal(drawn + i));
        let numbers: Vec<f64> = numbers.take(n * columns).collect();
        drawn += (n * columns) as u64;
        let mut block = ops.matrix("a block of vectors", n, columns)?;
        ops.upload(&to_real::<O>(&numbers), &mut block, 0)?;
        Ok(block)
    };
    let mut basis = Basis::<O> {
        blocks: Vec::new(),
        columns: 0,
    };
    // Q' A Q, row-major, `most` + a block in each row.
    let mut projected = Projected::new();
    let mut next = random(block)?;
    basis.remove_from(ops, &mut next)?;
    let mut next = match orthonormal(ops, next)? {
        Some(block) => block,
        None => random(block)?,
    };
    let mut products = 0;
    let mut restarts = 0;
    loop {
        progress.not_interrupted(UNFINISHED)?;
        // One step: the next block enters the basis, and what its image holds beyond the basis is the block after it.
        let width = next.cols();
        basis.push(next);
        let last = &basis.blocks[basis.blocks.len() - 1];
        let mut image = ops.matrix("a block of vectors", n, width)?;
        ops.sparse_product(matrix, last, &mut image)?;
        products += width;
        projected.extend(&basis.remove_from(ops, &mut image)?, width);
        let rest = ops.gram(&image, &image)?;

        let size = basis.columns;
        let full = size + block > most || size >= n;
        let exhausted = size >= n;
        // Before the basis is full, eigenvectors of many columns take too long to be looked at.
        let look = full || (block == wanted && basis.blocks.len().is_multiple_of(2));
        if size >= wanted && look {
            let (values, vectors) = projected.eigen();
            // Largest first: the eigenvalues rise.
            let residual = |i: usize| {
                let last = |r: usize| vectors[(size - width + r) * size + i];
                let mut square = 0.0;
                for a in 0..width {
                    for b in 0..width {
                        square += last(a) * rest[a * width + b] * last(b);
                    }
                }
                square.max(0.0).sqrt()
            };
            let leading: Vec<usize> = (size - wanted..size).rev().collect();
            let converged = leading.iter().all(|&i| residual(i) <= tolerance);
            if converged || exhausted || (full && restarts == RESTARTS) {
                let vectors = basis.rotated(ops, &vectors, &leading)?;
                return finish(
                    ops,
                    matrix,
                    leading.iter().map(|&i| values[i]).collect(),
                    vectors,
                    products,
                );
            }
            if full {
                restarts += 1;
                // The Krylov space goes on from its last block.
                let keep = kept_columns(wanted, most).min(size - block);
                let kept: Vec<usize> = (size - keep..size).rev().collect();
                let ritz = basis.rotated(ops, &vectors, &kept)?;
                basis = Basis {
                    blocks: Vec::new(),
                    columns: 0,
                };
                basis.push(ritz);
                projected = Projected::diagonal(kept.iter().map(|&i| values[i]).collect());
            }
        }
        next = match orthonormal(ops, image)? {
            Some(block) => block,
            // The basis is invariant: what is missing lies elsewhere.
            None => {
                let mut block = random(block.min(n - basis.columns).max(1))?;
                basis.remove_from(ops, &mut block)?;
                match orthonormal(ops, block)? {
                    Some(block) => block,
                    None => {
                        let (values, vectors) = projected.eigen();
                        let size = basis.columns;
                        let leading: Vec<usize> = (size - wanted.min(size)..size).rev().collect();
                        let vectors = basis.rotated(ops, &vectors, &leading)?;
                        return finish(
                            ops,
                            matrix,
                            leading.iter().map(|&i| values[i]).collect(),
                            vectors,
                            products,
                        );
                    }
                }
            }
        };
        // Once more: a block that was small before it was scaled has kept rounding along the basis.
        basis.remove_from(ops, &mut next)?;
        next = match orthonormal(ops, next)? {
            Some(block) => block,
            None => random(1)?,
        };
    }
}

/// The pairs with their residuals, taken anew.
fn finish<O: Ops>(
    ops: &O,
    matrix: &O::Graph,
    values: Vec<f64>,
    vectors: O::Matrix,
    products: usize,
) -> Result<Eigenpairs<O>> {
    let p = values.len();
    let mut rest = ops.matrix("a block of vectors", vectors.rows(), p)?;
    ops.sparse_product(matrix, &vectors, &mut rest)?;
    let mut minus = vec![0.0; p * p];
    for (i, value) in values.iter().enumerate() {
        minus[i * p + i] = -value;
    }
    let minus = small(ops, p, p, &minus)?;
    ops.combine(&vectors, &minus, 1.0, &mut rest)?;
    let squares = ops.gram(&rest, &rest)?;
    Ok(Eigenpairs {
        residuals: (0..p).map(|i| squares[i * p + i].max(0.0).sqrt()).collect(),
        values,
        vectors,
        products: products + p,
    })
}

/// Orthonormal columns, in blocks.
struct Basis<O: Ops> {
    blocks: Vec<O::Matrix>,
    columns: usize,
}

impl<O: Ops> Basis<O> {
    fn push(&mut self, block: O::Matrix) {
        self.columns += block.cols();
        self.blocks.push(block);
    }

    /// Takes from `x` what lies in the span of the basis, and returns what that was: Q' X, columns x width. Twice is enough (Kahan
    /// and Parlett).
    fn remove_from(&self, ops: &O, x: &mut O::Matrix) -> Result<Vec<f64>> {
        let width = x.cols();
        let mut along = vec![0.0; self.columns * width];
        for _ in 0..2 {
            let mut first = 0;
            for block in &self.blocks {
                let part = ops.gram(block, x)?;
                let minus: Vec<f64> = part.iter().map(|v| -v).collect();
                let minus = small(ops, block.cols(), width, &minus)?;
                ops.combine(block, &minus, 1.0, x)?;
                for (sum, part) in along[first * width..].iter_mut().zip(part) {
                    *sum += part;
                }
                first += block.cols();
            }
        }
        Ok(along)
    }

    /// Q times the columns `chosen` of a matrix, columns x columns.
    fn rotated(&self, ops: &O, matrix: &[f64], chosen: &[usize]) -> Result<O::Matrix> {
        let n = self.blocks[0].rows();
        let mut sum = ops.matrix("a block of vectors", n, chosen.len())?;
        let mut first = 0;
        for block in &self.blocks {
            let rows = first..first + block.cols();
            let part: Vec<f64> = rows
                .flat_map(|r| chosen.iter().map(move |&c| matrix[r * self.columns + c]))
                .collect();
            let part = small(ops, block.cols(), chosen.len(), &part)?;
            ops.combine(block, &part, if first == 0 { 0.0 } else { 1.0 }, &mut sum)?;
            first += block.cols();
        }
        Ok(sum)
    }
}

/// Q' A Q, as far as it is known.
struct Projected {
    rows: Vec<Vec<f64>>,
}

impl Projected {
    fn new() -> Self {
        Projected { rows: Vec::new() }
    }

    fn diagonal(values: Vec<f64>) -> Self {
        let size = values.len();
        let row = |(i, value)| {
            let mut row = vec![0.0; size];
            row[i] = value;
            row
        };
        Projected {
            rows: values.into_iter().enumerate().map(row).collect(),
        }
    }

    /// Adds the last `width` columns, Q' A Q_last.
    fn extend(&mut self, columns: &[f64], width: usize) {
        let before = self.rows.len();
        for (row, new) in self.rows.iter_mut().zip(columns.chunks_exact(width)) {
            row.extend_from_slice(new);
        }
        for r in 0..width {
            let mut row: Vec<f64> = (0..before).map(|i| columns[i * width + r]).collect();
            row.extend_from_slice(&columns[(before + r) * width..][..width]);
            self.rows.push(row);
        }
    }

    fn eigen(&self) -> (Vec<f64>, Vec<f64>) {
        eigen(&self.rows.concat(), self.rows.len())
    }
}

/// The same span with orthonormal columns, those that are rounding left out; `None` when nothing is left.
fn orthonormal<O: Ops>(ops: &O, block: O::Matrix) -> Result<Option<O::Matrix>> {
    let mut block = block;
    // By the eigenvectors of its Gram matrix, twice: the first pass leaves what rounding makes of ill-conditioned blocks.
    for pass in 0..2 {
        let width = block.cols();
        let (values, vectors) = eigen(&ops.gram(&block, &block)?, width);
        let largest = values.last().copied().unwrap_or(0.0);
        if largest.is_nan() || largest <= 1e-24 {
            return Ok(None);
        }
        let kept: Vec<usize> = (0..width)
            .filter(|&i| pass == 1 || values[i] > NEGLIGIBLE * largest)
            .collect();
        let scaled: Vec<f64> = (0..width)
            .flat_map(|r| kept.iter().map(move |&i| (r, i)))
            .map(|(r, i)| vectors[r * width + i] / values[i].max(f64::MIN_POSITIVE).sqrt())
            .collect();
        let mut next = ops.matrix("a block of vectors", block.rows(), kept.len())?;
        ops.combine(&block, &small(ops, width, kept.len(), &scaled)?, 0.0, &mut next)?;
        block = next;
    }
    Ok(Some(block))
}

/// A small matrix in the backend's memory.
fn small<O: Ops>(ops: &O, rows: usize, cols: usize, values: &[f64]) -> Result<O::Matrix> {
    let mut matrix = ops.matrix("coefficients", rows, cols)?;
    ops.upload(&to_real::<O>(values), &mut matrix, 0)?;
    Ok(matrix)
}
