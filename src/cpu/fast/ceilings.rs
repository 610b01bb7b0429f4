//! What this processor does at most: a large copy and a large matrix product, on all threads.

use std::time::Instant;

use rayon::prelude::*;

use super::product::{plain, product};
use crate::cpu::Matrix;
use crate::error::Result;
use crate::ops::Ceilings;

/// Numbers copied: 128 MiB, more than most caches hold.
const COPIED: usize = 32 << 20;

/// Numbers copied as one task.
const PIECE: usize = 1 << 18;

/// Rows and columns of the factors of the product.
const SIZE: usize = 2048;

/// Runs, of which the fastest counts: what disturbs one only makes it slower. The first also warms up.
const RUNS: usize = 5;

/// Measures on the threads of the pool that it is called in.
pub fn ceilings() -> Result<Ceilings> {
    let mut from = Matrix::zeros("the copy that is timed", 1, COPIED)?;
    let mut to = Matrix::zeros("the copy that is timed", 1, COPIED)?;
    // A product of zeros might draw less power than one of numbers.
    from.fill(1.0f32);
    let seconds = fastest(|| {
        to.par_chunks_mut(PIECE)
            .zip(from.par_chunks(PIECE))
            .for_each(|(to, from)| to.copy_from_slice(from));
    });
    let copy = (2 * COPIED * size_of::<f32>()) as f64 / seconds;

    let (lhs, rhs, out) = (
        &from[..SIZE * SIZE],
        &from[SIZE * SIZE..][..SIZE * SIZE],
        &mut to[..SIZE * SIZE],
    );
    let rows = SIZE.div_ceil(rayon::current_num_threads());
    let seconds = fastest(|| {
        out.par_chunks_mut(rows * SIZE)
            .zip(lhs.par_chunks(rows * SIZE))
            .for_each(|(out, lhs)| {
                let shape = (out.len() / SIZE, SIZE, SIZE);
                product(shape, plain(lhs, SIZE), plain(rhs, SIZE), 0.0, out, SIZE);
            });
    });
    let matrix = 2.0 * (SIZE as f64).powi(3) / seconds;
    Ok(Ceilings {
        copy,
        matrix,
        host_to_device: None,
    })
}

fn fastest(mut work: impl FnMut()) -> f64 {
    let seconds = (0..RUNS).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}
