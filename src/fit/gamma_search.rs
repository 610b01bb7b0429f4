//! The paper's own way to choose gamma without labels (section 4.6): trainings from a very large gamma downwards.
//!
//! The largest gamma shows how small the penalty can become, the floor. Of all gammas whose training comes as low, the one that leaves
//! the smallest L_lap is taken.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;

use super::start::Starter;
use super::{checks, resolve, training};
use crate::data::{Dataset, Labels};
use crate::error::Result;
use crate::ops::Ops;
use crate::options::{Auto, FitOptions};
use crate::prepare::prepare;
use crate::progress::Progress;
use crate::scores::Scores;
use crate::train::{
    Checkpoint, EpochRecord, Goal, Plan, Stage, Targets, TrainingGraph, TrainingRows, Truth, Watch, in_order,
    search,
};

/// The gammas that are tried: one in which the penalty is all that counts, and from there a ladder down.
pub const LADDER: [f64; 12] = [1e6, 1e3, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01];

/// How much above the floor, as a share of it, still counts as reaching it.
pub const TOLERANCE: f64 = 0.1;

/// Below this an L_orth is no longer told from 0.
const NOTHING: f64 = 1e-6;

/// What the training with one gamma came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rung {
    /// The weight of the penalty.
    pub gamma: f64,
    /// The smallest mean L_orth of an epoch.
    pub l_orth: f64,
    /// The mean L_lap of that epoch.
    pub l_lap: f64,
    /// The exact cut of the training graph, when there is one: the smallest after any epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<f64>,
    /// Agreement with the labels on the training rows after the last epoch, when there are labels.
    #[serde(flatten)]
    pub scores: Option<Scores>,
    /// Seconds of this training; of the first with those of the labels that all begin with.
    pub seconds: f64,
}

/// A finished search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GammaSearch {
    /// In the order they were tried, gamma falling.
    pub rungs: Vec<Rung>,
    /// The smallest L_orth with the largest gamma.
    pub floor: f64,
    /// The gamma that is taken.
    pub gamma: f64,
}

/// Trains once for each of `gammas`, which fall, as `options` say but for gamma, and takes one. `tell` hears of each as it comes.
///
/// # Errors
/// Those of a training.
pub fn gamma_search<O: Ops>(
    ops: &O,
    options: &FitOptions,
    data: &Dataset,
    gammas: &[f64],
    tolerance: f64,
    progress: &mut dyn Progress,
    tell: &mut dyn FnMut(&Rung, &mut dyn Progress),
) -> Result<GammaSearch> {
    let mut options = options.clone();
    checks::check(&options, data.rows())?;
    checks::needs::<O>(&options, data)?.check()?;
    let mut preparation = options.preparation();
    let prepared = prepare(ops, &mut preparation, data, progress)?;
    let prepared = prepared.for_network(ops, &mut preparation, progress)?;
    options.adopt(preparation);
    let graph = prepared.graph.as_ref();
    let resident = match graph {
        Some(graph) => Some(ops.graph("the graph of the training rows", graph)?),
        None => None,
    };
    // Any number will do here: each training has its own.
    options.gamma = Auto::Value(gammas[0]);
    resolve(ops, &mut options, &prepared.x, graph, progress)?;
    let mut starts = Starter::new(ops, &options, data, &prepared)?;
    let truth = data.labels().map(|labels| Labels {
        classes: labels.classes.clone(),
        index: prepared
            .chosen
            .iter()
            .map(|&row| labels.index[row as usize])
            .collect(),
    });
    let rows = TrainingRows {
        x: &prepared.x,
        graph: graph
            .zip(resident.as_ref())
            .map(|(edges, resident)| TrainingGraph { edges, resident }),
        truth: truth.as_ref().map(|labels| Truth {
            index: &labels.index,
            classes: labels.classes.len(),
        }),
    };
    let shared = RefCell::new(progress);
    let mut rungs = Vec::new();
    // By attempt and clusters: the same for every gamma.
    let mut begun_with: BTreeMap<(usize, usize), Option<Targets>> = BTreeMap::new();
    for &gamma in gammas {
        let plan = training::plan(&options, gamma, graph);
        let began = std::time::Instant::now();
        let mut watch = Listener {
            progress: &shared,
            history: Vec::new(),
            name: format!("gamma {gamma}"),
            first_epochs: BTreeMap::new(),
        };
        let mut targets = |attempt: usize, clusters: usize| {
            if let Some(known) = begun_with.get(&(attempt, clusters)) {
                return Ok(Option::clone(known));
            }
            let found = starts.targets(attempt, clusters, *shared.borrow_mut())?;
            begun_with.insert((attempt, clusters), found.clone());
            Ok(found)
        };
        search(ops, &plan, &rows, &mut targets, Vec::new(), &mut watch)?;
        let found = watch.rung(gamma, began.elapsed().as_secs_f64());
        shared.borrow_mut().end();
        tell(&found, *shared.borrow_mut());
        rungs.push(found);
    }
    let (floor, gamma) = choose(&rungs, tolerance);
    Ok(GammaSearch { rungs, floor, gamma })
}

