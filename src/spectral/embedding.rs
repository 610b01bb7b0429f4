//! Spectral clustering: k-means of the rows of the leading eigenvectors of the normalised affinity (Ng, Jordan and Weiss, 2002).

use super::kmeans::kmeans;
use super::lanczos::leading;
use crate::data::csr::Csr;
use crate::eigen::eigen;
use crate::error::Result;
use crate::network::to_real;
use crate::ops::{Cut, Ops, Shape};
use crate::progress::Progress;

/// Starts of k-means, of which the best is taken.
pub const STARTS: usize = 10;

/// Eigenvectors beyond the number of clusters that spectral clustering looks at.
pub const EXTRA: usize = 2;

/// Residuals of eigenvectors.
const TOLERANCE: f64 = 1e-5;

/// Up to this many rows the whole spectrum is computed, which is then as fast.
const DENSE: usize = 700;

/// The leading eigenvectors of a graph.
pub struct Embedding<O: Ops> {
    /// Eigenvalues of the normalised Laplacian (of the Laplacian over the largest degree for the ratio cut), rising from 0.
    pub eigenvalues: Vec<f64>,
    /// Their eigenvectors as columns, n x p.
    pub vectors: O::Matrix,
    /// `|A u - lambda u|` of each.
    pub residuals: Vec<f64>,
}

impl<O: Ops> Embedding<O> {
    /// The rows that spectral clustering looks at: the `count` leading eigenvectors, or all that there are, each row brought to
    /// length 1. (For the ratio cut that is not usual, but without it rows that hang on by little, which have long rows there, become
    /// clusters of one.)
    pub fn rows(&self, ops: &O, count: usize) -> Result<O::Matrix> {
        let (all, count) = (self.vectors.cols(), count.min(self.vectors.cols()));
        let mut first = vec![0.0; all * count];
        (0..count).for_each(|c| first[c * count + c] = 1.0);
        let mut chosen = ops.matrix("leading eigenvectors", all, count)?;
        ops.upload(&to_real::<O>(&first), &mut chosen, 0)?;
        let mut rows = ops.matrix("leading eigenvectors", self.vectors.rows(), count)?;
        ops.combine(&self.vectors, &chosen, 0.0, &mut rows)?;
        ops.normalize_rows(1.0, &mut rows)?;
        Ok(rows)
    }
}

/// The `count` leading eigenvectors of a graph: of `D^-1/2 A D^-1/2` for the normalised cut, of `I - L / max D` for the ratio cut.
pub fn embed<O: Ops>(ops: &O, graph: &Csr, count: usize, cut: Cut, seed: u64) -> Result<Embedding<O>> {
    let n = graph.rows();
    let matrix = iteration_matrix(graph, cut);
    if n <= DENSE || 3 * count >= n {
        let mut full = vec![0.0; n * n];
        for i in 0..n {
            for (j, value) in matrix.row(i) {
                full[i * n + j] = f64::from(value);
            }
        }
        let (values, vectors) = eigen(&full, n);
        let count = count.min(n);
        let leading: Vec<usize> = (n - count..n).rev().collect();
        let columns: Vec<f64> = (0..n)
            .flat_map(|r| leading.iter().map(move |&c| (r, c)))
            .map(|(r, c)| vectors[r * n + c])
            .collect();
        let mut to = ops.matrix("eigenvectors", n, count)?;
        ops.upload(&to_real::<O>(&columns), &mut to, 0)?;
        return Ok(Embedding {
            eigenvalues: leading.iter().map(|&i| 1.0 - values[i]).collect(),
            vectors: to,
            residuals: vec![0.0; count],
        });
    }
    let on_device = ops.graph("the graph of the training rows", &matrix)?;
    let found = leading(ops, &on_device, n, count, TOLERANCE, seed)?;
    Ok(Embedding {
        eigenvalues: found.values.iter().map(|value| 1.0 - value).collect(),
        vectors: found.vectors,
        residuals: found.residuals,
    })
}

/// The labels that spectral clustering gives the rows of a graph.
///
/// # Errors
/// Those of [`kmeans`].
pub fn cluster<O: Ops>(
    ops: &O,
    graph: &Csr,
    clusters: usize,
    cut: Cut,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Vec<u32>> {
    let embedding = embed(ops, graph, clusters + EXTRA, cut, seed)?;
    let rows = embedding.rows(ops, clusters + EXTRA)?;
    Ok(kmeans(ops, &rows, clusters, STARTS, seed, progress)?.labels)
}

/// The matrix whose largest eigenvalues belong to the smallest of the Laplacian.
fn iteration_matrix(graph: &Csr, cut: Cut) -> Csr {
    let degrees = graph.degrees();
    let largest = degrees.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let roots: Vec<f64> = degrees
        .iter()
        .map(|&degree| if degree > 0.0 { degree.sqrt().recip() } else { 0.0 })
        .collect();
    let rows = (0..graph.rows()).map(|i| {
        let entry = |(j, value): (usize, f32)| {
            let scaled = match cut {
                Cut::Ncut => f64::from(value) * roots[i] * roots[j],
                Cut::Rcut => f64::from(value) / largest,
            };
            (j as u32, scaled as f32)
        };
        let mut row: Vec<(u32, f32)> = graph.row(i).map(entry).collect();
        if cut == Cut::Rcut {
            row.push((i as u32, (1.0 - degrees[i] / largest) as f32));
        }
        row
    });
    Csr::from_rows(rows)
}
