//! The mean cross-entropy between memberships and given labels.

use super::product::row_blocks;
use super::simd::vectorised;
use crate::cpu::Matrix;
use crate::ops::{LEAST_MEMBERSHIP, Shape, StepState};

/// Returns `-1/m sum_i log y_(i, t_i)`; fills `dZ = (Y - onehot(t)) / m`.
pub fn cross_entropy(
    membership: &Matrix<f32>,
    targets: &[u32],
    order: &[u32],
    state: &StepState,
    d_logits: &mut Matrix<f32>,
) -> f32 {
    let (m, k) = (membership.rows(), membership.cols());
    let batch = &order[state.batch as usize * m..][..m];
    let share = 1.0 / m as f32;
    row_blocks(d_logits, k, |first, block| {
        let y = &membership[first * k..][..block.len()];
        vectorised(|| {
            for (d, &y) in block.iter_mut().zip(y) {
                *d = y * share;
            }
        });
        for (&row, d) in batch[first..].iter().zip(block.chunks_exact_mut(k)) {
            d[targets[row as usize] as usize] -= share;
        }
    });
    let least = LEAST_MEMBERSHIP as f32;
    let logarithms = batch.iter().enumerate().map(|(i, &row)| {
        let y = membership.row(i)[targets[row as usize] as usize];
        // Written so that NaN stays NaN.
        f64::from(if y < least { least } else { y }).ln()
    });
    (-logarithms.sum::<f64>() / m as f64) as f32
}
