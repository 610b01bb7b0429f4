//! The network's parameters on the host: initialisation, and files that PyTorch reads.

use std::collections::BTreeMap;
use std::path::Path;

use crate::data::safetensors;
use crate::error::{Error, Result};
use crate::ops::Real;
use crate::random::{Purpose, Stream};

/// One fully connected layer in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense<T = f32> {
    /// Length of an input row.
    pub inputs: usize,
    /// Length of an output row.
    pub outputs: usize,
    /// `outputs` x `inputs`, row-major.
    pub weight: Vec<T>,
    /// `outputs` numbers.
    pub bias: Vec<T>,
}

/// A multi-layer perceptron: layers with ReLU between them, logits at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Model<T = f32> {
    /// From input to output; never empty.
    pub layers: Vec<Dense<T>>,
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
}

impl<T: Real> Model<T> {
    /// The same parameters, rounded to another precision.
    pub fn cast<U: Real>(&self) -> Model<U> {
        let cast = |values: &[T]| values.iter().map(|v| U::of(v.to_f64())).collect();
        let layers = self.layers.iter().map(|layer| Dense {
            inputs: layer.inputs,
            outputs: layer.outputs,
            weight: cast(&layer.weight),
            bias: cast(&layer.bias),
        });
        Model {
            layers: layers.collect(),
        }
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

    /// Whether no parameter is infinite or NaN.
    pub fn is_finite(&self) -> bool {
        let finite = |values: &[T]| values.iter().all(|v| v.to_f64().is_finite());
        self.layers
            .iter()
            .all(|layer| finite(&layer.weight) && finite(&layer.bias))
    }

    /// The parameters under the names that `nn.Sequential(Linear, ReLU, Linear, ...)` gives them, `prefix` in front:
    /// `0.weight`, `0.bias`, `2.weight`, ...
    pub fn tensors(&self, prefix: &str) -> Vec<(String, Vec<usize>, &[T])> {
        let named = |i: usize, layer: &'_ Dense<T>| {
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
        tensors: &BTreeMap<String, safetensors::Tensor<T>>,
    ) -> Result<Self> {
        let bad = |problem: String| {
            Error::file(
                path,
                problem,
                "use the file that `neuncut fit` wrote, or train again",
            )
        };
        let mut layers: Vec<Dense<T>> = Vec::new();
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
                .position(|v| !v.to_f64().is_finite())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], value: f32) -> safetensors::Tensor {
        safetensors::Tensor {
            shape: shape.to_vec(),
            values: vec![value; shape.iter().product()],
        }
    }

    fn stored(model: &Model, prefix: &str) -> BTreeMap<String, safetensors::Tensor> {
        let tensors = model.tensors(prefix).into_iter();
        tensors
            .map(|(name, shape, values)| {
                let values = values.to_vec();
                (name, safetensors::Tensor { shape, values })
            })
            .collect()
    }

    #[test]
    fn initial_weights_fill_their_bounds_evenly() {
        let seed = rand::random();
        println!("seed {seed}");
        let model = Model::random(seed, 300, &[200, 100], 50);
        assert_eq!(
            (model.inputs(), model.hidden(), model.clusters()),
            (300, vec![200, 100], 50)
        );
        let fans = [300.0, 200.0, 150.0];
        for (layer, fan) in model.layers.iter().zip(fans) {
            let bound = (6.0f64 / fan).sqrt();
            assert!(layer.bias.iter().all(|&b| b == 0.0));
            assert_eq!(layer.weight.len(), layer.inputs * layer.outputs);
            let n = layer.weight.len() as f64;
            let moment = |power: i32| {
                layer
                    .weight
                    .iter()
                    .map(|&w| (f64::from(w) / bound).powi(power))
                    .sum::<f64>()
                    / n
            };
            // A uniform number in [-1, 1): mean 0, variance 1/3, fourth moment 1/5. Six standard errors.
            assert!(
                moment(1).abs() < 6.0 * (1.0 / 3.0 / n).sqrt(),
                "mean {}",
                moment(1)
            );
            assert!(
                (moment(2) - 1.0 / 3.0).abs() < 6.0 * ((1.0 / 5.0 - 1.0 / 9.0) / n).sqrt(),
                "square {}",
                moment(2)
            );
            let largest = layer.weight.iter().fold(0.0, |most: f32, w| most.max(w.abs()));
            assert!(
                f64::from(largest) <= bound * (1.0 + 1e-6) && f64::from(largest) > 0.99 * bound,
                "{largest}, {bound}"
            );
        }
        assert_eq!(model, Model::random(seed, 300, &[200, 100], 50), "the same seed");
        assert_ne!(
            model.layers[0],
            Model::random(seed ^ 1, 300, &[200, 100], 50).layers[0],
            "another seed"
        );
        // Layers of equal shape draw from streams of their own.
        let square = Model::random(seed, 20, &[20, 20], 20);
        assert_ne!(square.layers[0].weight, square.layers[1].weight);
    }

