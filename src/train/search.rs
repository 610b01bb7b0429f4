//! Trainings in stages: fitted to labels, then towards a small cut; with more clusters first and fewer then; with moves; and from
//! several starts, of which the best by the exact cut is taken.

use serde::{Deserialize, Serialize};

use super::{Beginning, Best, Checkpoint, Goal, Plan, TrainingRows, Watch, train};
use crate::data::csr::Csr;
use crate::error::Result;
use crate::graph::{count, cut_matrix, merge, ranking, refine};
use crate::model::Model;
use crate::ops::{Cut, Ops, Shape};
use crate::spectral::{Labelling, split_and_merge};

/// Labels that the network is fitted to before it is trained towards a small cut: `(attempt, clusters)`, or none for a random
/// start.
pub type Starts<'a> = dyn FnMut(usize, usize) -> Result<Option<Targets>> + 'a;

/// Labels that a network is fitted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// One for each training row.
    pub labels: Vec<u32>,
    /// The cut of the training graph that a network has to reach, as [`ranking`] counts it; infinite when there is none to reach.
    /// A network that does has learned enough: what is beyond costs it more on other rows than it gains on these.
    pub enough: f64,
}

impl Targets {
    /// Labels as they are, without a graph.
    pub fn of(labels: Vec<u32>) -> Self {
        Targets {
            labels,
            enough: f64::INFINITY,
        }
    }

    /// The first of some labellings that, once its rows have settled ([`refine`]), does not cut more than the usual ones do before they
    /// settle, or hardly more: those that come first weigh clusters more evenly, which people mostly want of clusters, and the exact
    /// cut alone does not. It is enough for a network to keep half of what settling has gained.
    pub fn refined(graph: &Csr, found: Vec<Labelling>, clusters: usize, cut: Cut, seed: u64) -> Option<Self> {
        let cut_of = |found: &Labelling| ranking(graph, &found.labels, clusters, cut);
        let usual = found.iter().filter(|found| found.usual).map(cut_of);
        let before = usual.fold(f64::INFINITY, f64::min);
        let mut settled = found;
        for found in &mut settled {
            refine(graph, &mut found.labels, clusters, cut, seed);
        }
        let most = before * (1.0 + HARDLY_MORE);
        // Rounding may leave even the smallest above: then all are alike.
        let chosen = settled.iter().position(|found| cut_of(found) <= most);
        let found = settled.into_iter().nth(chosen.unwrap_or(0))?;
        let after = cut_of(&found);
        Some(Targets {
            enough: match after <= before {
                true => 0.5 * (before + after),
                false => after * (1.0 + HARDLY_MORE / 2.0),
            },
            labels: found.labels,
        })
    }
}

/// A share of a cut that counts for little.
const HARDLY_MORE: f64 = 0.02;

/// How a network is fitted to labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmUp {
    /// Epochs at most.
    pub epochs: usize,
    /// Rows per mini-batch.
    pub batch: usize,
    /// The largest learning rate.
    pub learning_rate: f64,
}

/// A training in stages.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchPlan {
    /// The stage towards a small cut; the others take from it what is not said here.
    pub cut: Plan,
    /// The stages that fit the network to labels.
    pub warm_up: WarmUp,
    /// Clusters to begin with, where they are more than are wanted.
    pub begin_with: Option<usize>,
    /// Rounds of split and merge moves at most, each followed by another training.
    pub moves: usize,
    /// Attempts, each from a start of its own.
    pub attempts: usize,
}

/// Which stage it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Fitted to labels of more clusters than are wanted.
    ManyTargets,
    /// Towards a small cut of more clusters than are wanted.
    ManyCut,
    /// Fitted to labels.
    Targets,
    /// Towards a small cut.
    #[default]
    Cut,
}

/// How far a search has come. By default it is a single stage towards a small cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The attempt, from 0.
    pub attempt: usize,
    /// Rounds of moves made in it.
    pub moves: usize,
    /// The stage.
    pub kind: Kind,
    /// Epochs of all stages before.
    pub first_epoch: usize,
}

impl SearchPlan {
    /// The plan of one stage.
    pub fn stage(&self, stage: Stage) -> Plan {
        let many = self.begin_with.unwrap_or(self.cut.clusters);
        let (goal, clusters) = match stage.kind {
            Kind::ManyTargets => (Goal::Targets, many),
            Kind::ManyCut => (Goal::Cut, many),
            Kind::Targets => (Goal::Targets, self.cut.clusters),
            Kind::Cut => (Goal::Cut, self.cut.clusters),
        };
        let WarmUp {
            epochs,
            batch,
            learning_rate,
        } = match goal {
            Goal::Targets => self.warm_up,
            Goal::Cut => WarmUp {
                epochs: self.cut.epochs,
                batch: self.cut.batch,
                learning_rate: self.cut.learning_rate,
            },
        };
        Plan {
            goal,
            clusters,
            ranked: clusters == self.cut.clusters,
            epochs,
            batch,
            learning_rate,
            first_epoch: stage.first_epoch,
            ..self.cut.clone()
        }
    }

