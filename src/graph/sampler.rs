//! The mini-batches of an epoch: slices of a shuffle, or seed rows with some of their neighbours in a graph.

use crate::data::csr::Csr;
use crate::random::{Permutation, Purpose, Stream};

/// How mini-batches of `batch` distinct rows are drawn from `rows` rows.
#[derive(Clone, Copy, Debug)]
pub enum Sampler<'a> {
    /// Consecutive slices of a fresh permutation; a last slice that is not full is dropped (Algorithm 1 of the paper).
    Shuffle {
        /// Training rows.
        rows: usize,
        /// Rows of a mini-batch.
        batch: usize,
    },
    /// Every row is a seed once in an epoch and brings some of its neighbours, chosen at random, into its mini-batch: the graph
    /// inside is then worth cutting. Further seeds fill up what duplicates leave free.
    Neighbors {
        /// The graph of the training rows.
        graph: &'a Csr,
        /// Rows of a mini-batch.
        batch: usize,
        /// Neighbours that a seed brings at most.
        per_seed: usize,
    },
}

impl Sampler<'_> {
    fn rows(&self) -> usize {
        match *self {
            Sampler::Shuffle { rows, .. } => rows,
            Sampler::Neighbors { graph, .. } => graph.rows(),
        }
    }

    fn batch(&self) -> usize {
        match *self {
            Sampler::Shuffle { batch, .. } | Sampler::Neighbors { batch, .. } => batch,
        }
    }

    /// Rows that a mini-batch advances in the epoch's order.
    fn seeds(&self) -> usize {
        match *self {
            Sampler::Neighbors {
                graph,
                batch,
                per_seed,
            } if batch < graph.rows() => (batch / per_seed.saturating_add(1)).max(1),
            _ => self.batch(),
        }
    }

    /// Mini-batches in an epoch.
    pub fn batches(&self) -> usize {
        (self.rows() / self.seeds()).max(1)
    }

    /// The rows of all mini-batches of an epoch, one after the other.
    pub fn epoch(&self, seed: u64, epoch: u32) -> Vec<u32> {
        let (n, m) = (self.rows(), self.batch());
        let order = Permutation::new(seed, Purpose::Shuffle, epoch, n as u64);
        match *self {
            Sampler::Neighbors { graph, per_seed, .. } if m < n => {
                let stream = Stream::new(seed, Purpose::Neighbors, epoch);
                let mut drawn = Vec::with_capacity(self.batches() * m);
                // The mini-batch that a row was last in, counted from 1.
                let mut member_of = vec![0u32; n];
                for batch in 0..self.batches() {
                    let member = batch as u32 + 1;
                    let end = drawn.len() + m;
                    let mut position = (batch * self.seeds()) as u64;
                    while drawn.len() < end {
                        let row = order.at(position % n as u64) as u32;
                        let chosen = choose(graph, row as usize, per_seed, &stream, position);
                        for row in std::iter::once(row).chain(chosen) {
                            if drawn.len() < end && member_of[row as usize] != member {
                                member_of[row as usize] = member;
                                drawn.push(row);
                            }
                        }
                        position += 1;
                    }
                }
                drawn
            }
            _ => (0..(self.batches() * m) as u64)
                .map(|position| order.at(position) as u32)
                .collect(),
        }
    }
}

/// At most `count` neighbours of `row`, at random, none twice.
fn choose(graph: &Csr, row: usize, count: usize, stream: &Stream, position: u64) -> Vec<u32> {
    let mut neighbors: Vec<u32> = graph
        .row(row)
        .filter(|&(other, value)| other != row && value > 0.0)
        .map(|(other, _)| other as u32)
        .collect();
    let blocks = count.div_ceil(4) as u64;
    let count = count.min(neighbors.len());
    for at in 0..count {
        // The first steps of a shuffle (Fisher and Yates).
        let word = stream.words(position * blocks + at as u64 / 4)[at % 4];
        let left = (neighbors.len() - at) as u64;
        neighbors.swap(at, at + ((u64::from(word) * left) >> 32) as usize);
    }
    neighbors.truncate(count);
    neighbors
}
