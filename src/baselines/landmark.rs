//! Landmark-based spectral clustering (Chen and Cai, 2011), on the anchor graph of Liu, He and Chang (2010).
//!
//! Each row is tied to its nearest landmarks by weights that sum to 1: Z, n x p, sparse. The graph is `Z diag(c)^-1 Z'` with `c` the
//! column sums, so that all degrees are 1, and its leading eigenvectors are the left singular vectors of `Z diag(c)^-1/2`, found from a
//! p x p matrix. A row that was not there gets its coordinates from its own landmarks.

use super::Task;
use super::landmarks::{self, UNWRITTEN};
use crate::data::Dataset;
use crate::eigen::eigen;
use crate::error::Result;
use crate::ops::{Ops, Shape};
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::spectral::EXTRA;

/// Landmarks that a row is tied to.
const TIES: usize = 5;

/// Eigenvalues up to this, of which the largest is 1, are what rounding makes of 0.
const NOISE: f64 = 1e-10;

pub(super) fn labels<O: Ops>(
    ops: &O,
    task: &Task,
    prepared: &Prepared<O>,
    data: &Dataset,
    progress: &mut dyn Progress,
) -> Result<Vec<u32>> {
    let x = prepared.graph_rows(ops, data, progress)?;
    let anchors = landmarks::draw(ops, task, &x)?;
    let p = anchors.rows();

    let (mut columns, mut products) = (vec![0.0; p], vec![0.0; p * p]);
    landmarks::each(ops, &x, progress, |chunk| {
        for row in ties(ops, chunk, &anchors)? {
            for &(a, weight) in &row {
                columns[a] += weight;
                for &(b, other) in &row {
                    products[a * p + b] += weight * other;
                }
            }
        }
        Ok(())
    })?;
    let root = |a: usize| {
        if columns[a] > 0.0 {
            columns[a].sqrt().recip()
        } else {
            0.0
        }
    };
    for a in 0..p {
        for b in 0..p {
            products[a * p + b] *= root(a) * root(b);
        }
    }
    progress.not_interrupted(UNWRITTEN)?;
    let (values, vectors) = eigen(&products, p);
    progress.not_interrupted(UNWRITTEN)?;
    let wanted: Vec<usize> = (p.saturating_sub(task.clusters + EXTRA)..p).rev().collect();
    let q = wanted.len();
    let map: Vec<f64> = (0..p)
        .flat_map(|a| wanted.iter().map(move |&c| (a, c)))
        .map(|(a, c)| match values[c] > NOISE {
            true => root(a) * vectors[a * p + c] / values[c].sqrt(),
            // Where there are fewer different rows than vectors, the rest is rounding.
            false => 0.0,
        })
        .collect();

    landmarks::labels(ops, task, prepared, &x, data, progress, |rows| {
        let mut coordinates = Vec::with_capacity(rows.rows() * q);
        for row in ties(ops, rows, &anchors)? {
            coordinates.extend((0..q).map(|c| {
                row.iter()
                    .map(|&(a, weight)| weight * map[a * q + c])
                    .sum::<f64>()
            }));
        }
        Ok(coordinates)
    })
}

/// The nearest landmarks of each row, with weights `exp(-d^2 / d_s^2)` that are then made to sum to 1; `d_s` is the distance to the
/// farthest of them.
fn ties<O: Ops>(ops: &O, x: &O::Matrix, anchors: &O::Matrix) -> Result<Vec<Vec<(usize, f64)>>> {
    let count = TIES.min(anchors.rows());
    let found = ops.nearest(x, anchors, count)?;
    let rows = found
        .rows
        .chunks_exact(count)
        .zip(found.squared.chunks_exact(count));
    Ok(rows
        .map(|(anchors, squared)| {
            let farthest = squared[count - 1];
            let weight = |&squared: &f64| {
                if farthest > 0.0 {
                    (-squared / farthest).exp()
                } else {
                    1.0
                }
            };
            let sum: f64 = squared.iter().map(weight).sum();
            anchors
                .iter()
                .zip(squared)
                .map(|(&a, squared)| (a as usize, weight(squared) / sum))
                .collect()
        })
        .collect())
}
