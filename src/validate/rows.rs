//! Rows gathered in the epoch's order and copied, bit for bit.

use super::bench::{Bench, start};
use super::matrices::{mistakes, outcome, poisoned};
use crate::error::Result;
use crate::network::to_real;
use crate::ops::{Ops, StepState};

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, _, d) in bench.shapes(|(m, _, d)| m * d) {
        let rows = 2 * m + 5;
        let data = bench.random.normals(rows * d, 1.0);
        let row = |i: usize| data[i * d..][..d].iter().map(|&v| f64::from(v));
        let order: Vec<u32> = (0..2 * m).map(|_| bench.random.below(rows) as u32).collect();
        let mut tallies = bench.tallies();
        for (&(ops, _), tally) in bench.backends.iter().zip(&mut tallies) {
            let mut matrix = ops.training_rows(rows, d)?;
            ops.upload(&to_real::<O>(&data), &mut matrix, 0)?;
            let mut x = poisoned(ops, m, d)?;
            let mut numbers = ops.labels("an order", order.len())?;
            ops.upload_labels(&order, &mut numbers)?;
            for batch in 0..2 {
                let value = StepState { batch, ..start() };
                let state = ops.state(value)?;
                ops.gather_rows(&matrix, &numbers, &state, &mut x)?;
                let expected: Vec<f64> = order[batch as usize * m..][..m]
                    .iter()
                    .flat_map(|&i| row(i as usize))
                    .collect();
                let wrong = mistakes(&outcome(ops, &mut x)?, &expected);
                tally
                    .errors
                    .count("gather_rows", &format!("batch {batch}"), wrong);
                tally.clock.time("gather_rows", ops, || {
                    ops.gather_rows(&matrix, &numbers, &state, &mut x)
                })?;
                x = poisoned(ops, m, d)?;
            }
            ops.copy_rows(&matrix, m + 5, &mut x)?;
            let expected: Vec<f64> = (0..m).flat_map(|i| row(m + 5 + i)).collect();
            let wrong = mistakes(&outcome(ops, &mut x)?, &expected);
            tally.errors.count("copy_rows", "", wrong);
            tally
                .clock
                .time("copy_rows", ops, || ops.copy_rows(&matrix, m + 5, &mut x))?;
        }
        bench.report(&format!("m {m} d {d}"), tallies);
    }
    Ok(())
}
