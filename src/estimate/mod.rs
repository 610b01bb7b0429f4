//! Settings read from the data when they are left to `auto`: transforms of the rows, the kernel width sigma and the penalty weight
//! gamma.

mod gamma;
mod sigma;
mod transforms;

pub use gamma::{Source, Spectrum, smooth_spectrum};
pub use sigma::sigma;
pub use transforms::{
    COLUMNS, WHITENED, may_be_crowded, may_be_whitened, quantiles_help, usual_transforms, whitening_helps,
};

use crate::error::Result;
use crate::network::gathered;
use crate::ops::{Ops, Shape};
use crate::random::{Permutation, Purpose};

/// `count` rows of `data` at random (all, if there are no more), the `draw`-th such sample.
fn sample<O: Ops>(ops: &O, data: &O::Matrix, seed: u64, draw: u32, count: usize) -> Result<O::Matrix> {
    let rows = data.rows();
    let order = Permutation::new(seed, Purpose::Estimate, 4 + draw, rows as u64);
    let chosen: Vec<u32> = (0..count.min(rows) as u64).map(|i| order.at(i) as u32).collect();
    gathered(ops, "a sample of rows", data, &chosen)
}
