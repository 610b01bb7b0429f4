//! k-means: Lloyd's iterations from k-means++ starts.

use crate::error::{Error, Result};
use crate::network::{download, to_real};
use crate::ops::{Ops, Real, Shape};
use crate::progress::Progress;
use crate::random::{Purpose, Stream};

/// Rows that are worked on at a time.
const CHUNK: usize = 4096;

/// Iterations of one start at most.
const ITERATIONS: usize = 300;

/// A start ends when the centres move by less than this share of the rows' variance, as squared distances.
const STILL: f64 = 1e-4;

/// The best of some starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Kmeans {
    /// The cluster of each row.
    pub labels: Vec<u32>,
    /// Means of the clusters, k x d.
    pub centers: Vec<f64>,
    /// Sum of the squared distances of rows to their means.
    pub inertia: f64,
}

/// Clusters the rows of `x`: the best, by inertia, of `starts` runs of Lloyd's iteration from greedy k-means++ centres (Arthur and
/// Vassilvitskii, 2007).
///
/// # Errors
/// [`Error::Option`] for more clusters than rows, [`Error::Interrupted`], [`Error::Memory`].
pub fn kmeans<O: Ops>(
    ops: &O,
    x: &O::Matrix,
    clusters: usize,
    starts: usize,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Kmeans> {
    if clusters > x.rows() {
        return Err(Error::option(
            "--clusters",
            format!("{clusters} clusters of {} rows", x.rows()),
            "ask for fewer clusters or give more rows",
        ));
    }
    let mut rows = Rows::new(ops, x, clusters)?;
    let mut best: Option<Kmeans> = None;
    progress.begin("k-means", starts as u64, "starts");
    for start in 0..starts.max(1) {
        let stream = Stream::new(seed, Purpose::Start, 1 + start as u32);
        let centers = rows.seeds(ops, &stream, progress)?;
        let found = rows.lloyd(ops, centers, progress)?;
        if best.as_ref().is_none_or(|best| found.inertia < best.inertia) {
            best = Some(found);
        }
        progress.advance(start as u64 + 1, "");
    }
    progress.end();
    Ok(best.expect("there is at least one start"))
}

/// The rows, and room to work on some of them.
struct Rows<'a, O: Ops> {
    x: &'a O::Matrix,
    clusters: usize,
    /// `|x_i|^2`.
    squares: Vec<f64>,
    /// Mean over columns of their variance.
    variance: f64,
    chunk: O::Matrix,
    scores: O::Matrix,
    labels: O::Labels,
    one_hot: O::Matrix,
    weight: O::Matrix,
    bias: O::Matrix,
    sums: O::Matrix,
    counts: O::Matrix,
}

impl<'a, O: Ops> Rows<'a, O> {
    fn new(ops: &O, x: &'a O::Matrix, clusters: usize) -> Result<Self> {
        let (n, d) = (x.rows(), x.cols());
        let mut chunk = ops.matrix("rows for k-means", CHUNK.min(n), d)?;
        let mut squares = Vec::with_capacity(n);
        let (mut sums, mut total) = (vec![0.0; d], 0.0);
        for first in (0..n).step_by(CHUNK) {
            chunk.set_rows(CHUNK.min(n - first));
            ops.copy_rows(x, first, &mut chunk)?;
            for row in download(ops, &chunk)?.chunks_exact(d) {
                let square: f64 = row.iter().map(|v| v.to_f64().powi(2)).sum();
                squares.push(square);
                total += square;
                for (sum, v) in sums.iter_mut().zip(row) {
                    *sum += v.to_f64();
                }
            }
        }
        let of_means: f64 = sums.iter().map(|sum: &f64| (sum / n as f64).powi(2)).sum();
        Ok(Rows {
            x,
            clusters,
            squares,
            variance: (total / n as f64 - of_means).max(0.0) / d as f64,
            scores: ops.matrix("scores for k-means", CHUNK.min(n), clusters)?,
            labels: ops.labels("labels for k-means", CHUNK.min(n))?,
            one_hot: ops.matrix("memberships for k-means", CHUNK.min(n), clusters)?,
            weight: ops.matrix("centres", clusters, d)?,
            bias: ops.matrix("centres", 1, clusters)?,
            sums: ops.matrix("centres", clusters, d)?,
            counts: ops.matrix("centres", 1, clusters)?,
            chunk,
        })
    }

