//! One training step of an auto-encoder on a mini-batch: code, rows made again from it, squared error, backward pass, update.

use crate::error::Result;
use crate::learner::Learner;
use crate::model::Model;
use crate::ops::{AdamRule, Ops, Real, Shape, StepState};

/// An encoder and a decoder in training, with all the memory that their steps need.
pub struct AutoencoderStep<O: Ops> {
    /// From rows to codes.
    pub encoder: Learner<O>,
    /// From codes to rows.
    pub decoder: Learner<O>,
    /// Batch number, step number, learning rate.
    pub state: O::State,
    /// The rows of the epoch's mini-batches, one after the other.
    pub order: O::Labels,
    /// The mini-batch, m x d.
    pub x: O::Matrix,
    /// `|z_i - x_i|^2`, 1 x m, z the rows made again.
    pub errors: O::Matrix,
    /// The mean squared error of each mini-batch of the epoch.
    pub losses: O::Matrix,
    recording: O::Recording,
}

impl<O: Ops> AutoencoderStep<O> {
    /// Allocates steps on mini-batches of `rows` rows, `batches` an epoch.
    pub fn new(
        ops: &O,
        [encoder, decoder]: [&Model<impl Real>; 2],
        rows: usize,
        batches: usize,
        state: StepState,
    ) -> Result<Self> {
        Ok(AutoencoderStep {
            encoder: Learner::new(ops, encoder, rows)?,
            decoder: Learner::new(ops, decoder, rows)?,
            state: ops.state(state)?,
            order: ops.labels("the order of an epoch", rows * batches)?,
            x: ops.operand("a mini-batch", rows, encoder.inputs())?,
            errors: ops.matrix("the errors of a mini-batch", 1, rows)?,
            losses: ops.matrix("the losses of an epoch", batches, 1)?,
            recording: Default::default(),
        })
    }

    /// One step on the next mini-batch of `data`.
    pub fn run(&mut self, ops: &O, data: &O::Matrix) -> Result<()> {
        let mut recording = std::mem::take(&mut self.recording);
        let done = ops.step(&mut recording, &mut || {
            ops.gather_rows(data, &self.order, &self.state, &mut self.x)?;
            self.run_on_batch(ops)?;
            ops.advance(&mut self.state)
        });
        self.recording = recording;
        done
    }

    /// One step on the rows that `x` holds; the state stays.
    pub fn run_on_batch(&mut self, ops: &O) -> Result<()> {
        self.measure(ops)?;
        self.decoder.backward(ops)?;
        // Nothing was clipped between the two networks.
        self.decoder.backward_to_inputs(ops, self.encoder.at_loss().1)?;
        self.encoder.backward(ops)?;
        let rule = AdamRule::new(0.0);
        let codes = self.encoder.activations.logits();
        self.decoder.update(ops, rule, codes, &self.state)?;
        self.encoder.update(ops, rule, &self.x, &self.state)
    }

    /// Makes the rows that `x` holds again, and measures the error.
    pub fn measure(&mut self, ops: &O) -> Result<()> {
        self.decoder.forward(ops, self.encoder.forward(ops, &self.x)?)?;
        let (z, d_z) = self.decoder.at_loss();
        ops.squared_error(z, &self.x, &self.state, &mut self.errors, d_z, &mut self.losses)
    }

    /// Rows of a mini-batch.
    pub fn rows(&self) -> usize {
        self.x.rows()
    }
}
