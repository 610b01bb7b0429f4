//! The cross-entropy with given labels, and its gradient.

use super::bench::{Bench, Clock, Outcome, Problem, outcome, start};
use super::errors::largest;
use super::loss::memberships;
use super::matrices::{self, filled, poisoned, values};
use crate::error::Result;
use crate::ops::{Ops, Precision, StepState};

pub struct CrossEntropy {
    pub size: (usize, usize),
    pub y: Vec<f32>,
    pub targets: Vec<u32>,
    pub order: Vec<u32>,
}

impl Problem for CrossEntropy {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let (m, k) = self.size;
        let y = filled(ops, m, k, &self.y)?;
        let labels = |values: &[u32]| -> Result<O::Labels> {
            let mut labels = ops.labels("the labels of a check", values.len())?;
            ops.upload_labels(values, &mut labels)?;
            Ok(labels)
        };
        let (targets, order) = (labels(&self.targets)?, labels(&self.order)?);
        let state = ops.state(StepState { batch: 1, ..start() })?;
        let (mut d_logits, mut losses) = (poisoned(ops, m, k)?, poisoned(ops, 3, 3)?);
        ops.cross_entropy(&y, &targets, &order, &state, &mut d_logits, &mut losses)?;
        let all = values(ops, &losses)?;
        let others = all[..3].iter().chain(&all[6..]);
        let found = vec![
            outcome(
                "cross_entropy",
                "gradient",
                matrices::outcome(ops, &mut d_logits)?,
            ),
            outcome("cross_entropy", "losses", all[3..6].to_vec()),
            outcome(
                "cross_entropy",
                "losses of other mini-batches",
                others.map(|v| f64::from(u8::from(!v.is_nan()))).collect(),
            ),
        ];
        clock.time("cross_entropy", ops, || {
            ops.cross_entropy(&y, &targets, &order, &state, &mut d_logits, &mut losses)
        })?;
        Ok(found)
    }

    fn scales(&self, exact: &[Outcome]) -> Result<Vec<f64>> {
        let scale = |outcome: &Outcome| match outcome.case.as_str() {
            // A difference of terms of up to 1/m, of which little is left where all labels are likely.
            "gradient" => 1.0 / self.size.0 as f64,
            _ => largest(&outcome.values),
        };
        Ok(exact.iter().map(scale).collect())
    }

    fn plain(&self, _: Precision) -> Precision {
        Precision::Fp32
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, k, _) in bench.shapes(|(m, k, _)| m * k) {
        let mut tallies = bench.tallies();
        // 1e3: memberships of exactly 0, whose logarithm is that of the least one.
        for spread in [0.1, 5.0, 1e3] {
            for solved in bench.draws(m * k) {
                let random = &bench.random;
                let n = 2 * m + 5;
                let problem = CrossEntropy {
                    size: (m, k),
                    y: memberships(random, m, k, spread)?,
                    targets: (0..n).map(|_| random.below(k) as u32).collect(),
                    order: (0..2 * m).map(|_| random.below(n) as u32).collect(),
                };
                bench.mirror(&problem, solved, &mut tallies)?;
            }
        }
        bench.report(&format!("m {m} k {k}"), tallies);
    }
    Ok(())
}
