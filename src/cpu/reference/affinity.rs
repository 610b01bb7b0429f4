//! The heat kernel, its contraction with the memberships, and exact cuts of hard labels.

use crate::cpu::Matrix;
use crate::ops::{CutMatrix, HeatKernel, Real, Shape};

/// `A_ij = exp(-|x_i - x_j|^2 / (2 sigma^2))`, thinned to the nearest neighbours when the kernel says so.
pub fn pairwise<T: Real>(x: &Matrix<T>, kernel: HeatKernel, affinity: &mut Matrix<T>) {
    let m = x.rows();
    affinity.set_rows(0);
    affinity.set_cols(m);
    affinity.set_rows(m);
    for i in 0..m {
        affinity[i * m..][..m].copy_from_slice(&kernel_row(x, i, kernel));
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
    let mut row: Vec<T> = (0..x.rows())
        .map(|j| {
            let mut squared = T::ZERO;
            for (&a, &b) in x.row(i).iter().zip(x.row(j)) {
                squared += (a - b) * (a - b);
            }
            (-squared / T::of(2.0 * kernel.sigma * kernel.sigma)).exp()
        })
        .collect();
    if let Some(neighbors) = kernel.neighbors {
        let mut others: Vec<usize> = (0..x.rows()).filter(|&j| j != i).collect();
        // A stable sort: among equals the lower column stays first.
        others.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).unwrap_or(std::cmp::Ordering::Equal));
        for &j in others.iter().skip(neighbors) {
            row[j] = T::ZERO;
        }
    }
    row
}

/// `[S | D] = A [Y | 1]`.
pub fn contract<T: Real>(
    affinity: &Matrix<T>,
    membership: &Matrix<T>,
    contraction: &mut Matrix<T>,
    degrees: &mut Matrix<T>,
) {
    let m = membership.rows();
    for i in 0..m {
        let row = &affinity[i * m..][..m];
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
