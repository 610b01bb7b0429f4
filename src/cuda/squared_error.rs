//! The mean squared error between rows and what a network made of them; `kernels/squared_error.cu`.

use super::driver::Driver;
use super::round::Rounded;
use super::{Cuda, Matrix, State, arguments, int};
use crate::error::Result;
use crate::ops::Shape;

/// Rows of a block: one for each warp.
const ROWS: usize = 8;

/// See [`Ops::squared_error`](crate::ops::Ops::squared_error).
pub fn squared_error<D: Driver>(
    cuda: &Cuda<D>,
    z: &Matrix<D>,
    x: &Matrix<D>,
    state: &State<D>,
    errors: &mut Matrix<D>,
    d_z: &mut Matrix<D>,
    losses: &mut Matrix<D>,
) -> Result<()> {
    let (m, d) = (z.rows(), z.cols());
    cuda.launch(
        "squared_error",
        "squared_error",
        [m.div_ceil(ROWS), 1, 1],
        256,
        arguments![
            z.address(),
            int(z.stride()),
            x.address(),
            int(x.stride()),
            int(m),
            int(d),
            (2.0 / (m as f64 * d as f64)) as f32,
            errors.address(),
            d_z.address(),
            int(d_z.stride()),
            Rounded::of(d_z),
        ],
    )?;
    cuda.launch(
        "squared_error",
        "mean_squared_error",
        [1, 1, 1],
        256,
        arguments![
            errors.address(),
            state.buffer.address(),
            int(m),
            int(d),
            losses.address(),
            int(losses.stride()),
        ],
    )
}
