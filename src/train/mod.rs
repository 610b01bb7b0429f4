//! Algorithm 1: epochs of mini-batch steps, with a history, checkpoints, and a clean stop.

mod checkpoint;
mod history;
mod step;

use std::time::Instant;

use checkpoint::check_losses;
pub use checkpoint::{Checkpoint, fingerprint};
pub use history::{EpochRecord, collapse};
pub use step::{Step, StepRule};

use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::to_host;
use crate::ops::{Ops, Shape, StepState};
use crate::scores::Scores;

/// What to train, beside the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Number of clusters.
    pub clusters: usize,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Rows per mini-batch.
    pub batch: usize,
    /// Passes over the training rows.
    pub epochs: usize,
    /// Learning rate of the first epoch; it follows a half cosine down to 0.
    pub learning_rate: f64,
    /// Seed of the weights and the shuffles.
    pub seed: u64,
    /// Affinity, loss and optimiser.
    pub rule: StepRule,
}

impl Plan {
    /// `lr_e = lr (1 + cos(pi e / E)) / 2`, `epoch` from 0.
    pub fn learning_rate_at(&self, epoch: usize) -> f64 {
        let turn = std::f64::consts::PI * epoch as f64 / self.epochs as f64;
        self.learning_rate * (1.0 + turn.cos()) / 2.0
    }

    fn state_at(&self, epoch: usize, step: u64) -> StepState {
        StepState {
            seed: self.seed,
            epoch: epoch as u32,
            batch: 0,
            step,
            learning_rate: self.learning_rate_at(epoch),
        }
    }
}

/// The class of each training row, for scores only.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    /// One number below `classes` per row.
    pub index: &'a [u32],
    /// Number of classes.
    pub classes: usize,
}

/// What the training loop, which computes in `R`, tells, and asks, the outside.
pub trait Watch<R = f32> {
    /// A mini-batch is done: `batch` of `batches` in `epoch` of `epochs`, all counted from 1.
    fn step(&mut self, epoch: usize, epochs: usize, batch: usize, batches: usize);
    /// An epoch is done.
    fn epoch(&mut self, record: &EpochRecord) -> Result<()>;
    /// Whether to save a checkpoint after this epoch.
    fn wants_checkpoint(&mut self) -> bool;
    /// A checkpoint to save.
    fn checkpoint(&mut self, checkpoint: &Checkpoint<R>) -> Result<()>;
    /// Whether to stop as soon as possible, after a last checkpoint.
    fn stop(&mut self) -> bool;
}

/// Trains on the rows of `data` (features as the network reads them, resident in the backend's memory), from the start or
/// from a checkpoint, and returns the model.
///
/// # Errors
/// When the checkpoint is of another plan or other rows, [`Error::Diverged`] when a loss or a parameter is not finite, [`Error::Interrupted`] after [`Watch::stop`], [`Error::Memory`].
pub fn train<O: Ops>(
    ops: &O,
    plan: &Plan,
    data: &O::Matrix,
    truth: Option<Truth>,
    resume: Option<Checkpoint<O::Real>>,
    watch: &mut dyn Watch<O::Real>,
) -> Result<Model> {
    let rows = data.rows();
    if plan.batch == 0 || plan.batch > rows {
        return Err(Error::option(
            "--batch",
            format!("{} rows, but there are {rows} training rows", plan.batch),
            "choose a smaller mini-batch or more rows",
        ));
    }
    let batches = rows / plan.batch;
    let fingerprint = fingerprint(ops, data)?;
    let start = resume.unwrap_or_else(|| {
        let model = Model::random(plan.seed, data.cols(), &plan.hidden, plan.clusters);
        Checkpoint::fresh(fingerprint.clone(), model.cast())
    });
    start.check(&fingerprint, plan, data.cols(), batches)?;

    let state = StepState {
        batch: start.batch as u32,
        ..plan.state_at(start.epoch, start.step)
    };
    let (mut step, mut labeller) = ops.plan("training", &|| {
        let step = Step::new(ops, &start.model, plan.rule, plan.batch, batches, state)?;
        let labeller = Labeller::new(ops, &step, rows, plan.batch)?;
        Ok((step, labeller))
    })?;
    start.restore(ops, &mut step)?;

    let clock = Instant::now();
    let seconds = |at: &Instant| start.seconds + at.elapsed().as_secs_f64();
    let mut steps_done = start.step;
    let mut first_batch = start.batch;
    for epoch in start.epoch..plan.epochs {
        if first_batch == 0 {
            ops.set_state(plan.state_at(epoch, steps_done), &mut step.state)?;
        }
        for batch in first_batch..batches {
            if watch.stop() {
                watch.checkpoint(&Checkpoint::take(
                    ops,
                    &start.data,
                    &step,
                    epoch,
                    batch,
                    steps_done,
                    seconds(&clock),
                )?)?;
                let done = format!("stopped in epoch {} of {}", epoch + 1, plan.epochs);
                return Err(Error::Interrupted(done));
            }
            step.run(ops, data)?;
            steps_done += 1;
            watch.step(epoch + 1, plan.epochs, batch + 1, batches);
        }
        first_batch = 0;

        let losses = to_host(ops, &step.losses)?;
        check_losses(&losses, epoch)?;
        let mean = |column: usize| {
            losses.chunks_exact(3).map(|l| f64::from(l[column])).sum::<f64>() / batches as f64
        };
        let labels = labeller.labels(ops, &step, data)?;
        let mut sizes = vec![0; plan.clusters];
        for &label in labels {
            sizes[label as usize] += 1;
        }
        let scores = truth.map(|truth| Scores::of(labels, plan.clusters, truth.index, truth.classes));
        watch.epoch(&EpochRecord {
            epoch: epoch + 1,
            l_lap: mean(0),
            l_orth: mean(1),
            loss: mean(2),
            learning_rate: plan.learning_rate_at(epoch),
            sizes,
            seconds: seconds(&clock),
            scores: scores.transpose()?,
        })?;
        if epoch + 1 < plan.epochs && watch.wants_checkpoint() {
            watch.checkpoint(&Checkpoint::take(
                ops,
                &start.data,
                &step,
                epoch + 1,
                0,
                steps_done,
                seconds(&clock),
            )?)?;
        }
    }
    let end = Checkpoint::take(
        ops,
        &start.data,
        &step,
        plan.epochs,
        0,
        steps_done,
        seconds(&clock),
    )?;
    Ok(end.model.cast())
}

