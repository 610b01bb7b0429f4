//! The hard label of each row.

use crate::cpu::Matrix;
use crate::ops::{Real, Shape};

/// The first column that holds the row's largest entry.
pub fn argmax<T: Real>(logits: &Matrix<T>, labels: &mut [u32]) {
    for (i, label) in labels.iter_mut().enumerate().take(logits.rows()) {
        let row = logits.row(i);
        let mut best = 0;
        for (l, &z) in row.iter().enumerate() {
            if z > row[best] {
                best = l;
            }
        }
        *label = best as u32;
    }
}
