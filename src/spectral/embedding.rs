//! Spectral clustering: k-means of the rows of the leading eigenvectors of the normalised affinity (Ng, Jordan and Weiss, 2002; Shi and
//! Malik, 2000).

use super::eigenpairs::{UNFINISHED, leading};
use super::kmeans::kmeans;
use crate::data::csr::Csr;
use crate::eigen::{BLOCK, bytes_of_eigen, columns_held, eigen};
use crate::error::Result;
use crate::graph::ranking;
use crate::network::{download, to_real};
use crate::ops::{Cut, Ops, Real, Shape};
use crate::progress::Progress;

/// Starts of k-means, of which the best is taken: ten of up to a hundred clusters, and of more as many as take no longer.
pub fn starts(clusters: usize) -> usize {
    (1000 / clusters.max(100)).max(1)
}

/// Up to this many rows k-means is begun anew several times for each form of the eigenvectors: the fewer rows, the more it matters where it
/// begins.
const FEW_ROWS: usize = 5000;

/// How often it is. Its time grows with the rows and the square of the clusters.
fn repeats(rows: usize, clusters: usize) -> u64 {
    if rows > FEW_ROWS {
        return 1;
    }
    let time = rows.saturating_mul(clusters.saturating_mul(clusters)).max(1);
    (8_000_000 / time as u64).clamp(1, 6)
}

/// Eigenvectors beyond the number of clusters that spectral clustering looks at.
pub const EXTRA: usize = 2;

/// The most that a labelling of many more looks at.
const MOST_EXTRA: usize = 16;

/// Eigenvectors that [`labellings`](Embedding::labellings) look at, at most.
pub fn vectors_wanted(clusters: usize) -> usize {
    clusters.saturating_add((clusters / 2).clamp(EXTRA, MOST_EXTRA))
}

/// Residuals of eigenvectors.
const TOLERANCE: f64 = 1e-5;

/// Up to this many rows the whole spectrum is computed, which is then as fast.
const DENSE: usize = 700;

/// Bytes, in numbers of so many bytes, that [`embed`] holds at a time for the `count` leading eigenvectors of so many rows, at most,
/// the matrix aside: those of a full one in f64, twice more worked on, and of its vectors, twice; or the columns that
/// [`leading`] holds, and two more blocks of it.
pub fn bytes_of_embedding(rows: f64, count: usize, number: f64) -> f64 {
    match is_dense(rows as usize, count) {
        true => bytes_of_eigen(rows as usize),
        false => rows * number * (columns_held(count) + 2 * count.min(BLOCK)) as f64,
    }
}

/// Whether all eigenvectors are computed, by a method for full matrices.
fn is_dense(rows: usize, count: usize) -> bool {
    rows <= DENSE || count.saturating_mul(3) >= rows
}

/// The leading eigenvectors of a graph.
pub struct Embedding<O: Ops> {
    /// Eigenvalues of the normalised Laplacian (of the Laplacian over the largest degree for the ratio cut), rising from 0.
    pub eigenvalues: Vec<f64>,
    /// Their eigenvectors as columns, n x p.
    pub vectors: O::Matrix,
    /// `|A u - lambda u|` of each.
    pub residuals: Vec<f64>,
}

/// Labels that a network may be fitted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelling {
    /// One for each row.
    pub labels: Vec<u32>,
    /// Whether they are what the method usually gives; then a network should reach a cut as small.
    pub usual: bool,
}

