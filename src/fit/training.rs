//! Training inside a run folder: history, checkpoints, and going on from them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

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
    Checkpoint, EpochRecord, Goal, Plan, SearchPlan, Stage, StepRule, TrainingRows, WarmUp, Watch, in_order,
    search,
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

/// Attempts that train side by side, at most: so many small networks keep a GPU busy, and each of them takes memory.
const SIDE_BY_SIDE: usize = 8;

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
        side_by_side: SIDE_BY_SIDE,
    }
}

/// Trains, from the folder's checkpoints if there are any; or takes the model of a run whose training is over.
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
    let resume = folder.load_checkpoints::<O::Real>()?;
    let finished: BTreeMap<usize, usize> = resume
        .iter()
        .map(|checkpoint| {
            let Stage {
                attempt, first_epoch, ..
            } = checkpoint.stage;
            (attempt + 1, first_epoch + checkpoint.epoch)
        })
        .collect();
    history.retain(|record| {
        finished
            .get(&record.attempt)
            .is_some_and(|&last| record.epoch <= last)
    });
    for (&attempt, &last) in &finished {
        let found = history.iter().filter(|record| record.attempt == attempt).count();
        if found != last {
            return Err(Error::file(
                folder.history_file(),
                format!("{found} epochs, but the checkpoint is of epoch {last}"),
                "the run is damaged: start it again with --overwrite",
            ));
        }
    }
    for checkpoint in resume.iter().filter(|checkpoint| !checkpoint.finished) {
        let attempt = checkpoint.stage.attempt + 1;
        let of = match plan.attempts {
            1 => String::new(),
            _ => format!(" of attempt {attempt}"),
        };
        progress.line(&format!("going on in epoch {}{of}", finished[&attempt] + 1));
    }
    let progress = RefCell::new(progress);
    let mut watch = Watcher {
        folder,
        every,
        attempts: plan.attempts,
        stale: true,
        saved: vec![Instant::now(); plan.attempts],
        under_way: BTreeMap::new(),
        history,
        progress: &progress,
    };
    let mut targets =
        |attempt: usize, clusters: usize| starts.targets(attempt, clusters, *progress.borrow_mut());
    let model = search(ops, plan, rows, &mut targets, resume, &mut watch)?;
    progress.borrow_mut().end();
    let mut history = watch.history;
    // So that it does not tell which attempts ran side by side.
    in_order(&mut history);
    folder.save_history(&history)?;
    folder.save_model(&model)?;
    Ok((model, history))
}

/// Writes the history and checkpoints of a training into its folder.
struct Watcher<'a, 'b> {
    folder: &'a RunFolder,
    every: CheckpointEvery,
    attempts: usize,
    /// Whether the file may hold epochs beyond the checkpoints; it is written anew once they have been accepted.
    stale: bool,
    /// When each attempt was last saved.
    saved: Vec<Instant>,
    /// The stage of each attempt under way.
    under_way: BTreeMap<usize, UnderWay>,
    history: Vec<EpochRecord>,
    progress: &'a RefCell<&'b mut dyn Progress>,
}

/// How far a stage has come.
struct UnderWay {
    first_epoch: usize,
    done: usize,
    epochs: usize,
}

impl<R: Real> Watch<R> for Watcher<'_, '_> {
    fn stage(&mut self, plan: &Plan, stage: Stage) {
        let name = match plan.goal {
            Goal::Targets => "warm-up",
            Goal::Cut => "training",
        };
        let begun = UnderWay {
            first_epoch: stage.first_epoch,
            done: 0,
            epochs: plan.epochs,
        };
        self.under_way.insert(stage.attempt, begun);
        let name = match self.under_way.len() {
            1 if self.attempts == 1 => name.to_string(),
            1 => format!("attempt {}, {name}", stage.attempt + 1),
            several => format!("{several} attempts"),
        };
        let epochs: usize = self.under_way.values().map(|stage| stage.epochs).sum();
        self.progress.borrow_mut().begin(&name, epochs as u64, "epochs");
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
        if let Some(stage) = self.under_way.get_mut(&(record.attempt - 1)) {
            stage.done = record.epoch - stage.first_epoch;
        }
        let done: usize = self.under_way.values().map(|stage| stage.done).sum();
        let mut note = summary(record);
        if self.under_way.len() > 1 {
            note = format!("attempt {} {note}", record.attempt);
        }
        self.progress.borrow_mut().advance(done as u64, &note);
        Ok(())
    }
    fn wants_checkpoint(&mut self, attempt: usize) -> bool {
        self.saved[attempt].elapsed().as_secs_f64() >= self.every.0
    }
    fn checkpoint(&mut self, checkpoint: &Checkpoint<R>) -> Result<()> {
        let attempt = checkpoint.stage.attempt;
        checkpoint.save(&self.folder.checkpoint_file(attempt))?;
        self.saved[attempt] = Instant::now();
        if checkpoint.finished {
            self.under_way.remove(&attempt);
        }
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
