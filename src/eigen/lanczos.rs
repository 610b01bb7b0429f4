//! The leading eigenpairs of a large symmetric matrix: block Lanczos with full orthogonalisation and thick restarts (Golub and
//! Underwood 1977; Wu and Simon 2000).

use super::full::eigen;
use crate::error::Result;
use crate::progress::Progress;
use crate::random::{Purpose, Stream};

/// Columns of the basis, about, when it is restarted: some blocks more than are wanted.
const BASIS: usize = 320;

/// Blocks of the basis, at least: with fewer a restart would throw away what it has just built.
const BLOCKS: usize = 4;

/// Columns of a block at most. Where more vectors are wanted, a basis of several blocks of that width would take too long to project.
pub const BLOCK: usize = 128;

/// Blocks of the basis beyond what is wanted, where that is more than a block.
const ROOM: usize = 6;

/// Restarts at most. What has not converged then is reported by its residual.
const RESTARTS: usize = 60;

/// Below this share of the largest, a direction of a block is rounding.
const NEGLIGIBLE: f64 = 1e-10;

/// A symmetric n x n matrix, of which nothing is known but its products, and vectors of length n, the columns of blocks. Small
/// matrices are row-major.
pub trait Symmetric {
    /// An n x p matrix.
    type Block;

    /// n.
    fn size(&self) -> usize;
    /// p.
    fn columns(&self, block: &Self::Block) -> usize;
    /// A block of these numbers, row by row.
    fn block(&self, columns: usize, numbers: &[f64]) -> Result<Self::Block>;
    /// `A X`.
    fn product(&self, x: &Self::Block) -> Result<Self::Block>;
    /// `X' Y`, p x q.
    fn gram(&self, x: &Self::Block, y: &Self::Block) -> Result<Vec<f64>>;
    /// `Y <- Y + X C`, with C p x q.
    fn add(&self, x: &Self::Block, coefficients: &[f64], y: &mut Self::Block) -> Result<()>;
    /// `X C`, with C p x `columns`.
    fn combined(&self, x: &Self::Block, coefficients: &[f64], columns: usize) -> Result<Self::Block>;
}

/// Eigenvalues and eigenvectors, largest eigenvalue first.
pub struct Eigenpairs<B> {
    /// Eigenvalues, falling.
    pub values: Vec<f64>,
    /// Eigenvectors, the columns of an n x p matrix, of length 1.
    pub vectors: B,
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
pub fn basis_columns(wanted: usize) -> usize {
    match wanted <= BLOCK {
        true => (BASIS / wanted).max(BLOCKS) * wanted,
        false => wanted + ROOM * BLOCK,
    }
}

/// Columns that a restart keeps of them: the best directions, with some room.
fn kept_columns(wanted: usize, most: usize) -> usize {
    wanted + (most - wanted) / 3
}

/// The `wanted` largest eigenvalues of `matrix`, whose eigenvalues are of order `scale`, and their eigenvectors, to residuals of
/// `tolerance`. The block is as wide as what is wanted, or 128 columns, so that eigenvalues may be multiple. `unfinished` is told where
/// it is interrupted.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted), and those of the matrix, such as [`Error::Memory`](crate::Error::Memory).
pub fn leading<S: Symmetric>(
    matrix: &S,
    wanted: usize,
    tolerance: f64,
    scale: f64,
    seed: u64,
    progress: &mut dyn Progress,
    unfinished: &str,
) -> Result<Eigenpairs<S::Block>> {
    let n = matrix.size();
    let wanted = wanted.min(n);
    let most = basis_columns(wanted);
    let block = wanted.min(BLOCK);
    let stream = Stream::new(seed, Purpose::Start, 0);
    let mut drawn = 0;
    let mut random = |columns: usize| -> Result<S::Block> {
        let numbers = (0..(n * columns).div_ceil(2) as u64).flat_map(|i| stream.normal(drawn + i));
        let numbers: Vec<f64> = numbers.take(n * columns).collect();
        drawn += (n * columns) as u64;
        matrix.block(columns, &numbers)
    };
    // Orthonormal vectors beyond the basis, where there are any.
    let mut fresh = |basis: &Basis<S>, columns: usize| -> Result<Option<S::Block>> {
        let mut block = random(columns)?;
        basis.remove_from(&mut block)?;
        orthonormal(matrix, block, 1.0)
    };
    let mut basis = Basis::new(matrix);
    let mut projected = Projected::new();
    let mut next = fresh(&basis, block)?.expect("random vectors are not all 0");
    let mut products = 0;
    let mut restarts = 0;
    loop {
        progress.not_interrupted(unfinished)?;
        // One step: the next block enters the basis, and what its image holds beyond the basis is the block after it.
        let width = matrix.columns(&next);
        let mut image = matrix.product(&next)?;
        basis.push(next);
        products += width;
        projected.extend(&basis.remove_from(&mut image)?, width);
        let rest = matrix.gram(&image, &image)?;

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
                let values = leading.iter().map(|&i| values[i]).collect();
                return finish(matrix, values, basis.rotated(&vectors, &leading)?, products);
            }
            if full {
                restarts += 1;
                // The Krylov space goes on from its last block.
                let keep = kept_columns(wanted, most).min(size - block);
                let kept: Vec<usize> = (size - keep..size).rev().collect();
                let ritz = basis.rotated(&vectors, &kept)?;
                basis = Basis::new(matrix);
                basis.push(ritz);
                projected = Projected::diagonal(kept.iter().map(|&i| values[i]).collect());
            }
        }
        let missing = block.min(n - basis.columns).max(1);
        let beyond = match orthonormal(matrix, image, scale)? {
            // The basis is invariant: what is missing lies elsewhere.
            None => fresh(&basis, missing)?,
            beyond => beyond,
        };
        // Once more: a block that was small before it was scaled has kept rounding along the basis.
        let beyond = match beyond {
            Some(mut block) => {
                basis.remove_from(&mut block)?;
                orthonormal(matrix, block, 1.0)?
            }
            None => None,
        };
        next = match beyond {
            Some(block) => block,
            None => match fresh(&basis, missing)? {
                Some(block) => block,
                // Fewer than are wanted, perhaps: where numbers are not finite.
                None => {
                    let (values, vectors) = projected.eigen();
                    let size = basis.columns;
                    let leading: Vec<usize> = (size - wanted.min(size)..size).rev().collect();
                    let values = leading.iter().map(|&i| values[i]).collect();
                    return finish(matrix, values, basis.rotated(&vectors, &leading)?, products);
                }
            },
        };
    }
}

