//! Codes of auto-encoders: of two networks that are trained together, the second to make rows again from the few numbers that the first
//! makes of them (settings II and III of the paper). ReLU between layers, none after the code, none after the last; the loss is the mean
//! squared error over all entries.

mod step;

pub use step::AutoencoderStep;

use crate::error::{Error, Result};
use crate::learner::annealed;
use crate::model::Model;
use crate::network::to_host;
use crate::ops::{Ops, Shape, StepState};
use crate::progress::Progress;
use crate::random::{Permutation, Purpose, Stream};

/// Rows of a mini-batch.
const BATCH: usize = 256;

/// The learning rate of the first epoch, which falls along half a cosine.
const LEARNING_RATE: f64 = 1e-3;

/// Layers of an encoder, numbers that a layer makes, and epochs, at most.
const MOST_LAYERS: usize = 8;
const WIDEST: usize = 10_000;
const MOST_EPOCHS: usize = 10_000;

/// What decides an auto-encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoencoderRule {
    /// Numbers that the encoder's layers make, the code last; the decoder mirrors them.
    pub widths: Vec<usize>,
    /// Passes over the training rows.
    pub epochs: usize,
}

impl Default for AutoencoderRule {
    fn default() -> Self {
        AutoencoderRule {
            widths: vec![500, 500, 2000, 10],
            // On 20,000 digits two minutes on two cores; 6 epochs lose a quarter of the mean square, these a sixth.
            epochs: 30,
        }
    }
}

impl AutoencoderRule {
    /// What can be given, for messages.
    pub fn usage() -> String {
        format!(
            "autoencoder=500-500-2000-10:EPOCHS with up to {MOST_LAYERS} widths of 1 to {WIDEST} and 1 to {MOST_EPOCHS} epochs"
        )
    }

    /// Reads `WIDTH-WIDTH-...` or `WIDTH-WIDTH-...:EPOCHS`.
    pub fn parse(text: &str) -> Option<Self> {
        let (widths, epochs) = match text.split_once(':') {
            Some((widths, epochs)) => (widths, epochs.parse().ok()?),
            None => (text, AutoencoderRule::default().epochs),
        };
        let widths: Option<Vec<usize>> = widths.split('-').map(|width| width.parse().ok()).collect();
        let rule = AutoencoderRule {
            widths: widths?,
            epochs,
        };
        let known = rule.widths.len() <= MOST_LAYERS
            && rule.widths.iter().all(|width| (1..=WIDEST).contains(width))
            && (1..=MOST_EPOCHS).contains(&rule.epochs);
        known.then_some(rule)
    }

    /// The inverse of [`parse`](Self::parse), in full.
    pub fn describe(&self) -> String {
        let widths: Vec<String> = self.widths.iter().map(usize::to_string).collect();
        format!("{}:{}", widths.join("-"), self.epochs)
    }

    /// Numbers in a code.
    pub fn outputs(&self) -> usize {
        self.widths[self.widths.len() - 1]
    }

    /// Parameters of encoder and decoder for rows of `inputs` numbers.
    pub fn parameters(&self, inputs: usize) -> usize {
        let before = std::iter::once(&inputs).chain(&self.widths);
        before.zip(&self.widths).map(|(a, b)| 2 * a * b + a + b).sum()
    }

    /// Encoder and decoder as initialisation leaves them.
    pub fn random_models(&self, inputs: usize, [encoder, decoder]: [u64; 2]) -> [Model; 2] {
        let hidden = &self.widths[..self.widths.len() - 1];
        let mirrored: Vec<usize> = hidden.iter().rev().copied().collect();
        [
            Model::random(encoder, inputs, hidden, self.outputs()),
            Model::random(decoder, self.outputs(), &mirrored, inputs),
        ]
    }
}

/// What a training leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder {
    /// From rows to codes.
    pub model: Model,
    /// The mean squared error on the training rows, as a share of their mean square.
    pub error: f32,
}

