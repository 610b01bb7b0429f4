//! Fully connected layers, forward and backward.

use super::bench::{Bench, Clock, Outcome, Problem, Shape, absolute, magnitudes, outcome};
use super::matrices::{self, filled, filled_plain, poisoned};
use crate::error::Result;
use crate::ops::Ops;

struct Layer {
    shape: Shape,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    d_z: Vec<f32>,
}

impl Problem for Layer {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let (m, k, d) = self.shape;
        let (x, w) = (filled(ops, m, d, &self.x)?, filled(ops, k, d, &self.weight)?);
        let (b, g) = (filled(ops, 1, k, &self.bias)?, filled(ops, m, k, &self.d_z)?);
        let (mut z, mut clipped) = (poisoned(ops, m, k)?, poisoned(ops, m, k)?);
        ops.linear(&x, &w, &b, false, &mut z)?;
        ops.linear(&x, &w, &b, true, &mut clipped)?;
        let (plain_x, mut labelling) = (filled_plain(ops, m, d, &self.x)?, poisoned(ops, m, k)?);
        ops.linear(&plain_x, &w, &b, false, &mut labelling)?;
        let (mut d_x, mut d_w, mut d_b) = (poisoned(ops, m, d)?, poisoned(ops, k, d)?, poisoned(ops, 1, k)?);
        ops.linear_backward_data(&g, &w, &x, &mut d_x)?;
        ops.linear_backward_weights(&g, &x, &mut d_w, &mut d_b)?;
        let mut found = Vec::new();
        for (kernel, case, matrix) in [
            ("linear", "", &mut z),
            ("linear", "with ReLU", &mut clipped),
            ("linear", "of rows that are no operand", &mut labelling),
            ("linear_backward_data", "", &mut d_x),
            ("linear_backward_weights", "weight", &mut d_w),
            ("linear_backward_weights", "bias", &mut d_b),
        ] {
            found.push(outcome(kernel, case, matrices::outcome(ops, matrix)?));
        }
        clock.time("linear", ops, || ops.linear(&x, &w, &b, true, &mut z))?;
        clock.time("linear_backward_data", ops, || {
            ops.linear_backward_data(&g, &w, &x, &mut d_x)
        })?;
        clock.time("linear_backward_weights", ops, || {
            ops.linear_backward_weights(&g, &x, &mut d_w, &mut d_b)
        })?;
        Ok(found)
    }

    fn scales(&self, _: &[Outcome]) -> Result<Vec<f64>> {
        magnitudes(&Layer {
            shape: self.shape,
            x: self.x.clone(),
            weight: absolute(&self.weight),
            bias: absolute(&self.bias),
            d_z: absolute(&self.d_z),
        })
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, k, d) in bench.shapes(|(m, k, d)| m * k * d) {
        let mut tallies = bench.tallies();
        for solved in bench.draws(m * k * d) {
            let random = &bench.random;
            // Inputs are outputs of a ReLU, zeros among them.
            let mut x = random.normals(m * d, 1.0);
            x.iter_mut().for_each(|v| *v = v.max(0.0));
            let problem = Layer {
                shape: (m, k, d),
                x,
                weight: random.normals(k * d, (2.0 / d as f64).sqrt()),
                bias: random.normals(k, 1.0),
                d_z: random.normals(m * k, 1.0),
            };
            bench.mirror(&problem, solved, &mut tallies)?;
        }
        bench.report(&format!("m {m} k {k} d {d}"), tallies);
    }
    Ok(())
}
