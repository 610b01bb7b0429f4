//! The whole state of an attempt, between two steps.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use super::{Best, Patience, Plan, Stage, Step, Targets};
use crate::data::safetensors;
use crate::error::{Error, Result};
use crate::model::{Dense, Model};
use crate::network::{download, to_real};
use crate::ops::{Ops, Real, Shape};

/// Everything an attempt needs to go on as if it had never stopped, in the precision `R` that it computes in. Attempts know nothing of
/// each other, and so do their checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<R = f32> {
    /// The training rows, as [`fingerprint`] tells them from others.
    pub data: String,
    /// Parameters.
    pub model: Model<R>,
    /// Adam's first moments, in the model's shape.
    pub first_moments: Model<R>,
    /// Adam's second moments.
    pub second_moments: Model<R>,
    /// Epochs finished.
    pub epoch: usize,
    /// Mini-batches finished in the epoch begun; it may be all of them, what they led to not yet judged.
    pub batch: usize,
    /// Steps finished in all.
    pub step: u64,
    /// (L_lap, L_orth, loss) of the mini-batches finished in the epoch begun.
    pub losses: Vec<R>,
    /// Seconds spent so far.
    pub seconds: f64,
    /// How long the stage has made no progress.
    pub patience: Patience,
    /// The best network so far.
    pub best: Option<Best<R>>,
    /// The stage begun.
    pub stage: Stage,
    /// The labels that the stage pursues, if it does.
    pub targets: Option<Targets>,
    /// The labels of the training rows that the stage ended with, if it is over and what comes after it is not yet found.
    pub ended: Option<Vec<u32>>,
    /// Whether the attempt is over: its best network, or else the last, is what it has come to.
    pub finished: bool,
}

impl<R: Real> Checkpoint<R> {
    /// The beginning of a training from `model` on `data`.
    pub fn fresh(data: String, model: Model<R>, best: Option<Best<R>>) -> Self {
        let blank = |layer: &Dense<R>| Dense {
            weight: vec![R::ZERO; layer.weight.len()],
            bias: vec![R::ZERO; layer.bias.len()],
            ..*layer
        };
        let zeros = Model {
            layers: model.layers.iter().map(blank).collect(),
        };
        Checkpoint {
            data,
            model,
            first_moments: zeros.clone(),
            second_moments: zeros,
            epoch: 0,
            batch: 0,
            step: 0,
            losses: Vec::new(),
            seconds: 0.0,
            patience: Patience::default(),
            best,
            stage: Stage::default(),
            targets: None,
            ended: None,
            finished: false,
        }
    }

    /// Puts moments and losses back; the parameters are already there.
    pub(super) fn restore<O: Ops>(&self, ops: &O, step: &mut Step<O>) -> Result<()> {
        step.learner.first_moments.upload(ops, &self.first_moments)?;
        step.learner.second_moments.upload(ops, &self.second_moments)?;
        ops.upload(&to_real::<O>(&self.losses), &mut step.losses, 0)
    }

    /// Whether this checkpoint belongs to a training on rows with the fingerprint `data`.
    pub(super) fn check_rows(&self, data: &str) -> Result<()> {
        if self.data == data {
            return Ok(());
        }
        Err(Error::option(
            "--resume",
            format!(
                "the training rows have changed since the run began: {}, now {data}",
                self.data
            ),
            "bring the old data back, or begin again with --overwrite",
        ))
    }

