//! One training step on a mini-batch: affinity, forward pass, loss, backward pass, update.

use crate::error::Result;
use crate::model::Model;
use crate::network::{Activations, Network};
use crate::ops::{
    AdamRule, HeatKernel, Layer, LayerUpdate, Objective, Ops, Real, Shape, StepState, TrainedLayer,
};

/// What does not change from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRule {
    /// The affinity between the rows of a mini-batch.
    pub kernel: HeatKernel,
    /// The loss.
    pub objective: Objective,
    /// The optimiser.
    pub adam: AdamRule,
}

/// A network in training, with all the memory that its steps need.
pub struct Step<O: Ops> {
    /// The affinity, the loss and the optimiser.
    pub rule: StepRule,
    /// The parameters.
    pub network: Network<O>,
    /// Adam's first moments, layer by layer.
    pub first_moments: Network<O>,
    /// Adam's second moments.
    pub second_moments: Network<O>,
    /// Gradients of the loss with respect to the parameters.
    pub gradients: Network<O>,
    /// Batch number, step number, learning rate.
    pub state: O::State,
    /// The mini-batch, m x d.
    pub x: O::Matrix,
    /// Its affinity.
    pub affinity: O::Affinity,
    /// Outputs of the layers.
    pub activations: Activations<O>,
    /// Y, m x k.
    pub membership: O::Matrix,
    /// S = A Y, m x k.
    pub contraction: O::Matrix,
    /// D, 1 x m.
    pub degrees: O::Matrix,
    /// v, 1 x k.
    pub volumes: O::Matrix,
    /// (L_lap, L_orth, loss) of each mini-batch of the epoch.
    pub losses: O::Matrix,
    /// Gradients with respect to the outputs of the layers; the last is dL/dZ.
    d_outputs: Vec<O::Matrix>,
    workspace: O::Workspace,
    recording: O::Recording,
}

impl<O: Ops> Step<O> {
    /// Allocates a step for mini-batches of `rows` rows and epochs of `batches` mini-batches; moments start at 0.
    pub fn new(
        ops: &O,
        model: &Model<impl Real>,
        rule: StepRule,
        rows: usize,
        batches: usize,
        state: StepState,
    ) -> Result<Self> {
        let network = Network::new(ops, model)?;
        let k = model.clusters();
        let d_outputs = model
            .layers
            .iter()
            .map(|layer| ops.matrix("the gradients of the activations", rows, layer.outputs))
            .collect::<Result<_>>()?;
        Ok(Step {
            rule,
            first_moments: zeros_like(ops, &network)?,
            second_moments: zeros_like(ops, &network)?,
            gradients: zeros_like(ops, &network)?,
            state: ops.state(state)?,
            x: ops.matrix("a mini-batch", rows, model.inputs())?,
            affinity: ops.affinity(rows, model.inputs(), rule.kernel)?,
            activations: network.activations(ops, rows)?,
            membership: ops.matrix("the memberships", rows, k)?,
            contraction: ops.matrix("the contraction A Y", rows, k)?,
            degrees: ops.matrix("the degrees", 1, rows)?,
            volumes: ops.matrix("the volumes", 1, k)?,
            losses: ops.matrix("the losses of an epoch", batches, 3)?,
            d_outputs,
            workspace: ops.workspace(rows, k)?,
            recording: O::Recording::default(),
            network,
        })
    }

    /// One step on the next mini-batch of `data`.
    pub fn run(&mut self, ops: &O, data: &O::Matrix) -> Result<()> {
        let mut recording = std::mem::take(&mut self.recording);
        let done = ops.step(&mut recording, &mut || {
            ops.gather_rows(data, &self.state, &mut self.x)?;
            self.run_on_batch(ops)?;
            ops.advance(&mut self.state)
        });
        self.recording = recording;
        done
    }

    /// One step on the rows that `x` holds; the state stays.
    pub fn run_on_batch(&mut self, ops: &O) -> Result<()> {
        ops.pairwise(&self.x, &mut self.affinity)?;
        self.network.forward(ops, &self.x, &mut self.activations)?;
        ops.softmax(self.activations.logits(), &mut self.membership)?;
        ops.contract(
            &self.x,
            &self.affinity,
            &self.membership,
            &mut self.contraction,
            &mut self.degrees,
        )?;
        let last = self.d_outputs.len() - 1;
        ops.ncut(
            &self.membership,
            &self.contraction,
            &self.degrees,
            self.rule.objective,
            &self.state,
            &mut self.workspace,
            &mut self.volumes,
            &mut self.d_outputs[last],
            &mut self.losses,
        )?;
        // Gradients of all activations first: they need the weights as they were.
        for i in (1..=last).rev() {
            let (below, d_z) = self.d_outputs.split_at_mut(i);
            ops.linear_backward_data(
                &d_z[0],
                &self.network.layers[i].weight,
                self.activations.hidden(i - 1),
                &mut below[i - 1],
            )?;
        }
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
                        0 => &self.x,
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
        ops.update_layers(self.rule.adam, &self.state, &mut updates)?;
        Ok(())
    }

    /// dL/dZ, m x k.
    pub fn d_logits(&self) -> &O::Matrix {
        &self.d_outputs[self.d_outputs.len() - 1]
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
