//! The cross-entropy with given labels; `kernels/cross_entropy.cu`.

use super::driver::Driver;
use super::round::Rounded;
use super::{Cuda, Labels, Matrix, State, arguments, int};
use crate::error::Result;
use crate::ops::{LEAST_MEMBERSHIP, Shape};

/// Rows of a block: one for each warp.
const ROWS: usize = 8;

/// See [`Ops::cross_entropy`](crate::ops::Ops::cross_entropy).
pub fn cross_entropy<D: Driver>(
    cuda: &Cuda<D>,
    membership: &Matrix<D>,
    targets: &Labels<D>,
    order: &Labels<D>,
    state: &State<D>,
    d_logits: &mut Matrix<D>,
    losses: &mut Matrix<D>,
) -> Result<()> {
    let (m, k) = (membership.rows(), membership.cols());
    cuda.launch(
        "cross_entropy",
        "cross_entropy",
        [m.div_ceil(ROWS), 1, 1],
        256,
        arguments![
            membership.address(),
            int(membership.stride()),
            targets.buffer.address(),
            order.buffer.address(),
            state.buffer.address(),
            LEAST_MEMBERSHIP as f32,
            int(m),
            int(k),
            d_logits.address(),
            int(d_logits.stride()),
            Rounded::of(d_logits),
            losses.address(),
            int(losses.stride()),
        ],
    )
}
