//! What every check works with: the backends under test, random numbers, clocks, and where results go.

use std::collections::BTreeMap;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::errors::{Errors, largest};
use super::random::Random;
use super::{Row, Settings, Sizes};
use crate::cpu::Reference;
use crate::error::Result;
use crate::ops::{Ops, Precision, StepState};

/// (m, k, d): each size of each meets small and large sizes of the others.
const SHAPES: [Shape; 14] = [
    (1, 2, 1),
    (1, 1000, 769),
    (1, 3, 500),
    (7, 2, 769),
    (7, 1000, 5),
    (7, 10, 1),
    (129, 3, 5),
    (129, 1000, 500),
    (129, 2, 1),
    (129, 10, 769),
    (1021, 2, 500),
    (1021, 3, 1),
    (1021, 10, 769),
    (1021, 1000, 5),
];

/// Terms of the sums of a problem, at most, with [`Sizes::Small`] and with [`Sizes::Medium`].
const SMALL: usize = 2_000_000;
const MEDIUM: usize = 150_000_000;

/// Rows, clusters, columns.
pub type Shape = (usize, usize, usize);

/// A problem that every backend solves, the references among them, these side by side.
pub trait Problem: Sync {
    /// The arrays that come out. What is timed may spoil its results, which are read before.
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>>;

    /// The size of the terms in each of the exact arrays, of which a small one may be what is left when they cancel. Where
    /// they do not, the largest entry.
    fn scales(&self, exact: &[Outcome]) -> Result<Vec<f64>> {
        Ok(exact.iter().map(|outcome| largest(&outcome.values)).collect())
    }

    /// Whether a backend may leave this array as it was.
    fn may_be_unwritten(&self, outcome: &Outcome) -> bool {
        let _ = outcome;
        false
    }

    /// The precision of the plain computation for a backend of `precision`: another one where both are the same.
    fn plain(&self, precision: Precision) -> Precision {
        precision
    }
}

/// An array that came out of a kernel.
pub struct Outcome {
    /// The operation.
    pub kernel: &'static str,
    /// Which of its arrays, and in which mode.
    pub case: String,
    /// The numbers.
    pub values: Vec<f64>,
}

/// An [`Outcome`].
pub fn outcome(kernel: &'static str, case: impl Into<String>, values: Vec<f64>) -> Outcome {
    Outcome {
        kernel,
        case: case.into(),
        values,
    }
}

/// Shortest times of kernels, each measured at its first use; by default nothing is timed.
#[derive(Default)]
pub struct Clock {
    repeats: usize,
    shortest: Vec<(&'static str, f64)>,
}

impl Clock {
    /// Takes the time of `call` alone, unless nothing is to be timed or this kernel has been.
    pub fn time<O: Ops>(
        &mut self,
        kernel: &'static str,
        ops: &O,
        mut call: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        if self.repeats == 0 || self.microseconds(kernel).is_some() {
            return Ok(());
        }
        let mut shortest = f64::INFINITY;
        for _ in 0..self.repeats {
            shortest = shortest.min(ops.time(&mut call)?);
        }
        self.shortest.push((kernel, shortest));
        Ok(())
    }

    fn microseconds(&self, kernel: &str) -> Option<f64> {
        let found = self.shortest.iter().find(|(name, _)| *name == kernel);
        found.map(|&(_, time)| time)
    }
}

/// The largest entries that come out of a problem in which no terms cancel, in f64.
pub fn magnitudes(problem: &impl Problem) -> Result<Vec<f64>> {
    let outcomes = problem.solve(&Reference::<f64>::new(), &mut Clock::default())?;
    Ok(outcomes.iter().map(|outcome| largest(&outcome.values)).collect())
}

/// Numbers without their signs.
pub fn absolute(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| v.abs()).collect()
}

/// Numbers all below 0.
pub fn negative(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| -v.abs()).collect()
}

/// Errors and times of one backend at one size.
pub struct Tally {
    /// What came out.
    pub errors: Errors,
    /// How fast.
    pub clock: Clock,
}

/// Where one operation is checked.
pub struct Bench<'a, O: Ops> {
    /// The backends under test, with their precisions.
    pub backends: &'a [(&'a O, Precision)],
    /// Inputs.
    pub random: Random,
    settings: &'a Settings,
    on_row: &'a mut dyn FnMut(&Row),
    rows: Vec<Row>,
}

