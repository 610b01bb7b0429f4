//! What the methods that go through landmarks share: the landmarks, and labels from an embedding of rows.

use super::{Task, kmeans};
use crate::data::Dataset;
use crate::error::Result;
use crate::network::{Network, gathered, to_real};
use crate::ops::{Ops, Shape};
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::random::{Permutation, Purpose};
use crate::spectral::{EXTRA, starts};

/// Rows that are worked on at a time.
pub(super) const CHUNK: usize = 4096;

/// What is told when a method is interrupted.
pub(super) const UNWRITTEN: &str = "nothing was written";

/// Training rows drawn at random, in the features of the graph.
pub(super) fn draw<O: Ops>(ops: &O, task: &Task, x: &O::Matrix) -> Result<O::Matrix> {
    let n = x.rows();
    let count = task.landmarks.max(task.clusters + EXTRA).min(n);
    let order = Permutation::new(task.seed, Purpose::Start, 1 << 17, n as u64);
    let chosen: Vec<u32> = (0..count as u64).map(|at| order.at(at) as u32).collect();
    gathered(ops, "landmarks", x, &chosen)
}

/// Hands on some rows a chunk at a time.
pub(super) fn each<O: Ops>(
    ops: &O,
    x: &O::Matrix,
    progress: &dyn Progress,
    mut work: impl FnMut(&O::Matrix) -> Result<()>,
) -> Result<()> {
    let n = x.rows();
    let mut chunk = ops.matrix("a chunk of rows", CHUNK.min(n), x.cols())?;
    for first in (0..n).step_by(CHUNK) {
        progress.not_interrupted(UNWRITTEN)?;
        chunk.set_rows(CHUNK.min(n - first));
        ops.copy_rows(x, first, &mut chunk)?;
        work(&chunk)?;
    }
    Ok(())
}

/// Clusters the training rows `x` by k-means of their embedding, and labels all rows of the data by the nearest centre of theirs.
/// `embed` gives the leading eigenvectors at some rows, of any length, one row after the other.
pub(super) fn labels<O: Ops>(
    ops: &O,
    task: &Task,
    prepared: &Prepared<O>,
    x: &O::Matrix,
    data: &Dataset,
    progress: &mut dyn Progress,
    mut embed: impl FnMut(&O::Matrix) -> Result<Vec<f64>>,
) -> Result<Vec<u32>> {
    let mut coordinates = Vec::new();
    each(ops, x, progress, |chunk| {
        coordinates.extend(embed(chunk)?);
        Ok(())
    })?;
    let upload = |values: &[f64], rows: usize| -> Result<O::Matrix> {
        let mut to = ops.matrix("eigenvectors", rows, values.len() / rows)?;
        ops.upload(&to_real::<O>(&directions(values, rows)), &mut to, 0)?;
        Ok(to)
    };
    let rows = upload(&coordinates, x.rows())?;
    let found = crate::spectral::kmeans(
        ops,
        &rows,
        task.clusters,
        starts(task.clusters),
        task.seed,
        progress,
    )?;
    let network = Network::new(ops, &kmeans::network(&found, task.clusters))?;
    let mut activations = network.activations(ops, CHUNK)?;
    let mut on_device = ops.labels("a chunk of labels", CHUNK)?;
    let mut labels = Vec::with_capacity(data.rows());
    prepared
        .graph_pipeline()
        .each_chunk(ops, data, 0, "labelling", progress, |x| {
            let rows = upload(&embed(x)?, x.rows())?;
            network.infer(ops, &rows, &mut activations, &mut on_device, 0)?;
            let mut chunk = vec![0; x.rows()];
            ops.download_labels(&on_device, &mut chunk)?;
            labels.extend(chunk);
            Ok(())
        })?;
    Ok(labels)
}

/// Rows brought to length 1, those of length 0 left as they are.
fn directions(values: &[f64], rows: usize) -> Vec<f64> {
    let cols = values.len() / rows;
    let mut values = values.to_vec();
    for row in values.chunks_exact_mut(cols) {
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|v| *v /= length);
        }
    }
    values
}
