//! Adam: alone over five steps, and with the gradients of all layers in one call.

use super::bench::{Bench, Clock, Outcome, Problem, Shape, absolute, magnitudes, negative, outcome, start};
use super::matrices::{self, filled, poisoned};
use super::random::Random;
use crate::error::Result;
use crate::ops::{AdamRule, Layer, LayerUpdate, Ops, Precision, StepState, TrainedLayer};

/// Five steps, so that the bias corrections are seen to change.
struct Steps {
    gradients: Vec<f32>,
    parameter: Vec<f32>,
    rule: AdamRule,
    first_step: u64,
}

impl Problem for Steps {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let len = self.parameter.len();
        let zeros = vec![0f32; len];
        let mut w = filled(ops, 1, len, &self.parameter)?;
        let (mut first, mut second) = (filled(ops, 1, len, &zeros)?, filled(ops, 1, len, &zeros)?);
        let mut state = ops.state(StepState {
            step: self.first_step,
            ..start()
        })?;
        let mut gradient = poisoned(ops, 1, len)?;
        for values in self.gradients.chunks_exact(len) {
            gradient = filled(ops, 1, len, values)?;
            ops.adam(&gradient, self.rule, &state, &mut w, &mut first, &mut second)?;
            ops.advance(&mut state)?;
        }
        let case = |name: &str| {
            format!(
                "{name} after step {}, decay {}",
                self.first_step, self.rule.weight_decay
            )
        };
        let found = vec![
            outcome("adam", case("parameter"), matrices::outcome(ops, &mut w)?),
            outcome("adam", case("first moment"), matrices::outcome(ops, &mut first)?),
            outcome(
                "adam",
                case("second moment"),
                matrices::outcome(ops, &mut second)?,
            ),
        ];
        clock.time("adam", ops, || {
            ops.adam(&gradient, self.rule, &state, &mut w, &mut first, &mut second)
        })?;
        Ok(found)
    }

    /// Parameters above 0 and gradients below add up.
    fn scales(&self, _: &[Outcome]) -> Result<Vec<f64>> {
        magnitudes(&Steps {
            gradients: negative(&self.gradients),
            parameter: absolute(&self.parameter),
            rule: self.rule,
            first_step: self.first_step,
        })
    }

    fn plain(&self, _: Precision) -> Precision {
        Precision::Fp32
    }
}

/// One layer of [`Updates`], all arrays row-major.
struct Trained {
    inputs: usize,
    outputs: usize,
    x: Vec<f32>,
    d_z: Vec<f32>,
    /// Weight and bias: parameters, first moments, second moments.
    weight: [Vec<f32>; 3],
    bias: [Vec<f32>; 3],
}

impl Trained {
    /// A layer in the middle of its training. With moments of 0, as in the first step, Adam goes by the gradients' signs
    /// alone, and rounding decides those of the smallest.
    fn random(random: &Random, m: usize, inputs: usize, outputs: usize) -> Self {
        let mut x = random.normals(m * inputs, 1.0);
        x.iter_mut().for_each(|v| *v = v.max(0.0));
        let trained = |len: usize| {
            let second = random.normals(len, 1.0).into_iter().map(|v| v * v + 0.1);
            [
                random.normals(len, 0.1),
                random.normals(len, 1.0),
                second.collect(),
            ]
        };
        Trained {
            inputs,
            outputs,
            x,
            d_z: random.normals(m * outputs, 1.0),
            weight: trained(inputs * outputs),
            bias: trained(outputs),
        }
    }
}

/// The update of three layers in one call.
struct Updates {
    rows: usize,
    layers: Vec<Trained>,
    rule: AdamRule,
}

