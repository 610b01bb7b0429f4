//! The hard label of each row.

use rayon::prelude::*;

use super::product::BLOCK;
use crate::cpu::Matrix;
use crate::ops::Shape;

/// The first column that holds the row's largest entry.
pub fn argmax(logits: &Matrix<f32>, labels: &mut [u32]) {
    let k = logits.cols();
    labels
        .par_chunks_mut(BLOCK)
        .zip(logits.par_chunks(BLOCK * k))
        .for_each(|(labels, rows)| {
            for (label, row) in labels.iter_mut().zip(rows.chunks_exact(k)) {
                *label = first_largest(row);
            }
        });
}

/// The same of one row.
pub fn first_largest(row: &[f32]) -> u32 {
    let mut best = 0;
    for (l, &z) in row.iter().enumerate() {
        if z > row[best] {
            best = l;
        }
    }
    best as u32
}
