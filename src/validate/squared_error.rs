//! The mean squared error between rows and what a network made of them, and its gradient.

use super::bench::{Bench, Clock, Outcome, Problem, outcome, start};
use super::matrices::{self, filled, poisoned, values};
use crate::error::Result;
use crate::ops::{Ops, Precision, StepState};

struct SquaredError {
    size: (usize, usize),
    z: Vec<f32>,
    x: Vec<f32>,
}

impl Problem for SquaredError {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let (m, d) = self.size;
        let (z, x) = (filled(ops, m, d, &self.z)?, filled(ops, m, d, &self.x)?);
        let state = ops.state(StepState { batch: 1, ..start() })?;
        let (mut errors, mut d_z) = (poisoned(ops, 1, m)?, poisoned(ops, m, d)?);
        let mut losses = poisoned(ops, 3, 1)?;
        ops.squared_error(&z, &x, &state, &mut errors, &mut d_z, &mut losses)?;
        let all = values(ops, &losses)?;
        let others = [all[0], all[2]];
        let found = vec![
            outcome("squared_error", "errors", matrices::outcome(ops, &mut errors)?),
            outcome("squared_error", "gradient", matrices::outcome(ops, &mut d_z)?),
            outcome("squared_error", "loss", vec![all[1]]),
            outcome(
                "squared_error",
                "losses of other mini-batches",
                others.map(|v| f64::from(u8::from(!v.is_nan()))).to_vec(),
            ),
        ];
        clock.time("squared_error", ops, || {
            ops.squared_error(&z, &x, &state, &mut errors, &mut d_z, &mut losses)
        })?;
        Ok(found)
    }

    fn plain(&self, _: Precision) -> Precision {
        Precision::Fp32
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, _, d) in bench.shapes(|(m, _, d)| m * d) {
        let mut tallies = bench.tallies();
        // As before training, when nothing is learned, and at its end.
        for apart in [1.0, 1e-3] {
            for solved in bench.draws(m * d) {
                let random = &bench.random;
                let x = random.normals(m * d, 1.0);
                let noise = random.normals(m * d, apart);
                let problem = SquaredError {
                    size: (m, d),
                    z: x.iter().zip(noise).map(|(x, noise)| x + noise).collect(),
                    x,
                };
                bench.mirror(&problem, solved, &mut tallies)?;
            }
        }
        bench.report(&format!("m {m} d {d}"), tallies);
    }
    Ok(())
}
