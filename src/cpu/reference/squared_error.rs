//! The mean squared error between rows and what a network made of them.

use crate::cpu::Matrix;
use crate::ops::{Real, Shape};

/// Returns `1 / (m d) sum_i errors_i`; fills `errors_i = |z_i - x_i|^2` and `dZ = 2 (Z - X) / (m d)`.
pub fn squared_error<T: Real>(
    z: &Matrix<T>,
    x: &Matrix<T>,
    errors: &mut Matrix<T>,
    d_z: &mut Matrix<T>,
) -> T {
    let (m, d) = (z.rows(), z.cols());
    let count = T::of(m as f64 * d as f64);
    let mut total = T::ZERO;
    for i in 0..m {
        let mut sum = T::ZERO;
        for ((d_z, &z), &x) in d_z.row_mut(i).iter_mut().zip(z.row(i)).zip(x.row(i)) {
            let apart = z - x;
            sum += apart * apart;
            *d_z = T::of(2.0) * apart / count;
        }
        errors[i] = sum;
        total += sum;
    }
    total / count
}
