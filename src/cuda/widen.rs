//! Rows as they are stored, brought to the device beside the queue and widened there; `kernels/widen.cu`.

use rayon::prelude::*;

use super::driver::Driver;
use super::staging::Stages;
use super::{Cuda, Matrix, arguments, int};
use crate::data::raw::Raw;
use crate::error::Result;
use crate::ops::Shape;

const THREADS: u32 = 256;

/// Rows that a block widens: one for each warp.
const ROWS: usize = 8;

/// Bytes that one thread of the host copies at a time: one alone is slower than the way to the device.
const PIECE: usize = 1 << 18;

/// See [`Ops::Inbox`](crate::ops::Ops::Inbox).
pub struct Inbox<D: Driver> {
    stages: Stages<D>,
    /// Which of the two is next.
    slot: usize,
}

/// See [`Ops::inbox`](crate::ops::Ops::inbox).
pub fn inbox<D: Driver>(cuda: &Cuda<D>, what: &str, numbers: usize) -> Result<Inbox<D>> {
    let advice = "compute on the CPU (--device cpu)";
    Ok(Inbox {
        stages: Stages::new(cuda, what, numbers * size_of::<f32>(), advice)?,
        slot: 0,
    })
}

/// See [`Ops::widen`](crate::ops::Ops::widen).
pub fn widen<D: Driver>(cuda: &Cuda<D>, rows: Raw, inbox: &mut Inbox<D>, x: &mut Matrix<D>) -> Result<()> {
    let (m, d) = (x.rows(), x.cols());
    assert_eq!(rows.count(), m * d, "whole rows");
    let Inbox { stages, slot } = inbox;
    let from = rows.bytes();
    let mut fill = |to: &mut [u8]| {
        to.par_chunks_mut(PIECE)
            .zip(from.par_chunks(PIECE))
            .for_each(|(to, from)| to.copy_from_slice(from));
    };
    stages.send(&cuda.driver, *slot, from.len(), &mut fill)?;
    stages.receive(&cuda.driver, *slot)?;
    let kernel = match rows {
        Raw::U8(_) => "widen_u8",
        Raw::F16(_) => "widen_f16",
        Raw::BF16(_) => "widen_bf16",
        Raw::F32(_) => "widen_f32",
    };
    cuda.launch(
        "widen",
        kernel,
        [m.div_ceil(ROWS), 1, 1],
        THREADS,
        arguments![stages.place(*slot), x.address(), int(m), int(d), int(x.stride())],
    )?;
    stages.release(&cuda.driver, *slot)?;
    *slot = 1 - *slot;
    Ok(())
}
