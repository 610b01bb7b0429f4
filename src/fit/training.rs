//! Training inside a run folder: history, checkpoints, and going on from them.

use super::CheckpointEvery;
use crate::data::Labels;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops::{AdamRule, HeatKernel, Objective, Ops, Real, Shape};
use crate::options::FitOptions;
use crate::progress::Progress;
use crate::run_folder::RunFolder;
use crate::train::{Checkpoint, EpochRecord, Plan, StepRule, Truth, Watch, train};

/// What the options ask to be trained.
pub fn plan(options: &FitOptions, sigma: f64, gamma: f64) -> Plan {
    Plan {
        clusters: options.clusters,
        hidden: options.hidden.0.clone(),
        batch: options.batch,
        epochs: options.epochs,
        learning_rate: options.lr,
        seed: options.seed,
        rule: StepRule {
            kernel: HeatKernel {
                sigma,
                neighbors: options.neighbors.limit(),
            },
            objective: Objective {
                gamma,
                penalty: options.penalty,
                volumes: options.volumes,
                cut: options.cut,
            },
            adam: AdamRule::new(options.weight_decay),
        },
    }
}

/// Trains, from the folder's checkpoint if there is one; or takes the model of a run whose training is over.
pub fn train_or_load<O: Ops>(
    ops: &O,
    plan: &Plan,
    x: &O::Matrix,
    truth: Option<&Labels>,
    folder: &RunFolder,
    every: CheckpointEvery,
    progress: &mut dyn Progress,
) -> Result<(Model, Vec<EpochRecord>)> {
    let mut history = folder.load_history()?;
    if folder.model_file().exists() && history.len() == plan.epochs {
        return Ok((folder.load_model()?, history));
    }
    let resume = folder.load_checkpoint()?;
    history.truncate(resume.as_ref().map_or(0, |checkpoint| checkpoint.epoch));
    if let Some(checkpoint) = &resume {
        if history.len() != checkpoint.epoch {
            return Err(Error::file(
                folder.history_file(),
                format!(
                    "{} epochs, but the checkpoint is of epoch {}",
                    history.len(),
                    checkpoint.epoch
                ),
                "the run is damaged: start it again with --overwrite",
            ));
        }
        progress.line(&format!(
            "going on in epoch {} of {}",
            checkpoint.epoch + 1,
            plan.epochs
        ));
    }
    let mut watch = Watcher {
        folder,
        every,
        stale: true,
        saved: std::time::Instant::now(),
        batches: x.rows() / plan.batch,
        history,
        progress,
    };
    let truth = truth.map(|labels| Truth {
        index: &labels.index,
        classes: labels.classes.len(),
    });
    watch
        .progress
        .begin("training", (plan.epochs * watch.batches) as u64, "steps");
    let model = train(ops, plan, x, truth, resume, &mut watch)?;
    watch.progress.end();
    folder.save_model(&model)?;
    Ok((model, watch.history))
}

/// Writes the history and checkpoints of a training into its folder.
struct Watcher<'a> {
    folder: &'a RunFolder,
    every: CheckpointEvery,
    /// Whether the file may hold epochs beyond the checkpoint; it is written anew once the checkpoint has been accepted.
    stale: bool,
    saved: std::time::Instant,
    batches: usize,
    history: Vec<EpochRecord>,
    progress: &'a mut dyn Progress,
}

impl<R: Real> Watch<R> for Watcher<'_> {
    fn step(&mut self, epoch: usize, _epochs: usize, batch: usize, batches: usize) {
        let note = self.history.last().map_or(String::new(), summary);
        self.progress
            .advance(((epoch - 1) * batches + batch) as u64, &note);
    }
    fn epoch(&mut self, record: &EpochRecord) -> Result<()> {
        self.history.push(record.clone());
        if self.stale {
            self.folder.save_history(&self.history)?;
            self.stale = false;
        } else {
            self.folder.append_history(record)?;
        }
        self.progress
            .advance((record.epoch * self.batches) as u64, &summary(record));
        Ok(())
    }
    fn wants_checkpoint(&mut self) -> bool {
        self.saved.elapsed().as_secs_f64() >= self.every.0
    }
    fn checkpoint(&mut self, checkpoint: &Checkpoint<R>) -> Result<()> {
        checkpoint.save(&self.folder.checkpoint_file())?;
        self.saved = std::time::Instant::now();
        Ok(())
    }
    fn stop(&mut self) -> bool {
        self.progress.interrupted()
    }
}

/// One epoch in a few words.
fn summary(record: &EpochRecord) -> String {
    let scores = record
        .scores
        .map_or(String::new(), |s| format!(" ACC {:.3} NMI {:.3}", s.acc, s.nmi));
    format!(
        "epoch {} L_lap {:.4} L_orth {:.4}{scores}",
        record.epoch, record.l_lap, record.l_orth
    )
}