    #[test]
    fn parameters_bear_the_names_that_pytorch_gives_them() {
        let model = Model::random(1, 4, &[3, 2], 5);
        let names: Vec<(String, Vec<usize>)> = model
            .tensors("m.")
            .into_iter()
            .map(|(name, shape, _)| (name, shape))
            .collect();
        let expected = [
            ("m.0.weight", vec![3, 4]),
            ("m.0.bias", vec![3]),
            ("m.2.weight", vec![2, 3]),
            ("m.2.bias", vec![2]),
            ("m.4.weight", vec![5, 2]),
            ("m.4.bias", vec![5]),
        ];
        assert_eq!(names, expected.map(|(name, shape)| (name.to_string(), shape)));
        for hidden in [&[][..], &[3], &[3, 2]] {
            let model = Model::random(2, 4, hidden, 5);
            let back =
                Model::from_tensors(Path::new("x"), "v.", &stored(&model, "v.")).expect("what was stored");
            assert_eq!(back, model);
        }
    }

    #[test]
    fn tensors_that_are_no_network_are_refused_in_one_line() {
        let good = Model::random(1, 4, &[3], 2);
        let changed = |name: &str, tensor: Option<safetensors::Tensor>| {
            let mut tensors = stored(&good, "");
            match tensor {
                Some(tensor) => tensors.insert(name.to_string(), tensor),
                None => tensors.remove(name),
            };
            tensors
        };
        let cases = [
            (changed("0.weight", None), "no tensor named 0.weight"),
            (changed("2.bias", None), "2.bias is missing"),
            (
                changed("0.weight", Some(tensor(&[12], 0.0))),
                "0.weight has 1 dimensions",
            ),
            (changed("0.bias", Some(tensor(&[4], 0.0))), "0.bias has shape [4]"),
            (
                changed("2.weight", Some(tensor(&[2, 5], 0.0))),
                "layer 1 takes 5 numbers",
            ),
            (changed("2.weight", Some(tensor(&[2, 0], 0.0))), "2 x 0 weight"),
            (
                changed("2.weight", Some(tensor(&[2, 3], f32::NAN))),
                "layer 1 holds a number that is not finite",
            ),
            (
                changed("0.bias", Some(tensor(&[3], f32::INFINITY))),
                "layer 0 holds a number that is not finite",
            ),
        ];
        for (tensors, expected) in cases {
            let message = Model::from_tensors(Path::new("model.safetensors"), "", &tensors)
                .expect_err(expected)
                .to_string();
            assert!(
                message.starts_with("model.safetensors: ") && message.contains(expected),
                "{message}"
            );
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_model_with_one_nan_is_not_finite() {
        let mut model = Model::random(1, 4, &[3], 2);
        assert!(model.is_finite());
        model.layers[1].bias[1] = f32::NAN;
        assert!(!model.is_finite());
        model.layers[1].bias[1] = 0.0;
        model.layers[0].weight[5] = f32::NEG_INFINITY;
        assert!(!model.is_finite());
    }
}
