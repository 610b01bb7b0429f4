//! Scaling, centring and normalisation of rows, and their places among quantiles; `kernels/normalize.cu`.

use super::driver::Driver;
use super::{Cuda, Matrix, arguments, int};
use crate::error::Result;
use crate::ops::Shape;

const THREADS: u32 = 256;

/// Rows of a block: one for each warp.
const ROWS: usize = 8;

/// See [`Ops::scale`](crate::ops::Ops::scale).
pub fn scale<D: Driver>(cuda: &Cuda<D>, factor: f64, x: &mut Matrix<D>) -> Result<()> {
    let count = x.rows() * x.stride();
    cuda.launch(
        "normalize",
        "scale",
        [count.div_ceil(THREADS as usize), 1, 1],
        THREADS,
        arguments![factor as f32, x.address(), count as u64],
    )
}

/// See [`Ops::center_rows`](crate::ops::Ops::center_rows).
pub fn center_rows<D: Driver>(cuda: &Cuda<D>, mean: &Matrix<D>, x: &mut Matrix<D>) -> Result<()> {
    by_columns(cuda, "center_rows", mean, x)
}

/// See [`Ops::scale_columns`](crate::ops::Ops::scale_columns).
pub fn scale_columns<D: Driver>(cuda: &Cuda<D>, factors: &Matrix<D>, x: &mut Matrix<D>) -> Result<()> {
    by_columns(cuda, "scale_columns", factors, x)
}

/// Runs a kernel that takes a number for each column to each row.
fn by_columns<D: Driver>(
    cuda: &Cuda<D>,
    kernel: &str,
    of_columns: &Matrix<D>,
    x: &mut Matrix<D>,
) -> Result<()> {
    cuda.launch(
        "normalize",
        kernel,
        [x.rows().div_ceil(ROWS), 1, 1],
        THREADS,
        arguments![
            of_columns.address(),
            x.address(),
            int(x.stride()),
            int(x.rows()),
            int(x.cols()),
        ],
    )
}

/// See [`Ops::normalize_rows`](crate::ops::Ops::normalize_rows).
pub fn normalize_rows<D: Driver>(cuda: &Cuda<D>, length: f64, x: &mut Matrix<D>) -> Result<()> {
    cuda.launch(
        "normalize",
        "normalize_rows",
        [x.rows().div_ceil(ROWS), 1, 1],
        THREADS,
        arguments![
            length as f32,
            x.address(),
            int(x.stride()),
            int(x.rows()),
            int(x.cols()),
        ],
    )
}

/// See [`Ops::append_quantiles`](crate::ops::Ops::append_quantiles).
pub fn append_quantiles<D: Driver>(
    cuda: &Cuda<D>,
    knots: &Matrix<D>,
    levels: &Matrix<D>,
    x: &Matrix<D>,
    to: &mut Matrix<D>,
) -> Result<()> {
    debug_assert_eq!(knots.stride(), levels.stride());
    cuda.launch(
        "normalize",
        "append_quantiles",
        [x.rows().div_ceil(ROWS), 1, 1],
        THREADS,
        arguments![
            knots.address(),
            levels.address(),
            int(knots.stride()),
            int(knots.rows()),
            x.address(),
            int(x.stride()),
            to.address(),
            int(to.stride()),
            int(x.rows()),
            int(x.cols()),
        ],
    )
}

/// See [`Ops::normalize_paths`](crate::ops::Ops::normalize_paths).
pub fn normalize_paths<D: Driver>(
    cuda: &Cuda<D>,
    positions: usize,
    least: f64,
    paths: &Matrix<D>,
    to: &mut Matrix<D>,
    first_row: usize,
) -> Result<()> {
    let merged = to.cols() / paths.cols();
    let rows = paths.rows() / merged;
    assert!(
        first_row + rows <= to.rows(),
        "rows {first_row} to {} of {}",
        first_row + rows,
        to.rows()
    );
    cuda.launch(
        "normalize",
        "normalize_paths",
        [paths.rows().div_ceil(ROWS), 1, 1],
        THREADS,
        arguments![
            int(positions),
            least as f32,
            paths.address(),
            int(paths.stride()),
            to.address().offset(first_row * to.stride() * size_of::<f32>()),
            int(to.stride()),
            int(merged),
            int(paths.rows()),
            int(paths.cols()),
        ],
    )
}
