//! Every operation of a backend against the f64 reference, and a whole training.
//!
//! The rule for all that is rounded: an error may be at most twice that of a plain computation at the same precision, plus
//! a floor of a few roundings ([`FLOOR`]). What is a choice or a copy must be right. The same checks run in the tests and, by
//! `neuncut validate`, on any machine.
//!
//! Outputs are poisoned with NaN before each call, matrices are allocated larger than they are used, and sizes are odd.

mod affinity;
mod bench;
mod bending;
mod contraction;
mod cross_entropy;
mod errors;
mod features;
mod graph;
mod infer;
mod labels;
mod layer;
mod loss;
mod matrices;
mod nearest;
mod not_a_number;
mod optimiser;
mod random;
mod rows;
mod scattering;
mod softmax;
mod squared_error;
mod tall;
mod training;
mod transfers;

use clap::ValueEnum;
use serde::Serialize;

use bench::Bench;
pub use errors::{FLOOR, distance, largest};
pub use matrices::{filled, poisoned, values};
pub use random::Random;
pub use training::{Comparison, compare_training};

use crate::error::Result;
use crate::ops::{Ops, Precision};

/// What is checked together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Rows on their way in, and results on their way out.
    Transfers,
    /// Scaling, centring and normalising of rows.
    Features,
    /// Steps of a scattering transform.
    Scattering,
    /// Images bent and moved.
    Bending,
    /// The nearest rows of queries.
    Nearest,
    /// Products with a graph of all training rows.
    SparseProduct,
    /// The algebra of tall matrices.
    Tall,
    /// Rows gathered in the epoch's order, and copied.
    Rows,
    /// The heat kernel, of all rows and of nearest neighbours.
    Affinity,
    /// The choice among equally near neighbours.
    EqualDistances,
    /// The part of a graph in a mini-batch, and its contraction.
    Subgraph,
    /// The contraction with memberships.
    Contraction,
    /// The contraction of an affinity too large to store.
    Streaming,
    /// Layers, forward and backward.
    Layers,
    /// The soft-max.
    Softmax,
    /// The cross-entropy with given labels, and its gradient.
    CrossEntropy,
    /// The mean squared error of rows that a network made again, and its gradient.
    SquaredError,
    /// The loss and its gradient.
    Loss,
    /// Adam, alone and with the gradients of all layers.
    Optimiser,
    /// The largest logit of each row.
    Argmax,
    /// The same straight from the rows, through all layers of a network.
    Inference,
    /// The cut matrix of hard labels.
    Cuts,
    /// What is no number must stay so.
    NotANumber,
    /// A whole training.
    Training,
}

/// Operations with products that a backend may compute in tiles of more than one size, in a precision.
pub fn tiled(precision: Precision) -> &'static [Operation] {
    match precision {
        Precision::Fp32 | Precision::Tf32x3 => &[Operation::Optimiser],
        Precision::Tf32 => &[Operation::Contraction, Operation::Optimiser],
        Precision::Bf16 => &[
            Operation::Affinity,
            Operation::Contraction,
            Operation::Layers,
            Operation::Loss,
            Operation::Optimiser,
        ],
    }
}

impl Operation {
    /// All, in the order of a training step.
    pub const ALL: [Operation; 24] = [
        Operation::Transfers,
        Operation::Features,
        Operation::Scattering,
        Operation::Bending,
        Operation::Nearest,
        Operation::SparseProduct,
        Operation::Tall,
        Operation::Rows,
        Operation::Affinity,
        Operation::EqualDistances,
        Operation::Subgraph,
        Operation::Contraction,
        Operation::Streaming,
        Operation::Layers,
        Operation::Softmax,
        Operation::CrossEntropy,
        Operation::SquaredError,
        Operation::Loss,
        Operation::Optimiser,
        Operation::Argmax,
        Operation::Inference,
        Operation::Cuts,
        Operation::NotANumber,
        Operation::Training,
    ];
}

/// Which problems are posed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All.
    Full,
    /// Those of up to 150 million terms: for devices that are emulated.
    Medium,
    /// Those of up to two million terms: for backends that take long over each.
    Small,
}

