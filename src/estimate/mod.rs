//! Settings read from the data when they are left to `auto`: the kernel width sigma and the penalty weight gamma.

mod eigen;
mod gamma;
mod sigma;

pub use gamma::{Spectrum, smooth_spectrum};
pub use sigma::sigma;

use crate::error::Result;
use crate::network::to_host;
use crate::ops::{Ops, Shape};
use crate::random::{Permutation, Purpose};

/// `count` rows of `data` at random (all, if there are no more), the `draw`-th such sample, row-major on the host.
fn sample<O: Ops>(ops: &O, data: &O::Matrix, seed: u64, draw: u32, count: usize) -> Result<Vec<f32>> {
    let order = Permutation::new(seed, Purpose::Estimate, draw, data.rows() as u64);
    let mut row = ops.matrix("a row", 1, data.cols())?;
    let mut values = Vec::with_capacity(count.min(data.rows()) * data.cols());
    for i in 0..count.min(data.rows()) as u64 {
        ops.copy_rows(data, order.at(i) as usize, &mut row)?;
        values.extend(to_host(ops, &row)?);
    }
    Ok(values)
}