impl<'a, O: Ops> Bench<'a, O> {
    /// A bench for one operation.
    pub fn new(
        backends: &'a [(&'a O, Precision)],
        settings: &'a Settings,
        random: Random,
        on_row: &'a mut dyn FnMut(&Row),
    ) -> Self {
        Bench {
            backends,
            random,
            settings,
            on_row,
            rows: Vec::new(),
        }
    }

    /// The rows of the table.
    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// The shapes whose problems, of this many terms each, are small enough.
    pub fn shapes(&self, work: impl Fn(Shape) -> usize) -> Vec<Shape> {
        SHAPES
            .into_iter()
            .filter(|&shape| self.fits(work(shape)))
            .collect()
    }

    /// Whether problems of this many terms are small enough.
    pub fn fits(&self, work: usize) -> bool {
        match self.settings.sizes {
            Sizes::Full => true,
            Sizes::Medium => work <= MEDIUM,
            Sizes::Small => work <= SMALL,
        }
    }

    /// Rows of which no backend stores the affinity.
    pub fn streamed_rows(&self) -> usize {
        self.settings.streamed_rows
    }

    /// Whether the backends solve so few draws that there is nothing to compare errors by: they are watched at work, no more.
    pub fn only_watches(&self) -> bool {
        self.settings.solved <= 1
    }

    /// Whether the backends take so long that they solve only some of the draws.
    pub fn takes_long(&self) -> bool {
        self.settings.solved < self.settings.draws
    }

    /// Leaves out all but the first `count` backends where they take long: for operations in which the others run no other kernels.
    pub fn first_suffice(&mut self, count: usize) {
        if self.takes_long() {
            self.backends = &self.backends[..count.min(self.backends.len())];
        }
    }

    /// The draws of a problem of this many terms: small ones are drawn often, so that their worst error says something. Whether
    /// the backends solve a draw too; of the others only the references do, to say how far plain loops err.
    pub fn draws(&self, work: usize) -> impl Iterator<Item = bool> + use<O> {
        let draws = (1_000_000 / work.max(1)).clamp(1, self.settings.draws.max(1));
        let solved = self.settings.solved.max(1);
        (0..draws).map(move |draw| draw < solved)
    }

    /// Empty tallies, one for each backend.
    pub fn tallies(&self) -> Vec<Tally> {
        let tally = || Tally {
            errors: Errors::default(),
            clock: Clock {
                repeats: self.settings.repeats,
                shortest: Vec::new(),
            },
        };
        self.backends.iter().map(|_| tally()).collect()
    }

    /// Solves a problem in f64, by plain loops once for each precision that differs, and, if it is to be `solved` by them, by every
    /// backend; otherwise plain loops stand in for it.
    pub fn mirror(&self, problem: &impl Problem, solved: bool, tallies: &mut [Tally]) -> Result<()> {
        let mut precisions: Vec<Precision> = Vec::new();
        for &(_, precision) in self.backends {
            let plain = problem.plain(precision);
            if !precisions.contains(&plain) {
                precisions.push(plain);
            }
        }
        let in_f64 = || problem.solve(&Reference::<f64>::new(), &mut Clock::default());
        let plainly = |&plain: &Precision| {
            let outcomes = problem.solve(&Reference::rounding(plain), &mut Clock::default())?;
            Ok((plain, outcomes))
        };
        let (exact, plains) = rayon::join(in_f64, || {
            precisions
                .par_iter()
                .map(plainly)
                .collect::<Result<BTreeMap<_, _>>>()
        });
        let (exact, plains) = (exact?, plains?);
        let scales = problem.scales(&exact)?;
        for (&(ops, precision), tally) in self.backends.iter().zip(tallies) {
            let plain = &plains[&problem.plain(precision)];
            let ours = match solved {
                true => &problem.solve(ops, &mut tally.clock)?,
                false => plain,
            };
            for (((ours, plain), exact), &scale) in ours.iter().zip(plain).zip(&exact).zip(&scales) {
                if problem.may_be_unwritten(ours) && ours.values.iter().all(|v| v.is_nan()) {
                    continue;
                }
                let arrays = [&ours.values[..], &plain.values, &exact.values];
                tally.errors.add(ours.kernel, &ours.case, scale, arrays);
            }
        }
        Ok(())
    }

    /// Ends a size: one row for each backend and kernel.
    pub fn report(&mut self, size: &str, tallies: Vec<Tally>) {
        for (&(_, precision), Tally { errors, clock }) in self.backends.iter().zip(tallies) {
            for (kernel, case, worst) in errors.tightest() {
                let row = Row {
                    kernel,
                    precision,
                    size: size.to_string(),
                    case: case.to_string(),
                    error: worst.error,
                    allowed: worst.allowed(),
                    microseconds: clock.microseconds(kernel),
                };
                (self.on_row)(&row);
                self.rows.push(row);
            }
        }
    }
}

/// A state to begin with.
pub fn start() -> StepState {
    StepState {
        seed: 1,
        epoch: 0,
        batch: 0,
        step: 0,
        learning_rate: 1e-3,
    }
}
