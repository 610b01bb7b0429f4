//! Collects the rows of a mini-batch.

use super::product::row_blocks;
use crate::cpu::Matrix;
use crate::ops::{Shape, StepState};

/// Row `i` of `x` is row `order[batch m + i]` of `data`.
pub fn gather_rows(data: &Matrix<f32>, order: &[u32], state: &StepState, x: &mut Matrix<f32>) {
    let (m, cols) = (x.rows(), x.cols());
    let batch = &order[state.batch as usize * m..][..m];
    row_blocks(x, cols, |first, block| {
        for (&row, to) in batch[first..].iter().zip(block.chunks_exact_mut(cols)) {
            to.copy_from_slice(data.row(row as usize));
        }
    });
}
