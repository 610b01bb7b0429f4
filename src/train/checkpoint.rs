//! The whole state of a training, between two steps.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use super::{Plan, Step};
use crate::data::safetensors;
use crate::error::{Error, Result};
use crate::model::{Dense, Model};
use crate::network::{Network, to_host, to_real};
use crate::ops::{Ops, Shape};

/// Everything a training needs to go on as if it had never stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Parameters.
    pub model: Model,
    /// Adam's first moments, in the model's shape.
    pub first_moments: Model,
    /// Adam's second moments.
    pub second_moments: Model,
    /// Epochs finished.
    pub epoch: usize,
    /// Mini-batches finished in the epoch begun.
    pub batch: usize,
    /// Steps finished in all.
    pub step: u64,
    /// (L_lap, L_orth, loss) of the mini-batches finished in the epoch begun.
    pub losses: Vec<f32>,
    /// Seconds spent so far.
    pub seconds: f64,
}

impl Checkpoint {
    /// The beginning of a training from `model`.
    pub fn fresh(model: Model) -> Self {
        let blank = |layer: &Dense| Dense {
            weight: vec![0.0; layer.weight.len()],
            bias: vec![0.0; layer.bias.len()],
            ..*layer
        };
        let zeros = Model {
            layers: model.layers.iter().map(blank).collect(),
        };
        Checkpoint {
            model,
            first_moments: zeros.clone(),
            second_moments: zeros,
            epoch: 0,
            batch: 0,
            step: 0,
            losses: Vec::new(),
            seconds: 0.0,
        }
    }

    /// The state of a step in training, or [`Error::Diverged`]: what is no number must be neither saved nor handed on.
    pub(super) fn take<O: Ops>(
        ops: &O,
        step: &Step<O>,
        epoch: usize,
        batch: usize,
        steps_done: u64,
        seconds: f64,
    ) -> Result<Self> {
        let mut losses = to_host(ops, &step.losses)?;
        losses.truncate(3 * batch);
        check_losses(&losses, epoch)?;
        let taken = Checkpoint {
            model: step.network.to_model(ops)?,
            first_moments: step.first_moments.to_model(ops)?,
            second_moments: step.second_moments.to_model(ops)?,
            epoch,
            batch,
            step: steps_done,
            losses,
            seconds,
        };
        let parts = [&taken.model, &taken.first_moments, &taken.second_moments];
        if parts.iter().all(|part| part.is_finite()) {
            return Ok(taken);
        }
        // The last update did it; the next loss would have shown it.
        let (epoch, batch) = match batch {
            0 => (epoch, step.losses.rows()),
            _ => (epoch + 1, batch),
        };
        Err(Error::Diverged {
            loss: f64::NAN,
            epoch,
            batch,
        })
    }

    /// Puts moments and losses back; the parameters are already there.
    pub(super) fn restore<O: Ops>(&self, ops: &O, step: &mut Step<O>) -> Result<()> {
        step.first_moments = Network::new(ops, &self.first_moments)?;
        step.second_moments = Network::new(ops, &self.second_moments)?;
        ops.upload(&to_real::<O>(&self.losses), &mut step.losses, 0)
    }

    /// Whether this checkpoint belongs to a training like `plan`.
    pub(super) fn check(&self, plan: &Plan, inputs: usize, batches: usize) -> Result<()> {
        let shape = |model: &Model| (model.inputs(), model.hidden(), model.clusters());
        let expected = (inputs, plan.hidden.clone(), plan.clusters);
        let fits = [&self.model, &self.first_moments, &self.second_moments]
            .iter()
            .all(|m| shape(m) == expected);
        let steps = (self.epoch as u64)
            .saturating_mul(batches as u64)
            .saturating_add(self.batch as u64);
        if fits && self.batch < batches.max(1) && self.step == steps && self.losses.len() == 3 * self.batch {
            return Ok(());
        }
        Err(Error::Shape {
            what: "the checkpoint".into(),
            found: format!(
                "of a network {:?} after {} steps in epoch {}",
                shape(&self.model),
                self.step,
                self.epoch + 1
            ),
            expected: format!("a network {expected:?} with {batches} mini-batches an epoch"),
        })
    }

    /// Writes the checkpoint to a safetensors file, atomically.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = self.model.tensors("");
        tensors.extend(self.first_moments.tensors("m."));
        tensors.extend(self.second_moments.tensors("v."));
        tensors.push(("losses".into(), vec![self.losses.len() / 3, 3], &self.losses));
        let metadata = BTreeMap::from([
            ("epoch".to_string(), self.epoch.to_string()),
            ("batch".to_string(), self.batch.to_string()),
            ("step".to_string(), self.step.to_string()),
            ("seconds".to_string(), self.seconds.to_string()),
        ]);
        let tensors: Vec<(&str, &[usize], &[f32])> = tensors
            .iter()
            .map(|(name, shape, values)| (&name[..], &shape[..], *values))
            .collect();
        safetensors::write(path, &tensors, &metadata)
    }

    /// Reads what [`save`](Self::save) wrote.
    pub fn load(path: &Path) -> Result<Self> {
        let (tensors, metadata) = safetensors::read(path)?;
        Ok(Checkpoint {
            model: Model::from_tensors(path, "", &tensors)?,
            first_moments: Model::from_tensors(path, "m.", &tensors)?,
            second_moments: Model::from_tensors(path, "v.", &tensors)?,
            epoch: number(path, &metadata, "epoch")?,
            batch: number(path, &metadata, "batch")?,
            step: number(path, &metadata, "step")?,
            losses: tensors
                .get("losses")
                .map(|t| t.values.clone())
                .unwrap_or_default(),
            seconds: number(path, &metadata, "seconds")?,
        })
    }
}

fn number<T: FromStr>(path: &Path, metadata: &BTreeMap<String, String>, key: &str) -> Result<T> {
    let found = metadata.get(key).and_then(|text| text.parse().ok());
    found.ok_or_else(|| {
        let problem = format!("not a checkpoint: its metadata lacks the number {key:?}");
        Error::file(path, problem, "train again without --resume")
    })
}

/// Whether all (L_lap, L_orth, loss) of an epoch, counted from 0, have finite losses.
pub(super) fn check_losses(losses: &[f32], epoch: usize) -> Result<()> {
    match losses.chunks_exact(3).position(|loss| !loss[2].is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::Diverged {
            loss: f64::from(losses[3 * at + 2]),
            epoch: epoch + 1,
            batch: at + 1,
        }),
    }
}
