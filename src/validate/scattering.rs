//! Steps of a scattering transform, and its paths divided by their largest numbers.

use super::bench::{Bench, Clock, Outcome, Problem, outcome};
use super::matrices::{self, filled, poisoned};
use super::random::Random;
use crate::error::Result;
use crate::network::to_real;
use crate::ops::{Ops, Precision, ScatteringStep};

/// Rows and columns of a path.
const PATH: [usize; 2] = [2, 3];

struct Scattering {
    step: ScatteringStep,
    pictures: usize,
    filters: usize,
    x: Vec<f32>,
    spectra: Vec<f32>,
    low_pass: [Vec<f32>; 2],
}

impl Scattering {
    fn draw(step: ScatteringStep, pictures: usize, filters: usize, random: &Random) -> Self {
        let [points, pixels] = [step.fine(), step.picture].map(|[rows, columns]| rows * columns);
        let means = |side: usize| random.normals(PATH[side] * step.coarse[side], 1.0);
        Scattering {
            step,
            pictures,
            filters,
            x: random.normals(pictures * pixels, 1.0),
            // So that moduli are of order 1, as the pictures are.
            spectra: random.normals(filters * points, 1.0 / points as f64),
            low_pass: [means(0), means(1)],
        }
    }

    /// No numbers where a path is due, and numbers that are to stay elsewhere.
    fn paths(&self, columns: usize) -> Vec<f32> {
        let length = PATH[0] * PATH[1];
        let mut paths = vec![0.5; self.pictures / self.step.group * columns];
        for i in 0..self.pictures {
            for f in 0..self.filters {
                let first = i / self.step.group * columns + self.step.path(i, f) * length;
                paths[first..][..length].fill(f32::NAN);
            }
        }
        paths
    }
}

impl Problem for Scattering {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let step = &self.step;
        let [points, pixels, coarse] =
            [step.fine(), step.picture, step.coarse].map(|[rows, columns]| rows * columns);
        let x = filled(ops, self.pictures, pixels, &self.x)?;
        let filters = filled(ops, self.filters, points, &self.spectra)?;
        let left = filled(ops, PATH[0], step.coarse[0], &self.low_pass[0])?;
        let right = filled(ops, PATH[1], step.coarse[1], &self.low_pass[1])?;
        let mut moduli = poisoned(ops, self.pictures * self.filters, coarse)?;
        // One path more than there is to be written.
        let columns = (step.path(step.group - 1, self.filters) + 1) * PATH[0] * PATH[1];
        let room = || filled(ops, self.pictures / step.group, columns, &self.paths(columns));
        let (mut paths, mut alone) = (room()?, room()?);
        ops.scatter(step, &x, &filters, [&left, &right], Some(&mut moduli), &mut paths)?;
        ops.scatter(step, &x, &filters, [&left, &right], None, &mut alone)?;
        let found = vec![
            outcome("scatter", "moduli", matrices::outcome(ops, &mut moduli)?),
            outcome("scatter", "paths", matrices::outcome(ops, &mut paths)?),
            outcome("scatter", "paths alone", matrices::outcome(ops, &mut alone)?),
        ];
        clock.time("scatter", ops, || {
            ops.scatter(step, &x, &filters, [&left, &right], None, &mut alone)
        })?;
        Ok(found)
    }

    fn plain(&self, _: Precision) -> Precision {
        Precision::Fp32
    }
}

/// What a path may hold at most, beside the first, to count as nothing.
const LEAST: f64 = 1e-6;

struct Paths {
    /// Rows, of which so many become one; paths of a row, numbers of a path.
    size: (usize, usize, usize, usize),
    x: Vec<f32>,
}

impl Problem for Paths {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let (m, merged, paths, positions) = self.size;
        let x = filled(ops, m, paths * positions, &self.x)?;
        // The first row stays as it is.
        let columns = merged * paths * positions;
        let mut to = poisoned(ops, 1 + m / merged, columns)?;
        ops.upload(&to_real::<O>(&vec![0.5f32; columns]), &mut to, 0)?;
        ops.normalize_paths(positions, LEAST, &x, &mut to, 1)?;
        let found = vec![outcome("normalize_paths", "", matrices::outcome(ops, &mut to)?)];
        clock.time("normalize_paths", ops, || {
            ops.normalize_paths(positions, LEAST, &x, &mut to, 1)
        })?;
        Ok(found)
    }

    fn plain(&self, _: Precision) -> Precision {
        Precision::Fp32
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    let step = |picture, margin, coarse, group| ScatteringStep {
        picture,
        margin,
        coarse,
        group,
        first_path: 1,
        path_step: 7,
    };
    for (step, pictures, filters) in [
        // Whole grids, one picture at a time, and mirrored more than once.
        (step([5, 6], 2, [9, 10], 1), 7, 3),
        (step([2, 4], 4, [10, 12], 1), 1, 2),
        (step([32, 32], 8, [48, 48], 1), 3, 2),
        // Folded, of all radices.
        (step([28, 35], 0, [14, 7], 2), 4, 5),
        (step([60, 30], 0, [4, 6], 3), 9, 2),
        // More filtered pictures than a block holds at a time, in groups whose last picture is alone.
        (step([24, 24], 0, [12, 12], 5), 15, 11),
        (step([48, 48], 0, [24, 24], 8), 16, 3),
        (step([92, 20], 2, [48, 12], 1), 129, 1),
    ] {
        let [rows, columns] = step.fine();
        let work = pictures * filters * rows * columns;
        if !bench.fits(work) {
            continue;
        }
        // Paths of neighbours do not overlap.
        let step = ScatteringStep {
            path_step: step.path_step.max(filters),
            ..step
        };
        let mut tallies = bench.tallies();
        for solved in bench.draws(work) {
            let problem = Scattering::draw(step, pictures, filters, &bench.random);
            bench.mirror(&problem, solved, &mut tallies)?;
        }
        let [coarse_rows, coarse_columns] = step.coarse;
        bench.report(
            &format!("pictures {pictures} filters {filters} grid {rows} x {columns} to {coarse_rows} x {coarse_columns}"),
            tallies,
        );
    }
    for size in [(1, 1, 1, 1), (7, 1, 25, 16), (129, 3, 5, 9), (1020, 4, 3, 49)] {
        let (m, merged, paths, positions) = size;
        let numbers = m * paths * positions;
        let mut tallies = bench.tallies();
        for solved in bench.draws(numbers) {
            let mut x = bench.random.normals(numbers, 3.0);
            for (i, path) in x.chunks_exact_mut(positions).enumerate() {
                match i % paths {
                    // Nothing, and next to nothing.
                    2 => path.fill(0.0),
                    3 => path.iter_mut().for_each(|v| *v *= 1e-9),
                    _ => {}
                }
            }
            bench.mirror(&Paths { size, x }, solved, &mut tallies)?;
        }
        bench.report(
            &format!("m {m} merged {merged} paths {paths} positions {positions}"),
            tallies,
        );
    }
    Ok(())
}
