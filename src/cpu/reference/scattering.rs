//! Steps of a scattering transform.

use rayon::prelude::*;

use super::rounding::{product, transposed};
use crate::cpu::Matrix;
use crate::ops::{Real, ScatteringStep, Shape};

/// The real and the imaginary part of complex numbers on a grid.
type Complex<T> = [Matrix<T>; 2];

/// `exp(-2 pi i s t / length)`.
fn turns<T: Real>(length: usize) -> Complex<T> {
    let part = |of: fn(f64) -> f64| {
        let entries = (0..length * length).map(|at| {
            let turn = at / length * (at % length) % length;
            T::of(of(-std::f64::consts::TAU * turn as f64 / length as f64))
        });
        Matrix::from_rows(length, length, entries.collect())
    };
    [part(f64::cos), part(f64::sin)]
}

/// `A B`.
fn times<T: Real>([a, a_i]: &Complex<T>, [b, b_i]: &Complex<T>) -> Complex<T> {
    let product = |a, b| product(a, b, None);
    let (mut real, mut imaginary) = (product(a, b), product(a, b_i));
    for (sum, &term) in real.iter_mut().zip(product(a_i, b_i).iter()) {
        *sum = *sum - term;
    }
    for (sum, &term) in imaginary.iter_mut().zip(product(a_i, b).iter()) {
        *sum += term;
    }
    [real, imaginary]
}

fn conjugate<T: Real>([real, imaginary]: Complex<T>) -> Complex<T> {
    let negated = imaginary.iter().map(|&v| -v).collect();
    [
        real,
        Matrix::from_rows(imaginary.rows(), imaginary.cols(), negated),
    ]
}

/// The picture in the middle of its grid, mirrored at its ends.
fn enlarged<T: Real>(step: &ScatteringStep, picture: &[T]) -> Matrix<T> {
    let mirrored = |at: usize, length: usize| {
        let period = 2 * (length - 1) as isize;
        let at = (at as isize - step.margin as isize).rem_euclid(period);
        at.min(period - at) as usize
    };
    let ([height, width], [rows, columns]) = (step.picture, step.fine());
    let values = (0..rows * columns)
        .map(|at| picture[mirrored(at / columns, height) * width + mirrored(at % columns, width)]);
    Matrix::from_rows(rows, columns, values.collect())
}

/// `U_if = |x_i * psi_f|` and `P U_if Q'`; see [`Ops::scatter`](crate::ops::Ops::scatter).
pub fn scatter<T: Real>(
    step: &ScatteringStep,
    pictures: &Matrix<T>,
    filters: &Matrix<T>,
    low_pass: [&Matrix<T>; 2],
    mut moduli: Option<&mut Matrix<T>>,
    paths: &mut Matrix<T>,
) {
    let ([rows, columns], [coarse_rows, coarse_columns]) = (step.fine(), step.coarse);
    let (of_rows, of_columns) = (turns::<T>(rows), turns::<T>(columns));
    let (back_rows, back_columns) = (
        conjugate(turns::<T>(coarse_rows)),
        conjugate(turns::<T>(coarse_columns)),
    );
    let low_pass_columns = transposed(low_pass[1]);
    let scattered: Vec<Vec<(Matrix<T>, Matrix<T>)>> = (0..pictures.rows())
        .into_par_iter()
        .map(|i| {
            let x = enlarged(step, pictures.row(i));
            let zeros = Matrix::from_rows(rows, columns, vec![T::ZERO; rows * columns]);
            let spectrum = times(&times(&of_rows, &[x, zeros]), &of_columns);
            let of_filter = |f: usize| {
                let folded = spectrum.each_ref().map(|part| {
                    let mut folded = Matrix::from_rows(
                        coarse_rows,
                        coarse_columns,
                        vec![T::ZERO; coarse_rows * coarse_columns],
                    );
                    for k in 0..rows {
                        for l in 0..columns {
                            folded.row_mut(k % coarse_rows)[l % coarse_columns] +=
                                filters.row(f)[k * columns + l] * part.row(k)[l];
                        }
                    }
                    folded
                });
                let [real, imaginary] = times(&times(&back_rows, &folded), &back_columns);
                let moduli = real
                    .iter()
                    .zip(imaginary.iter())
                    .map(|(&a, &b)| (a * a + b * b).sqrt());
                let moduli = Matrix::from_rows(coarse_rows, coarse_columns, moduli.collect());
                let path = product(&product(low_pass[0], &moduli, None), &low_pass_columns, None);
                (moduli, path)
            };
            (0..filters.rows()).map(of_filter).collect()
        })
        .collect();
    for (i, of_picture) in scattered.iter().enumerate() {
        for (f, (of_filter, path)) in of_picture.iter().enumerate() {
            if let Some(moduli) = &mut moduli {
                moduli.row_mut(i * filters.rows() + f).copy_from_slice(of_filter);
            }
            let first = step.path(i, f) * path.len();
            paths.row_mut(i / step.group)[first..][..path.len()].copy_from_slice(path);
        }
    }
}
