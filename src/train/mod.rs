//! Algorithm 1: epochs of mini-batch steps, with a history, checkpoints, and a clean stop.

mod checkpoint;
mod history;
mod step;
mod search;

use std::time::Instant;

pub use checkpoint::{Checkpoint, fingerprint};
use checkpoint::{Place, check_losses};
pub use history::{EpochRecord, collapse};
pub use search::{Kind, SearchPlan, Stage, Starts, Targets, WarmUp, search};
pub use step::{Step, StepRule, StepSize};

use crate::data::csr::Csr;
use crate::error::{Error, Result};
use crate::graph::{Sampler, count as count_labels, ranking};
use crate::model::Model;
use crate::network::to_host;
use crate::ops::{Ops, Shape, StepState};
use crate::scores::Scores;

/// What a stage of training pursues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The labels that are given for the training rows, by cross-entropy.
    Targets,
    /// A small cut.
    Cut,
}

/// One stage of training, beside the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What it pursues.
    pub goal: Goal,
    /// Number of clusters.
    pub clusters: usize,
    /// Whether its networks are among those of which the best is taken.
    pub ranked: bool,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Rows per mini-batch.
    pub batch: usize,
    /// Neighbours that a seed row brings into its mini-batch, where mini-batches are parts of a graph.
    pub per_seed: usize,
    /// Epochs before this stage: their orders are not used again.
    pub first_epoch: usize,
    /// Passes over the training rows. A stage towards targets ends earlier once the network has learned them.
    pub epochs: usize,
    /// The largest learning rate. Towards a cut it is that of the first epoch and falls along half a cosine; towards targets it rises
    /// and falls along half a sine: what is learned easily is learned before the steps are long, which other rows are better for.
    pub learning_rate: f64,
    /// Seed of the shuffles.
    pub seed: u64,
    /// Affinity, loss and optimiser.
    pub rule: StepRule,
}

impl Plan {
    /// `lr_e = lr (1 + cos(pi e / E)) / 2`, `epoch` from 0; towards targets `lr sin(pi (e + 1) / (E + 1))`.
    pub fn learning_rate_at(&self, epoch: usize) -> f64 {
        let turn = |at: usize, of: usize| std::f64::consts::PI * at as f64 / of as f64;
        let share = match self.goal {
            Goal::Targets => turn(epoch + 1, self.epochs + 1).sin(),
            Goal::Cut => (1.0 + turn(epoch, self.epochs).cos()) / 2.0,
        };
        self.learning_rate * share
    }

    /// A network of this shape as initialisation leaves it.
    pub fn random_model(&self, inputs: usize) -> Model {
        Model::random(self.seed, inputs, &self.hidden, self.clusters)
    }

    fn state_at(&self, epoch: usize, step: u64) -> StepState {
        StepState {
            seed: self.seed,
            epoch: (self.first_epoch + epoch) as u32,
            batch: 0,
            step,
            learning_rate: self.learning_rate_at(epoch),
        }
    }

    /// How mini-batches are drawn.
    fn sampler<'a, O: Ops>(&self, rows: &TrainingRows<'a, O>) -> Sampler<'a> {
        match (self.goal, rows.graph) {
            (Goal::Cut, Some(graph)) => Sampler::Neighbors {
                graph: graph.edges,
                batch: self.batch,
                per_seed: self.per_seed,
            },
            _ => Sampler::Shuffle {
                rows: rows.x.rows(),
                batch: self.batch,
            },
        }
    }
}

/// The rows trained on.
pub struct TrainingRows<'a, O: Ops> {
    /// Features as the network reads them, resident in the backend's memory.
    pub x: &'a O::Matrix,
    /// The graph whose parts mini-batches are, unless their affinity is computed from the features.
    pub graph: Option<TrainingGraph<'a, O>>,
    /// The class of each row, for scores only.
    pub truth: Option<Truth<'a>>,
}

/// The graph of the training rows.
pub struct TrainingGraph<'a, O: Ops> {
    /// On the host.
    pub edges: &'a Csr,
    /// In the backend's memory.
    pub resident: &'a O::Graph,
}

impl<O: Ops> Clone for TrainingGraph<'_, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O: Ops> Copy for TrainingGraph<'_, O> {}

/// The class of each training row, for scores only.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    /// One number below `classes` per row.
    pub index: &'a [u32],
    /// Number of classes.
    pub classes: usize,
}

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Beginning {
    /// The network.
    pub model: Model,
    /// The labels that the stage pursues, if it does.
    pub targets: Option<Targets>,
    /// The best network of earlier stages.
    pub best: Option<Best>,
}

impl Beginning {
    /// From a network alone.
    pub fn of(model: Model) -> Self {
        Beginning {
            model,
            targets: None,
            best: None,
        }
    }
}

