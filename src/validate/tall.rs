//! The algebra of tall matrices.

use super::bench::{Bench, Clock, Outcome, Problem, absolute, outcome};
use super::errors::largest;
use super::matrices::{self, filled};
use crate::cpu::Reference;
use crate::error::Result;
use crate::ops::{Ops, Precision};

struct Tall {
    /// Rows, columns of X, columns of Y.
    size: (usize, usize, usize),
    x: Vec<f32>,
    y: Vec<f32>,
    coefficients: Vec<f32>,
    keep: f64,
}

impl Problem for Tall {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let (n, p, q) = self.size;
        let (x, mut y) = (filled(ops, n, p, &self.x)?, filled(ops, n, q, &self.y)?);
        let coefficients = filled(ops, p, q, &self.coefficients)?;
        let products = ops.gram(&x, &y)?;
        clock.time("gram", ops, || ops.gram(&x, &y).map(drop))?;
        if self.keep == 0.0 {
            // What is not kept may be no number.
            let nan = vec![f32::NAN; n * q];
            ops.upload(&crate::network::to_real::<O>(&nan), &mut y, 0)?;
        }
        ops.combine(&x, &coefficients, self.keep, &mut y)?;
        let combined = matrices::outcome(ops, &mut y)?;
        clock.time("combine", ops, || {
            ops.combine(&x, &coefficients, self.keep, &mut y)
        })?;
        Ok(vec![
            outcome("gram", "", products),
            outcome("combine", format!("keeping {}", self.keep), combined),
        ])
    }

    fn scales(&self, _: &[Outcome]) -> Result<Vec<f64>> {
        let sizes = Tall {
            size: self.size,
            x: absolute(&self.x),
            y: absolute(&self.y),
            coefficients: absolute(&self.coefficients),
            keep: self.keep.abs(),
        };
        let outcomes = sizes.solve(&Reference::<f64>::new(), &mut Clock::default())?;
        let mut scales: Vec<f64> = outcomes.iter().map(|outcome| largest(&outcome.values)).collect();
        // Parts of rows may be summed in f32, which plain loops in f64 do not show: twice the floor.
        scales[0] *= 2.0;
        Ok(scales)
    }

    fn plain(&self, _: Precision) -> Precision {
        Precision::Fp32
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    // Rows beyond those that one block adds up.
    for (n, p, q) in [(1, 2, 3), (7, 1, 1), (129, 70, 5), (1021, 24, 65), (5003, 12, 30)] {
        if !bench.fits(n * p * q) {
            continue;
        }
        let mut tallies = bench.tallies();
        for keep in [0.0, 1.0, -0.5] {
            for solved in bench.draws(n * p * q) {
                let random = &bench.random;
                let problem = Tall {
                    size: (n, p, q),
                    x: random.normals(n * p, 1.0),
                    y: random.normals(n * q, 1.0),
                    coefficients: random.normals(p * q, 1.0),
                    keep,
                };
                bench.mirror(&problem, solved, &mut tallies)?;
            }
        }
        bench.report(&format!("n {n} p {p} q {q}"), tallies);
    }
    Ok(())
}
