//! The mean squared error between rows and what a network made of them.

use rayon::prelude::*;

use super::product::row_blocks;
use super::simd::vectorised;
use crate::cpu::Matrix;
use crate::ops::Shape;

/// Returns `1 / (m d) sum_i errors_i`; fills `errors_i = |z_i - x_i|^2` and `dZ = 2 (Z - X) / (m d)`.
pub fn squared_error(
    z: &Matrix<f32>,
    x: &Matrix<f32>,
    errors: &mut Matrix<f32>,
    d_z: &mut Matrix<f32>,
) -> f32 {
    let (m, d) = (z.rows(), z.cols());
    let factor = (2.0 / (m as f64 * d as f64)) as f32;
    row_blocks(d_z, d, |first, block| {
        let (z, x) = (&z[first * d..], &x[first * d..]);
        vectorised(|| {
            for ((d_z, &z), &x) in block.iter_mut().zip(z).zip(x) {
                *d_z = factor * (z - x);
            }
        });
    });
    errors.par_iter_mut().enumerate().for_each(|(i, error)| {
        let apart = z.row(i).iter().zip(x.row(i)).map(|(&z, &x)| z - x);
        *error = apart.map(|v| f64::from(v) * f64::from(v)).sum::<f64>() as f32;
    });
    let total: f64 = errors.iter().map(|&error| f64::from(error)).sum();
    (total / m as f64 / d as f64) as f32
}
