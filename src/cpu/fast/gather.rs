//! Collects the rows of a mini-batch.

use super::product::row_blocks;
use crate::cpu::Matrix;
use crate::ops::{Shape, StepState};

/// Row `i` of `x` is row `order(batch m + i)` of `data`.
pub fn gather_rows(data: &Matrix<f32>, state: &StepState, x: &mut Matrix<f32>) {
    let (m, cols) = (x.rows() as u64, x.cols());
    let order = state.order(data.rows());
    row_blocks(x, cols, |first, block| {
        for (i, row) in (first as u64..).zip(block.chunks_exact_mut(cols)) {
            row.copy_from_slice(data.row(order.at(u64::from(state.batch) * m + i) as usize));
        }
    });
}
