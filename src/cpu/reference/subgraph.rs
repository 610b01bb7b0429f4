//! The part of a graph between the rows of a mini-batch.

use super::affinity::Affinity;
use crate::data::csr::Csr;
use crate::ops::{Real, Shape, StepState};

/// The part of `graph` between the rows that `order` names for the mini-batch. Weights are never rounded.
pub fn subgraph<T: Real>(graph: &Csr, order: &[u32], state: &StepState, affinity: &mut Affinity<T>) {
    let entries = &mut affinity.entries;
    let m = entries.rows();
    let batch = &order[state.batch as usize * m..][..m];
    let mut place = vec![None; graph.rows()];
    for (i, &row) in batch.iter().enumerate() {
        place[row as usize] = Some(i);
    }
    entries.fill(T::ZERO);
    for (i, &row) in batch.iter().enumerate() {
        for (other, value) in graph.row(row as usize) {
            if let Some(j) = place[other] {
                entries.row_mut(i)[j] = T::of(value.into());
            }
        }
    }
}
