//! The soft-max of near and far logits.

use super::bench::{Bench, Clock, Outcome, Problem, outcome};
use super::matrices::{self, filled, poisoned};
use crate::error::Result;
use crate::ops::{Ops, Precision};

pub struct Softmax {
    pub size: (usize, usize),
    pub logits: Vec<f32>,
    pub spread: f64,
}

impl Problem for Softmax {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let (m, k) = self.size;
        let logits = filled(ops, m, k, &self.logits)?;
        let mut y = poisoned(ops, m, k)?;
        ops.softmax(&logits, &mut y)?;
        let found = matrices::outcome(ops, &mut y)?;
        clock.time("softmax", ops, || ops.softmax(&logits, &mut y))?;
        Ok(vec![outcome("softmax", format!("spread {}", self.spread), found)])
    }

    fn plain(&self, _: Precision) -> Precision {
        Precision::Fp32
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, k, _) in bench.shapes(|(m, k, _)| m * k) {
        let mut tallies = bench.tallies();
        // 1e3: saturated, and beyond the exponential's range. 5e37: nearly beyond that of f32.
        for spread in [0.0, 1.0, 30.0, 1e3, 5e37] {
            for solved in bench.draws(m * k) {
                let problem = Softmax {
                    size: (m, k),
                    logits: bench.random.normals(m * k, spread),
                    spread,
                };
                bench.mirror(&problem, solved, &mut tallies)?;
            }
        }
        bench.report(&format!("m {m} k {k}"), tallies);
    }
    Ok(())
}