/// Labels all training rows with the network as it stands.
struct Labeller<O: Ops> {
    x: O::Matrix,
    activations: crate::network::Activations<O>,
    on_device: O::Labels,
    labels: Vec<u32>,
    chunk: usize,
}

impl<O: Ops> Labeller<O> {
    fn new(ops: &O, step: &Step<O>, rows: usize, chunk: usize) -> Result<Self> {
        Ok(Labeller {
            x: ops.matrix("rows to be labelled", chunk, step.x.cols())?,
            activations: step.network.activations(ops, chunk)?,
            on_device: ops.labels("labels of the training rows", rows)?,
            labels: vec![0; rows],
            chunk,
        })
    }

    fn labels(&mut self, ops: &O, step: &Step<O>, data: &O::Matrix) -> Result<&[u32]> {
        let rows = self.labels.len();
        for first in (0..rows).step_by(self.chunk) {
            self.x.set_rows(self.chunk.min(rows - first));
            ops.copy_rows(data, first, &mut self.x)?;
            step.network.forward(ops, &self.x, &mut self.activations)?;
            ops.argmax(self.activations.logits(), &mut self.on_device, first)?;
        }
        ops.download_labels(&self.on_device, &mut self.labels)?;
        Ok(&self.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{AdamRule, Cut, HeatKernel, Objective, Penalty, Volumes};

    #[test]
    fn the_learning_rate_falls_along_half_a_cosine() {
        let mut plan = Plan {
            clusters: 2,
            hidden: vec![],
            batch: 10,
            epochs: 4,
            learning_rate: 0.2,
            seed: 1,
            rule: StepRule {
                kernel: HeatKernel {
                    sigma: 1.0,
                    neighbors: None,
                },
                objective: Objective {
                    gamma: 1.0,
                    penalty: Penalty::Squared,
                    volumes: Volumes::Through,
                    cut: Cut::Ncut,
                },
                adam: AdamRule::new(0.0),
            },
        };
        let root = 0.5f64.sqrt();
        let expected = [0.2, 0.1 * (1.0 + root), 0.1, 0.1 * (1.0 - root), 0.0];
        for (epoch, expected) in expected.into_iter().enumerate() {
            let found = plan.learning_rate_at(epoch);
            assert!(
                (found - expected).abs() < 1e-16,
                "epoch {epoch}: {found}, expected {expected}"
            );
        }
        plan.epochs = 1;
        assert_eq!(plan.learning_rate_at(0), 0.2, "a single epoch has the full rate");
    }
}
