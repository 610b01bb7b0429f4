//! Matrices of checks: poisoned, and larger than they are used.

use crate::error::Result;
use crate::network::{download, to_real};
use crate::ops::{Ops, Real, Shape};

/// Rows allocated beyond those in use: no operation may touch them, or count them in.
const SPARE: usize = 3;

/// A matrix of NaN, allocated larger than it is.
///
/// # Errors
/// Those of the backend.
pub fn poisoned<O: Ops>(ops: &O, rows: usize, cols: usize) -> Result<O::Matrix> {
    let mut matrix = ops.operand("the matrix of a check", rows + SPARE, cols)?;
    let nan = vec![O::Real::of(f64::NAN); (rows + SPARE) * cols];
    ops.upload(&nan, &mut matrix, 0)?;
    matrix.set_rows(rows);
    Ok(matrix)
}

/// A matrix with these values, NaN beyond them.
///
/// # Errors
/// Those of the backend.
pub fn filled<O: Ops>(ops: &O, rows: usize, cols: usize, values: &[impl Real]) -> Result<O::Matrix> {
    let mut matrix = poisoned(ops, rows, cols)?;
    ops.upload(&to_real::<O>(values), &mut matrix, 0)?;
    Ok(matrix)
}

/// The same in a matrix that is no [operand](Ops::operand).
pub(super) fn filled_plain<O: Ops>(
    ops: &O,
    rows: usize,
    cols: usize,
    values: &[impl Real],
) -> Result<O::Matrix> {
    let mut matrix = ops.matrix("the matrix of a check", rows, cols)?;
    ops.upload(&to_real::<O>(values), &mut matrix, 0)?;
    Ok(matrix)
}

/// The rows in use, as f64.
///
/// # Errors
/// Those of the backend.
pub fn values<O: Ops>(ops: &O, matrix: &O::Matrix) -> Result<Vec<f64>> {
    Ok(download(ops, matrix)?.into_iter().map(Real::to_f64).collect())
}

/// What an operation wrote into a matrix of [`poisoned`] or [`filled`]: the rows in use, or NaN when it also wrote to others.
pub(super) fn outcome<O: Ops>(ops: &O, matrix: &mut O::Matrix) -> Result<Vec<f64>> {
    let rows = matrix.rows();
    matrix.set_rows(rows + SPARE);
    let mut found = values(ops, matrix)?;
    matrix.set_rows(rows);
    let spare = found.split_off(rows * matrix.cols());
    if !spare.iter().all(|v| v.is_nan()) {
        found.fill(f64::NAN);
    }
    Ok(found)
}

/// Numbers that are not the expected ones; NaN is none of them.
pub(super) fn mistakes<T: PartialEq>(found: &[T], expected: &[T]) -> usize {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).filter(|(a, b)| a != b).count()
}
