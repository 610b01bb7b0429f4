//! What the device does at most: a large copy, products of registers with nothing in the way, and large copies from the host.

use super::driver::Driver;
use super::staging::Stages;
use super::{Cuda, arguments};
use crate::error::Result;
use crate::ops::{Ceilings, Ops, Precision};

/// Bytes copied, more than any cache holds; a quarter of the free memory when there is less of it.
const COPIED: usize = 1 << 30;

/// Blocks, of 256 threads, and rounds of the products: some milliseconds.
const BLOCKS: usize = 2048;
const ROUNDS: i32 = 2048;

/// Bytes that come from the host at a time, and how often: at least some milliseconds.
const SENT: usize = 64 << 20;
const SENDINGS: usize = 8;

/// Runs, of which the fastest counts: what disturbs one only makes it slower. The first also warms up.
const RUNS: usize = 5;

/// See [`Ops::ceilings`].
pub fn measure<D: Driver>(cuda: &Cuda<D>) -> Result<Ceilings> {
    let bytes = COPIED.min(cuda.driver.free_memory()? as usize / 4) / 4096 * 4096;
    let what = "the copy that is timed";
    let (from, to) = (cuda.memory.zeros(what, bytes)?, cuda.memory.zeros(what, bytes)?);
    let copy = fastest(cuda, &mut || {
        cuda.launch(
            "gather",
            "copy_rows",
            [bytes / 4096, 1, 1],
            256,
            arguments![from.address(), to.address(), (bytes / 16) as u64],
        )
    })?;

    let out = cuda
        .memory
        .zeros("the products that are timed", BLOCKS * 256 * 4)?;
    let matrix = fastest(cuda, &mut || {
        cuda.launch(
            "linear",
            &cuda.in_precision("matrix_ceiling"),
            [BLOCKS, 1, 1],
            256,
            arguments![out.address(), ROUNDS],
        )
    })?;
    // 8 warps a block, 8 products a round, two operations for each multiply-add.
    let depth = match cuda.precision {
        Precision::Bf16 => 16,
        _ => 8,
    };
    let flop = (BLOCKS * 8) as f64 * f64::from(ROUNDS) * (8 * 2 * 16 * 8 * depth) as f64;
    Ok(Ceilings {
        copy: 2.0 * bytes as f64 / copy,
        matrix: flop / matrix,
        host_to_device: Some(host_to_device(cuda)?),
    })
}

/// See [`Cuda::host_to_device`].
pub fn host_to_device<D: Driver>(cuda: &Cuda<D>) -> Result<f64> {
    let advice = "close what else fills the host's memory";
    let stages = Stages::new(cuda, "the copies that are timed", SENT, advice)?;
    let seconds = fastest(cuda, &mut || {
        // The second is under way when the host waits for the first: they follow each other at once.
        (0..SENDINGS).try_for_each(|sending| {
            let slot = sending % 2;
            stages.send(&cuda.driver, slot, SENT, &mut |_| ())?;
            stages.receive(&cuda.driver, slot)?;
            stages.release(&cuda.driver, slot)
        })
    })?;
    Ok((SENDINGS * SENT) as f64 / seconds)
}

/// Seconds.
fn fastest<D: Driver>(cuda: &Cuda<D>, calls: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        best = best.min(cuda.time(calls)? / 1e6);
    }
    Ok(best)
}
