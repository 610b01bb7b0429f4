//! A whole training: the losses of its epochs against those of the f64 reference, the same bits twice, and the same bits beside others.

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::bench::Bench;
use super::errors::{FLOOR, distance, largest};
use super::random::Random;
use crate::cpu::{Matrix, Reference};
use crate::error::Result;
use crate::graph::{GraphRule, Width, build};
use crate::model::Model;
use crate::network::to_real;
use crate::ops::{
    AdamRule, AffinityRule, Cut, GraphForm, HeatKernel, Objective, Ops, Penalty, Precision, Real, Volumes,
};
use crate::progress::Silent;
use crate::train::{
    Beginning, Checkpoint, EpochRecord, Goal, Plan, SearchPlan, Stage, StepRule, Targets, TrainingGraph,
    TrainingRows, WarmUp, Watch, in_order, search, train,
};

/// Trainings that are compared: of a single one the ratio of errors is luck, because training amplifies every rounding.
const SEEDS: usize = 5;

/// How the graph of a training is made.
const GRAPH: GraphRule = GraphRule {
    neighbors: 10,
    width: Width::SelfTuning,
    one_sided: 0.1,
};

/// What a training ends with, bit for bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Of all parameters, from the first layer on: weights, then biases.
    pub model: Vec<u64>,
    /// Of L_lap, L_orth and loss, epoch by epoch.
    pub losses: Vec<u64>,
}

impl Bits {
    fn of(model: &Model, losses: &[f64]) -> Self {
        let parameters = model
            .layers
            .iter()
            .flat_map(|layer| layer.weight.iter().chain(&layer.bias));
        Bits {
            model: parameters.map(|v| v.to_bits().into()).collect(),
            losses: losses.iter().map(|v| v.to_bits()).collect(),
        }
    }

    /// How many numbers have other bits.
    fn changed(&self, other: &Self) -> usize {
        let changed = |a: &[u64], b: &[u64]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        changed(&self.model, &other.model) + changed(&self.losses, &other.losses)
    }
}

/// Errors of losses against f64, over epochs: of several trainings the median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Of the backend, relative to the largest loss.
    pub error: f64,
    /// Of the plain computation at the same precision.
    pub plain: f64,
}

impl Comparison {
    /// Whether the backend errs at most twice as much as the plain computation, plus [`FLOOR`].
    pub fn passed(&self) -> bool {
        self.error <= 2.0 * self.plain + FLOOR
    }
}

/// Notes the epochs.
#[derive(Default)]
struct Epochs(Vec<EpochRecord>);

impl Epochs {
    /// L_lap, L_orth and loss, epoch by epoch, attempt by attempt.
    fn losses(mut self) -> Vec<f64> {
        in_order(&mut self.0);
        let losses = self
            .0
            .iter()
            .map(|record| [record.l_lap, record.l_orth, record.loss]);
        losses.flatten().collect()
    }
}

impl<R: Real> Watch<R> for Epochs {
    fn stage(&mut self, _: &Plan, _: Stage) {}
    fn step(&mut self, _: usize, _: usize, _: usize, _: usize) {}
    fn epoch(&mut self, record: &EpochRecord) -> Result<()> {
        self.0.push(record.clone());
        Ok(())
    }
    fn wants_checkpoint(&mut self, _: usize) -> bool {
        false
    }
    fn checkpoint(&mut self, _: &Checkpoint<R>) -> Result<()> {
        Ok(())
    }
    fn stop(&mut self) -> bool {
        false
    }
}

/// Does `work` on rows of `d` columns. Where mini-batches are parts of a graph it is one that plain loops build of the rows.
fn on_rows<O: Ops, T>(
    ops: &O,
    plan: &Plan,
    rows: &[f32],
    d: usize,
    work: impl FnOnce(&TrainingRows<O>) -> Result<T>,
) -> Result<T> {
    let n = rows.len() / d;
    let mut data = ops.training_rows(n, d)?;
    ops.upload(&to_real::<O>(rows), &mut data, 0)?;
    let edges = match plan.rule.affinity {
        AffinityRule::Heat(_) => None,
        AffinityRule::Graph(_) => {
            let rows = Matrix::from_rows(n, d, rows.iter().map(|&v| f64::from(v)).collect());
            Some(build(&Reference::<f64>::new(), &rows, GRAPH, &mut Silent)?)
        }
    };
    let resident = match &edges {
        Some(edges) => Some(ops.graph("the graph of a check", edges)?),
        None => None,
    };
    let graph = edges.as_ref().zip(resident.as_ref());
    work(&TrainingRows {
        x: &data,
        graph: graph.map(|(edges, resident)| TrainingGraph { edges, resident }),
        truth: None,
    })
}

