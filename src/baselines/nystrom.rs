//! Spectral clustering of the dense heat kernel by the Nystrom extension (Fowlkes, Belongie, Chung and Malik, 2004).
//!
//! With landmarks Z, `W ~ K(X, Z) K(Z, Z)^-1 K(Z, X)`. Let `K(Z, Z) = U diag(w) U'` and `F = K(X, Z) U diag(w)^-1/2`, so that `W ~ F F'`:
//! its degrees are `F (F' 1)`, and the leading eigenvectors of `D^-1/2 W D^-1/2` are `D^-1/2 F V` up to the length of each, `V` those
//! of `F' D^-1 F`. No n x n matrix is formed, and a row that was not there gets its coordinates in the same way.

use super::Task;
use super::landmarks::{self, UNWRITTEN};
use crate::data::Dataset;
use crate::eigen::eigen;
use crate::error::{Error, Result};
use crate::estimate;
use crate::network::{download, to_host, to_real};
use crate::ops::{Ops, Real, Shape};
use crate::options::Auto;
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::spectral::EXTRA;

/// Eigenvalues of the landmarks' kernel below this share of the largest are rounding in f32.
const TRUSTED: f64 = 1e-5;

/// Least degree: far from all landmarks the approximation may even fall below 0.
const LEAST_DEGREE: f64 = 1e-12;

pub(super) fn labels<O: Ops>(
    ops: &O,
    task: &Task,
    prepared: &Prepared<O>,
    data: &Dataset,
    progress: &mut dyn Progress,
) -> Result<Vec<u32>> {
    let x = prepared.graph_rows(ops, data, progress)?;
    let extension = Extension::new(ops, task, &x, progress)?;
    landmarks::labels(ops, task, prepared, &x, data, progress, |rows| {
        extension.coordinates(ops, rows)
    })
}

/// The heat kernel between rows and landmarks.
struct Kernel<O: Ops> {
    landmarks: O::Matrix,
    /// A bias of zeros.
    none: O::Matrix,
    squares: Vec<f64>,
    sigma: f64,
}

impl<O: Ops> Kernel<O> {
    fn new(ops: &O, landmarks: O::Matrix, sigma: f64) -> Result<Self> {
        Ok(Kernel {
            none: ops.matrix("landmarks", 1, landmarks.rows())?,
            squares: squares(&to_host(ops, &landmarks)?, landmarks.cols()),
            landmarks,
            sigma,
        })
    }

    fn count(&self) -> usize {
        self.landmarks.rows()
    }

    /// `exp(-|x_i - z_j|^2 / (2 sigma^2))`, row by row.
    fn of(&self, ops: &O, x: &O::Matrix) -> Result<Vec<f64>> {
        let m = self.count();
        let own = squares(&to_host(ops, x)?, x.cols());
        let mut products = ops.matrix("products with landmarks", x.rows(), m)?;
        ops.linear(x, &self.landmarks, &self.none, false, &mut products)?;
        let products = download(ops, &products)?;
        let scale = -0.5 / (self.sigma * self.sigma);
        let mut kernel = Vec::with_capacity(products.len());
        for (own, products) in own.iter().zip(products.chunks_exact(m)) {
            let entries = products.iter().zip(&self.squares);
            kernel.extend(entries.map(|(product, square)| {
                let squared = own + square - 2.0 * product.to_f64();
                (scale * squared.max(0.0)).exp()
            }));
        }
        Ok(kernel)
    }
}

/// Squared lengths of rows.
fn squares(values: &[f32], cols: usize) -> Vec<f64> {
    let square = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum();
    values.chunks_exact(cols).map(square).collect()
}

/// Leading eigenvectors as functions of a row.
struct Extension<O: Ops> {
    kernel: Kernel<O>,
    /// Landmarks x eigenvectors.
    map: O::Matrix,
}

