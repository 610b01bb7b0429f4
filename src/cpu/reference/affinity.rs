//! The heat kernel, its contraction with the memberships, and exact cuts of hard labels.

use super::distances::Distances;
use super::rounding::{for_each_row, product, to_f16, zeros};
use crate::cpu::Matrix;
use crate::error::Result;
use crate::ops::{AffinityRule, CutMatrix, GraphForm, HeatKernel, Precision, Real, Shape};

/// The rows whose mean memberships are centred by where they are rounded to f16.
const CENTRE_ROWS: usize = 64;

/// The affinity of one mini-batch, m x m.
pub struct Affinity<T> {
    rule: AffinityRule,
    pub(super) entries: Matrix<T>,
}

impl<T: Real> Affinity<T> {
    /// Room for mini-batches of `rows` rows.
    pub fn new(rows: usize, rule: AffinityRule) -> Result<Self> {
        Ok(Affinity {
            rule,
            entries: Matrix::zeros("the affinity of a mini-batch", rows, rows)?,
        })
    }

    /// The affinity of `x` with these entries, m x m, or only some rows of them.
    pub(crate) fn with(kernel: HeatKernel, entries: Matrix<T>) -> Self {
        Affinity {
            rule: AffinityRule::Heat(kernel),
            entries,
        }
    }

    /// What the affinity is worked on in, in a backend of this precision. Weights of edges may be of any size, which f16 has no room
    /// for; along the edges there are too few products to gain from rounding any.
    fn precision(&self, precision: Option<Precision>) -> Option<Precision> {
        match (self.rule, precision) {
            (AffinityRule::Graph(GraphForm::Sparse), _) => None,
            (AffinityRule::Graph(GraphForm::Dense), Some(Precision::Tf32 | Precision::Bf16)) => {
                Some(Precision::Tf32x3)
            }
            _ => precision,
        }
    }

    /// All entries, row-major.
    pub fn to_vec(&self) -> Vec<T> {
        self.entries.to_vec()
    }
}

/// Whether affinities are stored as f16.
pub(crate) fn stored_as_f16(precision: Option<Precision>) -> bool {
    matches!(precision, Some(Precision::Tf32 | Precision::Bf16))
}

/// `A_ij = exp(-|x_i - x_j|^2 / (2 sigma^2))`, thinned to the nearest neighbours when the kernel says so.
pub fn pairwise<T: Real>(x: &Matrix<T>, precision: Option<Precision>, affinity: &mut Affinity<T>) {
    let m = x.rows();
    let AffinityRule::Heat(kernel) = affinity.rule else {
        panic!("the affinity of a graph is a part of it, not computed from rows");
    };
    let affinity = &mut affinity.entries;
    affinity.set_rows(0);
    affinity.set_cols(m);
    affinity.set_rows(m);
    let distances = Distances::new(x, precision);
    for_each_row(affinity, |i, row| {
        row.copy_from_slice(&kernel_row(&distances, i, kernel));
    });
    if kernel.neighbors.is_some() {
        for i in 0..m {
            for j in 0..i {
                let mean = (affinity[i * m + j] + affinity[j * m + i]) / T::of(2.0);
                affinity[i * m + j] = mean;
                affinity[j * m + i] = mean;
            }
        }
    }
    store(affinity, precision);
}

/// Rows `which` of the affinity of all rows of `x` to one another.
pub(crate) fn some_rows<T: Real>(
    x: &Matrix<T>,
    which: &[usize],
    sigma: f64,
    precision: Option<Precision>,
) -> Affinity<T> {
    let kernel = HeatKernel {
        sigma,
        neighbors: None,
    };
    let distances = Distances::new(x, precision);
    let mut entries = zeros(which.len(), x.rows());
    for_each_row(&mut entries, |i, row| {
        row.copy_from_slice(&kernel_row(&distances, which[i], kernel));
    });
    store(&mut entries, precision);
    Affinity::with(kernel, entries)
}

/// Rounds entries to what they are stored as.
fn store<T: Real>(entries: &mut Matrix<T>, precision: Option<Precision>) {
    if stored_as_f16(precision) {
        for value in entries.iter_mut() {
            *value = to_f16(*value);
        }
    }
}

/// Row `i` of the kernel before symmetrisation.
fn kernel_row<T: Real>(distances: &Distances<T>, i: usize, kernel: HeatKernel) -> Vec<T> {
    let squared = distances.row(i);
    let twice_variance = T::of(2.0 * kernel.sigma * kernel.sigma);
    let mut row: Vec<T> = squared
        .iter()
        .map(|&squared| (-squared / twice_variance).exp())
        .collect();
    if let Some(neighbors) = kernel.neighbors {
        let mut others: Vec<usize> = (0..row.len()).filter(|&j| j != i).collect();
        // A stable sort: among equals the lower column stays first. NaN, of either sign, is further than all.
        let key = |j: usize| squared[j].to_f64().abs();
        others.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
        for &j in others.iter().skip(neighbors) {
            row[j] = T::ZERO;
        }
    }
    row
}

/// `[S | D] = A [Y | 1]`. Where A is f16 so is Y, but around its column means `c`, because memberships are nearly equal early
/// in training: `S = A (Y - c) + D c`.
pub fn contract<T: Real>(
    affinity: &Affinity<T>,
    membership: &Matrix<T>,
    precision: Option<Precision>,
    contraction: &mut Matrix<T>,
    degrees: &mut Matrix<T>,
) {
    let precision = affinity.precision(precision);
    let affinity = &affinity.entries;
    for i in 0..affinity.rows() {
        degrees[i] = affinity.row(i).iter().copied().sum();
    }
    if !stored_as_f16(precision) {
        contraction.copy_from_slice(&product(affinity, membership, precision));
        return;
    }
    let count = membership.rows().min(CENTRE_ROWS);
    let mean: Vec<T> = (0..membership.cols())
        .map(|l| (0..count).map(|i| membership.row(i)[l]).sum::<T>() / T::of(count as f64))
        .collect();
    let mut centred = membership.clone();
    for i in 0..membership.rows() {
        for (value, &mean) in centred.row_mut(i).iter_mut().zip(&mean) {
            *value = to_f16(*value - mean);
        }
    }
    contraction.copy_from_slice(&product(affinity, &centred, None));
    for i in 0..affinity.rows() {
        for (sum, &mean) in contraction.row_mut(i).iter_mut().zip(&mean) {
            *sum += degrees[i] * mean;
        }
    }
}

/// `C_ab = sum of A_ij over i in a, j in b`. Symmetrising A symmetrises C, so the rows never meet.
pub fn cut_matrix<T: Real>(
    x: &Matrix<T>,
    labels: &[u32],
    clusters: usize,
    kernel: HeatKernel,
    precision: Option<Precision>,
) -> CutMatrix {
    let distances = Distances::new(x, precision);
    let mut directed = vec![0.0; clusters * clusters];
    for i in 0..x.rows() {
        for (j, value) in kernel_row(&distances, i, kernel).into_iter().enumerate() {
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
