//! The loss and its gradient, for every objective.

use super::bench::{Bench, Clock, Outcome, Problem, outcome, start};
use super::errors::largest;
use super::matrices::{self, filled, poisoned, values};
use super::random::Random;
use crate::cpu::reference::{product, transposed};
use crate::cpu::{Matrix, Reference};
use crate::error::Result;
use crate::ops::{Cut, Objective, Ops, Penalty, StepState, VOLUME_FLOOR, Volumes};

/// Random memberships, rounded to f32; the larger the spread, the harder.
pub fn memberships(random: &Random, m: usize, k: usize, spread: f64) -> Result<Vec<f32>> {
    let ops = Reference::<f64>::new();
    let mut y = poisoned(&ops, m, k)?;
    ops.softmax(&filled(&ops, m, k, &random.normals(m * k, spread))?, &mut y)?;
    Ok(y.iter().map(|&v| v as f32).collect())
}

/// All forms of the loss.
pub fn objectives() -> impl Iterator<Item = (Cut, Penalty, Volumes)> {
    [Cut::Ncut, Cut::Rcut].into_iter().flat_map(|cut| {
        [Penalty::Squared, Penalty::Frobenius]
            .into_iter()
            .flat_map(move |penalty| {
                [Volumes::Through, Volumes::Fixed].map(|volumes| (cut, penalty, volumes))
            })
    })
}

/// Memberships with a contraction and degrees.
pub struct Graph {
    pub size: (usize, usize),
    pub y: Vec<f32>,
    pub s: Vec<f32>,
    pub degrees: Vec<f32>,
}

impl Graph {
    /// Those of a random graph, rounded to f32.
    fn random(random: &Random, m: usize, k: usize, spread: f64) -> Result<Self> {
        let y = memberships(random, m, k, spread)?;
        let x: Vec<f64> = (0..2 * m).map(|_| random.normal()).collect();
        let (mut s, mut degrees) = (vec![0.0; m * k], vec![0.0; m]);
        for i in 0..m {
            for j in 0..m {
                let square = (x[2 * i] - x[2 * j]).powi(2) + (x[2 * i + 1] - x[2 * j + 1]).powi(2);
                let affinity = (-2.0 * square).exp();
                degrees[i] += affinity;
                for (s, &y) in s[i * k..][..k].iter_mut().zip(&y[j * k..][..k]) {
                    *s += affinity * f64::from(y);
                }
            }
        }
        let round = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
        Ok(Graph {
            size: (m, k),
            y,
            s: round(s),
            degrees: round(degrees),
        })
    }

    /// Volumes, gradient, and the row of three losses; then whether other rows of the losses were left alone, one 1 for each
    /// number that was not.
    pub fn loss<O: Ops>(&self, ops: &O, objective: Objective, clock: &mut Clock) -> Result<[Vec<f64>; 4]> {
        let (m, k) = self.size;
        let (y, s) = (filled(ops, m, k, &self.y)?, filled(ops, m, k, &self.s)?);
        let degrees = filled(ops, 1, m, &self.degrees)?;
        let state = ops.state(StepState { batch: 1, ..start() })?;
        let mut workspace = ops.workspace(m, k)?;
        let (mut volumes, mut d_logits) = (poisoned(ops, 1, k)?, poisoned(ops, m, k)?);
        let mut losses = poisoned(ops, 3, 3)?;
        let mut call = |volumes: &mut _, d_logits: &mut _, losses: &mut _| {
            ops.ncut(
                &y,
                &s,
                &degrees,
                objective,
                &state,
                &mut workspace,
                volumes,
                d_logits,
                losses,
            )
        };
        call(&mut volumes, &mut d_logits, &mut losses)?;
        let found = values(ops, &losses)?;
        let others = found[..3].iter().chain(&found[6..]);
        let found = [
            matrices::outcome(ops, &mut volumes)?,
            matrices::outcome(ops, &mut d_logits)?,
            found[3..6].to_vec(),
            others.map(|v| f64::from(u8::from(!v.is_nan()))).collect(),
        ];
        clock.time("ncut", ops, || call(&mut volumes, &mut d_logits, &mut losses))?;
        Ok(found)
    }
}

/// The loss of a graph, with the scales of its terms.
struct Loss {
    graph: Graph,
    objective: Objective,
    spread: f64,
    scales: Scales,
}

impl Loss {
    fn case(&self, array: &str) -> String {
        let Objective {
            cut,
            penalty,
            volumes,
            ..
        } = self.objective;
        format!("{array}, {cut:?} {penalty:?} {volumes:?}, spread {}", self.spread)
    }
}

impl Problem for Loss {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let [volumes, d_logits, losses, others] = self.graph.loss(ops, self.objective, clock)?;
        let mut found = vec![
            outcome("ncut", self.case("volumes"), volumes),
            outcome("ncut", self.case("d_logits"), d_logits),
            outcome("ncut", self.case("other rows of losses"), others),
        ];
        for (name, loss) in ["L_lap", "L_orth", "loss"].into_iter().zip(losses) {
            found.push(outcome("ncut", self.case(name), vec![loss]));
        }
        Ok(found)
    }

    fn scales(&self, exact: &[Outcome]) -> Result<Vec<f64>> {
        let Scales {
            d_logits,
            l_lap,
            l_orth,
        } = self.scales;
        let loss = l_lap + self.objective.gamma / 2.0 * l_orth;
        Ok(vec![
            largest(&exact[0].values),
            d_logits,
            1.0,
            l_lap,
            l_orth,
            loss,
        ])
    }
}

