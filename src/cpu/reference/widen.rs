//! Rows as they are stored, made rows to compute on.

use crate::cpu::Matrix;
use crate::data::raw::Raw;
use crate::ops::Real;

/// `x <- rows`: every number as it is.
pub fn widen<T: Real>(rows: Raw, x: &mut Matrix<T>) {
    let rows = rows.to_f32();
    assert_eq!(rows.len(), x.len(), "whole rows");
    for (to, &value) in x.iter_mut().zip(rows.iter()) {
        *to = T::of(value.into());
    }
}
