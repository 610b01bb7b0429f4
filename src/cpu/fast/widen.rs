//! Rows as they are stored, made rows to compute on.

use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::cpu::Matrix;
use crate::data::raw::Raw;

/// Numbers widened as one task.
const PIECE: usize = 1 << 16;

/// `x <- rows`: every number as it is.
pub fn widen(rows: Raw, x: &mut Matrix<f32>) {
    assert_eq!(rows.count(), x.len(), "whole rows");
    match rows {
        Raw::U8(values) => in_pieces(values, x, |from, to| {
            for (to, &value) in to.iter_mut().zip(from) {
                *to = value.into();
            }
        }),
        Raw::F16(values) => in_pieces(values, x, |from, to| from.convert_to_f32_slice(to)),
        Raw::BF16(values) => in_pieces(values, x, |from, to| from.convert_to_f32_slice(to)),
        Raw::F32(values) => in_pieces(values, x, |from, to| to.copy_from_slice(from)),
    }
}

fn in_pieces<T: Sync>(from: &[T], to: &mut [f32], widen: impl Fn(&[T], &mut [f32]) + Sync) {
    from.par_chunks(PIECE)
        .zip(to.par_chunks_mut(PIECE))
        .for_each(|(from, to)| widen(from, to));
}
