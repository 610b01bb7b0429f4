//! The network in a backend's memory, and its forward pass.

use crate::error::Result;
use crate::model::{Dense, Model};
use crate::ops::{Layer, Ops, Real, Shape, StepState};

/// A multi-layer perceptron in a backend's memory.
pub struct Network<O: Ops> {
    /// From input to output.
    pub layers: Vec<Layer<O::Matrix>>,
}

impl<O: Ops> Network<O> {
    /// Uploads a model.
    pub fn new(ops: &O, model: &Model<impl Real>) -> Result<Self> {
        let layers = model.layers.iter().map(|dense| {
            Ok(Layer {
                weight: ops.operand("the network's weights", dense.outputs, dense.inputs)?,
                bias: ops.matrix("the network's biases", 1, dense.outputs)?,
            })
        });
        let mut network = Network {
            layers: layers.collect::<Result<_>>()?,
        };
        network.upload(ops, model)?;
        Ok(network)
    }

    /// Replaces the parameters by those of a model of the same shape.
    pub fn upload(&mut self, ops: &O, model: &Model<impl Real>) -> Result<()> {
        for (layer, dense) in self.layers.iter_mut().zip(&model.layers) {
            ops.upload(&to_real::<O>(&dense.weight), &mut layer.weight, 0)?;
            ops.upload(&to_real::<O>(&dense.bias), &mut layer.bias, 0)?;
        }
        Ok(())
    }

    /// Downloads the parameters.
    pub fn to_model(&self, ops: &O) -> Result<Model<O::Real>> {
        let layers = self.layers.iter().map(|layer| {
            Ok(Dense {
                inputs: layer.weight.cols(),
                outputs: layer.weight.rows(),
                weight: download(ops, &layer.weight)?,
                bias: download(ops, &layer.bias)?,
            })
        });
        Ok(Model {
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// Room for the outputs of all layers for up to `rows` rows.
    pub fn activations(&self, ops: &O, rows: usize) -> Result<Activations<O>> {
        self.outputs(&|outputs| ops.matrix("the network's activations", rows, outputs))
    }

    /// The same for training, in which they are operands of products of several kinds.
    pub fn activations_in_training(&self, ops: &O, rows: usize) -> Result<Activations<O>> {
        self.outputs(&|outputs| ops.operand("the network's activations", rows, outputs))
    }

    fn outputs(&self, matrix: &dyn Fn(usize) -> Result<O::Matrix>) -> Result<Activations<O>> {
        let outputs = self.layers.iter().map(|layer| matrix(layer.weight.rows()));
        Ok(Activations {
            outputs: outputs.collect::<Result<_>>()?,
        })
    }

    /// `X -> ReLU(X W' + b) -> ... -> logits`.
    pub fn forward(&self, ops: &O, x: &O::Matrix, to: &mut Activations<O>) -> Result<()> {
        ops.forward(x, &self.layers, &mut to.outputs)
    }

    /// The column of each row's largest logit, into the labels from `first` on. `activations` are room, and may stay as they were.
    pub fn infer(
        &self,
        ops: &O,
        x: &O::Matrix,
        activations: &mut Activations<O>,
        labels: &mut O::Labels,
        first: usize,
    ) -> Result<()> {
        ops.infer(x, &self.layers, &mut activations.outputs, labels, first)
    }
}

/// Outputs of all layers for one batch of rows.
pub struct Activations<O: Ops> {
    outputs: Vec<O::Matrix>,
}

impl<O: Ops> Activations<O> {
    /// The last layer's outputs, rows x k.
    pub fn logits(&self) -> &O::Matrix {
        &self.outputs[self.outputs.len() - 1]
    }

    /// The same, to be worked on.
    pub fn logits_mut(&mut self) -> &mut O::Matrix {
        let last = self.outputs.len() - 1;
        &mut self.outputs[last]
    }

    /// The output of hidden layer `i`, which is the input of layer `i + 1`.
    pub fn hidden(&self, i: usize) -> &O::Matrix {
        &self.outputs[i]
    }
}

/// The given rows of `data`, in the given order.
pub fn gathered<O: Ops>(ops: &O, what: &str, data: &O::Matrix, rows: &[u32]) -> Result<O::Matrix> {
    let mut order = ops.labels(what, rows.len())?;
    ops.upload_labels(rows, &mut order)?;
    let mut to = ops.matrix(what, rows.len(), data.cols())?;
    ops.gather_rows(data, &order, &ops.state(StepState::default())?, &mut to)?;
    Ok(to)
}

/// The same, as [training rows](Ops::training_rows) of their own, which may be too many for the backend's memory.
pub fn gathered_training_rows<O: Ops>(
    ops: &O,
    what: &str,
    data: &O::Matrix,
    rows: &[u32],
) -> Result<O::Matrix> {
    /// Rows on their way at a time.
    const CHUNK: usize = 4096;
    let mut to = ops.training_rows(rows.len(), data.cols())?;
    for (i, rows) in rows.chunks(CHUNK).enumerate() {
        let chunk = gathered(ops, what, data, rows)?;
        ops.upload(&download(ops, &chunk)?, &mut to, i * CHUNK)?;
    }
    Ok(to)
}

/// Host numbers in a backend's precision.
pub fn to_real<O: Ops>(values: &[impl Real]) -> Vec<O::Real> {
    values.iter().map(|v| O::Real::of(v.to_f64())).collect()
}

/// A backend's matrix, in its precision.
pub fn download<O: Ops>(ops: &O, matrix: &O::Matrix) -> Result<Vec<O::Real>> {
    let mut values = vec![O::Real::ZERO; matrix.rows() * matrix.cols()];
    ops.download(matrix, &mut values)?;
    Ok(values)
}

/// A backend's matrix as host numbers.
pub fn to_host<O: Ops>(ops: &O, matrix: &O::Matrix) -> Result<Vec<f32>> {
    Ok(of_real(download(ops, matrix)?))
}

/// A backend's numbers as host numbers.
pub fn of_real(values: Vec<impl Real>) -> Vec<f32> {
    values.into_iter().map(|v| v.to_f64() as f32).collect()
}
