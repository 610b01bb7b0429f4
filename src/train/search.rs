//! Trainings in stages: fitted to labels, then towards a small cut; with more clusters first and fewer then; with moves; and from
//! several starts, of which the best by the exact cut is taken.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Beginning, Checkpoint, Goal, Plan, Trained, Training, TrainingRows, Watch, fingerprint};
use crate::data::csr::Csr;
use crate::error::{Error, Result};
use crate::graph::{count, cut_matrix, information, merge, ranking, refine};
use crate::model::Model;
use crate::ops::{Cut, Ops, Real, Shape};
use crate::progress::{Progress, Unheard};
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

    /// Of the labellings that, once their rows have settled ([`refine`]), do not cut more than the usual ones do before they settle, or
    /// hardly more where there are few to choose from, the one that tells most about a walk on the graph ([`information`]), the first
    /// among equals. Several labellings cut nearly as little as the best, and the least cut is often had by splitting off something
    /// small; people mostly want clusters that are worth telling apart. It is enough for a network to keep half of what settling has
    /// gained.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn refined(
        graph: &Csr,
        found: Vec<Labelling>,
        clusters: usize,
        cut: Cut,
        seed: u64,
        progress: &dyn Progress,
    ) -> Result<Option<Self>> {
        let cut_of = |found: &Labelling| ranking(graph, &found.labels, clusters, cut);
        let usual: Vec<f64> = found.iter().filter(|found| found.usual).map(cut_of).collect();
        let before = usual.iter().copied().fold(f64::INFINITY, f64::min);
        let most = match usual.len() > MANY {
            true => before,
            false => before * (1.0 + HARDLY_MORE),
        };
        let mut best: Option<(bool, f64, Labelling)> = None;
        for mut found in found {
            refine(graph, &mut found.labels, clusters, cut, seed, progress)?;
            // Rounding may leave even the smallest above: then all are alike.
            let small = cut_of(&found) <= most;
            let tells = information(graph, &found.labels, clusters);
            if best.as_ref().is_none_or(|best| (small, tells) > (best.0, best.1)) {
                best = Some((small, tells, found));
            }
        }
        Ok(best.map(|(_, _, found)| {
            let after = cut_of(&found);
            Targets {
                enough: match after <= before {
                    true => 0.5 * (before + after),
                    false => after * (1.0 + HARDLY_MORE / 2.0),
                },
                labels: found.labels,
            }
        }))
    }
}

/// Of more usual labellings than these the best cuts so little that another should cut no more.
const MANY: usize = 2;

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
    /// Attempts, each from a start and with a seed of its own; at least 1.
    pub attempts: usize,
    /// How many of them may run side by side. Fewer do where the backend has no room for so many, or no use.
    pub side_by_side: usize,
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