/// A training of one stage. Labels to pursue are such as nothing in the rows tells, so that no training comes to its end before the
/// others.
fn trained<O: Ops>(ops: &O, plan: &Plan, rows: &[f32], d: usize) -> Result<(Model, Vec<f64>)> {
    let beginning = Beginning {
        targets: match plan.goal {
            Goal::Cut => None,
            Goal::Targets => {
                let label = |i: usize| (i / plan.clusters % plan.clusters) as u32;
                Some(Targets::of((0..rows.len() / d).map(label).collect()))
            }
        },
        ..Beginning::of(plan.random_model(d))
    };
    on_rows(ops, plan, rows, d, |rows| {
        let mut epochs = Epochs::default();
        let trained = train(ops, plan, rows, Stage::default(), beginning, None, &mut epochs)?;
        Ok((trained.model, epochs.losses()))
    })
}

/// What so many attempts from random networks come to, one after the other and side by side: the two must be equal.
///
/// # Errors
/// Those of training.
fn attempts_repeat<O: Ops>(
    ops: &O,
    plan: &Plan,
    rows: &[f32],
    d: usize,
    attempts: usize,
) -> Result<[Bits; 2]> {
    let run = |side_by_side| {
        let plan = SearchPlan {
            cut: plan.clone(),
            warm_up: WarmUp {
                epochs: 0,
                batch: plan.batch,
                learning_rate: 0.0,
            },
            begin_with: None,
            moves: 0,
            attempts,
            side_by_side,
        };
        on_rows(ops, &plan.cut, rows, d, |rows| {
            let mut epochs = Epochs::default();
            let model = search(ops, &plan, rows, &mut |_, _| Ok(None), Vec::new(), &mut epochs)?;
            Ok(Bits::of(&model, &epochs.losses()))
        })
    };
    Ok([run(1)?, run(attempts)?])
}

/// Losses of a backend's trainings against the f64 reference and the plain computation at its precision. `problems` are
/// plans with rows of `d` columns; several, because training amplifies every rounding.
///
/// # Errors
/// Those of training.
pub fn compare_training<O: Ops>(
    ops: &O,
    precision: Precision,
    problems: &[(Plan, Vec<f32>)],
    d: usize,
) -> Result<Comparison> {
    let exact = exact_losses(problems, d)?;
    Ok(compared(ops, precision, problems, &exact, d)?.0)
}

/// The losses of the trainings in f64.
fn exact_losses(problems: &[(Plan, Vec<f32>)], d: usize) -> Result<Vec<Vec<f64>>> {
    losses_side_by_side(Reference::<f64>::new, problems, d)
}

/// The losses of the trainings by a reference, one on each thread.
fn losses_side_by_side<O: Ops>(
    reference: impl Fn() -> O + Sync,
    problems: &[(Plan, Vec<f32>)],
    d: usize,
) -> Result<Vec<Vec<f64>>> {
    let losses = |(plan, rows): &(Plan, Vec<f32>)| Ok(trained(&reference(), plan, rows, d)?.1);
    problems.par_iter().map(losses).collect()
}

/// As [`compare_training`], with the losses in f64, and what the backend's first training ends with.
fn compared<O: Ops>(
    ops: &O,
    precision: Precision,
    problems: &[(Plan, Vec<f32>)],
    exact: &[Vec<f64>],
    d: usize,
) -> Result<(Comparison, Bits)> {
    let plain = losses_side_by_side(|| Reference::rounding(precision), problems, d)?;
    let (losses, first) = losses_of(ops, problems, d)?;
    let found = Comparison {
        error: error(&losses, exact),
        plain: error(&plain, exact),
    };
    Ok((found, first))
}

/// The losses of a backend's trainings, and what the first of these ends with.
fn losses_of<O: Ops>(ops: &O, problems: &[(Plan, Vec<f32>)], d: usize) -> Result<(Vec<Vec<f64>>, Bits)> {
    let mut found = Vec::new();
    for (plan, rows) in problems {
        found.push(trained(ops, plan, rows, d)?);
    }
    let first = Bits::of(&found[0].0, &found[0].1);
    Ok((found.into_iter().map(|(_, losses)| losses).collect(), first))
}

