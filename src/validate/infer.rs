//! Labels of rows that go through all layers of a network.

use super::bench::{Bench, Clock, absolute};
use super::errors::{FLOOR, distance, largest};
use super::matrices::{filled, mistakes, poisoned, values};
use super::random::Random;
use crate::cpu::Reference;
use crate::error::Result;
use crate::ops::{Layer, Ops, Precision};

/// Rows, columns, hidden layers, clusters: from one layer to nine, and to rows and hidden layers wider than a GPU takes through in one pass.
const SHAPES: [(usize, usize, &[usize], usize); 11] = [
    (1, 1, &[], 2),
    (7, 769, &[33], 10),
    (70, 767, &[130, 512], 10),
    (33, 5, &[], 1000),
    (97, 70, &[129, 65], 3),
    (1021, 5, &[20, 16], 10),
    (70, 9, &[40, 3], 257),
    (40, 100, &[512, 512], 10),
    (33, 40, &[513], 7),
    (65, 12, &[16, 17, 18, 19, 20, 21, 22], 5),
    (10, 3, &[5, 5, 5, 5, 5, 5, 5, 5], 4),
];

/// Labels before the first that is written, and behind the last; what they are, and all that are not written.
const SPARE: usize = 2;
const UNTOUCHED: u32 = u32::MAX;

/// Rows and a network.
struct Problem {
    m: usize,
    /// Numbers of a row, then outputs of each layer.
    widths: Vec<usize>,
    x: Vec<f32>,
    weights: Vec<Vec<f32>>,
    biases: Vec<Vec<f32>>,
}

impl Problem {
    /// Weights that keep the size of rows from layer to layer. Logits come in pairs that lie apart by anything from their own size down to
    /// nothing, so that any error, however small, turns the order of some.
    fn new(random: &Random, m: usize, widths: &[usize]) -> Self {
        let sizes = || widths.iter().zip(&widths[1..]);
        let weight = |(&inputs, &outputs): (&usize, &usize)| {
            random.normals(inputs * outputs, (2.0 / inputs as f64).sqrt())
        };
        let mut weights: Vec<Vec<f32>> = sizes().map(weight).collect();
        let mut biases: Vec<Vec<f32>> = sizes()
            .map(|(_, &outputs)| random.normals(outputs, 0.1))
            .collect();
        let (last, inputs) = (weights.len() - 1, widths[weights.len() - 1]);
        for pair in weights[last].chunks_exact_mut(2 * inputs) {
            let (first, second) = pair.split_at_mut(inputs);
            let apart = 0.5f32.powi(random.below(26) as i32);
            for (second, first) in second.iter_mut().zip(first) {
                *second = *first + apart * *second;
            }
        }
        for pair in biases[last].chunks_exact_mut(2) {
            pair[1] = pair[0];
        }
        Problem {
            m,
            widths: widths.to_vec(),
            x: random.normals(m * widths[0], 1.0),
            weights,
            biases,
        }
    }

    /// Multiplications.
    fn work(m: usize, widths: &[usize]) -> usize {
        let layers = widths.iter().zip(&widths[1..]);
        m * layers.map(|(inputs, outputs)| inputs * outputs).sum::<usize>()
    }

    /// The network on a backend.
    fn layers<O: Ops>(&self, ops: &O) -> Result<Vec<Layer<O::Matrix>>> {
        let parameters = self.weights.iter().zip(&self.biases);
        parameters
            .zip(&self.widths)
            .map(|((weight, bias), &inputs)| {
                Ok(Layer {
                    weight: filled(ops, bias.len(), inputs, weight)?,
                    bias: filled(ops, 1, bias.len(), bias)?,
                })
            })
            .collect()
    }

    /// Room for the outputs of all layers.
    fn room<O: Ops>(&self, ops: &O) -> Result<Vec<O::Matrix>> {
        let widths = self.widths[1..].iter();
        widths.map(|&width| poisoned(ops, self.m, width)).collect()
    }

    /// What the layers put out, the logits last.
    fn outputs<O: Ops>(&self, ops: &O) -> Result<Vec<O::Matrix>> {
        let x = filled(ops, self.m, self.widths[0], &self.x)?;
        let mut outputs = self.room(ops)?;
        ops.forward(&x, &self.layers(ops)?, &mut outputs)?;
        Ok(outputs)
    }

    fn logits<O: Ops>(&self, ops: &O) -> Result<Vec<f64>> {
        values(ops, &self.outputs(ops)?[self.weights.len() - 1])
    }

    /// The labels layer by layer.
    fn by_layers<O: Ops>(&self, ops: &O) -> Result<Vec<u32>> {
        let mut labels = ops.labels("the labels of a check", self.m)?;
        ops.argmax(&self.outputs(ops)?[self.weights.len() - 1], &mut labels, 0)?;
        let mut found = vec![UNTOUCHED; self.m];
        ops.download_labels(&labels, &mut found)?;
        Ok(found)
    }

