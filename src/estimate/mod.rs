//! Settings read from the data when they are left to `auto`: the kernel width sigma and the penalty weight gamma.

mod eigen;
mod gamma;
mod sigma;

pub use gamma::{Spectrum, smooth_spectrum};
pub use sigma::sigma;

use crate::error::Result;
use crate::ops::{Ops, Shape, StepState};

/// `count` rows of `data` at random (all, if there are no more), the `draw`-th such sample: the first mini-batch of an epoch
/// that no training reaches.
fn sample<O: Ops>(ops: &O, data: &O::Matrix, seed: u64, draw: u32, count: usize) -> Result<O::Matrix> {
    let mut x = ops.matrix("a sample of rows", count.min(data.rows()), data.cols())?;
    let state = StepState {
        seed,
        epoch: u32::MAX - draw,
        batch: 0,
        step: 0,
        learning_rate: 0.0,
    };
    ops.gather_rows(data, &ops.state(state)?, &mut x)?;
    Ok(x)
}
