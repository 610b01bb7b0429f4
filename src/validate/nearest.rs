//! The nearest rows of queries: by lists, by selection, and among equals.

use super::affinity::grid;
use super::bench::{Bench, Clock};
use super::matrices::filled;
use crate::cpu::Reference;
use crate::error::Result;
use crate::network::to_real;
use crate::ops::{Nearest, Ops};

/// Distances of a problem beyond which one search is enough, and multiplications beyond which there is none: emulators take long.
const MANY: usize = 1 << 16;
const MOST: usize = 600_000_000;

/// Queries and the rows sought among.
struct Search {
    d: usize,
    queries: Vec<f32>,
    x: Vec<f32>,
    /// Squared distances in f64, queries x rows.
    squared: Vec<f64>,
}

impl Search {
    fn new(d: usize, queries: Vec<f32>, x: Vec<f32>) -> Self {
        let squared = |a: &[f32], b: &[f32]| -> f64 {
            let pairs = a.iter().zip(b);
            pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
        };
        let of_query = |a| x.chunks_exact(d).map(move |b| squared(a, b));
        Search {
            squared: queries.chunks_exact(d).flat_map(of_query).collect(),
            d,
            queries,
            x,
        }
    }

    fn sizes(&self) -> (usize, usize) {
        (self.queries.len() / self.d, self.x.len() / self.d)
    }

    fn solve<O: Ops>(&self, ops: &O, count: usize, clock: &mut Clock) -> Result<Nearest> {
        let (m, n) = self.sizes();
        let queries = filled(ops, m, self.d, &self.queries)?;
        let mut x = ops.training_rows(n, self.d)?;
        ops.upload(&to_real::<O>(&self.x), &mut x, 0)?;
        let found = ops.nearest(&queries, &x, count)?;
        clock.time("nearest", ops, || ops.nearest(&queries, &x, count).map(drop))?;
        Ok(found)
    }

    /// How many entries are wrong. The row in place j may be another than the j-th nearest if rounding can make it so: a sum of d
    /// products in f32 is wrong by at most d + 3 half epsilons of the sum of its terms' sizes, and a distance has twice the two
    /// norms for that, of points less a centre. The distance that is told, by differences, has no more than d + 2 such errors.
    fn mistakes(&self, found: &Nearest, centre: f32) -> usize {
        let (m, n) = self.sizes();
        let half = f64::from(f32::EPSILON) / 2.0;
        let norm = |values: &[f32]| values.iter().map(|&v| f64::from(v - centre).powi(2)).sum::<f64>();
        let largest = self.x.chunks_exact(self.d).map(norm).fold(0.0, f64::max);
        let mut wrong =
            usize::from(found.rows.len() != m * found.count || found.squared.len() != m * found.count);
        for query in 0..m {
            let of_rows = &self.squared[query * n..][..n];
            let mut exact = of_rows.to_vec();
            exact.sort_by(f64::total_cmp);
            let own = norm(&self.queries[query * self.d..][..self.d]);
            let slack = 2.0 * (self.d + 3) as f64 * half * 2.0 * (own + largest);
            let range = query * found.count..(query + 1) * found.count;
            let rows = &found.rows[range.clone()];
            let mut sorted = rows.to_vec();
            sorted.sort_unstable();
            wrong += sorted.windows(2).filter(|pair| pair[0] == pair[1]).count();
            // Nearest first, and the lower row first among equals.
            let told = || rows.iter().zip(&found.squared[range.clone()]);
            let in_order =
                |((a, near), (b, far)): ((&u32, &f64), (&u32, &f64))| near < far || (near == far && a < b);
            wrong += told().zip(told().skip(1)).filter(|pair| !in_order(*pair)).count();
            for ((&row, &told), &nearest) in rows.iter().zip(&found.squared[range.clone()]).zip(&exact) {
                let there = of_rows[row as usize];
                let told_right = (told - there).abs() <= (self.d + 2) as f64 * half * there;
                wrong += usize::from(!told_right || (there - nearest).abs() > slack);
            }
        }
        wrong
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    // Those of lower precisions search as TF32x3 does.
    bench.first_suffice(2);
    for (m, _, d) in bench.shapes(|(m, _, d)| m * m * d) {
        let n = m + 13;
        if m * n * d > MOST {
            continue;
        }
        let mut tallies = bench.tallies();
        for centre in [0.0, 100.0] {
            let random = &bench.random;
            let around = |len: usize| -> Vec<f32> {
                let values = random.normals(len, 1.0);
                values.into_iter().map(|v| v + centre).collect()
            };
            // Some queries are rows as well.
            let (x, mut queries) = (around(n * d), around(m * d));
            let shared = m / 2 * d;
            queries[..shared].copy_from_slice(&x[..shared]);
            let problem = Search::new(d, queries, x);
            let many = m * n > MANY;
            for count in [1, 15, 33, n] {
                let once = count == 15 && (centre == 0.0 || !many);
                if count > n || ((many || centre != 0.0) && !once) {
                    continue;
                }
                for (&(ops, _), tally) in bench.backends.iter().zip(&mut tallies) {
                    let found = problem.solve(ops, count, &mut tally.clock)?;
                    let case = format!("{count} nearest, around {centre}");
                    tally
                        .errors
                        .count("nearest", &case, problem.mistakes(&found, centre));
                }
            }
        }
        bench.report(&format!("m {m} n {n} d {d}"), tallies);
    }
    among_equals(bench)
}

/// On a grid every distance is exact: rows and their order must be those of the reference, many equal distances or not.
fn among_equals<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, d) in [(129, 2), (129, 20), (1021, 3)] {
        if !bench.fits(m * m * d) {
            continue;
        }
        let n = m + 64;
        let mut tallies = bench.tallies();
        let problem = Search::new(d, grid(&bench.random, m, d), grid(&bench.random, n, d));
        for count in [7, 32, 60] {
            if m * n > MANY && count != 32 {
                continue;
            }
            let exact = problem.solve(&Reference::<f64>::new(), count, &mut Clock::default())?;
            for (&(ops, _), tally) in bench.backends.iter().zip(&mut tallies) {
                let found = problem.solve(ops, count, &mut tally.clock)?;
                let wrong = found.rows.iter().zip(&exact.rows).filter(|(a, b)| a != b).count();
                let other = found
                    .squared
                    .iter()
                    .zip(&exact.squared)
                    .filter(|(a, b)| a != b)
                    .count();
                let case = format!("{count} nearest among equals");
                tally.errors.count("nearest", &case, wrong + other);
            }
        }
        bench.report(&format!("m {m} n {n} d {d}, equal distances"), tallies);
    }
    Ok(())
}