impl Problem for Updates {
    fn solve<O: Ops>(&self, ops: &O, clock: &mut Clock) -> Result<Vec<Outcome>> {
        let m = self.rows;
        let state = ops.state(StepState { step: 99, ..start() })?;
        let layer = |trained: &Trained, at: usize| -> Result<Layer<O::Matrix>> {
            Ok(Layer {
                weight: filled(ops, trained.outputs, trained.inputs, &trained.weight[at])?,
                bias: filled(ops, 1, trained.outputs, &trained.bias[at])?,
            })
        };
        let mut inputs = Vec::new();
        let mut trained = Vec::new();
        for layer_of in &self.layers {
            inputs.push([
                filled(ops, m, layer_of.outputs, &layer_of.d_z)?,
                filled(ops, m, layer_of.inputs, &layer_of.x)?,
            ]);
            trained.push([
                layer(layer_of, 0)?,
                layer(layer_of, 1)?,
                layer(layer_of, 2)?,
                Layer {
                    weight: poisoned(ops, layer_of.outputs, layer_of.inputs)?,
                    bias: poisoned(ops, 1, layer_of.outputs)?,
                },
            ]);
        }
        let update = |trained: &mut Vec<[Layer<O::Matrix>; 4]>| {
            let mut updates: Vec<_> = inputs
                .iter()
                .zip(trained)
                .map(
                    |([d_z, x], [parameters, first_moments, second_moments, gradients])| LayerUpdate {
                        d_z,
                        x,
                        gradients,
                        training: TrainedLayer {
                            parameters,
                            first_moments,
                            second_moments,
                        },
                    },
                )
                .collect();
            ops.update_layers(self.rule, &state, &mut updates)
        };
        update(&mut trained)?;
        let mut found = Vec::new();
        for (i, layer) in trained.iter_mut().enumerate() {
            for (name, layer) in ["parameters", "first moments", "second moments", "gradients"]
                .into_iter()
                .zip(layer)
            {
                for (part, matrix) in [("weight", &mut layer.weight), ("bias", &mut layer.bias)] {
                    found.push(outcome(
                        "update_layers",
                        format!("{name} of {part} {i}"),
                        matrices::outcome(ops, matrix)?,
                    ));
                }
            }
        }
        clock.time("update_layers", ops, || update(&mut trained))?;
        Ok(found)
    }

    /// As in [`Steps`].
    fn scales(&self, _: &[Outcome]) -> Result<Vec<f64>> {
        let adding = |[parameters, first, second]: &[Vec<f32>; 3]| {
            [absolute(parameters), negative(first), second.clone()]
        };
        let layers = self.layers.iter().map(|layer| Trained {
            inputs: layer.inputs,
            outputs: layer.outputs,
            x: layer.x.clone(),
            d_z: negative(&layer.d_z),
            weight: adding(&layer.weight),
            bias: adding(&layer.bias),
        });
        magnitudes(&Updates {
            rows: self.rows,
            layers: layers.collect(),
            rule: self.rule,
        })
    }

    fn may_be_unwritten(&self, outcome: &Outcome) -> bool {
        outcome.case.starts_with("gradients")
    }
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for len in [1, 7, 1021, 20_000] {
        let mut tallies = bench.tallies();
        for first_step in [0, 999, 1_000_000] {
            // Few parameters show how far plain loops err only over many draws.
            let more = std::iter::repeat_n(false, 4000 / len);
            for solved in bench.draws(len).chain(more) {
                let random = &bench.random;
                // Gradients of all magnitudes, down to those whose squares are no f32 numbers.
                let gradients: Vec<f32> = (0..5 * len)
                    .map(|_| (random.normal() * 10f64.powi(-(random.below(30) as i32))) as f32)
                    .collect();
                let parameter = random.normals(len, 0.1);
                for decay in [0.0, 1e-4] {
                    let problem = Steps {
                        gradients: gradients.clone(),
                        parameter: parameter.clone(),
                        rule: AdamRule::new(decay),
                        first_step,
                    };
                    bench.mirror(&problem, solved, &mut tallies)?;
                }
            }
        }
        bench.report(&format!("{len} parameters"), tallies);
    }
    let work = |(m, k, d): Shape| m * k * (d + 10);
    for (m, k, d) in bench.shapes(work) {
        let mut tallies = bench.tallies();
        for solved in bench.draws(work((m, k, d))) {
            let layers = [(d, k), (k, 10), (10, 3)];
            let problem = Updates {
                rows: m,
                layers: layers
                    .into_iter()
                    .map(|(inputs, outputs)| Trained::random(&bench.random, m, inputs, outputs))
                    .collect(),
                rule: AdamRule::new(1e-4),
            };
            bench.mirror(&problem, solved, &mut tallies)?;
        }
        bench.report(&format!("m {m}, {d} -> {k} -> 10 -> 3"), tallies);
    }
    Ok(())
}
