//! Matrix products in row blocks: the GEMM crate computes each block, and an epilogue finishes it while it is in cache.
//!
//! Blocks have a fixed size and each is computed by one thread, so the bits do not depend on the number of threads.

use gemm::Parallelism;
use rayon::prelude::*;

/// Rows of a product computed as one task. Small enough to feed many threads, large enough that packing the right-hand
/// side again for each block does not show.
pub const BLOCK: usize = 128;

/// A row-major operand, or the transpose of one: element (i, j) is `values[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    values: &'a [f32],
    row_stride: usize,
    col_stride: usize,
}

/// `values` as a row-major matrix with rows `stride` apart.
pub fn plain(values: &[f32], stride: usize) -> Operand<'_> {
    Operand {
        values,
        row_stride: stride,
        col_stride: 1,
    }
}

/// The transpose of `values`, a row-major matrix with rows `stride` apart.
pub fn transposed(values: &[f32], stride: usize) -> Operand<'_> {
    Operand {
        values,
        row_stride: 1,
        col_stride: stride,
    }
}

impl Operand<'_> {
    /// Whether an m x n operand lies within the slice.
    fn holds(&self, m: usize, n: usize) -> bool {
        m == 0 || n == 0 || (m - 1) * self.row_stride + (n - 1) * self.col_stride < self.values.len()
    }
}

/// `out <- keep out + lhs rhs` on the calling thread; `lhs` m x depth, `rhs` depth x n, `out` rows `out_stride` apart.
#[allow(clippy::too_many_arguments)] // a matrix product has this many
pub fn product(
    (m, n, depth): (usize, usize, usize),
    lhs: Operand,
    rhs: Operand,
    keep: f32,
    out: &mut [f32],
    out_stride: usize,
) {
    assert!(
        lhs.holds(m, depth) && rhs.holds(depth, n),
        "operands of a {m} x {n} x {depth} product"
    );
    assert!(m == 0 || n == 0 || (n <= out_stride && (m - 1) * out_stride + n <= out.len()));
    // SAFETY: every element that the three shapes and strides address lies within its slice (asserted above), and
    // `out` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            depth,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            keep != 0.0,
            lhs.values.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.values.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            keep,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Runs `work(first_row, rows)` on blocks of [`BLOCK`] rows of `out`, `cols` numbers each, on all threads of the pool.
pub fn row_blocks(out: &mut [f32], cols: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    out.par_chunks_mut((BLOCK * cols).max(1))
        .enumerate()
        .for_each(|(block, rows)| work(block * BLOCK, rows));
}

/// `out <- lhs rhs` in row blocks, then `epilogue(first_row, rows)` on each; `lhs` m x depth, `rhs` depth x n, `out` m x n.
pub fn parallel_product(
    (n, depth): (usize, usize),
    lhs: Operand,
    rhs: Operand,
    out: &mut [f32],
    epilogue: impl Fn(usize, &mut [f32]) + Sync,
) {
    row_blocks(out, n, |first, rows| {
        let m = rows.len() / n;
        let block = Operand {
            values: &lhs.values[first * lhs.row_stride..],
            ..lhs
        };
        product((m, n, depth), block, rhs, 0.0, rows, n);
        epilogue(first, rows);
    });
}