    /// Whether this checkpoint belongs to a training like `plan`.
    pub(super) fn check(&self, plan: &Plan, inputs: usize, batches: usize) -> Result<()> {
        let shape = |model: &Model<R>| (model.inputs(), model.hidden(), model.clusters());
        let expected = (inputs, plan.hidden.clone(), plan.clusters);
        let fits = [&self.model, &self.first_moments, &self.second_moments]
            .iter()
            .all(|m| shape(m) == expected);
        let steps = (self.epoch as u64)
            .saturating_mul(batches as u64)
            .saturating_add(self.batch as u64);
        if fits && self.batch <= batches && self.step == steps && self.losses.len() == 3 * self.batch {
            return Ok(());
        }
        Err(Error::Shape {
            what: "the checkpoint".into(),
            found: format!(
                "of a network {:?} after {} steps in epoch {}",
                shape(&self.model),
                self.step,
                self.epoch.saturating_add(1)
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
        let mut metadata = BTreeMap::from([
            ("data".to_string(), self.data.clone()),
            ("epoch".to_string(), self.epoch.to_string()),
            ("batch".to_string(), self.batch.to_string()),
            ("step".to_string(), self.step.to_string()),
            ("seconds".to_string(), self.seconds.to_string()),
            ("patience.best".to_string(), self.patience.best.to_string()),
            ("patience.epochs".to_string(), self.patience.epochs.to_string()),
            ("finished".to_string(), self.finished.to_string()),
            (
                "stage".to_string(),
                serde_json::to_string(&self.stage).unwrap_or_default(),
            ),
        ]);
        let numbers = |labels: &Vec<u32>| -> Vec<R> { labels.iter().map(|&l| R::of(l.into())).collect() };
        let targets = self.targets.as_ref().map(|targets| numbers(&targets.labels));
        let ended = self.ended.as_ref().map(numbers);
        for (name, labels) in [("targets", &targets), ("ended", &ended)] {
            if let Some(labels) = labels {
                tensors.push((name.into(), vec![labels.len()], labels));
            }
        }
        if let Some(targets) = &self.targets {
            metadata.insert("enough".to_string(), targets.enough.to_string());
        }
        if let Some(best) = &self.best {
            tensors.extend(best.model.tensors("best."));
            metadata.insert("best.cut".to_string(), best.cut.to_string());
            metadata.insert("best.rank".to_string(), best.rank.to_string());
        }
        let tensors: Vec<(&str, &[usize], &[R])> = tensors
            .iter()
            .map(|(name, shape, values)| (&name[..], &shape[..], *values))
            .collect();
        safetensors::write(path, &tensors, &metadata)
    }

    /// Reads what [`save`](Self::save) wrote.
    pub fn load(path: &Path) -> Result<Self> {
        let (tensors, metadata) = safetensors::read::<R>(path)?;
        let labels = |name: &str| -> Option<Vec<u32>> {
            let values = tensors.get(name)?.values.iter();
            Some(values.map(|label| label.to_f64() as u32).collect())
        };
        Ok(Checkpoint {
            data: entry(path, &metadata, "data")?,
            model: Model::from_tensors(path, "", &tensors)?,
            first_moments: Model::from_tensors(path, "m.", &tensors)?,
            second_moments: Model::from_tensors(path, "v.", &tensors)?,
            epoch: entry(path, &metadata, "epoch")?,
            batch: entry(path, &metadata, "batch")?,
            step: entry(path, &metadata, "step")?,
            losses: tensors
                .get("losses")
                .map(|t| t.values.clone())
                .unwrap_or_default(),
            seconds: entry(path, &metadata, "seconds")?,
            patience: Patience {
                best: entry(path, &metadata, "patience.best")?,
                epochs: entry(path, &metadata, "patience.epochs")?,
            },
            stage: metadata
                .get("stage")
                .and_then(|text| serde_json::from_str(text).ok())
                .ok_or_else(|| lacking(path, "stage"))?,
            targets: match labels("targets") {
                None => None,
                Some(labels) => Some(Targets {
                    labels,
                    enough: entry(path, &metadata, "enough")?,
                }),
            },
            ended: labels("ended"),
            finished: entry(path, &metadata, "finished")?,
            best: match metadata.contains_key("best.cut") {
                false => None,
                true => Some(Best {
                    cut: entry(path, &metadata, "best.cut")?,
                    rank: entry(path, &metadata, "best.rank")?,
                    model: Model::from_tensors(path, "best.", &tensors)?,
                }),
            },
        })
    }
}

fn entry<T: FromStr>(path: &Path, metadata: &BTreeMap<String, String>, key: &str) -> Result<T> {
    let found = metadata.get(key).and_then(|text| text.parse().ok());
    found.ok_or_else(|| lacking(path, key))
}

fn lacking(path: &Path, key: &str) -> Error {
    let problem = format!("not a checkpoint: its metadata lacks {key:?}");
    Error::file(path, problem, "train again without --resume")
}

/// Whether all (L_lap, L_orth, loss) of an epoch, counted from 0, have finite losses.
pub(super) fn check_losses(losses: &[impl Real], epoch: usize) -> Result<()> {
    match losses
        .chunks_exact(3)
        .position(|loss| !loss[2].to_f64().is_finite())
    {
        None => Ok(()),
        Some(at) => Err(Error::Diverged {
            loss: losses[3 * at + 2].to_f64(),
            epoch: epoch + 1,
            batch: at + 1,
        }),
    }
}

/// Tells training rows from others: their number, their length, and a checksum of all their bits, in order.
///
/// Every round of the checksum is a bijection of its state, and of the number that enters; so a change of one number is
/// always seen, and other changes but for one in 2^64.
pub fn fingerprint<O: Ops>(ops: &O, data: &O::Matrix) -> Result<String> {
    const CHUNK: usize = 1024;
    let (rows, cols) = (data.rows(), data.cols());
    let mut chunk = ops.matrix("rows to be compared", CHUNK.min(rows), cols)?;
    let mut sum = 0u64;
    for first in (0..rows).step_by(CHUNK) {
        chunk.set_rows(CHUNK.min(rows - first));
        ops.copy_rows(data, first, &mut chunk)?;
        for value in download(ops, &chunk)? {
            // An odd factor (2^64 over the golden ratio) carries every bit upwards, the rotation brings it down again.
            sum = (sum ^ value.to_f64().to_bits()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            sum = sum.rotate_left(29);
        }
    }
    Ok(format!("{rows} x {cols} with checksum {sum:016x}"))
}
