//! Copies of matrices in bfloat16, operands of matrix products that are rounded once; `kernels/round.cu`, `kernels/rounded.cuh`.
//!
//! No operation of their own, so that the CPU, which multiplies in f32, has nothing beside it. A matrix that has such a copy has it as its numbers are: whoever writes the one writes the other. That is done by all operations that
//! make what products read: uploads, copies and transforms of rows, mini-batches, layers and their gradients, soft-max, losses, updated weights,
//! combinations. Others (gradients and moments of parameters, contractions, losses, scattering) leave a copy behind.

use super::driver::{Address, Driver};
use super::memory::stride;
use super::{Cuda, Matrix, arguments, int};
use crate::error::Result;
use crate::ops::Shape;

/// Rows of a block: one for each warp.
const ROWS: usize = 8;

/// A copy, as the kernels take it: `Rounded` there.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Rounded {
    /// Where it is, 0 where there is none.
    pub at: Address,
    /// From one row to the next, in numbers.
    pub stride: i32,
    unused: i32,
}

impl Rounded {
    /// No copy.
    pub const NONE: Rounded = Rounded {
        at: Address(0),
        stride: 0,
        unused: 0,
    };

    /// A copy at `at`, rows `stride` numbers apart.
    pub fn at(at: Address, stride: usize) -> Self {
        Rounded {
            at,
            stride: int(stride),
            unused: 0,
        }
    }

    /// The copy of a matrix.
    pub fn of<D: Driver>(matrix: &Matrix<D>) -> Self {
        match matrix.rounded() {
            Some(buffer) => Rounded::at(buffer.address(), stride(matrix.cols(), 2)),
            None => Rounded::NONE,
        }
    }

    /// Whether there is one.
    pub fn is_some(self) -> bool {
        self.at != Address(0)
    }
}

/// Makes the copy, if there is to be one, of a matrix that was written without.
pub fn round<D: Driver>(cuda: &Cuda<D>, x: &Matrix<D>) -> Result<()> {
    let Some(buffer) = x.rounded() else {
        return Ok(());
    };
    if !buffer.is_real() {
        return Ok(());
    }
    cuda.launch(
        "round",
        "round_rows",
        [x.rows().div_ceil(ROWS), 1, 1],
        256,
        arguments![
            x.address(),
            int(x.stride()),
            Rounded::of(x),
            int(x.rows()),
            int(x.cols()),
        ],
    )
}