/// How far an attempt has come. By default it is a single stage towards a small cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The attempt, from 0.
    pub attempt: usize,
    /// Rounds of moves made in it.
    pub moves: usize,
    /// The stage.
    pub kind: Kind,
    /// Epochs of all its stages before.
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
            seed: self.seed(stage.attempt),
            ..self.cut.clone()
        }
    }

    /// Attempts are as if each were a training of its own, with a seed of its own.
    fn seed(&self, attempt: usize) -> u64 {
        self.cut.seed.wrapping_add((attempt as u64) << 32)
    }

    /// How an attempt begins.
    fn first(&self, attempt: usize, inputs: usize, starts: &mut Starts) -> Result<(Stage, Beginning)> {
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
            kind,
            ..Stage::default()
        };
        let beginning = Beginning {
            targets,
            ..Beginning::of(Model::random(
                self.seed(attempt),
                inputs,
                &self.cut.hidden,
                clusters,
            ))
        };
        Ok((stage, beginning))
    }

    /// How it goes on after a stage, unless that was its last.
    fn after<O: Ops>(
        &self,
        ops: &O,
        graph: Option<&Csr>,
        stage: Stage,
        trained: &Trained,
        progress: &mut dyn Progress,
    ) -> Result<Option<(Stage, Beginning)>> {
        let now = self.stage(stage);
        let cut = now.rule.objective.cut;
        let next = |kind: Kind| Stage {
            kind,
            first_epoch: stage.first_epoch + trained.epochs,
            ..stage
        };
        let beginning = |model: &Model, targets: Option<Targets>| Beginning {
            model: model.clone(),
            targets,
            best: trained.best.clone(),
        };
        Ok(match (stage.kind, graph) {
            (Kind::ManyTargets, _) => Some((next(Kind::ManyCut), beginning(&trained.model, None))),
            (Kind::Targets, _) => Some((next(Kind::Cut), beginning(&trained.model, None))),
            (Kind::ManyCut, Some(graph)) => {
                let (many, wanted) = (now.clusters, self.cut.clusters);
                let matrix = cut_matrix(graph, &trained.labels, many);
                let into = merge(&matrix, &count(&trained.labels, many), wanted, cut);
                let merged = Labelling {
                    labels: trained.labels.iter().map(|&label| into[label as usize]).collect(),
                    usual: true,
                };
                let targets = Targets::refined(graph, vec![merged], wanted, cut, now.seed, progress)?;
                // The hidden layers have learned; the last one has another width.
                let mut model = Model::random(now.seed, trained.model.inputs(), &self.cut.hidden, wanted);
                let last = model.layers.len() - 1;
                model.layers[..last].clone_from_slice(&trained.model.layers[..last]);
                Some((next(Kind::Targets), beginning(&model, targets)))
            }
            (Kind::Cut, Some(graph)) if stage.moves < self.moves => {
                let clusters = now.clusters;
                let before = ranking(graph, &trained.labels, clusters, cut);
                let mut labels = trained.labels.clone();
                let made = split_and_merge(ops, graph, &mut labels, clusters, cut, now.seed, progress)?;
                let after = ranking(graph, &labels, clusters, cut);
                let stage = Stage {
                    moves: stage.moves + 1,
                    ..next(Kind::Targets)
                };
                let targets = Targets {
                    labels,
                    enough: 0.5 * (before + after),
                };
                (made > 0 && after < before).then(|| (stage, beginning(&trained.model, Some(targets))))
            }
            _ => None,
        })
    }
}

/// What is next in an attempt.
enum Next<R> {
    /// Its first stage.
    First(usize),
    /// What comes after a stage.
    After(Stage, Trained),
    /// What is left of a stage.
    Rest(Checkpoint<R>),
}

impl<R: Real> Next<R> {
    /// Where an attempt goes on that has come to `saved`.
    fn of(saved: Checkpoint<R>) -> Self {
        let Some(labels) = saved.ended else {
            return Next::Rest(saved);
        };
        let trained = Trained {
            model: saved.model.cast(),
            labels,
            best: saved.best.map(|best| best.cast()),
            epochs: saved.epoch,
            seconds: saved.seconds,
        };
        Next::After(saved.stage, trained)
    }

    /// What is to be saved of it for [`of`](Self::of), if that is not saved already.
    fn saved(&self, data: &str) -> Option<Checkpoint<R>> {
        let Next::After(stage, trained) = self else {
            return None;
        };
        Some(Checkpoint {
            epoch: trained.epochs,
            ended: Some(trained.labels.clone()),
            ..trained.checkpoint(data, *stage)
        })
    }
}

impl SearchPlan {
    /// Where an attempt goes on; its end, where nothing comes after a stage.
    fn checkpoint<O: Ops>(
        &self,
        ops: &O,
        rows: &TrainingRows<O>,
        data: &str,
        next: &Next<O::Real>,
        starts: &mut Starts,
        watch: &mut dyn Watch<O::Real>,
    ) -> Result<Checkpoint<O::Real>> {
        let graph = rows.graph.map(|graph| graph.edges);
        let watch = RefCell::new(watch);
        let mut unheard = Unheard(&|| watch.borrow_mut().stop());
        let ((stage, beginning), seconds) = match next {
            Next::Rest(checkpoint) => return Ok(checkpoint.clone()),
            Next::First(attempt) => (self.first(*attempt, rows.x.cols(), starts)?, 0.0),
            Next::After(stage, trained) => match self.after(ops, graph, *stage, trained, &mut unheard)? {
                Some(next) => (next, trained.seconds),
                None => {
                    return Ok(Checkpoint {
                        epoch: trained.epochs,
                        finished: true,
                        ..trained.checkpoint(data, *stage)
                    });
                }
            },
        };
        Ok(beginning.checkpoint(data.to_string(), stage, seconds))
    }
}

