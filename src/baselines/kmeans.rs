//! k-means of the features. Its centres are a network of one layer: the nearest centre c has the largest `x.c - |c|^2 / 2`.

use super::Task;
use crate::data::Dataset;
use crate::error::Result;
use crate::model::{Dense, Model};
use crate::ops::Ops;
use crate::predict::Predictor;
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::spectral::{Kmeans, kmeans, starts};

pub(super) fn labels<O: Ops>(
    ops: &O,
    task: &Task,
    prepared: &Prepared<O>,
    data: &Dataset,
    progress: &mut dyn Progress,
) -> Result<Vec<u32>> {
    let found = kmeans(
        ops,
        &prepared.x,
        task.clusters,
        starts(task.clusters),
        task.seed,
        progress,
    )?;
    let pipeline = &prepared.pipeline;
    let predictor = Predictor::new(ops, &network(&found, task.clusters), pipeline)?;
    let mut predictor = predictor.caching(pipeline, data.cache());
    let mut labels = Vec::with_capacity(data.rows());
    predictor.label_all(data, 0..data.rows(), false, progress, |chunk, _| {
        labels.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(labels)
}

/// The network whose largest output is that of the nearest centre.
pub(super) fn network(found: &Kmeans, clusters: usize) -> Model {
    let inputs = found.centers.len() / clusters;
    let half = |center: &[f64]| -0.5 * center.iter().map(|v| v * v).sum::<f64>();
    let layer = Dense {
        inputs,
        outputs: clusters,
        weight: found.centers.iter().map(|&v| v as f32).collect(),
        bias: found
            .centers
            .chunks_exact(inputs)
            .map(|center| half(center) as f32)
            .collect(),
    };
    Model { layers: vec![layer] }
}
