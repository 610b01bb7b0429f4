//! The contraction of the affinity with memberships, stored and streamed.

use super::affinity::grid;
use super::bench::{Bench, Clock, Outcome, Problem, outcome};
use super::errors::largest;
use super::loss::memberships;
use super::matrices::{self, filled, poisoned, values};
use crate::cpu::Matrix;
use crate::cpu::reference::affinity;
use crate::error::Result;
use crate::ops::{HeatKernel, Ops, Precision, Real};

/// Rows on a grid, where the affinities themselves carry the rounding of one exponential only.
pub struct Contraction {
    pub shape: (usize, usize, usize),
    pub x: Vec<f32>,
    pub y: Vec<f32>,
    pub kernel: HeatKernel,
}

impl Contraction {
    /// S and D.
    pub fn contract<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<[Vec<f64>; 2]> {
        let (m, k, d) = self.shape;
        let x = filled(ops, m, d, &self.x)?;
        let mut affinity = ops.affinity(m, d, k, self.kernel)?;
        ops.pairwise(&x, &mut affinity)?;
        let (mut contraction, mut degrees) = (poisoned(ops, m, k)?, poisoned(ops, 1, m)?);
        let y = filled(ops, m, k, &self.y)?;
        ops.contract(&x, &affinity, &y, &mut contraction, &mut degrees)?;
        let found = [
            matrices::outcome(ops, &mut contraction)?,
            matrices::outcome(ops, &mut degrees)?,
        ];
        clock.time("contract", ops, || {
            ops.contract(&x, &affinity, &y, &mut contraction, &mut degrees)
        })?;
        Ok(found)
    }
}

impl Problem for Contraction {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let [contraction, degrees] = self.contract(ops, clock)?;
        let name = |what: &str| match self.kernel.neighbors {
            None => format!("{what}, all rows"),
            Some(count) => format!("{what}, {count} neighbours"),
        };
        Ok(vec![
            outcome("contract", name("S"), contraction),
            outcome("contract", name("degrees"), degrees),
        ])
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, k, d) in bench.shapes(|(m, k, d)| m * m * (k + d)) {
        let mut tallies = bench.tallies();
        for neighbors in [None, Some(1), Some(10), Some(m + 1)] {
            // One product of 1021 x 1021 x 1000 in plain loops is enough.
            if m * k > 1_000_000 && neighbors.is_some_and(|n| n != 10) {
                continue;
            }
            for solved in bench.draws(m * m * (k + d)) {
                let problem = Contraction {
                    shape: (m, k, d),
                    x: grid(&bench.random, m, d),
                    y: memberships(&bench.random, m, k, 1.0)?,
                    kernel: HeatKernel {
                        sigma: (d as f64).sqrt(),
                        neighbors,
                    },
                };
                bench.mirror(&problem, solved, &mut tallies)?;
            }
        }
        bench.report(&format!("m {m} k {k} d {d}"), tallies);
    }
    Ok(())
}

/// [S | D] of some rows by the reference: S, then D.
fn some_rows<T: Real>(
    x: &[f32],
    y: &[f32],
    (m, k, d): (usize, usize, usize),
    which: &[usize],
    precision: Option<Precision>,
) -> Vec<f64> {
    let real = |values: &[f32]| values.iter().map(|&v| T::of(v.into())).collect();
    let (x, y) = (Matrix::from_rows(m, d, real(x)), Matrix::from_rows(m, k, real(y)));
    let rows = affinity::some_rows(&x, which, (d as f64).sqrt(), precision);
    let mut contraction = Matrix::from_rows(which.len(), k, vec![T::ZERO; which.len() * k]);
    let mut degrees = Matrix::from_rows(1, which.len(), vec![T::ZERO; which.len()]);
    affinity::contract(&rows, &y, precision, &mut contraction, &mut degrees);
    let found = contraction.iter().chain(degrees.iter());
    found.map(|v| v.to_f64()).collect()
}

/// More rows than the backend stores the affinity of: its tiles are formed anew in each contraction.
pub fn check_streaming<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    let (m, k) = (bench.streamed_rows(), 3);
    for d in [3, 20] {
        let rows = bench.random.normals(m * d, 1.0);
        let y: Vec<f32> = (0..m * k).map(|_| bench.random.uniform() as f32).collect();
        let kernel = HeatKernel {
            sigma: (d as f64).sqrt(),
            neighbors: None,
        };
        // Rows of every block of 128, and the last.
        let which: Vec<usize> = (0..m).step_by(127).chain([m - 1]).collect();
        let exact = some_rows::<f64>(&rows, &y, (m, k, d), &which, None);
        let mut tallies = bench.tallies();
        for (&(ops, precision), tally) in bench.backends.iter().zip(&mut tallies) {
            let x = filled(ops, m, d, &rows)?;
            let mut affinity = ops.affinity(m, d, k, kernel)?;
            let (mut contraction, mut degrees) = (poisoned(ops, m, k)?, poisoned(ops, 1, m)?);
            ops.pairwise(&x, &mut affinity)?;
            let membership = filled(ops, m, k, &y)?;
            ops.contract(&x, &affinity, &membership, &mut contraction, &mut degrees)?;
            let found = matrices::outcome(ops, &mut contraction)?;
            let sums = values(ops, &degrees)?;
            let missing = found.iter().chain(&sums).filter(|v| !v.is_finite()).count();
            tally
                .errors
                .count("contract", "streamed, numbers missing", missing);
            let sampled = which.iter().flat_map(|&i| found[i * k..][..k].iter().copied());
            let ours: Vec<f64> = sampled.chain(which.iter().map(|&i| sums[i])).collect();
            let plain = some_rows::<f32>(&rows, &y, (m, k, d), &which, Some(precision));
            tally
                .errors
                .add("contract", "streamed", largest(&exact), [&ours, &plain, &exact]);
            tally.clock.time("contract", ops, || {
                ops.contract(&x, &affinity, &membership, &mut contraction, &mut degrees)
            })?;
        }
        bench.report(&format!("m {m} k {k} d {d}"), tallies);
    }
    Ok(())
}
