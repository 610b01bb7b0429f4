//! Rows on the host as they are stored, of the types that backends take in: pixels are a fourth of the bytes that they are as f32, f16 and
//! bf16 half.

use std::borrow::Cow;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Numbers of some rows, one row after the other.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Raw<'a> {
    U8(&'a [u8]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    F32(&'a [f32]),
}

impl<'a> Raw<'a> {
    /// How many there are.
    pub fn count(self) -> usize {
        match self {
            Raw::U8(values) => values.len(),
            Raw::F16(values) => values.len(),
            Raw::BF16(values) => values.len(),
            Raw::F32(values) => values.len(),
        }
    }

    /// Their bytes.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Raw::U8(values) => values,
            Raw::F16(values) => bytemuck::cast_slice(values),
            Raw::BF16(values) => bytemuck::cast_slice(values),
            Raw::F32(values) => bytemuck::cast_slice(values),
        }
    }

    /// The same numbers as f32, which holds each of them exactly.
    pub fn to_f32(self) -> Cow<'a, [f32]> {
        match self {
            Raw::U8(values) => values.iter().map(|&v| f32::from(v)).collect(),
            Raw::F16(values) => values.to_f32_vec().into(),
            Raw::BF16(values) => values.to_f32_vec().into(),
            Raw::F32(values) => values.into(),
        }
    }

    /// Pixels, which are whole numbers from 0 to 255, as bytes.
    pub fn to_pixels(self) -> Cow<'a, [u8]> {
        match self {
            Raw::U8(values) => values.into(),
            other => other.to_f32().iter().map(|&v| v as u8).collect(),
        }
    }
}

/// The same, with the memory that they are in, to be filled again and again.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RawRows {
    U8(Vec<u8>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    F32(Vec<f32>),
}

impl RawRows {
    /// The numbers.
    pub fn view(&self) -> Raw<'_> {
        match self {
            RawRows::U8(values) => Raw::U8(values),
            RawRows::F16(values) => Raw::F16(values),
            RawRows::BF16(values) => Raw::BF16(values),
            RawRows::F32(values) => Raw::F32(values),
        }
    }
}
