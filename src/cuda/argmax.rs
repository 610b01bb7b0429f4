//! The hard label of each row; `kernels/argmax.cu`.

use super::driver::Driver;
use super::{Cuda, Labels, Matrix, arguments, int};
use crate::error::Result;
use crate::ops::Shape;

const THREADS: u32 = 256;

/// Rows of a block: one for each warp.
const ROWS: usize = 8;

/// See [`Ops::argmax`](crate::ops::Ops::argmax).
pub fn argmax<D: Driver>(
    cuda: &Cuda<D>,
    logits: &Matrix<D>,
    labels: &mut Labels<D>,
    first: usize,
) -> Result<()> {
    let (m, k) = (logits.rows(), logits.cols());
    cuda.launch(
        "argmax",
        "argmax",
        [m.div_ceil(ROWS), 1, 1],
        THREADS,
        arguments![
            logits.address(),
            int(logits.stride()),
            labels.part(first, m),
            int(m),
            int(k),
        ],
    )
}
