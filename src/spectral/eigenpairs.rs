//! The leading eigenpairs of a graph's matrix, by products on the backend.

use crate::eigen::{self, Eigenpairs, Symmetric};
use crate::error::Result;
use crate::network::to_real;
use crate::ops::{Ops, Shape};
use crate::progress::Progress;

/// What is told of a spectrum that is interrupted.
pub(super) const UNFINISHED: &str = "the spectrum was not finished";

/// The `wanted` largest eigenvalues of `matrix`, n x n, whose eigenvalues are of order 1, and their eigenvectors, to residuals of
/// `tolerance` (those of f32 end near 1e-6).
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted), [`Error::Memory`](crate::Error::Memory).
pub fn leading<O: Ops>(
    ops: &O,
    matrix: &O::Graph,
    n: usize,
    wanted: usize,
    tolerance: f64,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Eigenpairs<O::Matrix>> {
    let matrix = Sparse { ops, matrix, n };
    eigen::leading(&matrix, wanted, tolerance, 1.0, seed, progress, UNFINISHED)
}

/// A sparse matrix in the memory of its backend.
struct Sparse<'a, O: Ops> {
    ops: &'a O,
    matrix: &'a O::Graph,
    n: usize,
}

impl<O: Ops> Sparse<'_, O> {
    fn vectors(&self, columns: usize) -> Result<O::Matrix> {
        self.ops.matrix("a block of vectors", self.n, columns)
    }

    fn coefficients(&self, rows: usize, columns: usize, numbers: &[f64]) -> Result<O::Matrix> {
        let mut small = self.ops.matrix("coefficients", rows, columns)?;
        self.ops.upload(&to_real::<O>(numbers), &mut small, 0)?;
        Ok(small)
    }
}

impl<O: Ops> Symmetric for Sparse<'_, O> {
    type Block = O::Matrix;

    fn size(&self) -> usize {
        self.n
    }

    fn columns(&self, block: &O::Matrix) -> usize {
        block.cols()
    }

    fn block(&self, columns: usize, numbers: &[f64]) -> Result<O::Matrix> {
        let mut block = self.vectors(columns)?;
        self.ops.upload(&to_real::<O>(numbers), &mut block, 0)?;
        Ok(block)
    }

    fn product(&self, x: &O::Matrix) -> Result<O::Matrix> {
        let mut y = self.vectors(x.cols())?;
        self.ops.sparse_product(self.matrix, x, &mut y)?;
        Ok(y)
    }

    fn gram(&self, x: &O::Matrix, y: &O::Matrix) -> Result<Vec<f64>> {
        self.ops.gram(x, y)
    }

    fn add(&self, x: &O::Matrix, coefficients: &[f64], y: &mut O::Matrix) -> Result<()> {
        let small = self.coefficients(x.cols(), y.cols(), coefficients)?;
        self.ops.combine(x, &small, 1.0, y)
    }

    fn combined(&self, x: &O::Matrix, coefficients: &[f64], columns: usize) -> Result<O::Matrix> {
        let small = self.coefficients(x.cols(), columns, coefficients)?;
        let mut y = self.vectors(columns)?;
        self.ops.combine(x, &small, 0.0, &mut y)?;
        Ok(y)
    }
}
