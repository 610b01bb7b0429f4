//! Labels improved row by row: a row moves to the neighbouring cluster in which it lowers the cut most.

use crate::data::csr::Csr;
use crate::error::Result;
use crate::ops::Cut;
use crate::progress::Progress;
use crate::random::{Permutation, Purpose};

/// Passes over all rows at most; a few are usual.
const SWEEPS: u32 = 50;

/// Rows looked at between two questions whether to stop.
const ASK: u64 = 1 << 16;

/// A move must lower the cut by this much, so that rounding does not make rows go to and fro.
const LEAST_GAIN: f64 = 1e-12;

/// Moves rows one at a time, in random order, while that lowers the exact cut of the hard labels; no cluster is emptied. Returns
/// how many moves were made. (Weighted kernel k-means as local search: Dhillon, Guan, Kulis, "Weighted graph cuts without
/// eigenvectors", 2007.)
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted).
pub fn refine(
    graph: &Csr,
    labels: &mut [u32],
    clusters: usize,
    cut: Cut,
    seed: u64,
    progress: &dyn Progress,
) -> Result<usize> {
    let n = graph.rows();
    let degrees = graph.degrees();
    let weight = |i: usize| match cut {
        Cut::Ncut => degrees[i],
        Cut::Rcut => 1.0,
    };
    let mut parts = vec![Part::default(); clusters];
    for i in 0..n {
        let part = &mut parts[labels[i] as usize];
        part.rows += 1;
        part.volume += degrees[i];
        part.weight += weight(i);
        let inside = graph.row(i).filter(|&(j, _)| labels[j] == labels[i]);
        part.inside += inside.map(|(_, value)| f64::from(value)).sum::<f64>();
    }
    // What ties the row at hand to each cluster, and the clusters it is tied to.
    let mut ties = vec![0.0; clusters];
    let mut tied: Vec<u32> = Vec::new();
    let mut moves = 0;
    for sweep in 0..SWEEPS {
        let order = Permutation::new(seed, Purpose::Start, 1 << 16 | sweep, n as u64);
        let before = moves;
        for position in 0..n as u64 {
            if position.is_multiple_of(ASK) {
                progress.not_interrupted("labels had not settled")?;
            }
            let i = order.at(position) as usize;
            let from = labels[i] as usize;
            if parts[from].rows <= 1 {
                continue;
            }
            let mut own = 0.0;
            for (j, value) in graph.row(i) {
                if j == i {
                    own = f64::from(value);
                    continue;
                }
                let label = labels[j];
                if ties[label as usize] == 0.0 {
                    tied.push(label);
                }
                ties[label as usize] += f64::from(value);
            }
            let (d, w) = (degrees[i], weight(i));
            let without = parts[from].moved(-1, d, w, own, ties[from]);
            let leaving = parts[from].cut() - without.cut();
            let mut best = (LEAST_GAIN, from, without);
            for &to in &tied {
                let to = to as usize;
                if to == from {
                    continue;
                }
                let with = parts[to].moved(1, d, w, own, ties[to]);
                let gain = leaving + parts[to].cut() - with.cut();
                if gain > best.0 {
                    best = (gain, to, with);
                }
            }
            let (_, to, with) = best;
            if to != from {
                parts[from] = without;
                parts[to] = with;
                labels[i] = to as u32;
                moves += 1;
            }
            for label in tied.drain(..) {
                ties[label as usize] = 0.0;
            }
        }
        if moves == before {
            break;
        }
    }
    Ok(moves)
}

/// The sums that a cluster's part of the cut is made of.
#[derive(Clone, Copy, Default)]
struct Part {
    rows: i64,
    /// Sum of degrees.
    volume: f64,
    /// Sum of what measures clusters: degrees, or rows.
    weight: f64,
    /// Sum of the entries between its rows, both ways.
    inside: f64,
}

impl Part {
    fn cut(&self) -> f64 {
        if self.weight > 0.0 {
            (self.volume - self.inside) / self.weight
        } else {
            0.0
        }
    }

    /// With one row more (`sign` 1) or less (-1), of this degree and weight, its own entry and its ties to the cluster's other rows.
    fn moved(&self, sign: i64, degree: f64, weight: f64, own: f64, ties: f64) -> Part {
        let signed = sign as f64;
        Part {
            rows: self.rows + sign,
            volume: self.volume + signed * degree,
            weight: self.weight + signed * weight,
            inside: self.inside + signed * (2.0 * ties + own),
        }
    }
}
