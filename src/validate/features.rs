//! Scaling, centring and normalising of rows, and their places among quantiles.

use super::bench::{Bench, Clock, Outcome, Problem, outcome};
use super::matrices::{self, filled};
use crate::error::Result;
use crate::ops::{Ops, Precision};

/// Knots of a column.
const KNOTS: usize = 9;

struct Features {
    size: (usize, usize),
    x: Vec<f32>,
    mean: Vec<f32>,
    factors: Vec<f32>,
    knots: Vec<f32>,
    levels: Vec<f32>,
}

impl Problem for Features {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let (m, d) = self.size;
        let x = || filled(ops, m, d, &self.x);
        let mean = filled(ops, 1, d, &self.mean)?;
        let factors = filled(ops, 1, d, &self.factors)?;
        let (mut scaled, mut centred, mut unit, mut rms) = (x()?, x()?, x()?, x()?);
        let mut stretched = x()?;
        ops.scale(1.0 / 255.0, &mut scaled)?;
        ops.center_rows(&mean, &mut centred)?;
        ops.scale_columns(&factors, &mut stretched)?;
        let (knots, levels) = (
            filled(ops, KNOTS, d, &self.knots)?,
            filled(ops, KNOTS, d, &self.levels)?,
        );
        let (plain, mut placed) = (x()?, matrices::poisoned(ops, m, 2 * d)?);
        ops.append_quantiles(&knots, &levels, &plain, &mut placed)?;
        ops.normalize_rows(1.0, &mut unit)?;
        ops.normalize_rows((d as f64).sqrt(), &mut rms)?;
        let found = vec![
            outcome("scale", "", matrices::outcome(ops, &mut scaled)?),
            outcome("center_rows", "", matrices::outcome(ops, &mut centred)?),
            outcome("scale_columns", "", matrices::outcome(ops, &mut stretched)?),
            outcome("normalize_rows", "to 1", matrices::outcome(ops, &mut unit)?),
            outcome("normalize_rows", "to sqrt(d)", matrices::outcome(ops, &mut rms)?),
            outcome("append_quantiles", "", matrices::outcome(ops, &mut placed)?),
        ];
        clock.time("scale", ops, || ops.scale(1.0 / 255.0, &mut scaled))?;
        clock.time("center_rows", ops, || ops.center_rows(&mean, &mut centred))?;
        clock.time("scale_columns", ops, || {
            ops.scale_columns(&factors, &mut stretched)
        })?;
        clock.time("normalize_rows", ops, || ops.normalize_rows(1.0, &mut unit))?;
        clock.time("append_quantiles", ops, || {
            ops.append_quantiles(&knots, &levels, &plain, &mut placed)
        })?;
        Ok(found)
    }

    fn plain(&self, _: Precision) -> Precision {
        Precision::Fp32
    }
}

/// Rising knots for each column, some of them numbers of the column itself and the last in part repeated, and levels of any kind.
fn quantiles<O: Ops>(bench: &mut Bench<O>, x: &[f32], d: usize) -> (Vec<f32>, Vec<f32>) {
    let mut knots = bench.random.normals(KNOTS * d, 2.0);
    for column in 0..d {
        let mut rising: Vec<f32> = knots.iter().skip(column).step_by(d).copied().collect();
        rising[0] = x[x.len() - d + column];
        rising.sort_by(f32::total_cmp);
        let last = column % KNOTS;
        let repeated = rising[last];
        rising[last..].fill(repeated);
        for (row, &knot) in rising.iter().enumerate() {
            knots[row * d + column] = knot;
        }
    }
    (knots, bench.random.normals(KNOTS * d, 1.0))
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, _, d) in bench.shapes(|(m, _, d)| m * d) {
        let mut tallies = bench.tallies();
        for solved in bench.draws(m * d) {
            let mut x = bench.random.normals(m * d, 3.0);
            // A row of zeros must stay one.
            x[..d].fill(0.0);
            let (knots, levels) = quantiles(bench, &x, d);
            let problem = Features {
                size: (m, d),
                x,
                mean: bench.random.normals(d, 1.0),
                factors: bench.random.normals(d, 1.0),
                knots,
                levels,
            };
            bench.mirror(&problem, solved, &mut tallies)?;
        }
        bench.report(&format!("m {m} d {d}"), tallies);
    }
    Ok(())
}
