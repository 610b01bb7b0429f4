//! The soft-max of each row.

use crate::cpu::Matrix;
use crate::ops::{Real, Shape};

/// `y_il = exp(z_il - max_a z_ia) / sum_b exp(z_ib - max_a z_ia)`; the shift keeps the exponential finite.
pub fn softmax<T: Real>(logits: &Matrix<T>, membership: &mut Matrix<T>) {
    for i in 0..logits.rows() {
        let mut largest = logits.row(i)[0];
        for &z in logits.row(i) {
            if z > largest {
                largest = z;
            }
        }
        let powers: Vec<T> = logits.row(i).iter().map(|&z| (z - largest).exp()).collect();
        let sum: T = powers.iter().copied().sum();
        for (y, power) in membership.row_mut(i).iter_mut().zip(powers) {
            *y = power / sum;
        }
    }
}