/// What an attempt has come to.
struct Outcome {
    /// The exact cut of the training graph; infinite where there is none.
    cut: f64,
    attempt: usize,
    model: Model,
}

impl Outcome {
    fn of<R: Real>(finished: &Checkpoint<R>) -> Self {
        let best = finished.best.as_ref();
        Outcome {
            cut: best.map_or(f64::INFINITY, |best| best.cut),
            attempt: finished.stage.attempt,
            model: best.map_or(&finished.model, |best| &best.model).cast(),
        }
    }

    /// The one of the smaller cut, and of equals the attempt that comes first, whichever ended first.
    fn or(self, other: Self) -> Self {
        match (other.cut, other.attempt) < (self.cut, self.attempt) {
            true => other,
            false => self,
        }
    }
}

/// Makes all attempts, each in all its stages, from the beginning or from their checkpoints, and returns the best network of the attempt
/// whose best has the smallest exact cut of the training graph; where there is no graph, the last network of the first attempt.
///
/// Attempts run side by side where the backend can ([`Ops::beside`]): an epoch of each is queued before one of them is waited for. What
/// they come to does not depend on it.
///
/// # Errors
/// As [`train`](super::train).
pub fn search<O: Ops>(
    ops: &O,
    plan: &SearchPlan,
    rows: &TrainingRows<O>,
    starts: &mut Starts,
    resume: Vec<Checkpoint<O::Real>>,
    watch: &mut dyn Watch<O::Real>,
) -> Result<Model> {
    let data = fingerprint(ops, rows.x)?;
    let mut resumed = BTreeMap::new();
    for checkpoint in resume {
        checkpoint.check_rows(&data)?;
        resumed.insert(checkpoint.stage.attempt, checkpoint);
    }
    let mut waiting: VecDeque<Next<O::Real>> = (0..plan.attempts)
        .map(|attempt| resumed.remove(&attempt).map_or(Next::First(attempt), Next::of))
        .collect();

    let mut beside = Vec::new();
    while beside.len() + 1 < plan.side_by_side.min(plan.attempts) {
        match ops.beside(rows.x)? {
            Some(another) => beside.push(another),
            None => break,
        }
    }
    let mut lanes: Vec<&O> = beside.iter().chain([ops]).collect();
    let mut running: VecDeque<Training<O>> = VecDeque::new();
    let mut outcome: Option<Outcome> = None;
    loop {
        let mut training = if !lanes.is_empty()
            && let Some(next) = waiting.pop_front()
            && let Some(lane) = lanes.pop()
        {
            let begun = plan
                .checkpoint(ops, rows, &data, &next, starts, watch)
                .and_then(|start| match start.finished {
                    true => Ok((start, None)),
                    false => Training::begin(lane, plan.stage(start.stage), rows, &start, watch)
                        .map(|training| (start, Some(training))),
                });
            match begun {
                Ok((_, Some(training))) => training,
                Ok((end, None)) => {
                    if plan.attempts > 1 && !matches!(next, Next::Rest(_)) {
                        watch.checkpoint(&end)?;
                    }
                    let found = Outcome::of(&end);
                    outcome = Some(match outcome {
                        Some(before) => before.or(found),
                        None => found,
                    });
                    lanes.push(lane);
                    continue;
                }
                // Most likely there is no room for more than run now, so from now on no more do. If that is not why, it will show again
                // when the attempt is alone.
                Err(_) if !running.is_empty() => {
                    waiting.push_front(next);
                    lanes.clear();
                    continue;
                }
                Err(error) => {
                    waiting.push_front(next);
                    // Whatever ended it, what was done is kept.
                    match (save_waiting(&waiting, &data, watch), &error) {
                        (Err(unsaved), Error::Interrupted(_)) => return Err(unsaved),
                        _ => return Err(error),
                    }
                }
            }
        } else if let Some(mut training) = running.pop_front() {
            training.judge(watch)?;
            training
        } else {
            break;
        };
        if training.is_over() {
            lanes.push(training.ops());
            waiting.push_front(Next::After(training.stage(), training.finish()?));
        } else if training.queue_epoch(watch)? {
            running.push_back(training);
        } else {
            for training in running.iter().chain([&training]) {
                watch.checkpoint(&training.checkpoint()?)?;
            }
            save_waiting(&waiting, &data, watch)?;
            return Err(training.interrupted());
        }
    }
    Ok(outcome.expect("there is at least one attempt").model)
}

