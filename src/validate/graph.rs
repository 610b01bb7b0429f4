//! Graphs of all training rows: products with them, and the parts between the rows of mini-batches.

use super::bench::{Bench, Clock, Outcome, Problem, Shape, absolute, outcome, start};
use super::errors::largest;
use super::loss::memberships;
use super::matrices::{self, filled, poisoned};
use super::random::Random;
use crate::cpu::Reference;
use crate::data::csr::Csr;
use crate::error::Result;
use crate::ops::{GraphForm, Ops, Precision, Real, StepState};

/// Rows of a random graph that are tied to every other, at most. Many, of which a mini-batch has half: of a few large degrees plain loops may
/// by luck make no error.
const HUBS: usize = 32;

/// A random symmetric graph with weights up to `scale`, which is on its diagonal: about ten edges to a row, [`HUBS`] rows tied to every other,
/// one row to none.
fn random_graph(random: &Random, n: usize, scale: f32) -> Csr {
    let mut rows: Vec<Vec<(u32, f32)>> = (0..n).map(|i| vec![(i as u32, scale)]).collect();
    let order = random.order(n);
    let (hubs, alone) = (&order[..HUBS.min(n / 2)], order[n - 1]);
    let mut pairs: Vec<(usize, usize)> = (0..5 * n).map(|_| (random.below(n), random.below(n))).collect();
    pairs.extend(hubs.iter().flat_map(|&hub| (0..n).map(move |i| (i, hub))));
    for pair in &mut pairs {
        *pair = (pair.0.min(pair.1), pair.0.max(pair.1));
    }
    pairs.sort_unstable();
    pairs.dedup();
    for (i, j) in pairs {
        if i != j && i != alone && j != alone {
            let weight = scale * (random.uniform() as f32).max(1e-3);
            rows[i].push((j as u32, weight));
            rows[j].push((i as u32, weight));
        }
    }
    // A row without any edge, not even to itself.
    rows[alone].clear();
    Csr::from_rows(rows)
}

/// The part of a graph in the second mini-batch of an epoch, and its contraction.
struct Part {
    size: (usize, usize),
    graph: Csr,
    order: Vec<u32>,
    y: Vec<f32>,
    form: GraphForm,
}

impl Problem for Part {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let (m, k) = self.size;
        let graph = ops.graph("the graph of a check", &self.graph)?;
        let mut order = ops.labels("the order of a check", self.order.len())?;
        ops.upload_labels(&self.order, &mut order)?;
        let mut affinity = ops.graph_affinity(&graph, m, self.form)?;
        let state = |batch| ops.state(StepState { batch, ..start() });
        // Of the first mini-batch nothing may remain.
        ops.subgraph(&graph, &order, &state(0)?, &mut affinity)?;
        let second = state(1)?;
        ops.subgraph(&graph, &order, &second, &mut affinity)?;
        let y = filled(ops, m, k, &self.y)?;
        let (mut s, mut degrees) = (poisoned(ops, m, k)?, poisoned(ops, 1, m)?);
        ops.contract(&y, &affinity, &y, &mut s, &mut degrees)?;
        let name = |what: &str| format!("{what}, {:?}", self.form);
        let entries = ops.download_affinity(&affinity)?.into_iter().map(Real::to_f64);
        let found = vec![
            outcome("subgraph", name("entries"), entries.collect()),
            outcome("contract", name("S"), matrices::outcome(ops, &mut s)?),
            outcome("contract", name("degrees"), matrices::outcome(ops, &mut degrees)?),
        ];
        clock.time("subgraph", ops, || {
            ops.subgraph(&graph, &order, &second, &mut affinity)
        })?;
        clock.time("contract", ops, || {
            ops.contract(&y, &affinity, &y, &mut s, &mut degrees)
        })?;
        Ok(found)
    }
}

pub fn check_subgraph<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, k, _) in bench.shapes(|(m, k, _)| m * m * k) {
        let mut tallies = bench.tallies();
        for form in [GraphForm::Sparse, GraphForm::Dense] {
            for solved in bench.draws(10 * m * k) {
                let random = &bench.random;
                let n = 2 * m + 5;
                let batch = || random.order(n).into_iter().take(m).map(|row| row as u32);
                let problem = Part {
                    size: (m, k),
                    // f16 has room for neither.
                    graph: random_graph(random, n, [1e-8, 1e6][random.below(2)]),
                    order: batch().chain(batch()).collect(),
                    y: memberships(random, m, k, 1.0)?,
                    form,
                };
                bench.mirror(&problem, solved, &mut tallies)?;
            }
        }
        bench.report(&format!("m {m} k {k}"), tallies);
    }
    Ok(())
}

struct Product {
    shape: Shape,
    graph: Csr,
    x: Vec<f32>,
}

impl Problem for Product {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let (n, p, _) = self.shape;
        let graph = ops.graph("the graph of a check", &self.graph)?;
        let (x, mut y) = (filled(ops, n, p, &self.x)?, poisoned(ops, n, p)?);
        ops.sparse_product(&graph, &x, &mut y)?;
        let found = matrices::outcome(ops, &mut y)?;
        clock.time("sparse_product", ops, || ops.sparse_product(&graph, &x, &mut y))?;
        Ok(vec![outcome("sparse_product", "", found)])
    }

    fn scales(&self, _: &[Outcome]) -> Result<Vec<f64>> {
        let sizes = Product {
            shape: self.shape,
            graph: self.graph.clone(),
            x: absolute(&self.x),
        };
        let outcomes = sizes.solve(&Reference::<f64>::new(), &mut Clock::default())?;
        Ok(outcomes.iter().map(|outcome| largest(&outcome.values)).collect())
    }

    fn plain(&self, _: Precision) -> Precision {
        Precision::Fp32
    }
}

pub fn check_product<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (n, p) in [(2, 1), (7, 3), (129, 12), (1021, 24), (333, 300)] {
        let mut tallies = bench.tallies();
        for solved in bench.draws(10 * n * p) {
            let random = &bench.random;
            let problem = Product {
                shape: (n, p, 0),
                graph: random_graph(random, n, 1.0),
                x: random.normals(n * p, 1.0),
            };
            bench.mirror(&problem, solved, &mut tallies)?;
        }
        bench.report(&format!("n {n} p {p}"), tallies);
    }
    Ok(())
}
