//! Training inside a run folder: history, checkpoints, and going on from them.

use std::cell::RefCell;

use super::CheckpointEvery;
use super::start::Starter;
use crate::data::csr::Csr;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops::{AdamRule, AffinityRule, GraphForm, HeatKernel, Objective, Ops, Real};
use crate::options::{Auto, FitOptions, Subgraph};
use crate::progress::Progress;
use crate::run_folder::RunFolder;
use crate::train::{
    Checkpoint, EpochRecord, Goal, Plan, SearchPlan, Stage, StepRule, TrainingRows, WarmUp, Watch, search,
};

/// The heat kernel that the options ask for, once its width is known.
pub fn kernel(options: &FitOptions) -> HeatKernel {
    let Auto::Value(sigma) = options.sigma else {
        unreachable!("read from the data before");
    };
    HeatKernel {
        sigma,
        neighbors: options.neighbors.limit(),
    }
}

/// Largest learning rate of the warm-up.
const WARM_UP_RATE: f64 = 3e-3;

/// Rows per mini-batch of the warm-up, at most: small ones make more of an epoch.
pub const WARM_UP_BATCH: usize = 200;

/// From this share of entries on, a mini-batch's part of a graph is kept as a full matrix.
const DENSE_SHARE: f64 = 0.2;

/// What the options ask to be trained.
pub fn plan(options: &FitOptions, gamma: f64, graph: Option<&Csr>) -> SearchPlan {
    let affinity = match graph {
        None => AffinityRule::Heat(kernel(options)),
        Some(graph) => {
            let mean_degree = graph.entries() as f64 / graph.rows() as f64;
            AffinityRule::Graph(match options.subgraph {
                Subgraph::Sparse => GraphForm::Sparse,
                Subgraph::Dense => GraphForm::Dense,
                Subgraph::Auto if mean_degree > DENSE_SHARE * options.batch as f64 => GraphForm::Dense,
                Subgraph::Auto => GraphForm::Sparse,
            })
        }
    };
    let many = options.first_clusters();
    SearchPlan {
        cut: Plan {
            goal: Goal::Cut,
            clusters: options.clusters,
            ranked: true,
            hidden: options.hidden.0.clone(),
            batch: options.batch,
            per_seed: options.seed_neighbors,
            first_epoch: 0,
            epochs: options.epochs,
            learning_rate: options.lr,
            seed: options.seed,
            rule: StepRule {
                affinity,
                objective: Objective {
                    gamma,
                    penalty: options.penalty,
                    volumes: options.volumes,
                    cut: options.cut,
                },
                adam: AdamRule::new(options.weight_decay),
            },
        },
        warm_up: WarmUp {
            epochs: options.warm_up,
            batch: options.batch.min(WARM_UP_BATCH),
            learning_rate: WARM_UP_RATE,
        },
        begin_with: (many > options.clusters).then_some(many),
        moves: options.moves,
        attempts: options.restarts,
    }
}

/// Trains, from the folder's checkpoint if there is one; or takes the model of a run whose training is over.
pub fn train_or_load<O: Ops>(
    ops: &O,
    plan: &SearchPlan,
    rows: &TrainingRows<O>,
    starts: &mut Starter<O>,
    folder: &RunFolder,
    every: CheckpointEvery,
    progress: &mut dyn Progress,
) -> Result<(Model, Vec<EpochRecord>)> {
    let mut history = folder.load_history()?;
    if folder.model_file().exists() {
        return Ok((folder.load_model()?, history));
    }
    let resume = folder.load_checkpoint()?;
    let finished = |checkpoint: &Checkpoint<O::Real>| checkpoint.stage.first_epoch + checkpoint.epoch;
    history.truncate(resume.as_ref().map_or(0, finished));
    if let Some(checkpoint) = &resume {
        if history.len() != finished(checkpoint) {
            return Err(Error::file(
                folder.history_file(),
                format!(
                    "{} epochs, but the checkpoint is of epoch {}",
                    history.len(),
                    finished(checkpoint)
                ),
                "the run is damaged: start it again with --overwrite",
            ));
        }
        progress.line(&format!("going on in epoch {}", finished(checkpoint) + 1));
    }
    let progress = RefCell::new(progress);
    let mut watch = Watcher {
        folder,
        every,
        stale: true,
        saved: std::time::Instant::now(),
        first_epoch: 0,
        batches: 0,
        history,
        progress: &progress,
    };
    let mut targets =
        |attempt: usize, clusters: usize| starts.targets(attempt, clusters, *progress.borrow_mut());
    let model = search(ops, plan, rows, &mut targets, resume, &mut watch)?;
    progress.borrow_mut().end();
    folder.save_model(&model)?;
    Ok((model, watch.history))
}

/// Writes the history and checkpoints of a training into its folder.
struct Watcher<'a, 'b> {
    folder: &'a RunFolder,
    every: CheckpointEvery,
    /// Whether the file may hold epochs beyond the checkpoint; it is written anew once the checkpoint has been accepted.
    stale: bool,
    saved: std::time::Instant,
    first_epoch: usize,
    batches: usize,
    history: Vec<EpochRecord>,
    progress: &'a RefCell<&'b mut dyn Progress>,
}

impl<R: Real> Watch<R> for Watcher<'_, '_> {
    fn stage(&mut self, plan: &Plan, stage: Stage) {
        self.first_epoch = stage.first_epoch;
        self.batches = 0;
        let name = match plan.goal {
            Goal::Targets => "warm-up",
            Goal::Cut => "training",
        };
        self.progress
            .borrow_mut()
            .begin(name, plan.epochs as u64, "epochs");
    }
    fn step(&mut self, _epoch: usize, _epochs: usize, _batch: usize, _batches: usize) {}
    fn epoch(&mut self, record: &EpochRecord) -> Result<()> {
        self.history.push(record.clone());
        if self.stale {
            self.folder.save_history(&self.history)?;
            self.stale = false;
        } else {
            self.folder.append_history(record)?;
        }
        let done = record.epoch - self.first_epoch;
        self.progress.borrow_mut().advance(done as u64, &summary(record));
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
        self.progress.borrow().interrupted()
    }
}

/// One epoch in a few words.
fn summary(record: &EpochRecord) -> String {
    let scores = record
        .scores
        .map_or(String::new(), |s| format!(" ACC {:.3} NMI {:.3}", s.acc, s.nmi));
    let cut = record.cut.map_or(String::new(), |cut| format!(" cut {cut:.4}"));
    match record.agreement {
        Some(agreement) => format!("epoch {} agreement {agreement:.4}{cut}{scores}", record.epoch),
        None => format!(
            "epoch {} L_lap {:.4} L_orth {:.4}{cut}{scores}",
            record.epoch, record.l_lap, record.l_orth
        ),
    }
}
