//! The relaxed cut of a mini-batch, its penalty, and the gradient with respect to the logits.

use super::rounding::{for_each_row, product, to_f16, transposed, zeros};
use crate::cpu::Matrix;
use crate::ops::{Cut, FEW_CLUSTERS, Objective, Penalty, Precision, Real, Shape, VOLUME_FLOOR, Volumes};

/// By which what lies between 0 and 1 is multiplied to be rounded to f16.
const SCALE: f64 = 32768.0;

/// Returns `(L_lap, L_orth, loss)`; fills `volumes` and `d_logits`. See [`Ops::ncut`](crate::ops::Ops::ncut).
///
/// From P I is subtracted, and what is left of it must not be lost: in TF32 and bfloat16 it is the product of `2^15 W^1/2 Y Lambda^-1` with itself,
/// in f16, which has the 10 bits of TF32, and room for that, as it lies between 0 and 2^15. It is symmetric, also where W Y and Y are rounded: what is
/// below its diagonal is what is above it.
pub fn ncut<T: Real>(
    membership: &Matrix<T>,
    contraction: &Matrix<T>,
    degrees: &Matrix<T>,
    objective: Objective,
    precision: Option<Precision>,
    volumes: &mut Matrix<T>,
    d_logits: &mut Matrix<T>,
) -> [T; 3] {
    let (m, k) = (membership.rows(), membership.cols());
    let precision = match precision {
        Some(Precision::Tf32 | Precision::Bf16) if k <= FEW_CLUSTERS => Some(Precision::Tf32x3),
        precision => precision,
    };
    let gamma = T::of(objective.gamma);
    let two = T::of(2.0);
    let y = |i: usize, l: usize| membership.row(i)[l];
    // D_i y_il - S_il, row i of L Y.
    let laplacian = |i: usize, l: usize| degrees[i] * y(i, l) - contraction.row(i)[l];
    let weight = |i: usize| match objective.cut {
        Cut::Ncut => degrees[i],
        Cut::Rcut => T::ONE,
    };

    for l in 0..k {
        volumes[l] = (0..m).map(|i| weight(i) * y(i, l)).sum::<T>() + T::of(VOLUME_FLOOR);
    }
    let v = &*volumes;
    let q: Vec<T> = (0..k)
        .map(|l| (0..m).map(|i| y(i, l) * laplacian(i, l)).sum())
        .collect();
    let l_lap: T = (0..k).map(|l| q[l] / v[l]).sum();

    // P = Lambda^-1 N Lambda^-1 and M = P - I, with N = Y' W Y.
    let mut weighted = membership.clone();
    let mut p = if matches!(precision, Some(Precision::Tf32 | Precision::Bf16)) {
        for i in 0..m {
            for (l, y) in weighted.row_mut(i).iter_mut().enumerate() {
                *y = to_f16(weight(i).sqrt() * *y / v[l].sqrt() * T::of(SCALE));
            }
        }
        let mut p = product(&transposed(&weighted), &weighted, None);
        for entry in p.iter_mut() {
            *entry = *entry / T::of(SCALE * SCALE);
        }
        p
    } else {
        for i in 0..m {
            for y in weighted.row_mut(i) {
                *y = weight(i) * *y;
            }
        }
        let mut n = product(&transposed(&weighted), membership, precision);
        for a in 0..k {
            for b in 0..k {
                n.row_mut(a)[b] = n.row(a)[b] / (v[a] * v[b]).sqrt();
            }
        }
        n
    };
    for a in 0..k {
        for b in a + 1..k {
            p.row_mut(b)[a] = p.row(a)[b];
        }
    }
    let mut deviation = p.clone();
    for a in 0..k {
        deviation[a * k + a] = deviation[a * k + a] - T::ONE;
    }
    let squares: T = deviation.iter().map(|&m| m * m).sum();
    let norm = squares.sqrt();

    // d(gamma / 2 L_orth) / dM = slope M.
    let (l_orth, slope) = match objective.penalty {
        Penalty::Squared => (squares, gamma),
        Penalty::Frobenius if norm > T::ZERO => {
            (norm / T::of(k as f64), gamma / (two * T::of(k as f64) * norm))
        }
        // |M| = 0, where the root has no slope; or NaN, which must stay.
        Penalty::Frobenius => (norm, T::ZERO),
    };

    let d_volume: Vec<T> = (0..k)
        .map(|l| match objective.volumes {
            Volumes::Fixed => T::ZERO,
            Volumes::Through => {
                let overlap: T = (0..k).map(|b| deviation[l * k + b] * p[l * k + b]).sum();
                -q[l] / (v[l] * v[l]) - slope / v[l] * overlap
            }
        })
        .collect();

    // Row i of Y Lambda^-1 M Lambda^-1, by which the penalty pulls.
    let mut pulling = zeros(k, k);
    for a in 0..k {
        for b in 0..k {
            pulling.row_mut(a)[b] = deviation.row(a)[b] / (v[a] * v[b]).sqrt();
        }
    }
    let pull = product(membership, &pulling, precision);
    for_each_row(d_logits, |i, d_logits| {
        // dLoss / dY, row i.
        let gradient: Vec<T> = (0..k)
            .map(|l| {
                two / v[l] * laplacian(i, l)
                    + two * slope * weight(i) * pull.row(i)[l]
                    + weight(i) * d_volume[l]
            })
            .collect();
        // The soft-max, backward.
        let inner: T = (0..k).map(|l| gradient[l] * y(i, l)).sum();
        for (l, g) in gradient.into_iter().enumerate() {
            d_logits[l] = y(i, l) * (g - inner);
        }
    });
    [l_lap, l_orth, l_lap + gamma / two * l_orth]
}