/// The pairs with their residuals, taken anew.
fn finish<S: Symmetric>(
    matrix: &S,
    values: Vec<f64>,
    vectors: S::Block,
    products: usize,
) -> Result<Eigenpairs<S::Block>> {
    let p = values.len();
    let mut rest = matrix.product(&vectors)?;
    let mut minus = vec![0.0; p * p];
    for (i, value) in values.iter().enumerate() {
        minus[i * p + i] = -value;
    }
    matrix.add(&vectors, &minus, &mut rest)?;
    let squares = matrix.gram(&rest, &rest)?;
    Ok(Eigenpairs {
        residuals: (0..p).map(|i| squares[i * p + i].max(0.0).sqrt()).collect(),
        values,
        vectors,
        products: products + p,
    })
}

/// Orthonormal columns, in blocks.
struct Basis<'a, S: Symmetric> {
    matrix: &'a S,
    blocks: Vec<S::Block>,
    columns: usize,
}

impl<'a, S: Symmetric> Basis<'a, S> {
    fn new(matrix: &'a S) -> Self {
        Basis {
            matrix,
            blocks: Vec::new(),
            columns: 0,
        }
    }

    fn push(&mut self, block: S::Block) {
        self.columns += self.matrix.columns(&block);
        self.blocks.push(block);
    }

    /// Takes from `x` what lies in the span of the basis, and returns what that was: Q' X, columns x width. Twice is enough (Kahan
    /// and Parlett).
    fn remove_from(&self, x: &mut S::Block) -> Result<Vec<f64>> {
        let width = self.matrix.columns(x);
        let mut along = vec![0.0; self.columns * width];
        for _ in 0..2 {
            let mut first = 0;
            for block in &self.blocks {
                let part = self.matrix.gram(block, x)?;
                let minus: Vec<f64> = part.iter().map(|v| -v).collect();
                self.matrix.add(block, &minus, x)?;
                for (sum, part) in along[first * width..].iter_mut().zip(part) {
                    *sum += part;
                }
                first += self.matrix.columns(block);
            }
        }
        Ok(along)
    }

    /// Q times the columns `chosen` of a small matrix, columns x columns.
    fn rotated(&self, small: &[f64], chosen: &[usize]) -> Result<S::Block> {
        let mut sum: Option<S::Block> = None;
        let mut first = 0;
        for block in &self.blocks {
            let rows = first..first + self.matrix.columns(block);
            first = rows.end;
            let part: Vec<f64> = rows
                .flat_map(|r| chosen.iter().map(move |&c| small[r * self.columns + c]))
                .collect();
            match &mut sum {
                None => sum = Some(self.matrix.combined(block, &part, chosen.len())?),
                Some(sum) => self.matrix.add(block, &part, sum)?,
            }
        }
        Ok(sum.expect("a basis has a block"))
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

/// The same span with orthonormal columns, those that are rounding left out; `None` when nothing is left of what was of order `scale`.
fn orthonormal<S: Symmetric>(matrix: &S, block: S::Block, scale: f64) -> Result<Option<S::Block>> {
    let (mut block, mut scale) = (block, scale);
    // By the eigenvectors of its Gram matrix, twice: the first pass leaves what rounding makes of ill-conditioned blocks.
    for pass in 0..2 {
        let width = matrix.columns(&block);
        let (values, vectors) = eigen(&matrix.gram(&block, &block)?, width);
        let largest = values.last().copied().unwrap_or(0.0);
        if largest.is_nan() || largest <= 1e-24 * scale * scale {
            return Ok(None);
        }
        let kept: Vec<usize> = (0..width)
            .filter(|&i| pass == 1 || values[i] > NEGLIGIBLE * largest)
            .collect();
        let scaled: Vec<f64> = (0..width)
            .flat_map(|r| kept.iter().map(move |&i| (r, i)))
            .map(|(r, i)| vectors[r * width + i] / values[i].max(f64::MIN_POSITIVE).sqrt())
            .collect();
        block = matrix.combined(&block, &scaled, kept.len())?;
        scale = 1.0;
    }
    Ok(Some(block))
}