/// Saves what has been trained and is nowhere else.
fn save_waiting<R: Real>(waiting: &VecDeque<Next<R>>, data: &str, watch: &mut dyn Watch<R>) -> Result<()> {
    waiting
        .iter()
        .filter_map(|next| next.saved(data))
        .try_for_each(|saved| watch.checkpoint(&saved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::train::Best;

    #[test]
    fn attempts_are_compared_by_the_exact_cut_whichever_ended_first() {
        let finished = |(attempt, cut, rank)| {
            let model = Model::random(attempt as u64, 3, &[], 2);
            let best = Some(Best { cut, rank, model });
            let mut end = Checkpoint::<f32>::fresh(String::new(), Model::random(9, 3, &[], 2), best);
            end.stage.attempt = attempt;
            end
        };
        let winner = |of: &[(usize, f64, f64)]| {
            let outcomes = of.iter().map(|&of| Outcome::of(&finished(of)));
            let found = outcomes.reduce(Outcome::or).expect("some attempts");
            assert_eq!(found.model, Model::random(found.attempt as u64, 3, &[], 2));
            found.attempt
        };
        // While it was fitted to labels, the third was good enough at 0.5, and the exact cut of that network is smaller.
        let mut attempts = [(0, 0.6, 0.6), (1, 0.48, 0.48), (2, 0.45, 0.5), (3, 0.45, 0.45)];
        assert_eq!(winner(&attempts), 2);
        attempts.reverse();
        assert_eq!(winner(&attempts), 2);
    }

    #[test]
    fn without_a_graph_the_first_attempt_is_taken() {
        let mut end = Checkpoint::<f32>::fresh(String::new(), Model::random(5, 3, &[], 2), None);
        let first = Outcome::of(&end);
        assert_eq!(first.model, end.model);
        end.stage.attempt = 1;
        assert_eq!(Outcome::of(&end).or(first).attempt, 0);
    }

    /// Three cliques in a row, of 5, 10 and 10 rows, joined by an edge of 0.1 and one of `second`.
    fn cliques(second: f32) -> Csr {
        let clique = |row: usize| [5, 15].iter().filter(|&&first| row >= first).count();
        let weight = |a: usize, b: usize| match (a.min(b), a.max(b)) {
            (low, high) if low != high && clique(low) == clique(high) => 1.0,
            (4, 5) => 0.1,
            (14, 15) => second,
            _ => 0.0,
        };
        let row = |a: usize| {
            (0..25)
                .map(move |b| (b as u32, weight(a, b)))
                .filter(|entry| entry.1 > 0.0)
        };
        Csr::from_rows((0..25).map(|a| row(a).collect()))
    }

    #[test]
    fn what_tells_more_may_cut_hardly_more_unless_there_is_much_to_choose_from() {
        let small_apart: Vec<u32> = (0..25).map(|row| u32::from(row >= 5)).collect();
        let halves: Vec<u32> = (0..25).map(|row| u32::from(row >= 15)).collect();
        let cut = |graph: &Csr, labels: &[u32]| ranking(graph, labels, 2, Cut::Ncut);
        let excess = |second: f32| {
            let graph = cliques(second);
            cut(&graph, &halves) / cut(&graph, &small_apart) - 1.0
        };
        // Halves that cut one per cent more.
        let (mut low, mut high) = (0.1, 1.0);
        for _ in 0..40 {
            let middle = 0.5 * (low + high);
            if excess(middle) < 0.01 {
                low = middle;
            } else {
                high = middle;
            }
        }
        let graph = cliques(low);
        assert!((excess(low) - 0.01).abs() < 1e-4);
        let chosen = |of: &[&Vec<u32>]| {
            let usual = |labels: &&Vec<u32>| Labelling {
                labels: (*labels).clone(),
                usual: true,
            };
            let found = of.iter().map(usual).collect();
            let targets = Targets::refined(&graph, found, 2, Cut::Ncut, 1, &Silent);
            targets.expect("no interruption").expect("one of them").labels
        };
        assert_eq!(chosen(&[&small_apart]), small_apart, "nothing is left to settle");
        assert_eq!(chosen(&[&halves]), halves);
        assert_eq!(chosen(&[&small_apart, &halves]), halves);
        assert_eq!(chosen(&[&small_apart, &halves, &halves]), small_apart);
    }
}
