//! The heat kernel, its contraction with the memberships, and exact cuts of hard labels.

use std::cmp::Ordering;

use crate::cpu::Matrix;
use crate::error::Result;
use crate::ops::{CutMatrix, HeatKernel, Real, Shape};

/// The affinity of one mini-batch, m x m.
pub struct Affinity<T> {
    kernel: HeatKernel,
    entries: Matrix<T>,
}

impl<T: Real> Affinity<T> {
    /// Room for mini-batches of `rows` rows.
    pub fn new(rows: usize, kernel: HeatKernel) -> Result<Self> {
        Ok(Affinity {
            kernel,
            entries: Matrix::zeros("the affinity of a mini-batch", rows, rows)?,
        })
    }

    /// All entries, row-major.
    pub fn to_vec(&self) -> Vec<T> {
        self.entries.to_vec()
    }
}

/// `A_ij = exp(-|x_i - x_j|^2 / (2 sigma^2))`, thinned to the nearest neighbours when the kernel says so.
pub fn pairwise<T: Real>(x: &Matrix<T>, affinity: &mut Affinity<T>) {
    let m = x.rows();
    let Affinity {
        kernel,
        entries: affinity,
    } = affinity;
    affinity.set_rows(0);
    affinity.set_cols(m);
    affinity.set_rows(m);
    for i in 0..m {
        affinity[i * m..][..m].copy_from_slice(&kernel_row(x, i, *kernel));
    }
    if kernel.neighbors.is_some() {
        for i in 0..m {
            for j in 0..i {
                let mean = (affinity[i * m + j] + affinity[j * m + i]) / T::of(2.0);
                affinity[i * m + j] = mean;
                affinity[j * m + i] = mean;
            }
        }
    }
}

/// Row `i` of the kernel before symmetrisation.
fn kernel_row<T: Real>(x: &Matrix<T>, i: usize, kernel: HeatKernel) -> Vec<T> {
    let squared: Vec<T> = (0..x.rows())
        .map(|j| {
            x.row(i)
                .iter()
                .zip(x.row(j))
                .map(|(&a, &b)| (a - b) * (a - b))
                .sum()
        })
        .collect();
    let twice_variance = T::of(2.0 * kernel.sigma * kernel.sigma);
    let mut row: Vec<T> = squared
        .iter()
        .map(|&squared| (-squared / twice_variance).exp())
        .collect();
    if let Some(neighbors) = kernel.neighbors {
        let mut others: Vec<usize> = (0..x.rows()).filter(|&j| j != i).collect();
        // A stable sort: among equals the lower column stays first.
        others.sort_by(|&a, &b| squared[a].partial_cmp(&squared[b]).unwrap_or(Ordering::Equal));
        for &j in others.iter().skip(neighbors) {
            row[j] = T::ZERO;
        }
    }
    row
}

/// `[S | D] = A [Y | 1]`.
pub fn contract<T: Real>(
    affinity: &Affinity<T>,
    membership: &Matrix<T>,
    contraction: &mut Matrix<T>,
    degrees: &mut Matrix<T>,
) {
    let m = membership.rows();
    for i in 0..m {
        let row = &affinity.entries[i * m..][..m];
        degrees[i] = row.iter().copied().sum();
        for l in 0..membership.cols() {
            contraction.row_mut(i)[l] = (0..m).map(|j| row[j] * membership.row(j)[l]).sum();
        }
    }
}

/// `C_ab = sum of A_ij over i in a, j in b`. Symmetrising A symmetrises C, so the rows never meet.
pub fn cut_matrix<T: Real>(x: &Matrix<T>, labels: &[u32], clusters: usize, kernel: HeatKernel) -> CutMatrix {
    let mut directed = vec![0.0; clusters * clusters];
    for i in 0..x.rows() {
        for (j, value) in kernel_row(x, i, kernel).into_iter().enumerate() {
            directed[labels[i] as usize * clusters + labels[j] as usize] += value.to_f64();
        }
    }
    let mut cut = directed.clone();
    for a in 0..clusters {
        for b in 0..clusters {
            cut[a * clusters + b] = (directed[a * clusters + b] + directed[b * clusters + a]) / 2.0;
        }
    }
    cut
}
