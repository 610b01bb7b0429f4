//! Rows of few numbers, worked on by the host's threads.

use rayon::prelude::*;

use super::{Assigned, Moments, halves};
use crate::error::{Error, Result};
use crate::ops::{Ops, Real, Shape};
use crate::progress::Progress;

/// Centres whose products with a row are summed side by side, in registers.
const LANES: usize = 16;

/// Rows that are summed by themselves, at least, and how many such parts there are at most: their sums are added in order, so that the
/// bits do not depend on the number of threads.
const PART: usize = 2048;
const PARTS: usize = 64;

/// The rows, n x d.
pub struct Rows<'a, O: Ops> {
    ops: &'a O,
    values: Vec<O::Real>,
    moments: Moments,
}

impl<'a, O: Ops> Rows<'a, O> {
    /// The rows of `x`.
    pub fn new(ops: &'a O, x: &O::Matrix) -> Result<Self> {
        let (n, d) = (x.rows(), x.cols());
        let mut values = Vec::new();
        values.try_reserve_exact(n * d).map_err(|_| Error::Memory {
            what: "rows for k-means".into(),
            mib: ((n * d * size_of::<O::Real>()) as u64).div_ceil(1 << 20),
            advice: "train on fewer rows (--train-rows)",
        })?;
        values.resize(n * d, O::Real::ZERO);
        ops.download(x, &mut values)?;
        let mut moments = Moments::new(d);
        for row in values.chunks_exact(d) {
            moments.add(row.iter().map(|v| v.to_f64()));
        }
        Ok(Rows { ops, values, moments })
    }

    /// What `work` makes of each part of the rows, in order.
    fn parts<R: Send>(
        &self,
        progress: &dyn Progress,
        work: impl Fn(&[O::Real]) -> R + Send + Sync,
    ) -> Result<Vec<R>> {
        progress.not_interrupted("k-means was not finished")?;
        let part = self.moments.rows().div_ceil(PARTS).max(PART) * self.moments.d;
        let values = &self.values;
        Ok(self.ops.on_host(|| values.par_chunks(part).map(work).collect()))
    }
}

impl<O: Ops> super::Rows for Rows<'_, O> {
    fn moments(&self) -> &Moments {
        &self.moments
    }

    fn row(&mut self, i: usize) -> Result<Vec<f64>> {
        let d = self.moments.d;
        Ok(self.values[i * d..][..d].iter().map(|v| v.to_f64()).collect())
    }

    fn products(&mut self, centers: &[f64], progress: &dyn Progress) -> Result<Vec<f64>> {
        let d = self.moments.d;
        let count = centers.len() / d;
        let centers = Centers::new(centers, &vec![0.0; count], d);
        let parts = self.parts(progress, |rows| {
            let mut found = Vec::with_capacity(rows.len() / d * count);
            for row in rows.chunks_exact(d) {
                centers.each(row, |_, product| found.push(product.to_f64()));
            }
            found
        })?;
        Ok(parts.concat())
    }

    fn assign(&mut self, centers: &[f64], progress: &dyn Progress) -> Result<Assigned> {
        let d = self.moments.d;
        let k = centers.len() / d;
        let centers = Centers::new(centers, &halves(centers, d), d);
        let mut all = Assigned::of(k, d);
        let parts = self.parts(progress, |rows| {
            let mut found = Assigned::of(k, d);
            for row in rows.chunks_exact(d) {
                let mut nearest = None;
                centers.each(row, |l, score| {
                    if nearest.is_none_or(|(_, best)| score > best) {
                        nearest = Some((l, score));
                    }
                });
                let (l, score) = nearest.expect("there is a centre");
                found.labels.push(l as u32);
                found.scores.push(score.to_f64());
                found.counts[l] += 1.0;
                for (sum, value) in found.sums[l * d..][..d].iter_mut().zip(row) {
                    *sum += value.to_f64();
                }
            }
            found
        })?;
        for part in parts {
            all.labels.extend(part.labels);
            all.scores.extend(part.scores);
            all.sums
                .iter_mut()
                .zip(part.sums)
                .for_each(|(sum, more)| *sum += more);
            all.counts
                .iter_mut()
                .zip(part.counts)
                .for_each(|(sum, more)| *sum += more);
        }
        Ok(all)
    }
}

/// Centres laid out for products: [`LANES`] of them side by side, number by number.
struct Centers<T> {
    d: usize,
    count: usize,
    /// For each LANES centres d x LANES numbers, 0 beyond the last centre.
    values: Vec<T>,
    /// What is added to the products.
    added: Vec<T>,
}

impl<T: Real> Centers<T> {
    fn new(centers: &[f64], added: &[f64], d: usize) -> Self {
        let mut values = vec![T::ZERO; added.len().div_ceil(LANES) * d * LANES];
        for (l, center) in centers.chunks_exact(d).enumerate() {
            let block = &mut values[l / LANES * d * LANES..][..d * LANES];
            for (c, &value) in center.iter().enumerate() {
                block[c * LANES + l % LANES] = T::of(value);
            }
        }
        Centers {
            d,
            count: added.len(),
            values,
            added: added.iter().map(|&value| T::of(value)).collect(),
        }
    }

    /// `visit(l, x . c_l + added_l)` for all centres, in order.
    fn each(&self, row: &[T], mut visit: impl FnMut(usize, T)) {
        for (block, values) in self.values.chunks_exact(self.d * LANES).enumerate() {
            let mut sums = [T::ZERO; LANES];
            for (&x, values) in row.iter().zip(values.chunks_exact(LANES)) {
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum += x * value;
                }
            }
            let first = block * LANES;
            for l in first..self.count.min(first + LANES) {
                visit(l, sums[l - first] + self.added[l]);
            }
        }
    }
}
