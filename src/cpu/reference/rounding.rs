//! Matrix products whose operands are rounded as [`Precision`] says. Sums are not: they are those of `T`, in order.

use std::borrow::Cow;

use half::{bf16, f16};
use rayon::prelude::*;

use crate::cpu::Matrix;
use crate::ops::{Precision, Real, Shape};

/// `C_ij = sum over t of A_it B_tj`. No precision: the operands as they are.
pub fn product<T: Real>(a: &Matrix<T>, b: &Matrix<T>, precision: Option<Precision>) -> Matrix<T> {
    let mut c = zeros(a.rows(), b.cols());
    let (a, b) = (Operand::new(a, precision), Operand::new(b, precision));
    for_each_row(&mut c, |i, c| product_row(&a, i, &b, c));
    c
}

/// Adds row `i` of the product to `c`.
pub fn product_row<T: Real>(a: &Operand<T>, i: usize, b: &Operand<T>, c: &mut [T]) {
    for t in 0..b.high.rows() {
        let high = a.high.row(i)[t];
        match (&a.low, &b.low) {
            (Some(a_low), Some(b_low)) => {
                let low = a_low.row(i)[t];
                for ((c, &b_high), &b_low) in c.iter_mut().zip(b.high.row(t)).zip(b_low.row(t)) {
                    *c += high * b_high + (high * b_low + low * b_high);
                }
            }
            _ => {
                for (c, &b) in c.iter_mut().zip(b.high.row(t)) {
                    *c += high * b;
                }
            }
        }
    }
}

/// A matrix of zeros.
pub fn zeros<T: Real>(rows: usize, cols: usize) -> Matrix<T> {
    Matrix::from_rows(rows, cols, vec![T::ZERO; rows * cols])
}

/// The matrix turned over its diagonal.
pub fn transposed<T: Real>(a: &Matrix<T>) -> Matrix<T> {
    let mut turned = zeros(a.cols(), a.rows());
    for i in 0..a.rows() {
        for j in 0..a.cols() {
            turned.row_mut(j)[i] = a.row(i)[j];
        }
    }
    turned
}

/// Fills each row by itself, on all threads: the sums within a row are in order whatever their number.
pub fn for_each_row<T: Real>(matrix: &mut Matrix<T>, fill: impl Fn(usize, &mut [T]) + Sync) {
    let cols = matrix.cols().max(1);
    matrix
        .par_chunks_mut(cols)
        .enumerate()
        .for_each(|(i, row)| fill(i, row));
}

/// One side of a product: `high`, or `high + low` where numbers are split in two.
pub struct Operand<'a, T: Real> {
    high: Cow<'a, Matrix<T>>,
    low: Option<Matrix<T>>,
}

impl<'a, T: Real> Operand<'a, T> {
    /// The numbers as they enter a product.
    pub fn new(values: &'a Matrix<T>, precision: Option<Precision>) -> Self {
        let Some(precision) = precision else {
            return Operand {
                high: Cow::Borrowed(values),
                low: None,
            };
        };
        let high = rounded(values, precision);
        let low = (precision == Precision::Tf32x3).then(|| {
            let mut rest = values.clone();
            for (rest, &high) in rest.iter_mut().zip(high.iter()) {
                *rest = *rest - high;
            }
            rounded(&rest, Precision::Tf32)
        });
        Operand {
            high: Cow::Owned(high),
            low,
        }
    }

    /// The same numbers, no longer borrowed.
    pub fn into_owned(self) -> Operand<'static, T> {
        Operand {
            high: Cow::Owned(self.high.into_owned()),
            low: self.low,
        }
    }
}

/// The matrix as an operand of a product; of numbers that are split in two, the first parts.
pub fn rounded<T: Real>(values: &Matrix<T>, precision: Precision) -> Matrix<T> {
    let mut values = values.clone();
    let round: fn(f32) -> f32 = match precision {
        Precision::Fp32 => return values,
        Precision::Tf32x3 | Precision::Tf32 => tf32,
        Precision::Bf16 => |value| bf16::from_f32(value).to_f32(),
    };
    for value in values.iter_mut() {
        *value = T::of(round(value.to_f64() as f32).into());
    }
    values
}

/// The nearest number of 16 bits with 10 bits of mantissa, halves to even.
pub fn to_f16<T: Real>(value: T) -> T {
    T::of(f16::from_f64(value.to_f64()).into())
}

/// The nearest number with 10 bits of mantissa, halves away from zero.
fn tf32(value: f32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    // Half of the last bit that stays, added to the magnitude: a carry into the exponent is the rounding up that it should be.
    f32::from_bits((value.to_bits() + 0x1000) & !0x1fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_rounds_halves_away_from_zero_and_keeps_what_is_no_number() {
        let last = f32::powi(2.0, -10);
        for (value, rounded) in [
            (0.0, 0.0),
            (1.0 + last, 1.0 + last),
            (1.0 + 0.5 * last, 1.0 + last),
            (1.0 + 0.499 * last, 1.0),
            (1.0 + 1.5 * last, 1.0 + 2.0 * last),
            (2.0 - 0.5 * last, 2.0),
            (f32::MAX, f32::INFINITY),
            (f32::INFINITY, f32::INFINITY),
        ] {
            assert_eq!(tf32(value), rounded);
            assert_eq!(tf32(-value), -rounded);
        }
        assert!(tf32(f32::NAN).is_nan());
    }

    /// Errors of a single product, in units of its size: half a unit of the last bit for each operand, and for the split
    /// ones what the lost product of the low parts and the rounded rests come to.
    #[test]
    fn each_precision_keeps_its_bits() {
        let values: Vec<f32> = (0..999).map(|i| (1.0 + i as f32 / 999.0).powi(3)).collect();
        let a = Matrix::from_rows(999, 1, values);
        let b = Matrix::from_rows(1, 1, vec![1.2345679f32]);
        for (precision, bits) in [
            (Precision::Fp32, 23),
            (Precision::Tf32x3, 20),
            (Precision::Tf32, 10),
            (Precision::Bf16, 7),
        ] {
            let found = product(&a, &b, Some(precision));
            let worst = a.iter().zip(found.iter()).fold(0f64, |worst, (&a, &c)| {
                let exact = f64::from(a) * f64::from(b[0]);
                worst.max((f64::from(c) / exact - 1.0).abs())
            });
            let unit = f64::powi(2.0, -bits);
            assert!(worst < 1.01 * unit, "{precision:?}: {worst:e}");
            assert!(
                worst > unit / 32.0,
                "{precision:?} rounds less than it says: {worst:e}"
            );
        }
    }
}
