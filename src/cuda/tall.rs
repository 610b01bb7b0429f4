//! The algebra of tall matrices; `kernels/tall.cu`.

use super::driver::Driver;
use super::linear::{THREADS, TILE};
use super::{Cuda, Matrix, arguments, int};
use crate::error::Result;
use crate::ops::Shape;

/// Rows whose products one block adds up.
const PART: usize = 4096;

/// See [`Ops::gram`](crate::ops::Ops::gram).
pub fn gram<D: Driver>(cuda: &Cuda<D>, a: &Matrix<D>, b: &Matrix<D>) -> Result<Vec<f64>> {
    let (n, p, q) = (a.rows(), a.cols(), b.cols());
    let parts = n.div_ceil(PART);
    let numbers = parts * p * q;
    let buffer = cuda
        .memory
        .zeros("the products of tall matrices", numbers * size_of::<f64>())?;
    cuda.launch(
        "tall",
        "gram",
        [p.div_ceil(TILE), q.div_ceil(TILE), parts],
        THREADS,
        arguments![
            a.address(),
            int(a.stride()),
            b.address(),
            int(b.stride()),
            int(n),
            int(p),
            int(q),
            int(PART),
            buffer.address(),
        ],
    )?;
    let mut total = vec![0f64; p * q];
    let mut part = total.clone();
    for i in 0..parts {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut part);
        let at = buffer.address().offset(i * bytes.len());
        cuda.driver.read(at, bytes.len(), bytes.len(), bytes)?;
        total
            .iter_mut()
            .zip(&part)
            .for_each(|(total, part)| *total += part);
    }
    Ok(total)
}

/// See [`Ops::combine`](crate::ops::Ops::combine).
pub fn combine<D: Driver>(
    cuda: &Cuda<D>,
    x: &Matrix<D>,
    coefficients: &Matrix<D>,
    keep: f64,
    y: &mut Matrix<D>,
) -> Result<()> {
    let (n, p, q) = (x.rows(), coefficients.rows(), coefficients.cols());
    cuda.launch(
        "tall",
        "combine",
        [n.div_ceil(TILE), q.div_ceil(TILE), 1],
        THREADS,
        arguments![
            x.address(),
            int(x.stride()),
            coefficients.address(),
            int(coefficients.stride()),
            keep as f32,
            y.address(),
            int(y.stride()),
            int(n),
            int(p),
            int(q),
        ],
    )
}
