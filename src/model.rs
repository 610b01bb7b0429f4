//! The network's parameters on the host: initialisation, and files that PyTorch reads.

use std::collections::BTreeMap;
use std::path::Path;

use crate::data::safetensors;
use crate::error::{Error, Result};
use crate::random::{Purpose, Stream};

/// One fully connected layer in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Length of an input row.
    pub inputs: usize,
    /// Length of an output row.
    pub outputs: usize,
    /// `outputs` x `inputs`, row-major.
    pub weight: Vec<f32>,
    /// `outputs` numbers.
    pub bias: Vec<f32>,
}

/// A multi-layer perceptron: layers with ReLU between them, logits at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// From input to output; never empty.
    pub layers: Vec<Dense>,
}

impl Model {
    /// A fresh network: hidden weights Kaiming uniform (bound `sqrt(6 / inputs)`), output weights Xavier uniform (bound
    /// `sqrt(6 / (inputs + outputs))`), biases 0. Layer `i` reads sub-stream `i` of [`Purpose::Weights`].
    pub fn random(seed: u64, inputs: usize, hidden: &[usize], clusters: usize) -> Self {
        let mut widths = vec![inputs];
        widths.extend(hidden);
        widths.push(clusters);
        let last = widths.len() - 2;
        let layers = (0..=last)
            .map(|i| {
                let (inputs, outputs) = (widths[i], widths[i + 1]);
                let fan = if i == last { inputs + outputs } else { inputs };
                let bound = (6.0 / fan as f64).sqrt();
                let stream = Stream::new(seed, Purpose::Weights, i as u32);
                let weight = (0..inputs * outputs)
                    .map(|at| {
                        let uniform = stream.uniform(at as u64 / 4)[at % 4];
                        (bound * (2.0 * f64::from(uniform) - 1.0)) as f32
                    })
                    .collect();
                Dense {
                    inputs,
                    outputs,
                    weight,
                    bias: vec![0.0; outputs],
                }
            })
            .collect();
        Model { layers }
    }

    /// Length of an input row.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Number of clusters.
    pub fn clusters(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs
    }

    /// Widths of the hidden layers.
    pub fn hidden(&self) -> Vec<usize> {
        self.layers[..self.layers.len() - 1]
            .iter()
            .map(|layer| layer.outputs)
            .collect()
    }

    /// The parameters under the names that `nn.Sequential(Linear, ReLU, Linear, ...)` gives them, `prefix` in front:
    /// `0.weight`, `0.bias`, `2.weight`, ...
    pub fn tensors(&self, prefix: &str) -> Vec<(String, Vec<usize>, &[f32])> {
        let named = |i: usize, layer: &'_ Dense| {
            (
                format!("{prefix}{}.weight", 2 * i),
                vec![layer.outputs, layer.inputs],
            )
        };
        self.layers
            .iter()
            .enumerate()
            .flat_map(|(i, layer)| {
                let (name, shape) = named(i, layer);
                let bias = (
                    format!("{prefix}{}.bias", 2 * i),
                    vec![layer.outputs],
                    &layer.bias[..],
                );
                [(name, shape, &layer.weight[..]), bias]
            })
            .collect()
    }

    /// The inverse of [`tensors`](Self::tensors): takes the parameters with `prefix` out of a file's tensors.
    pub fn from_tensors(
        path: &Path,
        prefix: &str,
        tensors: &BTreeMap<String, safetensors::Tensor>,
    ) -> Result<Self> {
        let bad = |problem: String| {
            Error::file(
                path,
                problem,
                "use the file that `neuncut fit` wrote, or train again",
            )
        };
        let mut layers: Vec<Dense> = Vec::new();
        while let Some(weight) = tensors.get(&format!("{prefix}{}.weight", 2 * layers.len())) {
            let i = layers.len();
            let &[outputs, inputs] = &weight.shape[..] else {
                return Err(bad(format!(
                    "{prefix}{}.weight has {} dimensions, not 2",
                    2 * i,
                    weight.shape.len()
                )));
            };
            let name = format!("{prefix}{}.bias", 2 * i);
            let bias = tensors
                .get(&name)
                .ok_or_else(|| bad(format!("{name} is missing")))?;
            if bias.shape != [outputs] || inputs == 0 || outputs == 0 {
                return Err(bad(format!(
                    "{name} has shape {:?} beside a {outputs} x {inputs} weight",
                    bias.shape
                )));
            }
            if layers.last().is_some_and(|before| before.outputs != inputs) {
                return Err(bad(format!(
                    "layer {i} takes {inputs} numbers, the one before gives another count"
                )));
            }
            if let Some(at) = weight
                .values
                .iter()
                .chain(&bias.values)
                .position(|v| !v.is_finite())
            {
                return Err(bad(format!(
                    "layer {i} holds a number that is not finite (at {at})"
                )));
            }
            let (weight, bias) = (weight.values.clone(), bias.values.clone());
            layers.push(Dense {
                inputs,
                outputs,
                weight,
                bias,
            });
        }
        if layers.is_empty() {
            return Err(bad(format!("there is no tensor named {prefix}0.weight")));
        }
        Ok(Model { layers })
    }
}
