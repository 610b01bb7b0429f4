//! Settings read from the data when they are left to `auto`: the kernel width sigma and the penalty weight gamma.

mod eigen;
mod gamma;
mod sigma;

pub use gamma::{Spectrum, smooth_spectrum};
pub use sigma::sigma;

use crate::random::{Permutation, Purpose};

/// The rows that estimates look at: `count` of `rows` at random, the `draw`-th such sample.
fn sample(seed: u64, draw: u32, rows: usize, count: usize) -> Vec<usize> {
    let order = Permutation::new(seed, Purpose::Estimate, draw, rows as u64);
    (0..count.min(rows) as u64).map(|i| order.at(i) as usize).collect()
}