/// The floor, and the gamma of the smallest L_lap among those that reach it.
fn choose(rungs: &[Rung], tolerance: f64) -> (f64, f64) {
    let floor = rungs[0].l_orth;
    let reaching = rungs
        .iter()
        .filter(|rung| rung.l_orth <= (floor * (1.0 + tolerance)).max(NOTHING));
    let best = reaching.min_by(|a, b| a.l_lap.total_cmp(&b.l_lap));
    (floor, best.map_or(rungs[0].gamma, |rung| rung.gamma))
}

/// Listens to a training, keeps nothing on the disk.
struct Listener<'a, 'b> {
    progress: &'a RefCell<&'b mut dyn Progress>,
    history: Vec<EpochRecord>,
    name: String,
    /// Epochs of each attempt before the stage that it is in.
    first_epochs: BTreeMap<usize, usize>,
}

impl Listener<'_, '_> {
    fn rung(mut self, gamma: f64, seconds: f64) -> Rung {
        in_order(&mut self.history);
        let epochs = || self.history.iter().filter(|epoch| epoch.agreement.is_none());
        let lowest = epochs().min_by(|a, b| a.l_orth.total_cmp(&b.l_orth));
        Rung {
            gamma,
            l_orth: lowest.map_or(f64::NAN, |epoch| epoch.l_orth),
            l_lap: lowest.map_or(f64::NAN, |epoch| epoch.l_lap),
            cut: epochs().filter_map(|epoch| epoch.cut).min_by(f64::total_cmp),
            scores: epochs().next_back().and_then(|epoch| epoch.scores),
            seconds,
        }
    }
}

impl<R> Watch<R> for Listener<'_, '_> {
    fn stage(&mut self, plan: &Plan, stage: Stage) {
        self.first_epochs.insert(stage.attempt + 1, stage.first_epoch);
        let name = match plan.goal {
            Goal::Targets => "warm-up",
            Goal::Cut => &self.name,
        };
        self.progress
            .borrow_mut()
            .begin(name, plan.epochs as u64, "epochs");
    }
    fn step(&mut self, _epoch: usize, _epochs: usize, _batch: usize, _batches: usize) {}
    fn epoch(&mut self, record: &EpochRecord) -> Result<()> {
        let note = format!("L_lap {:.4} L_orth {:.4}", record.l_lap, record.l_orth);
        self.progress
            .borrow_mut()
            .advance((record.epoch - self.first_epochs[&record.attempt]) as u64, &note);
        self.history.push(record.clone());
        Ok(())
    }
    fn wants_checkpoint(&mut self, _attempt: usize) -> bool {
        false
    }
    fn checkpoint(&mut self, _checkpoint: &Checkpoint<R>) -> Result<()> {
        Ok(())
    }
    fn stop(&mut self) -> bool {
        self.progress.borrow().interrupted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(gamma: f64, l_orth: f64, l_lap: f64) -> Rung {
        Rung {
            gamma,
            l_orth,
            l_lap,
            cut: None,
            scores: None,
            seconds: 0.0,
        }
    }

    #[test]
    fn of_the_gammas_that_reach_the_floor_the_smallest_l_lap_is_taken() {
        let rungs = [
            rung(1e6, 0.20, 0.9),
            rung(100.0, 0.10, 0.8),
            rung(10.0, 0.21, 0.5),
            rung(1.0, 0.215, 0.6),
            rung(0.1, 0.30, 0.1),
        ];
        assert_eq!(choose(&rungs, 0.1), (0.20, 10.0));
        assert_eq!(choose(&rungs, 0.0), (0.20, 100.0));
        assert_eq!(choose(&rungs, 1.0), (0.20, 0.1));
        // With a floor of 0, nearly 0 is as good.
        assert_eq!(
            choose(&[rung(1e6, 0.0, 1.0), rung(1.0, 5e-7, 0.5)], 0.1),
            (0.0, 1.0)
        );
    }
}