/// Trains an auto-encoder on `x`, which may be [training rows](Ops::training_rows). `position` tells those of a chain apart.
///
/// # Errors
/// [`Error::Option`] when the loss becomes no number, [`Error::Interrupted`], and those of the backend.
pub fn fit<O: Ops>(
    ops: &O,
    rule: &AutoencoderRule,
    x: &O::Matrix,
    seed: u64,
    position: usize,
    progress: &mut dyn Progress,
) -> Result<Encoder> {
    let rows = x.rows();
    let batch = BATCH.min(rows);
    // What is left over is dropped; another epoch has it.
    let batches = rows / batch;
    let [a, b, c, d] = Stream::new(seed, Purpose::Autoencoder, position as u32).words(0);
    let seeds = [[a, b], [c, d]].map(|[low, high]| u64::from(high) << 32 | u64::from(low));
    let [encoder, decoder] = rule.random_models(x.cols(), seeds);
    let mut step = ops.plan("the auto-encoder", &|| {
        AutoencoderStep::new(ops, [&encoder, &decoder], batch, batches, StepState::default())
    })?;

    progress.begin("auto-encoder", (rule.epochs * batches) as u64, "mini-batches");
    let mut note = String::new();
    for epoch in 0..rule.epochs {
        let order = Permutation::new(seeds[0], Purpose::Shuffle, epoch as u32, rows as u64);
        let order: Vec<u32> = (0..batch * batches)
            .map(|at| order.at(at as u64) as u32)
            .collect();
        ops.upload_labels(&order, &mut step.order)?;
        let state = StepState {
            seed: seeds[0],
            epoch: epoch as u32,
            batch: 0,
            step: (epoch * batches) as u64,
            learning_rate: LEARNING_RATE * annealed(epoch, rule.epochs),
        };
        ops.set_state(state, &mut step.state)?;
        for at in 1..=batches {
            if progress.interrupted() {
                return Err(Error::Interrupted("training had not begun".into()));
            }
            step.run(ops, x)?;
            progress.advance((epoch * batches + at) as u64, &note);
        }
        let losses = to_host(ops, &step.losses)?;
        let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / batches as f64;
        check(mean, epoch, rule)?;
        note = format!("error {mean:.3e}");
    }
    progress.end();
    ops.set_state(StepState::default(), &mut step.state)?;
    let error = error_share(ops, &mut step, x)?;
    // The last update is in no loss.
    check(error, rule.epochs - 1, rule)?;
    progress.line(&format!(
        "autoencoder={}: {error:.4} of the mean square of {rows} rows is lost",
        rule.describe()
    ));
    Ok(Encoder {
        model: step.encoder.network.to_model(ops)?.cast(),
        error: error as f32,
    })
}

/// The mean squared error on the rows `x`, as a share of their mean square; 0 where they are 0.
fn error_share<O: Ops>(ops: &O, step: &mut AutoencoderStep<O>, x: &O::Matrix) -> Result<f64> {
    let (mut errors, mut squares) = (0.0, 0.0);
    for next in (0..x.rows()).step_by(step.rows()) {
        // The last portion begins within the one before: all have the size of a mini-batch.
        let first = next.min(x.rows() - step.rows());
        let known = next - first;
        ops.copy_rows(x, first, &mut step.x)?;
        step.measure(ops)?;
        let sum = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>();
        errors += sum(&to_host(ops, &step.errors)?[known..]);
        let values = to_host(ops, &step.x)?;
        squares += values[known * x.cols()..]
            .iter()
            .map(|&v| f64::from(v).powi(2))
            .sum::<f64>();
    }
    Ok(match squares == 0.0 {
        true => 0.0,
        false => errors / squares,
    })
}

/// Refuses what is no number.
fn check(error: f64, epoch: usize, rule: &AutoencoderRule) -> Result<()> {
    if error.is_finite() {
        return Ok(());
    }
    Err(Error::option(
        "autoencoder",
        format!(
            "its error became {error} in epoch {} of {}",
            epoch + 1,
            rule.epochs
        ),
        "check that the rows are numbers, and bring them to the order of 1 before it, as pixels or scale do",
    ))
}