    fn seed(&self, attempt: usize) -> u64 {
        self.cut.seed.wrapping_add((attempt as u64) << 32)
    }

    /// How an attempt begins.
    fn attempt(
        &self,
        attempt: usize,
        first_epoch: usize,
        inputs: usize,
        best: Option<Best>,
        starts: &mut Starts,
    ) -> Result<(Stage, Beginning)> {
        let clusters = self.begin_with.unwrap_or(self.cut.clusters);
        let targets = starts(attempt, clusters)?;
        let kind = match (self.begin_with, &targets) {
            (Some(_), Some(_)) => Kind::ManyTargets,
            (Some(_), None) => Kind::ManyCut,
            (None, Some(_)) => Kind::Targets,
            (None, None) => Kind::Cut,
        };
        let stage = Stage {
            attempt,
            moves: 0,
            kind,
            first_epoch,
        };
        let beginning = Beginning {
            model: Model::random(self.seed(attempt), inputs, &self.cut.hidden, clusters),
            targets,
            best,
        };
        Ok((stage, beginning))
    }
}

/// Runs all stages, from the first or from a checkpoint, and returns the best network: that of the smallest exact cut of the training
/// graph, or the last one when there is no graph.
///
/// # Errors
/// As [`train`].
pub fn search<O: Ops>(
    ops: &O,
    plan: &SearchPlan,
    rows: &TrainingRows<O>,
    starts: &mut Starts,
    resume: Option<Checkpoint<O::Real>>,
    watch: &mut dyn Watch<O::Real>,
) -> Result<Model> {
    let inputs = rows.x.cols();
    let (mut stage, mut beginning, mut resume) = match resume {
        Some(checkpoint) => {
            let beginning = Beginning {
                model: checkpoint.model.cast(),
                targets: None,
                best: None,
            };
            (checkpoint.stage, beginning, Some(checkpoint))
        }
        None => {
            let (stage, beginning) = plan.attempt(0, 0, inputs, None, starts)?;
            (stage, beginning, None)
        }
    };
    loop {
        let now = plan.stage(stage);
        let trained = train(ops, &now, rows, stage, beginning, resume.take(), watch)?;
        let first_epoch = stage.first_epoch + trained.epochs;
        let graph = rows.graph.map(|graph| graph.edges);
        let cut = now.rule.objective.cut;
        let next = |kind: Kind| Stage {
            kind,
            first_epoch,
            ..stage
        };
        (stage, beginning) = match (stage.kind, graph) {
            (Kind::ManyTargets | Kind::Targets, _) => {
                let kind = match stage.kind {
                    Kind::Targets => Kind::Cut,
                    _ => Kind::ManyCut,
                };
                let beginning = Beginning {
                    model: trained.model,
                    targets: None,
                    best: trained.best,
                };
                (next(kind), beginning)
            }
            (Kind::ManyCut, Some(graph)) => {
                let (many, wanted) = (now.clusters, plan.cut.clusters);
                let matrix = cut_matrix(graph, &trained.labels, many);
                let into = merge(&matrix, &count(&trained.labels, many), wanted, cut);
                let merged = Labelling {
                    labels: trained.labels.iter().map(|&label| into[label as usize]).collect(),
                    usual: true,
                };
                let targets = Targets::refined(graph, vec![merged], wanted, cut, now.seed);
                // The hidden layers have learned; the last one has another width.
                let mut model = Model::random(plan.seed(stage.attempt), inputs, &plan.cut.hidden, wanted);
                let last = model.layers.len() - 1;
                model.layers[..last].clone_from_slice(&trained.model.layers[..last]);
                let beginning = Beginning {
                    model,
                    targets,
                    best: trained.best,
                };
                (next(Kind::Targets), beginning)
            }
            (Kind::Cut, Some(graph)) if stage.moves < plan.moves => {
                let clusters = now.clusters;
                let before = ranking(graph, &trained.labels, clusters, cut);
                let mut labels = trained.labels;
                let made = split_and_merge(ops, graph, &mut labels, clusters, cut, now.seed)?;
                let after = ranking(graph, &labels, clusters, cut);
                if made > 0 && after < before {
                    let stage = Stage {
                        moves: stage.moves + 1,
                        ..next(Kind::Targets)
                    };
                    let targets = Some(Targets {
                        labels,
                        enough: 0.5 * (before + after),
                    });
                    let beginning = Beginning {
                        model: trained.model,
                        targets,
                        best: trained.best,
                    };
                    (stage, beginning)
                } else if stage.attempt + 1 < plan.attempts {
                    plan.attempt(stage.attempt + 1, first_epoch, inputs, trained.best, starts)?
                } else {
                    return Ok(best_of(trained.best, trained.model));
                }
            }
            _ if stage.attempt + 1 < plan.attempts => {
                plan.attempt(stage.attempt + 1, first_epoch, inputs, trained.best, starts)?
            }
            _ => return Ok(best_of(trained.best, trained.model)),
        };
    }
}

fn best_of(best: Option<Best>, last: Model) -> Model {
    best.map_or(last, |best| best.model)
}