impl<O: Ops> Embedding<O> {
    /// The labellings into `clusters` clusters that k-means finds in several forms of the leading eigenvectors of `graph`, of which none
    /// is the best everywhere: with rows of length 1 (Ng, Jordan and Weiss), which weigh clusters more evenly, two more vectors than
    /// clusters, as many, and half as many more; for the normalised cut also times `D^-1/2` (Shi and Malik), where small clusters keep
    /// their places, two more and as many. (For the ratio cut rows of length 1 are not usual, but without them rows that hang on by
    /// little, which have long rows there, become clusters of one.) Usual are those of as many vectors as clusters. Of few rows
    /// k-means is begun anew several times: what cuts least is not always what lies closest to its means.
    ///
    /// # Errors
    /// Those of [`kmeans`].
    pub fn labellings(
        &self,
        ops: &O,
        graph: &Csr,
        clusters: usize,
        cut: Cut,
        seed: u64,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Labelling>> {
        let mut forms = vec![(Form::Unit, clusters + EXTRA), (Form::Unit, clusters)];
        if vectors_wanted(clusters) > clusters + EXTRA {
            forms.push((Form::Unit, vectors_wanted(clusters)));
        }
        if cut == Cut::Ncut {
            forms.extend([(Form::Smooth, clusters + EXTRA), (Form::Smooth, clusters)]);
        }
        let mut found = Vec::new();
        for (form, count) in forms {
            let rows = self.rows(ops, graph, form, count)?;
            for repeat in 0..repeats(graph.rows(), clusters) {
                let seed = seed.wrapping_add(repeat << 48);
                found.push(Labelling {
                    labels: kmeans(ops, &rows, clusters, starts(clusters), seed, progress)?.labels,
                    usual: count == clusters,
                });
            }
        }
        Ok(found)
    }

    /// The rows of the `count` leading eigenvectors, or of all that there are.
    fn rows(&self, ops: &O, graph: &Csr, form: Form, count: usize) -> Result<O::Matrix> {
        let (p, degrees) = (self.vectors.cols(), graph.degrees());
        let count = count.min(p);
        let scale = |degree: f64| match form {
            Form::Smooth if degree > 0.0 => degree.sqrt().recip(),
            Form::Smooth | Form::Unit => 1.0,
        };
        let vectors = download(ops, &self.vectors)?;
        let rows = vectors
            .chunks_exact(p)
            .zip(degrees.iter().map(|&degree| scale(degree)));
        let values: Vec<O::Real> = rows
            .flat_map(|(row, scale)| row[..count].iter().map(move |v| O::Real::of(v.to_f64() * scale)))
            .collect();
        let mut x = ops.matrix("leading eigenvectors", degrees.len(), count)?;
        ops.upload(&values, &mut x, 0)?;
        if let Form::Unit = form {
            ops.normalize_rows(1.0, &mut x)?;
        }
        Ok(x)
    }
}

/// What the rows of eigenvectors are made before k-means.
#[derive(Clone, Copy)]
enum Form {
    /// Brought to length 1.
    Unit,
    /// Divided by the root of the row's degree: the generalised eigenvectors of (L, D), which are constant on parts without edges
    /// between them.
    Smooth,
}

/// The `count` leading eigenvectors of a graph: of `D^-1/2 A D^-1/2` for the normalised cut, of `I - L / max D` for the ratio cut.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted), [`Error::Memory`](crate::Error::Memory).
pub fn embed<O: Ops>(
    ops: &O,
    graph: &Csr,
    count: usize,
    cut: Cut,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Embedding<O>> {
    let n = graph.rows();
    let matrix = iteration_matrix(graph, cut);
    if is_dense(n, count) {
        let mut full = vec![0.0; n * n];
        for i in 0..n {
            for (j, value) in matrix.row(i) {
                full[i * n + j] = f64::from(value);
            }
        }
        // It cannot be stopped within.
        progress.not_interrupted(UNFINISHED)?;
        let (values, vectors) = eigen(&full, n);
        progress.not_interrupted(UNFINISHED)?;
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
    let found = leading(ops, &on_device, n, count, TOLERANCE, seed, progress)?;
    Ok(Embedding {
        eigenvalues: found.values.iter().map(|value| 1.0 - value).collect(),
        vectors: found.vectors,
        residuals: found.residuals,
    })
}

/// The labels that spectral clustering gives the rows of a graph: k-means of the leading eigenvectors with rows of length 1, two more
/// than clusters, or as many where these cut less. (The further two tell apart what the others hold together, but where clusters are
/// joined by few edges a part of one may be what they tell.)
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
    let embedding = embed(ops, graph, clusters + EXTRA, cut, seed, progress)?;
    let mut labels_of = |count| -> Result<(f64, Vec<u32>)> {
        let rows = embedding.rows(ops, graph, Form::Unit, count)?;
        let labels = kmeans(ops, &rows, clusters, starts(clusters), seed, progress)?.labels;
        Ok((ranking(graph, &labels, clusters, cut), labels))
    };
    let (of_more, of_as_many) = (labels_of(clusters + EXTRA)?, labels_of(clusters)?);
    Ok(match of_as_many.0 < of_more.0 {
        true => of_as_many.1,
        false => of_more.1,
    })
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
