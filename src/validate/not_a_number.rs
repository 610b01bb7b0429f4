//! One NaN must reach the loss: training then ends with a message, not with a silent model.

use super::bench::{Bench, start};
use super::contraction::Contraction;
use super::loss::{Graph, memberships, objectives};
use super::matrices::{filled, values};
use crate::error::Result;
use crate::network::to_real;
use crate::ops::{HeatKernel, Objective, Ops};

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    among_the_rows(bench)?;
    in_the_network(bench)
}

/// From the rows through the affinity to every form of the loss.
fn among_the_rows<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    let (m, k) = (200, 3);
    for d in [2, 40] {
        let mut tallies = bench.tallies();
        for neighbors in [None, Some(3)] {
            let mut x = bench.random.normals(m * d, 1.0);
            x[bench.random.below(m * d)] = f32::NAN;
            let problem = Contraction {
                shape: (m, k, d),
                x,
                y: memberships(&bench.random, m, k, 1.0)?,
                kernel: HeatKernel {
                    sigma: 1.0,
                    neighbors,
                },
            };
            for (&(ops, _), tally) in bench.backends.iter().zip(&mut tallies) {
                let [s, degrees] = problem.contract(ops, &mut tally.clock)?;
                let single = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
                let graph = Graph {
                    size: (m, k),
                    y: problem.y.clone(),
                    s: single(s),
                    degrees: single(degrees),
                };
                for (cut, penalty, volumes) in objectives() {
                    let objective = Objective {
                        gamma: 1.0,
                        penalty,
                        volumes,
                        cut,
                    };
                    let [_, _, losses, _] = graph.loss(ops, objective, &mut tally.clock)?;
                    let case = format!("{neighbors:?} neighbours, NaN in {cut:?} {penalty:?} {volumes:?}");
                    let lost = usize::from(!losses[2].is_nan());
                    tally.errors.count("ncut", &case, lost);
                }
            }
        }
        bench.report(&format!("m {m} k {k} d {d}, one NaN"), tallies);
    }
    Ok(())
}

/// One NaN logit spoils its whole row of memberships, one NaN input its whole row of outputs.
fn in_the_network<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    let k = 3;
    let mut tallies = bench.tallies();
    for (&(ops, _), tally) in bench.backends.iter().zip(&mut tallies) {
        for at in 0..k {
            let mut logits = bench.random.normals(k, 1.0);
            logits[at] = f32::NAN;
            let mut y = filled(ops, 1, k, &[0.5f32; 3])?;
            ops.softmax(&filled(ops, 1, k, &logits)?, &mut y)?;
            let lost = values(ops, &y)?.iter().filter(|v| !v.is_nan()).count();
            tally.errors.count("softmax", &format!("NaN in logit {at}"), lost);
        }
        let y = filled(ops, 2, 2, &[0.5, 0.5, f32::NAN, 0.5])?;
        let mut labels = ops.labels("the labels of a check", 2)?;
        ops.upload_labels(&[0, 1], &mut labels)?;
        for targets in [[1, 0], [0, 1]] {
            let mut wanted = ops.labels("the labels of a check", 2)?;
            ops.upload_labels(&targets, &mut wanted)?;
            let (mut d_logits, mut losses) = (filled(ops, 2, 2, &[0f32; 4])?, filled(ops, 1, 3, &[0f32; 3])?);
            let state = ops.state(start())?;
            ops.cross_entropy(&y, &wanted, &labels, &state, &mut d_logits, &mut losses)?;
            // Beside the target it is the gradient that tells of it.
            let (gradient, loss) = (values(ops, &d_logits)?[2], values(ops, &losses)?[2]);
            let lost = usize::from(!gradient.is_nan()) + usize::from(targets[1] == 0 && !loss.is_nan());
            tally
                .errors
                .count("cross_entropy", &format!("NaN, targets {targets:?}"), lost);
        }
        for at in 0..2 {
            let mut sides = [filled(ops, 2, 2, &[0.5f32; 4])?, filled(ops, 2, 2, &[0.5f32; 4])?];
            ops.upload(&to_real::<O>(&[0.5, f32::NAN]), &mut sides[at], 1)?;
            let (mut errors, mut d_z) = (filled(ops, 1, 2, &[0f32; 2])?, filled(ops, 2, 2, &[0f32; 4])?);
            let (state, mut losses) = (ops.state(start())?, filled(ops, 1, 1, &[0f32])?);
            ops.squared_error(&sides[0], &sides[1], &state, &mut errors, &mut d_z, &mut losses)?;
            let told = [
                values(ops, &errors)?[1],
                values(ops, &d_z)?[3],
                values(ops, &losses)?[0],
            ];
            let lost = told.iter().filter(|v| !v.is_nan()).count();
            let case = format!("NaN in the {}", ["rows made again", "rows"][at]);
            tally.errors.count("squared_error", &case, lost);
        }
        let x = filled(ops, 1, 2, &[1.0, f32::NAN])?;
        let (weight, bias) = (filled(ops, k, 2, &[1f32; 6])?, filled(ops, 1, k, &[0f32; 3])?);
        for relu in [false, true] {
            let mut z = filled(ops, 1, k, &[0.5f32; 3])?;
            ops.linear(&x, &weight, &bias, relu, &mut z)?;
            let lost = values(ops, &z)?.iter().filter(|v| !v.is_nan()).count();
            tally
                .errors
                .count("linear", &format!("NaN in the input, ReLU {relu}"), lost);
        }
    }
    bench.report(&format!("m 1 k {k} d 2, one NaN"), tallies);
    Ok(())
}