    /// Hands on the rows, chunk by chunk: `work(first row)`, the rows being in `chunk`.
    fn each(
        &mut self,
        ops: &O,
        progress: &dyn Progress,
        mut work: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        let n = self.x.rows();
        for first in (0..n).step_by(CHUNK) {
            progress.not_interrupted("k-means was not finished")?;
            self.chunk.set_rows(CHUNK.min(n - first));
            ops.copy_rows(self.x, first, &mut self.chunk)?;
            work(self, first)?;
        }
        Ok(())
    }

    /// Row `i` on the host.
    fn row(&mut self, ops: &O, i: usize) -> Result<Vec<f64>> {
        self.chunk.set_rows(1);
        ops.copy_rows(self.x, i, &mut self.chunk)?;
        let row = download(ops, &self.chunk)?;
        Ok(row.into_iter().map(Real::to_f64).collect())
    }

    /// Squared distances of all rows to some centres, row by row.
    fn distances(&mut self, ops: &O, centers: &[Vec<f64>], progress: &dyn Progress) -> Result<Vec<f64>> {
        let count = centers.len();
        let weight: Vec<f64> = centers.concat();
        let mut c = ops.matrix("centres", count, self.x.cols())?;
        ops.upload(&to_real::<O>(&weight), &mut c, 0)?;
        let none = ops.matrix("centres", 1, count)?;
        let squares: Vec<f64> = centers
            .iter()
            .map(|center| center.iter().map(|v| v * v).sum())
            .collect();
        let mut products = ops.matrix("scores for k-means", CHUNK.min(self.x.rows()), count)?;
        let mut found = Vec::with_capacity(self.x.rows() * count);
        self.each(ops, progress, |rows, first| {
            products.set_rows(rows.chunk.rows());
            ops.linear(&rows.chunk, &c, &none, false, &mut products)?;
            for (i, row) in download(ops, &products)?.chunks_exact(count).enumerate() {
                for (product, square) in row.iter().zip(&squares) {
                    found.push((rows.squares[first + i] + square - 2.0 * product.to_f64()).max(0.0));
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Greedy k-means++: each next centre is the best of a few rows drawn with probability in proportion to their squared distance
    /// to the centres so far.
    fn seeds(&mut self, ops: &O, stream: &Stream, progress: &dyn Progress) -> Result<Vec<f64>> {
        let n = self.x.rows();
        let tries = 2 + (self.clusters as f64).ln() as usize;
        let first = stream.below(0, n as u64) as usize;
        let first = self.row(ops, first)?;
        let mut nearest = self.distances(ops, std::slice::from_ref(&first), progress)?;
        let mut centers = first;
        for l in 1..self.clusters {
            let total: f64 = nearest.iter().sum();
            let mut drawn = Vec::with_capacity(tries);
            for t in 0..tries {
                let at = (l * tries + t) as u64;
                let i = match total > 0.0 {
                    true => pick(&nearest, total * stream.uniform_f64(at)[0]),
                    // All rows are where a centre is.
                    false => stream.below(at, n as u64) as usize,
                };
                drawn.push(self.row(ops, i)?);
            }
            let distances = self.distances(ops, &drawn, progress)?;
            let after = |t: usize| -> f64 {
                let column = distances.iter().skip(t).step_by(tries);
                nearest.iter().zip(column).map(|(a, b)| a.min(*b)).sum()
            };
            let sums: Vec<f64> = (0..tries).map(after).collect();
            let best = (0..tries)
                .min_by(|&a, &b| sums[a].total_cmp(&sums[b]))
                .unwrap_or(0);
            for (nearest, row) in nearest.iter_mut().zip(distances.chunks_exact(tries)) {
                *nearest = nearest.min(row[best]);
            }
            centers.extend_from_slice(&drawn[best]);
        }
        Ok(centers)
    }

    fn lloyd(&mut self, ops: &O, centers: Vec<f64>, progress: &dyn Progress) -> Result<Kmeans> {
        let (n, d, k) = (self.x.rows(), self.x.cols(), self.clusters);
        let mut centers = centers;
        let mut labels = vec![0; n];
        let mut best = Vec::with_capacity(n);
        for _ in 0..ITERATIONS {
            // The nearest centre has the largest x.c - |c|^2 / 2.
            let halves: Vec<f64> = centers
                .chunks_exact(d)
                .map(|center| -0.5 * center.iter().map(|v| v * v).sum::<f64>())
                .collect();
            ops.upload(&to_real::<O>(&centers), &mut self.weight, 0)?;
            ops.upload(&to_real::<O>(&halves), &mut self.bias, 0)?;
            let (mut sums, mut counts) = (vec![0.0; k * d], vec![0.0; k]);
            best.clear();
            let mut found = Vec::with_capacity(n);
            self.each(ops, progress, |rows, _| {
                let m = rows.chunk.rows();
                rows.scores.set_rows(m);
                ops.linear(&rows.chunk, &rows.weight, &rows.bias, false, &mut rows.scores)?;
                ops.argmax(&rows.scores, &mut rows.labels, 0)?;
                let mut labels = vec![0; m];
                ops.download_labels(&rows.labels, &mut labels)?;
                let scores = download(ops, &rows.scores)?;
                let mut one_hot = vec![O::Real::ZERO; m * k];
                for (i, &label) in labels.iter().enumerate() {
                    one_hot[i * k + label as usize] = O::Real::ONE;
                    best.push(scores[i * k + label as usize].to_f64());
                }
                rows.one_hot.set_rows(m);
                ops.upload(&one_hot, &mut rows.one_hot, 0)?;
                ops.linear_backward_weights(&rows.one_hot, &rows.chunk, &mut rows.sums, &mut rows.counts)?;
                add(&mut sums, &download(ops, &rows.sums)?);
                add(&mut counts, &download(ops, &rows.counts)?);
                found.extend(labels);
                Ok(())
            })?;
            let unchanged = found == labels;
            labels = found;
            // A centre without rows takes the row that is furthest from its own.
            for l in (0..k).filter(|&l| counts[l] == 0.0).collect::<Vec<_>>() {
                let distance = |i: usize| self.squares[i] - 2.0 * best[i];
                let lonely = (0..n).filter(|&i| counts[labels[i] as usize] > 1.0);
                let Some(far) = lonely.max_by(|&a, &b| distance(a).total_cmp(&distance(b))) else {
                    continue;
                };
                let row = self.row(ops, far)?;
                let from = labels[far] as usize;
                for (c, value) in row.iter().enumerate() {
                    sums[from * d + c] -= value;
                    sums[l * d + c] = *value;
                }
                counts[from] -= 1.0;
                counts[l] = 1.0;
                labels[far] = l as u32;
                best[far] = f64::INFINITY;
            }
            let mut moved = 0.0;
            for l in (0..k).filter(|&l| counts[l] > 0.0) {
                for c in 0..d {
                    let mean = sums[l * d + c] / counts[l];
                    moved += (mean - centers[l * d + c]).powi(2);
                    centers[l * d + c] = mean;
                }
            }
            if unchanged || moved <= STILL * self.variance {
                break;
            }
        }
        // Of rows around their means.
        let mut sizes = vec![0.0; k];
        labels.iter().for_each(|&label| sizes[label as usize] += 1.0);
        let of_means: f64 = centers
            .chunks_exact(d)
            .zip(&sizes)
            .map(|(center, size)| size * center.iter().map(|v| v * v).sum::<f64>())
            .sum();
        Ok(Kmeans {
            labels,
            inertia: (self.squares.iter().sum::<f64>() - of_means).max(0.0),
            centers,
        })
    }
}

/// The place at which the running sum reaches `target`.
fn pick(weights: &[f64], target: f64) -> usize {
    let mut sum = 0.0;
    for (i, weight) in weights.iter().enumerate() {
        sum += weight;
        if sum > target {
            return i;
        }
    }
    // Rounding: the last row that has any weight.
    weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0)
}

fn add<T: Real>(sums: &mut [f64], more: &[T]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more.to_f64();
    }
}
