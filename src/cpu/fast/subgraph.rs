//! The part of a graph between the rows of a mini-batch.

use std::sync::{Mutex, PoisonError};

use super::affinity::{Affinity, Form, degrees_of_lower};
use super::product::BLOCK;
use crate::data::csr::Csr;
use crate::ops::StepState;

/// A graph of all training rows.
pub struct Graph {
    /// Its edges.
    pub csr: Csr,
    /// Where each row is in the mini-batch that is being looked at; [`ABSENT`] between two calls.
    place: Mutex<Vec<u32>>,
}

const ABSENT: u32 = u32::MAX;

impl Graph {
    /// Takes a copy.
    pub fn new(csr: &Csr) -> Self {
        Graph {
            csr: csr.clone(),
            place: Mutex::new(vec![ABSENT; csr.rows()]),
        }
    }
}

/// The edges of `graph` between the rows that `order` names for the mini-batch.
pub fn subgraph(graph: &Graph, order: &[u32], state: &StepState, affinity: &mut Affinity) {
    let Affinity {
        rows: m,
        form,
        degrees,
        ..
    } = affinity;
    let batch = &order[state.batch as usize * *m..][..*m];
    let mut place = graph.place.lock().unwrap_or_else(PoisonError::into_inner);
    for (i, &row) in batch.iter().enumerate() {
        place[row as usize] = i as u32;
    }
    let inside = |i: usize| {
        let row = graph.csr.row(batch[i] as usize);
        row.map(|(other, value)| (place[other], value))
            .filter(|&(j, _)| j != ABSENT)
    };
    match form {
        Form::Sparse(edges) => {
            edges.clear();
            for i in 0..*m {
                for (j, value) in inside(i) {
                    edges.columns.push(j);
                    edges.values.push(value);
                }
                edges.starts.push(edges.columns.len());
            }
            edges.degrees(degrees);
        }
        Form::Dense(lower) => {
            lower.fill(0.0);
            for i in 0..*m {
                let end = *m.min(&mut ((i / BLOCK + 1) * BLOCK));
                for (j, value) in inside(i) {
                    if (j as usize) < end {
                        lower.row_mut(i)[j as usize] = value;
                    }
                }
            }
            degrees_of_lower(lower, degrees);
        }
        Form::Nearest { .. } | Form::Streamed => unreachable!("an affinity computed from rows"),
    }
    for &row in batch {
        place[row as usize] = ABSENT;
    }
}
