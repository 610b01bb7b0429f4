//! The algebra of tall matrices; `kernels/tall.cu`.

use super::driver::Driver;
use super::linear::{THREADS, TILE};
use super::{Cuda, Matrix, arguments, int};
use crate::error::Result;
use crate::ops::Shape;

/// Blocks that share the products of tall matrices: a few for each multiprocessor of a large card.
const BLOCKS: usize = 512;

/// Rows whose products one block adds up, at least.
const PART: usize = 1024;

/// See [`Ops::gram`](crate::ops::Ops::gram).
pub fn gram<D: Driver>(cuda: &Cuda<D>, a: &Matrix<D>, b: &Matrix<D>) -> Result<Vec<f64>> {
    let (n, p, q) = (a.rows(), a.cols(), b.cols());
    let tiles = (p.div_ceil(TILE) * q.div_ceil(TILE)).max(1);
    let part_rows = n.div_ceil(BLOCKS.div_ceil(tiles)).max(PART);
    let parts = n.div_ceil(part_rows);
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
            int(part_rows),
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
