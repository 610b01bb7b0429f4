//! Collects the rows of a mini-batch.

use crate::cpu::Matrix;
use crate::ops::{Real, Shape, StepState};

/// Row `i` of `x` is row `order[batch m + i]` of `data`.
pub fn gather_rows<T: Real>(data: &Matrix<T>, order: &[u32], state: &StepState, x: &mut Matrix<T>) {
    let m = x.rows();
    let batch = &order[state.batch as usize * m..][..m];
    for (i, &row) in batch.iter().enumerate() {
        x.row_mut(i).copy_from_slice(data.row(row as usize));
    }
}