/// The root mean square over the losses of all epochs, relative to the largest, of the median error over the trainings. Not their mean:
/// now and then a rounding turns the sign of a gradient that is all but 0, which Adam makes a whole step of, and that one
/// training, ours or the plain one, would outweigh all others.
fn error(losses: &[Vec<f64>], exact: &[Vec<f64>]) -> f64 {
    let scale = exact.iter().map(|exact| largest(exact)).fold(0.0, f64::max);
    let count = exact.iter().map(Vec::len).fold(0, usize::max);
    let squares = (0..count).map(|at| {
        let trainings = losses.iter().zip(exact);
        let mut errors: Vec<f64> = trainings
            .map(|(losses, exact)| match (losses.get(at), exact.get(at)) {
                (Some(&loss), Some(&exact)) => distance(&[loss], &[exact]),
                (None, None) => 0.0,
                // One that has pursued its labels to the end stops, by another rounding now and then an epoch before the other.
                _ => f64::INFINITY,
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        errors[errors.len() / 2].powi(2)
    });
    (squares.sum::<f64>() / count as f64).sqrt() / scale
}

/// So many epochs over rows of four clouds.
fn problem(
    random: &Random,
    goal: Goal,
    affinity: AffinityRule,
    (rows, d): (usize, usize),
    epochs: usize,
) -> (Plan, Vec<f32>) {
    let clusters = 4;
    // On a grid of quarters, so that every precision sees nearly the same neighbours.
    let data = (0..rows * d)
        .map(|at| {
            let centre = if at / d % clusters == at % d { 4.0 } else { 0.0 };
            ((4.0 * (centre + random.normal())).round() / 4.0) as f32
        })
        .collect();
    let plan = Plan {
        goal,
        clusters,
        ranked: false,
        hidden: vec![32, 16],
        batch: 128,
        per_seed: 4,
        first_epoch: 0,
        epochs,
        learning_rate: 0.01,
        seed: random.below(1 << 30) as u64,
        rule: StepRule {
            affinity,
            objective: Objective {
                gamma: 3.0,
                penalty: Penalty::Squared,
                volumes: Volumes::Through,
                cut: Cut::Ncut,
            },
            adam: AdamRule::new(1e-4),
        },
    };
    (plan, data)
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    let d = 20;
    // What is watched at work is the same in every epoch, and in every mini-batch of 128 rows from the second on.
    let (rows, epochs, attempts) = match (bench.only_watches(), bench.takes_long()) {
        (true, _) => (256, 1, 0),
        (false, true) => (512, 3, 2),
        (false, false) => (512, 3, 4),
    };
    let mut tallies = bench.tallies();
    let heat = |neighbors| {
        AffinityRule::Heat(HeatKernel {
            sigma: 4.0,
            neighbors,
        })
    };
    for (goal, affinity, name) in [
        (Goal::Cut, heat(None), "all rows"),
        (Goal::Cut, heat(Some(10)), "10 neighbours"),
        (
            Goal::Cut,
            AffinityRule::Graph(GraphForm::Sparse),
            "parts of a graph, sparse",
        ),
        (
            Goal::Cut,
            AffinityRule::Graph(GraphForm::Dense),
            "parts of a graph, dense",
        ),
        (
            Goal::Targets,
            AffinityRule::Graph(GraphForm::Sparse),
            "towards labels",
        ),
    ] {
        let problems: Vec<_> = (0..SEEDS)
            .map(|_| problem(&bench.random, goal, affinity, (rows, d), epochs))
            .collect();
        let exact = match bench.only_watches() {
            true => None,
            false => Some(exact_losses(&problems, d)?),
        };
        for (&(ops, precision), tally) in bench.backends.iter().zip(&mut tallies) {
            let first = if let Some(exact) = &exact {
                let (found, first) = compared(ops, precision, &problems, exact, d)?;
                let case = format!("losses, {name}");
                tally
                    .errors
                    .worst("train", &case, found.error, found.plain, FLOOR);
                first
            } else {
                losses_of(ops, &problems[..1], d)?.1
            };
            let (plan, rows) = &problems[0];
            let second = losses_of(ops, &problems[..1], d)?.1;
            let case = format!("the same bits twice, {name}");
            tally.errors.count("train", &case, first.changed(&second));
            if let AffinityRule::Graph(GraphForm::Sparse) = affinity
                && goal == Goal::Cut
                && attempts > 0
            {
                let [alone, beside] = attempts_repeat(ops, plan, rows, d, attempts)?;
                let case = format!("the same bits in {attempts} attempts side by side");
                tally.errors.count("train", &case, alone.changed(&beside));
            }
        }
    }
    bench.report(&format!("{rows} rows, {epochs} epochs"), tallies);
    Ok(())
}
