//! Rows that are worked on by the backend, some at a time.

use super::{Assigned, Moments, halves};
use crate::error::Result;
use crate::network::{download, to_real};
use crate::ops::{Ops, Real, Shape};
use crate::progress::Progress;

/// Rows that are worked on at a time.
const CHUNK: usize = 4096;

/// The rows, and room to work on some of them.
pub struct Rows<'a, O: Ops> {
    ops: &'a O,
    x: &'a O::Matrix,
    clusters: usize,
    moments: Moments,
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
    /// Room to cluster the rows of `x` into so many clusters.
    pub fn new(ops: &'a O, x: &'a O::Matrix, clusters: usize) -> Result<Self> {
        let (n, d) = (x.rows(), x.cols());
        // Sums of rows are the gradient of weights, of which these two are the operands.
        let mut chunk = ops.operand("rows for k-means", CHUNK.min(n), d)?;
        let mut moments = Moments::new(d);
        for first in (0..n).step_by(CHUNK) {
            chunk.set_rows(CHUNK.min(n - first));
            ops.copy_rows(x, first, &mut chunk)?;
            for row in download(ops, &chunk)?.chunks_exact(d) {
                moments.add(row.iter().map(|v| v.to_f64()));
            }
        }
        Ok(Rows {
            ops,
            x,
            clusters,
            moments,
            scores: ops.matrix("scores for k-means", CHUNK.min(n), clusters)?,
            labels: ops.labels("labels for k-means", CHUNK.min(n))?,
            one_hot: ops.operand("memberships for k-means", CHUNK.min(n), clusters)?,
            weight: ops.matrix("centres", clusters, d)?,
            bias: ops.matrix("centres", 1, clusters)?,
            sums: ops.matrix("centres", clusters, d)?,
            counts: ops.matrix("centres", 1, clusters)?,
            chunk,
        })
    }

    /// Hands on the rows, chunk by chunk: `work` finds them in `chunk`.
    fn each(&mut self, progress: &dyn Progress, mut work: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let n = self.x.rows();
        for first in (0..n).step_by(CHUNK) {
            progress.not_interrupted("k-means was not finished")?;
            self.chunk.set_rows(CHUNK.min(n - first));
            self.ops.copy_rows(self.x, first, &mut self.chunk)?;
            work(self)?;
        }
        Ok(())
    }
}

impl<O: Ops> super::Rows for Rows<'_, O> {
    fn moments(&self) -> &Moments {
        &self.moments
    }

    fn row(&mut self, i: usize) -> Result<Vec<f64>> {
        self.chunk.set_rows(1);
        self.ops.copy_rows(self.x, i, &mut self.chunk)?;
        let row = download(self.ops, &self.chunk)?;
        Ok(row.into_iter().map(Real::to_f64).collect())
    }

    fn products(&mut self, centers: &[f64], progress: &dyn Progress) -> Result<Vec<f64>> {
        let (ops, count) = (self.ops, centers.len() / self.x.cols());
        let mut c = ops.matrix("centres", count, self.x.cols())?;
        ops.upload(&to_real::<O>(centers), &mut c, 0)?;
        let none = ops.matrix("centres", 1, count)?;
        let mut products = ops.matrix("scores for k-means", CHUNK.min(self.x.rows()), count)?;
        let mut found = Vec::with_capacity(self.x.rows() * count);
        self.each(progress, |rows| {
            products.set_rows(rows.chunk.rows());
            ops.linear(&rows.chunk, &c, &none, false, &mut products)?;
            found.extend(download(ops, &products)?.into_iter().map(Real::to_f64));
            Ok(())
        })?;
        Ok(found)
    }

    fn assign(&mut self, centers: &[f64], progress: &dyn Progress) -> Result<Assigned> {
        let (ops, d, k) = (self.ops, self.x.cols(), self.clusters);
        ops.upload(&to_real::<O>(centers), &mut self.weight, 0)?;
        ops.upload(&to_real::<O>(&halves(centers, d)), &mut self.bias, 0)?;
        let mut found = Assigned::of(k, d);
        self.each(progress, |rows| {
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
                found.scores.push(scores[i * k + label as usize].to_f64());
            }
            rows.one_hot.set_rows(m);
            ops.upload(&one_hot, &mut rows.one_hot, 0)?;
            ops.linear_backward_weights(&rows.one_hot, &rows.chunk, &mut rows.sums, &mut rows.counts)?;
            add(&mut found.sums, &download(ops, &rows.sums)?);
            add(&mut found.counts, &download(ops, &rows.counts)?);
            found.labels.extend(labels);
            Ok(())
        })?;
        Ok(found)
    }
}

fn add<T: Real>(sums: &mut [f64], more: &[T]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more.to_f64();
    }
}