impl<O: Ops> Extension<O> {
    fn new(ops: &O, task: &Task, x: &O::Matrix, progress: &dyn Progress) -> Result<Self> {
        let landmarks = landmarks::draw(ops, task, x)?;
        let m = landmarks.rows();
        let sigma = match task.sigma {
            Auto::Value(sigma) => sigma,
            Auto::Auto => estimate::sigma(ops, &landmarks, m, task.seed)?.ok_or_else(|| {
                Error::option(
                    "--sigma",
                    "auto fails: half of the landmarks have seven exact duplicates or more",
                    "give a number, in the unit of the features, or remove duplicate rows",
                )
            })?,
        };
        let kernel = Kernel::<O>::new(ops, landmarks, sigma)?;

        // K(Z, Z) = U diag(w) U', as far as f32 can tell it from 0; `half` is U diag(w)^-1/2, m x p.
        let mut own = kernel.of(ops, &kernel.landmarks)?;
        for i in 0..m {
            own[i * m + i] = 1.0;
            for j in 0..i {
                let mean = 0.5 * (own[i * m + j] + own[j * m + i]);
                (own[i * m + j], own[j * m + i]) = (mean, mean);
            }
        }
        progress.not_interrupted(UNWRITTEN)?;
        let (values, vectors) = eigen(&own, m);
        progress.not_interrupted(UNWRITTEN)?;
        let kept: Vec<usize> = (0..m).filter(|&c| values[c] > TRUSTED * values[m - 1]).collect();
        let p = kept.len();
        let half: Vec<f64> = (0..m)
            .flat_map(|r| kept.iter().map(move |&c| (r, c)))
            .map(|(r, c)| vectors[r * m + c] / values[c].sqrt())
            .collect();

        // Degrees are K(X, Z) g, g = U diag(w)^-1 U' K(Z, X) 1.
        let mut sums = vec![0.0; m];
        landmarks::each(ops, x, progress, |chunk| {
            for row in kernel.of(ops, chunk)?.chunks_exact(m) {
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
            }
            Ok(())
        })?;
        let along: Vec<f64> = (0..p)
            .map(|c| (0..m).map(|r| half[r * p + c] * sums[r]).sum())
            .collect();
        let g: Vec<f64> = (0..m)
            .map(|r| (0..p).map(|c| half[r * p + c] * along[c]).sum())
            .collect();

        // F' D^-1 F.
        let mut inside = vec![0.0; p * p];
        let mut on_device = ops.matrix("landmarks", m, p)?;
        ops.upload(&to_real::<O>(&half), &mut on_device, 0)?;
        landmarks::each(ops, x, progress, |chunk| {
            let mut rows = kernel.of(ops, chunk)?;
            for row in rows.chunks_exact_mut(m) {
                let degree: f64 = row.iter().zip(&g).map(|(a, b)| a * b).sum();
                let root = degree.max(LEAST_DEGREE).sqrt().recip();
                row.iter_mut().for_each(|v| *v *= root);
            }
            let f = product(ops, &rows, &on_device)?;
            for (sum, v) in inside.iter_mut().zip(ops.gram(&f, &f)?) {
                *sum += v;
            }
            Ok(())
        })?;
        progress.not_interrupted(UNWRITTEN)?;
        let (values, vectors) = eigen(&inside, p);
        progress.not_interrupted(UNWRITTEN)?;
        let wanted: Vec<usize> = (p.saturating_sub(task.clusters + EXTRA)..p).rev().collect();
        let q = wanted.len();
        // U diag(w)^-1/2 V, each vector brought to length 1 over the training rows.
        let mut map = vec![0.0; m * q];
        for r in 0..m {
            for (at, &c) in wanted.iter().enumerate() {
                let sum: f64 = (0..p).map(|i| half[r * p + i] * vectors[i * p + c]).sum();
                map[r * q + at] = sum / values[c].max(f64::MIN_POSITIVE).sqrt();
            }
        }
        let mut to = ops.matrix("landmarks", m, q)?;
        ops.upload(&to_real::<O>(&map), &mut to, 0)?;
        Ok(Extension { kernel, map: to })
    }

    /// The eigenvectors at some rows, but for the root of the degree, which changes no direction.
    fn coordinates(&self, ops: &O, x: &O::Matrix) -> Result<Vec<f64>> {
        let product = product(ops, &self.kernel.of(ops, x)?, &self.map)?;
        Ok(download(ops, &product)?.into_iter().map(Real::to_f64).collect())
    }
}

/// Rows on the host times a matrix.
fn product<O: Ops>(ops: &O, rows: &[f64], matrix: &O::Matrix) -> Result<O::Matrix> {
    let m = matrix.rows();
    let mut uploaded = ops.matrix("products with landmarks", rows.len() / m, m)?;
    ops.upload(&to_real::<O>(rows), &mut uploaded, 0)?;
    let mut to = ops.matrix("products with landmarks", rows.len() / m, matrix.cols())?;
    ops.combine(&uploaded, matrix, 0.0, &mut to)?;
    Ok(to)
}