/// The sizes of the terms that cancel in the loss and its gradient.
#[derive(Clone, Copy)]
struct Scales {
    d_logits: f64,
    l_lap: f64,
    l_orth: f64,
}

impl Scales {
    /// The formulas of [`Ops::ncut`] with every minus turned into a plus.
    fn new(graph: &Graph, objective: Objective) -> Self {
        let (m, k) = graph.size;
        let double = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let y = Matrix::from_rows(m, k, double(&graph.y));
        let d = double(&graph.degrees);
        let w = |i: usize| if objective.cut == Cut::Ncut { d[i] } else { 1.0 };
        let (mut v, mut q) = (vec![VOLUME_FLOOR; k], vec![0.0; k]);
        let (mut laplacian, mut weighted) = (vec![0.0; m * k], y.clone());
        for i in 0..m {
            for l in 0..k {
                laplacian[i * k + l] = d[i] * y.row(i)[l] + f64::from(graph.s[i * k + l]);
                weighted.row_mut(i)[l] = w(i) * y.row(i)[l];
                v[l] += weighted.row(i)[l];
                q[l] += y.row(i)[l] * laplacian[i * k + l];
            }
        }
        let mut p = product(&transposed(&weighted), &y, None);
        for a in 0..k {
            for b in 0..k {
                p.row_mut(a)[b] = p.row(a)[b] / (v[a] * v[b]).sqrt();
            }
        }
        let identity = |at: usize| f64::from(u8::from(at / k == at % k));
        let norm = (0..k * k)
            .map(|at| (p[at] - identity(at)).powi(2))
            .sum::<f64>()
            .sqrt();
        let mut entries = p.clone();
        for a in 0..k {
            entries.row_mut(a)[a] += 1.0;
        }
        let squares: f64 = entries.iter().map(|v| v * v).sum();
        let (l_orth, slope) = match objective.penalty {
            Penalty::Squared => (squares, objective.gamma),
            // The derivative of the root magnifies what is lost below it.
            Penalty::Frobenius => (
                squares / norm / k as f64,
                objective.gamma / (2.0 * k as f64 * norm),
            ),
        };
        let d_volume: Vec<f64> = (0..k)
            .map(|l| match objective.volumes {
                Volumes::Fixed => 0.0,
                Volumes::Through => {
                    let overlap: f64 = entries.row(l).iter().zip(p.row(l)).map(|(m, p)| m * p).sum();
                    q[l] / (v[l] * v[l]) + slope / v[l] * overlap
                }
            })
            .collect();
        let mut scaled = y.clone();
        for i in 0..m {
            for (y, v) in scaled.row_mut(i).iter_mut().zip(&v) {
                *y /= v.sqrt();
            }
        }
        let pull = product(&scaled, &entries, None);
        let mut d_logits = 0f64;
        for i in 0..m {
            let y = y.row(i);
            let gradient: Vec<f64> = (0..k)
                .map(|l| {
                    2.0 / v[l] * laplacian[i * k + l]
                        + w(i) * (2.0 * slope * pull.row(i)[l] / v[l].sqrt() + d_volume[l])
                })
                .collect();
            let inner: f64 = gradient.iter().zip(y).map(|(g, y)| g * y).sum();
            d_logits = gradient
                .iter()
                .zip(y)
                .fold(d_logits, |most, (g, y)| most.max(y * (g + inner)));
        }
        Scales {
            d_logits,
            l_lap: q.iter().zip(&v).map(|(q, v)| q / v).sum(),
            l_orth,
        }
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    let work = |m: usize, k: usize| m * k * k;
    let mut shapes = bench.shapes(|(m, k, _)| work(m, k));
    if bench.fits(work(7, 4096)) {
        shapes.push((7, 4096, 1));
    }
    for (m, k, _) in shapes {
        let mut tallies = bench.tallies();
        for (cut, penalty, volumes) in objectives() {
            // Of large problems, one in plain loops is enough.
            let large = work(m, k) > 100_000_000;
            if large && (cut, penalty, volumes) != (Cut::Ncut, Penalty::Squared, Volumes::Through) {
                continue;
            }
            // Half of the forms, of which each has any two choices that the others have: an odd number of second ones.
            let odd = (cut == Cut::Rcut) ^ (penalty == Penalty::Frobenius) ^ (volumes == Volumes::Fixed);
            if bench.only_watches() && odd {
                continue;
            }
            // Paths are the same whatever the memberships: backends that take long see each form with one of the two.
            let spreads = match (bench.takes_long(), odd) {
                (_, _) if large => &[3.0][..],
                (true, true) => &[0.1],
                (true, false) => &[3.0],
                (false, _) => &[0.1, 3.0],
            };
            for &spread in spreads {
                for solved in bench.draws(10 * work(m, k)) {
                    let objective = Objective {
                        gamma: (2.0 * bench.random.normal()).exp(),
                        penalty,
                        volumes,
                        cut,
                    };
                    let graph = Graph::random(&bench.random, m, k, spread)?;
                    let problem = Loss {
                        scales: Scales::new(&graph, objective),
                        graph,
                        objective,
                        spread,
                    };
                    bench.mirror(&problem, solved, &mut tallies)?;
                }
            }
        }
        bench.report(&format!("m {m} k {k}"), tallies);
    }
    Ok(())
}
