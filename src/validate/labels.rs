//! Hard labels, and their cut matrix.

use super::affinity::grid;
use super::bench::{Bench, Clock, Outcome, Problem, Shape, outcome};
use super::errors::distance;
use super::matrices::filled;
use crate::error::Result;
use crate::ops::{HeatKernel, Ops, Precision, Real};

/// The first of the largest, with ties in nearly every row; no label beyond those of the rows is touched.
pub fn check_argmax<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, k, _) in bench.shapes(|(m, k, _)| m * k) {
        let z: Vec<f32> = (0..m * k).map(|_| bench.random.below(3) as f32 - 1.0).collect();
        let mut tallies = bench.tallies();
        for (&(ops, _), tally) in bench.backends.iter().zip(&mut tallies) {
            let logits = filled(ops, m, k, &z)?;
            // Label 1 of all, then 2 of all but the ends.
            let before: Vec<f32> = (0..(m + 5) * k)
                .map(|at| f32::from(u8::from(at % k == 1)))
                .collect();
            let mut labels = ops.labels("labels", m + 5)?;
            ops.argmax(&filled(ops, m + 5, k, &before)?, &mut labels, 0)?;
            ops.argmax(&logits, &mut labels, 2)?;
            let mut found = vec![u32::MAX; m + 5];
            ops.download_labels(&labels, &mut found)?;
            let first = |row: &[f32]| (0..k).find(|&l| row.iter().all(|&z| z <= row[l]));
            let wrong = z
                .chunks_exact(k)
                .zip(&found[2..])
                .filter(|(row, label)| first(row) != Some(**label as usize))
                .count();
            let touched = found[..2]
                .iter()
                .chain(&found[m + 2..])
                .filter(|&&label| label != 1);
            tally.errors.count("argmax", "labels of the rows", wrong);
            tally.errors.count("argmax", "labels of others", touched.count());
            tally
                .clock
                .time("argmax", ops, || ops.argmax(&logits, &mut labels, 2))?;
        }
        bench.report(&format!("m {m} k {k}"), tallies);
    }
    Ok(())
}

struct Cuts {
    shape: Shape,
    x: Vec<f32>,
    labels: Vec<u32>,
    kernel: HeatKernel,
}

impl Problem for Cuts {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let (m, k, d) = self.shape;
        let x = filled(ops, m, d, &self.x)?;
        let cut = ops.cut_matrix(&x, &self.labels, k, self.kernel)?;
        clock.time("cut_matrix", ops, || {
            ops.cut_matrix(&x, &self.labels, k, self.kernel).map(drop)
        })?;
        let case = match self.kernel.neighbors {
            None => "all rows".to_string(),
            Some(count) => format!("{count} neighbours"),
        };
        Ok(vec![outcome("cut_matrix", case, cut)])
    }
}

/// On a grid, where neighbours are certain and affinities carry the rounding of one exponential only.
pub fn check_cuts<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    // Its kernels are the same in all precisions.
    bench.first_suffice(1);
    for (m, k, d) in bench.shapes(|(m, _, d)| m * m * d) {
        let mut tallies = bench.tallies();
        let counts = match bench.only_watches() {
            true => vec![None, Some(10), Some(m + 1)],
            false => vec![None, Some(0), Some(1), Some(3), Some(10), Some(m + 1)],
        };
        for neighbors in counts {
            // Of large problems, one of each form in plain loops is enough.
            if m * d > 100_000 && neighbors.is_some_and(|n| n != 10) {
                continue;
            }
            for solved in bench.draws(m * m * d) {
                let problem = Cuts {
                    shape: (m, k, d),
                    x: grid(&bench.random, m, d),
                    // The last cluster stays empty.
                    labels: (0..m).map(|_| bench.random.below(k - 1) as u32).collect(),
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
    check_single_rows(bench)
}

/// With each row a cluster of its own, the cut matrix is the affinity that the backend has of them.
fn check_single_rows<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    let m = 129;
    for d in [5, 500] {
        if !bench.fits(m * m * d) {
            continue;
        }
        let mut tallies = bench.tallies();
        let rows = bench.random.normals(m * d, 1.0);
        let labels: Vec<u32> = bench
            .random
            .order(m)
            .into_iter()
            .map(|label| label as u32)
            .collect();
        for neighbors in [None, Some(3)] {
            let kernel = HeatKernel {
                sigma: (d as f64).sqrt(),
                neighbors,
            };
            for (&(ops, precision), tally) in bench.backends.iter().zip(&mut tallies) {
                // Cuts are exact in every precision; elsewhere the affinity is rounded, and may have other neighbours.
                if precision != Precision::Fp32 {
                    continue;
                }
                let x = filled(ops, m, d, &rows)?;
                let cut = ops.cut_matrix(&x, &labels, m, kernel)?;
                let mut affinity = ops.affinity(m, d, 0, kernel)?;
                ops.pairwise(&x, &mut affinity)?;
                let affinity = ops.download_affinity(&affinity)?;
                let case = format!("single rows, {neighbors:?} neighbours");
                let affinity: Vec<f64> = affinity.into_iter().map(Real::to_f64).collect();
                let place = |at: usize| labels[at / m] as usize * m + labels[at % m] as usize;
                let found: Vec<f64> = (0..m * m).map(|at| cut[place(at)]).collect();
                // Rows in another order meet in other tiles, so the last bits may differ: some d roundings of terms near 2.
                let bound = d as f64 * f64::from(f32::EPSILON);
                let error = distance(&found, &affinity);
                tally.errors.worst("cut_matrix", &case, error, 0.0, bound);
            }
        }
        bench.report(&format!("m {m} k {m} d {d}"), tallies);
    }
    Ok(())
}
