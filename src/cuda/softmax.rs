//! The soft-max of each row; `kernels/softmax.cu`.

use super::driver::Driver;
use super::round::Rounded;
use super::{Cuda, Matrix, arguments, int};
use crate::error::Result;
use crate::ops::Shape;

const THREADS: u32 = 256;

/// Rows of a block: one for each warp.
const ROWS: usize = 8;

/// See [`Ops::softmax`](crate::ops::Ops::softmax).
pub fn softmax<D: Driver>(cuda: &Cuda<D>, logits: &Matrix<D>, membership: &mut Matrix<D>) -> Result<()> {
    let (m, k) = (logits.rows(), logits.cols());
    cuda.launch(
        "softmax",
        "softmax",
        [m.div_ceil(ROWS), 1, 1],
        THREADS,
        arguments![
            logits.address(),
            int(logits.stride()),
            membership.address(),
            int(membership.stride()),
            Rounded::of(membership),
            int(m),
            int(k),
        ],
    )
}
