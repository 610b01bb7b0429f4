//! Collects the rows of a mini-batch.

use crate::cpu::Matrix;
use crate::ops::{Real, Shape, StepState};

/// Row `i` of `x` is row `order(batch m + i)` of `data`.
pub fn gather_rows<T: Real>(data: &Matrix<T>, state: &StepState, x: &mut Matrix<T>) {
    let order = state.order(data.rows());
    let first = u64::from(state.batch) * x.rows() as u64;
    for i in 0..x.rows() {
        x.row_mut(i)
            .copy_from_slice(data.row(order.at(first + i as u64) as usize));
    }
}