/// The network that gave the smallest exact cut of the training graph so far, after any epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Best<R = f32> {
    /// That cut, as [`ranking`] counts it.
    pub cut: f64,
    /// The network.
    pub model: Model<R>,
}

/// How long a stage has made no progress.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// The best value so far.
    pub best: f64,
    /// Epochs since then.
    pub epochs: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            best: f64::NEG_INFINITY,
            epochs: 0,
        }
    }
}

impl Patience {
    /// Notes the value of an epoch of so many steps, of which a larger one is better, and says whether to stop.
    fn is_over(&mut self, value: f64, steps: usize) -> bool {
        if value > self.best {
            *self = Patience {
                best: value,
                epochs: 0,
            };
        } else {
            self.epochs += 1;
        }
        self.epochs >= PATIENCE.max(PATIENCE_STEPS.div_ceil(steps))
    }
}

/// What a stage ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The network.
    pub model: Model,
    /// Its hard labels of the training rows.
    pub labels: Vec<u32>,
    /// The best network of this and earlier stages.
    pub best: Option<Best>,
    /// Epochs of this stage.
    pub epochs: usize,
}

/// What the training loop, which computes in `R`, tells, and asks, the outside.
pub trait Watch<R = f32> {
    /// A stage begins, or goes on.
    fn stage(&mut self, plan: &Plan, stage: Stage);
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

/// Targets are learned when the cut is theirs up to this share of it, or, without a graph, when this share of the rows is given theirs.
const SAME_CUT: f64 = 1e-3;
const AGREEMENT: f64 = 0.999;

/// Epochs without a smaller cut after which a stage towards one ends, and steps, where epochs are short.
const PATIENCE: usize = 5;
const PATIENCE_STEPS: usize = 25;

/// Runs a stage of training, from its beginning or from a checkpoint.
///
/// # Errors
/// When the checkpoint is of another plan or other rows, [`Error::Diverged`] when a loss or a parameter is not finite, [`Error::Interrupted`] after [`Watch::stop`], [`Error::Memory`].
pub fn train<O: Ops>(
    ops: &O,
    plan: &Plan,
    rows: &TrainingRows<O>,
    stage: Stage,
    beginning: Beginning,
    resume: Option<Checkpoint<O::Real>>,
    watch: &mut dyn Watch<O::Real>,
) -> Result<Trained> {
    watch.stage(plan, stage);
    let count = rows.x.rows();
    if plan.batch == 0 || plan.batch > count {
        return Err(Error::option(
            "--batch",
            format!("{} rows, but there are {count} training rows", plan.batch),
            "choose a smaller mini-batch or more rows",
        ));
    }
    let sampler = plan.sampler(rows);
    let batches = sampler.batches();
    let fingerprint = fingerprint(ops, rows.x)?;
    let Beginning { model, targets, best } = beginning;
    let start = resume.unwrap_or_else(|| {
        let best = best.map(|best| Best {
            cut: best.cut,
            model: best.model.cast(),
        });
        Checkpoint {
            targets: targets.clone(),
            stage,
            ..Checkpoint::fresh(fingerprint.clone(), model.cast(), best)
        }
    });
    start.check(&fingerprint, plan, rows.x.cols(), batches)?;
    let cut_of = |labels: &[u32]| {
        let cut = plan.rule.objective.cut;
        rows.graph
            .map(|graph| ranking(graph.edges, labels, plan.clusters, cut))
    };
    let targets = start.targets.clone().unwrap_or(Targets::of(Vec::new()));
    let targets_cut = match plan.goal {
        Goal::Targets => cut_of(&targets.labels),
        Goal::Cut => None,
    };

    let state = StepState {
        batch: start.batch as u32,
        ..plan.state_at(start.epoch, start.step)
    };
    let graph = rows.graph.map(|graph| graph.resident);
    let size = StepSize {
        rows: plan.batch,
        batches,
        training_rows: count,
    };
    let (mut step, mut labeller) = ops.plan("training", &|| {
        let step = Step::new(ops, &start.model, plan.rule, size, graph, state)?;
        let labeller = Labeller::new(ops, &step, count, plan.batch)?;
        Ok((step, labeller))
    })?;
    start.restore(ops, &mut step)?;
    ops.upload_labels(&targets.labels, &mut step.targets)?;

    let clock = Instant::now();
    let seconds = || start.seconds + clock.elapsed().as_secs_f64();
    let mut best = start.best.clone();
    let mut patience = start.patience;
    let mut steps_done = start.step;
    let mut first_batch = start.batch;
    let mut labels = Vec::new();
    let mut epoch = start.epoch;
    while epoch < plan.epochs {
        let state = plan.state_at(epoch, steps_done);
        ops.upload_labels(&sampler.epoch(state.seed, state.epoch), &mut step.order)?;
        if first_batch == 0 {
            ops.set_state(state, &mut step.state)?;
        }
        for batch in first_batch..batches {
            if watch.stop() {
                let at = Place {
                    epoch,
                    batch,
                    step: steps_done,
                    seconds: seconds(),
                };
                watch.checkpoint(&Checkpoint::take(ops, &start, &step, at, patience, best)?)?;
                let done = format!("stopped in epoch {} of {}", epoch + 1, plan.epochs);
                return Err(Error::Interrupted(done));
            }
            match plan.goal {
                Goal::Cut => step.run(ops, rows.x, graph)?,
                Goal::Targets => step.run_to_targets(ops, rows.x)?,
            }
            steps_done += 1;
            watch.step(epoch + 1, plan.epochs, batch + 1, batches);
        }
        first_batch = 0;

        let losses = to_host(ops, &step.losses)?;
        check_losses(&losses, epoch)?;
        let mean = |column: usize| {
            losses.chunks_exact(3).map(|l| f64::from(l[column])).sum::<f64>() / batches as f64
        };
        labels = labeller.labels(ops, &step, rows.x)?.to_vec();
        let cut = cut_of(&labels);
        // Of the networks that have learned the targets well enough, the first is as good as any: later ones know these rows by heart.
        let rank = cut.map(|cut| match plan.goal {
            Goal::Targets => cut.max(targets.enough),
            Goal::Cut => cut,
        });
        if let Some(cut) = rank.filter(|&cut| plan.ranked && best.as_ref().is_none_or(|best| cut < best.cut))
        {
            let model = step.network.to_model(ops)?;
            best = Some(Best { cut, model });
        }
        let agreement = match plan.goal {
            Goal::Targets => Some(agreement(&labels, &targets.labels)),
            Goal::Cut => None,
        };
        let scores = rows
            .truth
            .map(|truth| Scores::of(&labels, plan.clusters, truth.index, truth.classes));
        watch.epoch(&EpochRecord {
            epoch: plan.first_epoch + epoch + 1,
            l_lap: mean(0),
            l_orth: mean(1),
            loss: mean(2),
            learning_rate: plan.learning_rate_at(epoch),
            sizes: count_labels(&labels, plan.clusters),
            cut,
            agreement,
            seconds: seconds(),
            scores: scores.transpose()?,
        })?;
        epoch += 1;
        let over = match (agreement, cut) {
            (Some(agreement), cut) => match (cut, targets_cut) {
                (Some(cut), Some(of_targets)) => cut <= of_targets * (1.0 + SAME_CUT),
                _ => agreement >= AGREEMENT,
            },
            (None, Some(cut)) => patience.is_over(-cut, batches),
            (None, None) => false,
        };
        if over {
            break;
        }
        if epoch < plan.epochs && watch.wants_checkpoint() {
            let at = Place {
                epoch,
                batch: 0,
                step: steps_done,
                seconds: seconds(),
            };
            watch.checkpoint(&Checkpoint::take(ops, &start, &step, at, patience, best.clone())?)?;
        }
    }
    let model = Checkpoint::take(
        ops,
        &start,
        &step,
        Place {
            epoch,
            batch: 0,
            step: steps_done,
            seconds: seconds(),
        },
        patience,
        None,
    )?
    .model;
    Ok(Trained {
        model: model.cast(),
        labels,
        best: best.map(|best| Best {
            cut: best.cut,
            model: best.model.cast(),
        }),
        epochs: epoch,
    })
}

/// Share of the rows that have their targets.
fn agreement(labels: &[u32], targets: &[u32]) -> f64 {
    let same = labels
        .iter()
        .zip(targets)
        .filter(|(label, target)| label == target);
    same.count() as f64 / labels.len() as f64
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
    use crate::ops::{AdamRule, AffinityRule, Cut, HeatKernel, Objective, Penalty, Volumes};

    #[test]
    fn learning_rates_follow_half_a_wave() {
        let mut plan = Plan {
            goal: Goal::Cut,
            clusters: 2,
            ranked: true,
            hidden: vec![],
            batch: 10,
            per_seed: 4,
            first_epoch: 7,
            epochs: 4,
            learning_rate: 0.2,
            seed: 1,
            rule: StepRule {
                affinity: AffinityRule::Heat(HeatKernel {
                    sigma: 1.0,
                    neighbors: None,
                }),
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
        plan.goal = Goal::Targets;
        for (epoch, fifths) in [1.0f64, 2.0, 3.0, 4.0].into_iter().enumerate() {
            let (found, expected) = (
                plan.learning_rate_at(epoch),
                0.2 * (std::f64::consts::PI * fifths / 5.0).sin(),
            );
            assert!(
                (found - expected).abs() < 1e-16,
                "epoch {epoch}: {found}, expected {expected}"
            );
        }
        for goal in [Goal::Targets, Goal::Cut] {
            let plan = Plan {
                epochs: 1,
                goal,
                ..plan.clone()
            };
            assert_eq!(plan.learning_rate_at(0), 0.2, "a single epoch has the full rate");
        }
    }
}
