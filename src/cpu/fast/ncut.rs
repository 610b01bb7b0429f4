//! The relaxed cut of a mini-batch, its penalty, and the gradient with respect to the logits.

use rayon::prelude::*;

use super::product::{BLOCK, parallel_product, plain, transposed};
use super::simd::{sum, vectorised};
use crate::cpu::Matrix;
use crate::error::Result;
use crate::ops::{Cut, Objective, Penalty, Shape, VOLUME_FLOOR, Volumes};

/// Intermediate results of one mini-batch.
pub struct Workspace {
    /// W Y, m x k.
    weighted: Matrix<f32>,
    /// The weights of the ratio cut, 1 x m.
    ones: Matrix<f32>,
    /// N = Y' W Y, k x k.
    gram: Matrix<f32>,
    /// What pulls on the memberships, k x k.
    pull: Matrix<f32>,
}

impl Workspace {
    /// Room for mini-batches of `rows` rows.
    pub fn new(rows: usize, clusters: usize) -> Result<Self> {
        let what = "the loss of a mini-batch";
        let mut ones = Matrix::zeros(what, 1, rows)?;
        ones.fill(1.0);
        Ok(Workspace {
            weighted: Matrix::zeros(what, rows, clusters)?,
            ones,
            gram: Matrix::zeros(what, clusters, clusters)?,
            pull: Matrix::zeros(what, clusters, clusters)?,
        })
    }
}

/// Returns `(L_lap, L_orth, loss)`; fills `volumes` and `d_logits`. See [`Ops::ncut`](crate::ops::Ops::ncut). Sums over rows
/// run in f32 within a block and in f64 across blocks; everything k x k is f64 except the product `Y' W Y`.
pub fn ncut(
    membership: &Matrix<f32>,
    contraction: &Matrix<f32>,
    degrees: &Matrix<f32>,
    objective: Objective,
    workspace: &mut Workspace,
    volumes: &mut Matrix<f32>,
    d_logits: &mut Matrix<f32>,
) -> [f32; 3] {
    let (m, k) = (membership.rows(), membership.cols());
    let y = &**membership;
    let Workspace {
        weighted,
        ones,
        gram,
        pull,
    } = workspace;
    let weights: &[f32] = match objective.cut {
        Cut::Ncut => &degrees[..m],
        Cut::Rcut => &ones[..m],
    };

    weighted.set_rows(m);
    let parts: Vec<(Vec<f32>, Vec<f32>)> = weighted
        .par_chunks_mut(BLOCK * k)
        .enumerate()
        .map(|(block, weighted)| {
            let first = block * BLOCK;
            let (mut volumes, mut q) = (vec![0.0; k], vec![0.0; k]);
            vectorised(|| {
                for (i, weighted) in (first..).zip(weighted.chunks_exact_mut(k)) {
                    let (y, s) = (&y[i * k..][..k], &contraction[i * k..][..k]);
                    for l in 0..k {
                        weighted[l] = weights[i] * y[l];
                        volumes[l] += weighted[l];
                        q[l] += y[l] * (degrees[i] * y[l] - s[l]);
                    }
                }
            });
            (volumes, q)
        })
        .collect();
    let (mut v, mut q) = (vec![VOLUME_FLOOR; k], vec![0.0; k]);
    for (volume_part, q_part) in parts {
        for l in 0..k {
            v[l] += f64::from(volume_part[l]);
            q[l] += f64::from(q_part[l]);
        }
    }
    for (volume, &v) in volumes.iter_mut().zip(&v) {
        *volume = v as f32;
    }
    let l_lap: f64 = q.iter().zip(&v).map(|(q, v)| q / v).sum();

    // N = Y' W Y, then M = Lambda^-1 N Lambda^-1 - I.
    parallel_product((k, m), transposed(weighted, k), plain(y, k), gram, |_, _| {});
    let n = &**gram;
    let root: Vec<f64> = v.iter().map(|v| v.sqrt()).collect();
    let entry = |a: usize, b: usize| {
        let p = f64::from(n[a * k + b]) / (root[a] * root[b]);
        if a == b { p - 1.0 } else { p }
    };
    let row_squares: Vec<f64> = (0..k)
        .into_par_iter()
        .map(|a| (0..k).map(|b| entry(a, b).powi(2)).sum())
        .collect();
    let squares: f64 = row_squares.iter().sum();
    let norm = squares.sqrt();
    let (l_orth, slope) = match objective.penalty {
        Penalty::Squared => (squares, objective.gamma),
        Penalty::Frobenius if norm > 0.0 => (norm / k as f64, objective.gamma / (2.0 * k as f64 * norm)),
        // |M| = 0, where the root has no slope; or NaN, which must stay.
        Penalty::Frobenius => (norm, 0.0),
    };
    let d_volume: Vec<f32> = (0..k)
        .into_par_iter()
        .map(|l| match objective.volumes {
            Volumes::Fixed => 0.0,
            Volumes::Through => {
                // M P = M (M + I), summed along the row: |M_l|^2 + M_ll.
                let overlap = row_squares[l] + entry(l, l);
                (-q[l] / (v[l] * v[l]) - slope / v[l] * overlap) as f32
            }
        })
        .collect();

    // Lambda^-1 M Lambda^-1 with the penalty's slope, so that the pull on row i is w_i y_i times it.
    pull.par_chunks_mut(k).enumerate().for_each(|(a, pull)| {
        for (b, pull) in pull.iter_mut().enumerate() {
            *pull = (2.0 * slope * entry(a, b) / (root[a] * root[b])) as f32;
        }
    });
    let twice_inverse: Vec<f32> = v.iter().map(|v| (2.0 / v) as f32).collect();
    parallel_product((k, k), plain(y, k), plain(pull, k), d_logits, |first, block| {
        vectorised(|| {
            let mut products = vec![0.0; k];
            for (i, g) in (first..).zip(block.chunks_exact_mut(k)) {
                let (y, s) = (&y[i * k..][..k], &contraction[i * k..][..k]);
                for l in 0..k {
                    let laplacian = degrees[i] * y[l] - s[l];
                    g[l] = twice_inverse[l] * laplacian + weights[i] * (g[l] + d_volume[l]);
                    products[l] = g[l] * y[l];
                }
                let inner = sum(&products);
                for (g, &y) in g.iter_mut().zip(y) {
                    *g = y * (*g - inner);
                }
            }
        });
    });
    [
        l_lap as f32,
        l_orth as f32,
        (l_lap + 0.5 * objective.gamma * l_orth) as f32,
    ]
}
