//! Labels improved by moves that no row can make alone: two clusters are merged and a third is split, when that lowers the cut.

use super::embedding::embed;
use crate::data::csr::Csr;
use crate::error::Result;
use crate::graph::{cut_matrix, refine};
use crate::network::to_host;
use crate::ops::{Cut, Ops};
use crate::progress::Progress;

/// Moves at most.
const MOVES: usize = 50;

/// Promising moves that are tried before all are given up.
const TRIES: usize = 6;

/// A move must lower the cut by this share of it.
const LEAST_GAIN: f64 = 1e-4;

/// Neither part of a split is smaller than this share of its cluster.
const LEAST_SHARE: f64 = 0.02;

/// Improves labels until no move helps: the pair whose union costs least is merged, the cluster whose best two-way cut (a threshold on
/// its Fiedler vector) saves most is split, and rows settle ([`refine`]). Returns how many such moves were made.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted), [`Error::Memory`](crate::Error::Memory).
pub fn split_and_merge<O: Ops>(
    ops: &O,
    graph: &Csr,
    labels: &mut Vec<u32>,
    clusters: usize,
    cut: Cut,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<usize> {
    let degrees = graph.degrees();
    refine(graph, labels, clusters, cut, seed, progress)?;
    let mut current = Parts::of(graph, labels, clusters, cut);
    for done in 0..MOVES {
        let mut splits = Vec::new();
        for cluster in 0..clusters as u32 {
            let rows = (0..labels.len() as u32).filter(|&row| labels[row as usize] == cluster);
            let found = split(ops, graph, &degrees, rows.collect(), cut, seed, progress)?;
            splits.extend(found.map(|split| (cluster, split)));
        }
        // No move beyond a split's own first few can be among the first few of all.
        let unions = current.unions();
        let mut moves = Vec::new();
        for (at, (cluster, split)) in splits.iter().enumerate() {
            let others = unions.iter().filter(|&(_, a, b)| cluster != a && cluster != b);
            moves.extend(
                others
                    .take(TRIES)
                    .map(|&(rise, a, b)| (rise + split.rise, at, a, b)),
            );
        }
        moves.sort_by(|x, y| x.0.total_cmp(&y.0));
        let mut better = None;
        for &(_, at, a, b) in moves.iter().take(TRIES) {
            let mut moved = labels.clone();
            moved
                .iter_mut()
                .filter(|label| **label == b)
                .for_each(|label| *label = a);
            for &row in &splits[at].1.rows {
                moved[row as usize] = b;
            }
            refine(graph, &mut moved, clusters, cut, seed, progress)?;
            let after = Parts::of(graph, &moved, clusters, cut);
            if after.total() < current.total() * (1.0 - LEAST_GAIN) {
                better = Some((moved, after));
                break;
            }
        }
        let Some((moved, after)) = better else {
            return Ok(done);
        };
        (*labels, current) = (moved, after);
    }
    Ok(MOVES)
}

/// What each cluster adds to the cut.
struct Parts {
    matrix: Vec<f64>,
    /// Volumes, or rows.
    weights: Vec<f64>,
}

impl Parts {
    fn of(graph: &Csr, labels: &[u32], clusters: usize, cut: Cut) -> Self {
        let matrix = cut_matrix(graph, labels, clusters);
        let weights = match cut {
            Cut::Ncut => matrix
                .chunks_exact(clusters)
                .map(|row| row.iter().sum())
                .collect(),
            Cut::Rcut => {
                let sizes = crate::graph::count(labels, clusters);
                sizes.iter().map(|&size| size as f64).collect()
            }
        };
        Parts { matrix, weights }
    }

    fn cut_off(&self, l: usize) -> f64 {
        let k = self.weights.len();
        let row = &self.matrix[l * k..][..k];
        row.iter()
            .enumerate()
            .filter(|&(b, _)| b != l)
            .map(|(_, v)| v)
            .sum()
    }

    fn total(&self) -> f64 {
        (0..self.weights.len())
            .map(|l| share(self.cut_off(l), self.weights[l]))
            .sum()
    }

    /// By how much the cut rises when two clusters become one, mostly below 0: all pairs, the least first.
    fn unions(&self) -> Vec<(f64, u32, u32)> {
        let k = self.weights.len();
        let cuts: Vec<f64> = (0..k).map(|l| self.cut_off(l)).collect();
        let shares: Vec<f64> = (0..k).map(|l| share(cuts[l], self.weights[l])).collect();
        let mut unions = Vec::with_capacity(k * (k - 1) / 2);
        for a in 0..k {
            for b in a + 1..k {
                let cut = cuts[a] + cuts[b] - 2.0 * self.matrix[a * k + b];
                let rise = share(cut, self.weights[a] + self.weights[b]) - shares[a] - shares[b];
                unions.push((rise, a as u32, b as u32));
            }
        }
        unions.sort_by(|x, y| x.0.total_cmp(&y.0));
        unions
    }
}

fn share(cut: f64, weight: f64) -> f64 {
    if weight > 0.0 { cut / weight } else { 0.0 }
}

/// The best way to part a cluster in two.
struct Split {
    /// By how much the cut rises.
    rise: f64,
    /// The rows of one of the parts.
    rows: Vec<u32>,
}

/// Sorts the rows of a cluster by its Fiedler vector, the second eigenvector of the graph inside it, and parts them where that costs least.
fn split<O: Ops>(
    ops: &O,
    graph: &Csr,
    degrees: &[f64],
    rows: Vec<u32>,
    cut: Cut,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Option<Split>> {
    progress.not_interrupted("labels had not settled")?;
    let n = rows.len();
    if n < 4 {
        return Ok(None);
    }
    let mut place = vec![u32::MAX; graph.rows()];
    for (at, &row) in rows.iter().enumerate() {
        place[row as usize] = at as u32;
    }
    let inside = Csr::from_rows(rows.iter().map(|&row| {
        let edges = graph
            .row(row as usize)
            .map(|(other, value)| (place[other], value));
        edges.filter(|&(at, _)| at != u32::MAX).collect()
    }));
    let within = inside.degrees();
    let embedding = embed(ops, &inside, 2, Cut::Ncut, seed, progress)?;
    let vectors = to_host(ops, &embedding.vectors)?;
    let height = |at: usize| f64::from(vectors[2 * at + 1]) / within[at].max(f64::MIN_POSITIVE).sqrt();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| height(a).total_cmp(&height(b)).then(a.cmp(&b)));
    let mut rank = vec![0; n];
    for (position, &at) in order.iter().enumerate() {
        rank[at] = position;
    }

    let weight = |at: usize| match cut {
        Cut::Ncut => degrees[rows[at] as usize],
        Cut::Rcut => 1.0,
    };
    let volume: f64 = rows.iter().map(|&row| degrees[row as usize]).sum();
    let total_weight: f64 = (0..n).map(weight).sum();
    let total_inside: f64 = within.iter().sum();
    // Sums over the rows so far: degrees, weights, and entries among them and across.
    let (mut so_far, mut weights, mut low, mut across) = (0.0, 0.0, 0.0, 0.0);
    let mut best: Option<(f64, usize)> = None;
    let least = ((n as f64 * LEAST_SHARE) as usize).max(1);
    for (position, &at) in order.iter().enumerate() {
        so_far += degrees[rows[at] as usize];
        weights += weight(at);
        for (other, value) in inside.row(at) {
            let value = f64::from(value);
            if rank[other] < position {
                low += 2.0 * value;
                across -= value;
            } else if rank[other] == position {
                low += value;
            } else {
                across += value;
            }
        }
        let parted = position + 1;
        if parted < least || n - parted < least {
            continue;
        }
        let high = total_inside - low - 2.0 * across;
        let rise = share(so_far - low, weights) + share(volume - so_far - high, total_weight - weights);
        if best.is_none_or(|(least, _)| rise < least) {
            best = Some((rise, parted));
        }
    }
    Ok(best.map(|(rise, parted)| Split {
        rise: rise - share(volume - total_inside, total_weight),
        rows: order[..parted].iter().map(|&at| rows[at]).collect(),
    }))
}