    /// The labels in one go, and how many others were touched.
    fn infer<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<(Vec<u32>, usize)> {
        let len = self.m + 2 * SPARE;
        let x = filled(ops, self.m, self.widths[0], &self.x)?;
        let (layers, mut room) = (self.layers(ops)?, self.room(ops)?);
        let mut labels = ops.labels("the labels of a check", len)?;
        ops.upload_labels(&vec![UNTOUCHED; len], &mut labels)?;
        ops.infer(&x, &layers, &mut room, &mut labels, SPARE)?;
        let mut found = vec![0; len];
        ops.download_labels(&labels, &mut found)?;
        clock.time("infer", ops, || {
            ops.infer(&x, &layers, &mut room, &mut labels, SPARE)
        })?;
        let behind = found.split_off(SPARE + self.m);
        let own = found.split_off(SPARE);
        let others = found.iter().chain(&behind);
        Ok((own, others.filter(|&&label| label != UNTOUCHED).count()))
    }

    /// The size of the terms of the layers' sums, all layers together: an error of one keeps its size through the next, as rows do.
    fn scale(&self) -> Result<f64> {
        let ops = &Reference::<f64>::new();
        let mut scale = 0.0;
        let mut inputs: Vec<f64> = self.x.iter().map(|&v| f64::from(v).abs()).collect();
        for (i, outputs) in self.outputs(ops)?.into_iter().enumerate() {
            let (weight, bias) = (absolute(&self.weights[i]), absolute(&self.biases[i]));
            let (from, to) = (self.widths[i], self.widths[i + 1]);
            let x = filled(ops, self.m, from, &inputs)?;
            let (weight, bias) = (filled(ops, to, from, &weight)?, filled(ops, 1, to, &bias)?);
            let mut terms = poisoned(ops, self.m, to)?;
            ops.linear(&x, &weight, &bias, false, &mut terms)?;
            scale += largest(&terms);
            inputs = outputs.to_vec();
        }
        Ok(scale)
    }

    /// By how much, at most, a logit that was chosen is smaller than the largest of its row; infinite where there is no such logit.
    fn regret(&self, logits: &[f64], labels: &[u32]) -> f64 {
        let rows = logits.chunks_exact(logits.len() / self.m).zip(labels);
        rows.fold(0.0, |worst, (row, &label)| {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let chosen = row
                .get(label as usize)
                .map_or(f64::INFINITY, |logit| most - logit);
            worst.max(chosen)
        })
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, d, hidden, k) in SHAPES {
        let widths: Vec<usize> = [d].iter().chain(hidden).chain(&[k]).copied().collect();
        let work = Problem::work(m, &widths);
        if !bench.fits(work) {
            continue;
        }
        let mut tallies = bench.tallies();
        for solved in bench.draws(work) {
            let problem = Problem::new(&bench.random, m, &widths);
            let (exact, scale) = (problem.logits(&Reference::<f64>::new())?, problem.scale()?);
            let mut plains: Vec<(Precision, f64)> = Vec::new();
            for (&(ops, precision), tally) in bench.backends.iter().zip(&mut tallies) {
                let known = plains.iter().find(|(known, _)| *known == precision);
                let plain = match known {
                    Some(&(_, plain)) => plain,
                    None => {
                        let rounded = problem.logits(&Reference::rounding(precision))?;
                        let plain = distance(&rounded, &exact) / scale;
                        plains.push((precision, plain));
                        plain
                    }
                };
                if !solved {
                    tally.errors.worst("infer", "labels", 0.0, plain, FLOOR);
                    continue;
                }
                let (found, touched) = problem.infer(ops, &mut tally.clock)?;
                // Each of two logits may err as much as the rule allows one.
                let error = problem.regret(&exact, &found) / 2.0 / scale;
                tally.errors.worst("infer", "labels", error, plain, FLOOR);
                let other = mistakes(&found, &problem.by_layers(ops)?);
                tally
                    .errors
                    .count("infer", "labels other than layer by layer", other);
                tally.errors.count("infer", "labels of others", touched);
            }
        }
        bench.report(&format!("m {m} d {d} hidden {hidden:?} k {k}"), tallies);
    }
    not_a_number(bench)
}

/// A NaN, or an infinite number, among the rows, the weights and the biases: labels are those of layer by layer, and 0 where the first
/// logit is no number.
fn not_a_number<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    let (m, widths) = (40, [7, 9, 150]);
    let mut tallies = bench.tallies();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in ["a row", "a hidden unit", "logit 0", "logit 1", "logit 140"] {
            let mut problem = Problem::new(&bench.random, m, &widths);
            match place {
                "a row" => problem.x[3 * 7 + 2] = value,
                "a hidden unit" => problem.weights[0][4] = value,
                "logit 0" => problem.biases[1][0] = value,
                "logit 1" => problem.biases[1][1] = value,
                _ => problem.biases[1][140] = value,
            }
            for (&(ops, _), tally) in bench.backends.iter().zip(&mut tallies) {
                let (found, touched) = problem.infer(ops, &mut Clock::default())?;
                let mut wrong = touched + mistakes(&found, &problem.by_layers(ops)?);
                if value.is_nan() {
                    wrong += match place {
                        "a row" => usize::from(found[3] != 0),
                        "a hidden unit" | "logit 0" => mistakes(&found, &vec![0; m]),
                        "logit 1" => found.iter().filter(|&&label| label == 1).count(),
                        _ => found.iter().filter(|&&label| label == 140).count(),
                    };
                }
                tally.errors.count("infer", &format!("{value} in {place}"), wrong);
            }
        }
    }
    bench.report(&format!("m {m} d 7 hidden [9] k 150, no numbers"), tallies);
    Ok(())
}
