//! Algorithm 1: epochs of mini-batch steps, with a history, checkpoints, and a clean stop; and the search among several trainings.

mod checkpoint;
mod history;
mod step;
mod training;
mod search;

pub use checkpoint::{Checkpoint, fingerprint};
pub use history::{EpochRecord, collapse, in_order, unlearned, winner};
pub use search::{Kind, SearchPlan, Stage, Starts, Targets, WarmUp, search};
pub use step::{Step, StepRule, StepSize};
use training::Training;

use std::f64::consts::PI;

use crate::data::csr::Csr;
use crate::error::Result;
use crate::graph::Sampler;
use crate::learner::annealed;
use crate::model::Model;
use crate::ops::{Ops, Real, Shape, StepState};

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
    /// Epochs of the same attempt before this stage: their orders are not used again.
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
        let share = match self.goal {
            Goal::Targets => (PI * (epoch + 1) as f64 / (self.epochs + 1) as f64).sin(),
            Goal::Cut => annealed(epoch, self.epochs),
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
    /// The best network of earlier stages of the attempt.
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

    /// The same as a checkpoint before the first step of `stage`, which `seconds` of the attempt came before.
    fn checkpoint<R: Real>(self, data: String, stage: Stage, seconds: f64) -> Checkpoint<R> {
        let best = self.best.map(|best| best.cast());
        Checkpoint {
            targets: self.targets,
            stage,
            seconds,
            ..Checkpoint::fresh(data, self.model.cast(), best)
        }
    }
}

/// The best network of an attempt so far: after any epoch, the one of the smallest exact cut of the training graph, as
/// [`ranking`](crate::graph::ranking) counts it.
#[derive(Clone, Debug, PartialEq)]
pub struct Best<R = f32> {
    /// That cut. By it attempts are compared.
    pub cut: f64,
    /// The same, but while the network is fitted to labels at least what is [`enough`](Targets::enough). By it the networks of an attempt
    /// are compared.
    pub rank: f64,
    /// The network.
    pub model: Model<R>,
}

impl<R: Real> Best<R> {
    /// The same in another precision.
    pub fn cast<U: Real>(&self) -> Best<U> {
        Best {
            cut: self.cut,
            rank: self.rank,
            model: self.model.cast(),
        }
    }
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
    /// The best network of this and earlier stages of the attempt.
    pub best: Option<Best>,
    /// Epochs of this stage.
    pub epochs: usize,
    /// Seconds that the attempt has taken so far.
    pub seconds: f64,
}

impl Trained {
    /// The state of the attempt at the end of `stage`, moments aside.
    fn checkpoint<R: Real>(&self, data: &str, stage: Stage) -> Checkpoint<R> {
        let end = Beginning {
            best: self.best.clone(),
            ..Beginning::of(self.model.clone())
        };
        end.checkpoint(data.to_string(), stage, self.seconds)
    }
}

/// What the training loop, which computes in `R`, tells, and asks, the outside. Where attempts run side by side, what is told of one may
/// come between what is told of others.
pub trait Watch<R = f32> {
    /// A stage begins, or goes on.
    fn stage(&mut self, plan: &Plan, stage: Stage);
    /// A mini-batch is on its way: `batch` of `batches` in `epoch` of `epochs`, all counted from 1.
    fn step(&mut self, epoch: usize, epochs: usize, batch: usize, batches: usize);
    /// An epoch is done.
    fn epoch(&mut self, record: &EpochRecord) -> Result<()>;
    /// Whether to save a checkpoint of this attempt, counted from 0, after this epoch.
    fn wants_checkpoint(&mut self, attempt: usize) -> bool;
    /// A checkpoint to save, in place of the one before of the same attempt.
    fn checkpoint(&mut self, checkpoint: &Checkpoint<R>) -> Result<()>;
    /// Whether to stop as soon as possible, after a last checkpoint of each attempt under way.
    fn stop(&mut self) -> bool;
}

/// Epochs without a smaller cut after which a stage towards one ends, and steps, where epochs are short.
const PATIENCE: usize = 5;
const PATIENCE_STEPS: usize = 25;

/// Runs a stage of training, from its beginning or from a checkpoint.
///
/// # Errors
/// When the checkpoint is of another plan or other rows, [`Error::Diverged`](crate::Error::Diverged) when a loss or a parameter is not
/// finite, [`Error::Interrupted`](crate::Error::Interrupted) after [`Watch::stop`], [`Error::Memory`](crate::Error::Memory).
pub fn train<O: Ops>(
    ops: &O,
    plan: &Plan,
    rows: &TrainingRows<O>,
    stage: Stage,
    beginning: Beginning,
    resume: Option<Checkpoint<O::Real>>,
    watch: &mut dyn Watch<O::Real>,
) -> Result<Trained> {
    let data = fingerprint(ops, rows.x)?;
    let start = match resume {
        Some(checkpoint) => checkpoint,
        None => beginning.checkpoint(data.clone(), stage, 0.0),
    };
    start.check_rows(&data)?;
    let mut training = Training::begin(ops, plan.clone(), rows, &start, watch)?;
    while !training.is_over() {
        if !training.queue_epoch(watch)? {
            watch.checkpoint(&training.checkpoint()?)?;
            return Err(training.interrupted());
        }
        training.judge(watch)?;
    }
    training.finish()
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