/// How a backend is checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Seed of all inputs.
    pub seed: u64,
    /// Which problems are posed.
    pub sizes: Sizes,
    /// How often, at most, a problem is drawn. With few draws a small problem may come out exact by plain luck, and fail.
    pub draws: usize,
    /// How many of the draws the backend solves. Those beyond only tell how far plain loops err: for backends that take long.
    pub solved: usize,
    /// How often a call is timed; 0: not at all.
    pub repeats: usize,
    /// Rows of which a backend does not store the affinity.
    pub streamed_rows: usize,
}

impl Settings {
    /// All sizes, small problems drawn 20 times, nothing timed.
    pub fn new(seed: u64) -> Self {
        Settings {
            seed,
            sizes: Sizes::Full,
            draws: 20,
            solved: usize::MAX,
            repeats: 0,
            streamed_rows: 9001,
        }
    }
}

/// One kernel at one precision and size.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The method of [`Ops`].
    pub kernel: &'static str,
    /// What operands of products are rounded to.
    pub precision: Precision,
    /// Of the problem, in words.
    pub size: String,
    /// The array and the mode in which the error came nearest to what is allowed.
    pub case: String,
    /// Largest error against f64, relative to the scale of the terms; a count of mistakes where none is allowed. Infinite when
    /// a number came out as none.
    pub error: f64,
    /// Largest error that passes.
    pub allowed: f64,
    /// Of one call, if it was timed.
    pub microseconds: Option<f64>,
}

impl Row {
    /// Whether the error is allowed.
    pub fn passed(&self) -> bool {
        self.error <= self.allowed
    }
}

/// Checks all operations. Backends that differ in precision only are best checked together: they get the same problems, and
/// the references solve each once. `on_row` hears of each row as soon as it is there.
///
/// # Errors
/// Those of the backend, such as [`Error::Memory`](crate::Error::Memory); a wrong result is a row that does not pass.
pub fn run<O: Ops>(
    backends: &[(&O, Precision)],
    settings: &Settings,
    on_row: &mut dyn FnMut(&Row),
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for operation in Operation::ALL {
        rows.extend(run_operation(operation, backends, settings, on_row)?);
    }
    Ok(rows)
}

/// Checks one operation, as [`run`] does all.
///
/// # Errors
/// As [`run`].
pub fn run_operation<O: Ops>(
    operation: Operation,
    backends: &[(&O, Precision)],
    settings: &Settings,
    on_row: &mut dyn FnMut(&Row),
) -> Result<Vec<Row>> {
    let random = Random::new(settings.seed, operation as u32);
    let mut bench = Bench::new(backends, settings, random, on_row);
    match operation {
        Operation::Transfers => transfers::check(&mut bench),
        Operation::Features => features::check(&mut bench),
        Operation::Scattering => scattering::check(&mut bench),
        Operation::Bending => bending::check(&mut bench),
        Operation::Nearest => nearest::check(&mut bench),
        Operation::SparseProduct => graph::check_product(&mut bench),
        Operation::Tall => tall::check(&mut bench),
        Operation::Rows => rows::check(&mut bench),
        Operation::Affinity => affinity::check(&mut bench),
        Operation::EqualDistances => affinity::check_equal_distances(&mut bench),
        Operation::Subgraph => graph::check_subgraph(&mut bench),
        Operation::Contraction => contraction::check(&mut bench),
        Operation::Streaming => contraction::check_streaming(&mut bench),
        Operation::Layers => layer::check(&mut bench),
        Operation::Softmax => softmax::check(&mut bench),
        Operation::CrossEntropy => cross_entropy::check(&mut bench),
        Operation::SquaredError => squared_error::check(&mut bench),
        Operation::Loss => loss::check(&mut bench),
        Operation::Optimiser => optimiser::check(&mut bench),
        Operation::Argmax => labels::check_argmax(&mut bench),
        Operation::Inference => infer::check(&mut bench),
        Operation::Cuts => labels::check_cuts(&mut bench),
        Operation::NotANumber => not_a_number::check(&mut bench),
        Operation::Training => training::check(&mut bench),
    }?;
    Ok(bench.into_rows())
}
