//! The mean cross-entropy between memberships and given labels.

use crate::cpu::Matrix;
use crate::ops::{LEAST_MEMBERSHIP, Real, Shape, StepState};

/// Returns `-1/m sum_i log y_(i, t_i)`; fills `dZ = (Y - onehot(t)) / m`.
pub fn cross_entropy<T: Real>(
    membership: &Matrix<T>,
    targets: &[u32],
    order: &[u32],
    state: &StepState,
    d_logits: &mut Matrix<T>,
) -> T {
    let m = membership.rows();
    let count = T::of(m as f64);
    let batch = &order[state.batch as usize * m..][..m];
    let mut sum = T::ZERO;
    for (i, &row) in batch.iter().enumerate() {
        let target = targets[row as usize] as usize;
        let y = membership.row(i);
        let least = T::of(LEAST_MEMBERSHIP);
        // Written so that NaN stays NaN.
        let reached = if y[target] < least { least } else { y[target] };
        sum += reached.ln();
        for (l, (d, &y)) in d_logits.row_mut(i).iter_mut().zip(y).enumerate() {
            let wanted = if l == target { T::ONE } else { T::ZERO };
            *d = (y - wanted) / count;
        }
    }
    -sum / count
}
