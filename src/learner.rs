//! A network that learns: forward pass, backward pass and update, whatever the loss at its end.

use std::f64::consts::PI;

use crate::error::Result;
use crate::model::Model;
use crate::network::{Activations, Network};
use crate::ops::{AdamRule, Layer, LayerUpdate, Ops, Real, Shape, TrainedLayer};

/// The share of the largest learning rate that is left in an epoch, `(1 + cos(pi e / E)) / 2`.
pub fn annealed(epoch: usize, epochs: usize) -> f64 {
    (1.0 + (PI * epoch as f64 / epochs as f64).cos()) / 2.0
}

/// A network with all the memory that its training needs, for mini-batches of one size.
pub struct Learner<O: Ops> {
    /// The parameters.
    pub network: Network<O>,
    /// Adam's first moments, layer by layer.
    pub first_moments: Network<O>,
    /// Adam's second moments.
    pub second_moments: Network<O>,
    /// Gradients of the loss with respect to the parameters.
    pub gradients: Network<O>,
    /// Outputs of the layers.
    pub activations: Activations<O>,
    /// Gradients with respect to the outputs of the layers.
    d_outputs: Vec<O::Matrix>,
}

impl<O: Ops> Learner<O> {
    /// Allocates a network for mini-batches of `rows` rows; moments start at 0.
    pub fn new(ops: &O, model: &Model<impl Real>, rows: usize) -> Result<Self> {
        let network = Network::new(ops, model)?;
        let d_outputs = model
            .layers
            .iter()
            .map(|layer| ops.operand("the gradients of the activations", rows, layer.outputs))
            .collect::<Result<_>>()?;
        Ok(Learner {
            first_moments: zeros_like(ops, &network)?,
            second_moments: zeros_like(ops, &network)?,
            gradients: zeros_like(ops, &network)?,
            activations: network.activations_in_training(ops, rows)?,
            d_outputs,
            network,
        })
    }

    /// The outputs of the last layer for the rows of `x`.
    pub fn forward(&mut self, ops: &O, x: &O::Matrix) -> Result<&O::Matrix> {
        self.network.forward(ops, x, &mut self.activations)?;
        Ok(self.activations.logits())
    }

    /// Gradient of the loss with respect to the outputs of the last layer.
    pub fn d_logits(&self) -> &O::Matrix {
        &self.d_outputs[self.d_outputs.len() - 1]
    }

    /// The outputs of the last layer, and where the loss puts its gradient with respect to them.
    pub fn at_loss(&mut self) -> (&O::Matrix, &mut O::Matrix) {
        let last = self.d_outputs.len() - 1;
        (self.activations.logits(), &mut self.d_outputs[last])
    }

    /// From the gradient at the last layer to those at all layers.
    pub fn backward(&mut self, ops: &O) -> Result<()> {
        for i in (1..self.d_outputs.len()).rev() {
            let (below, d_z) = self.d_outputs.split_at_mut(i);
            ops.linear_backward_data(
                &d_z[0],
                &self.network.layers[i].weight,
                self.activations.hidden(i - 1),
                &mut below[i - 1],
            )?;
        }
        Ok(())
    }

    /// From the gradient at the first layer to that with respect to the inputs, which no ReLU made: `dX = dZ W`.
    pub fn backward_to_inputs(&self, ops: &O, d_x: &mut O::Matrix) -> Result<()> {
        ops.combine(&self.d_outputs[0], &self.network.layers[0].weight, 0.0, d_x)
    }

    /// Gradients of all parameters, and the optimiser's step on them. After all of the backward pass, which needs the weights as
    /// they were.
    pub fn update(&mut self, ops: &O, rule: AdamRule, x: &O::Matrix, state: &O::State) -> Result<()> {
        let parameters = self.network.layers.iter_mut();
        let moments = self
            .first_moments
            .layers
            .iter_mut()
            .zip(&mut self.second_moments.layers);
        let mut updates: Vec<_> = parameters
            .zip(moments)
            .zip(&mut self.gradients.layers)
            .enumerate()
            .map(
                |(i, ((parameters, (first_moments, second_moments)), gradients))| LayerUpdate {
                    d_z: &self.d_outputs[i],
                    x: match i {
                        0 => x,
                        _ => self.activations.hidden(i - 1),
                    },
                    gradients,
                    training: TrainedLayer {
                        parameters,
                        first_moments,
                        second_moments,
                    },
                },
            )
            .collect();
        ops.update_layers(rule, state, &mut updates)
    }
}

fn zeros_like<O: Ops>(ops: &O, network: &Network<O>) -> Result<Network<O>> {
    let layers = network.layers.iter().map(|layer| {
        Ok(Layer {
            weight: ops.matrix("the optimiser's state", layer.weight.rows(), layer.weight.cols())?,
            bias: ops.matrix("the optimiser's state", 1, layer.bias.cols())?,
        })
    });
    Ok(Network {
        layers: layers.collect::<Result<_>>()?,
    })
}
