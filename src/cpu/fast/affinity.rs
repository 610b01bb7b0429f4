//! The heat kernel of a mini-batch in the form that suits its size, its contraction, and exact cuts of hard labels.

use std::ops::Range;

use rayon::prelude::*;

use super::nearest::{Neighbors, keep_nearest_of, tiles};
use super::points::Points;
use super::product::{BLOCK, plain, product, row_blocks, transposed};
use super::simd::{exp, sum, vectorised};
use crate::cpu::Matrix;
use crate::error::Result;
use crate::ops::{AffinityRule, CutMatrix, GraphForm, HeatKernel, Shape};

/// Up to this many rows a dense affinity is stored (256 MiB); beyond, its tiles are formed anew in each contraction.
const STORED_ROWS: usize = 8192;

/// The affinity of one mini-batch.
pub struct Affinity {
    /// Rows of the batch it was last prepared for.
    pub(super) rows: usize,
    /// Those rows, where the affinity is computed from them.
    points: Points,
    rule: AffinityRule,
    pub(super) form: Form,
    pub(super) degrees: Vec<f32>,
}

pub(super) enum Form {
    /// The lower triangle in row blocks: row i holds the columns up to the end of its block. The matrix is symmetric, so
    /// what lies above is read from below.
    Dense(Matrix<f32>),
    /// Edges only.
    Sparse(Edges),
    /// Symmetrised nearest neighbours; the lists they are made of keep their memory from batch to batch.
    Nearest {
        edges: Edges,
        outgoing: Vec<Neighbors>,
        incoming: Vec<Neighbors>,
    },
    /// Nothing but the points.
    Streamed,
}

/// The edges of a mini-batch, row by row.
#[derive(Default)]
pub(super) struct Edges {
    pub(super) starts: Vec<usize>,
    pub(super) columns: Vec<u32>,
    pub(super) values: Vec<f32>,
}

impl Edges {
    pub(super) fn clear(&mut self) {
        self.starts.clear();
        self.columns.clear();
        self.values.clear();
        self.starts.push(0);
    }

    pub(super) fn degrees(&self, degrees: &mut [f32]) {
        for (i, degree) in degrees.iter_mut().enumerate() {
            let values = &self.values[self.starts[i]..self.starts[i + 1]];
            // A row may have very many edges.
            *degree = values.iter().map(|&value| f64::from(value)).sum::<f64>() as f32;
        }
    }
}

fn dense(rows: usize) -> Result<Form> {
    Matrix::zeros("the affinity of a mini-batch", rows, rows).map(Form::Dense)
}

/// Row sums of a symmetric matrix of which the lower triangle is there, in row blocks.
pub(super) fn degrees_of_lower(lower: &Matrix<f32>, degrees: &mut [f32]) {
    let m = degrees.len();
    row_blocks(degrees, 1, |first, degrees| {
        let end = first + degrees.len();
        vectorised(|| {
            for (degree, row) in degrees.iter_mut().zip(lower[first * m..].chunks_exact(m)) {
                *degree = sum(&row[..end]);
            }
            for row in lower[end * m..].chunks_exact(m) {
                for (degree, &value) in degrees.iter_mut().zip(&row[first..end]) {
                    *degree += value;
                }
            }
        });
    });
}

impl Affinity {
    /// Room for mini-batches of `rows` rows under `kernel`.
    pub fn new(rows: usize, kernel: HeatKernel) -> Result<Self> {
        let form = match kernel.neighbors {
            Some(_) => Form::Nearest {
                edges: Edges::default(),
                outgoing: Vec::new(),
                incoming: Vec::new(),
            },
            None if rows <= STORED_ROWS => dense(rows)?,
            None => Form::Streamed,
        };
        Ok(Affinity::with(rows, AffinityRule::Heat(kernel), form))
    }

    /// Room for mini-batches of `rows` rows of a graph.
    pub fn of_graph(rows: usize, kept: GraphForm) -> Result<Self> {
        let form = match kept {
            GraphForm::Sparse => Form::Sparse(Edges::default()),
            GraphForm::Dense => dense(rows)?,
        };
        Ok(Affinity::with(rows, AffinityRule::Graph(kept), form))
    }

    fn with(rows: usize, rule: AffinityRule, form: Form) -> Self {
        Affinity {
            rows,
            points: Points::new(rows),
            rule,
            form,
            degrees: vec![0.0; rows],
        }
    }

    fn kernel(&self) -> HeatKernel {
        match self.rule {
            AffinityRule::Heat(kernel) => kernel,
            AffinityRule::Graph(_) => {
                panic!("the affinity of a graph is a part of it, not computed from rows")
            }
        }
    }

    /// The affinity as a full m x m matrix.
    pub fn to_dense(&self) -> Vec<f32> {
        let m = self.rows;
        let mut full = vec![0.0; m * m];
        match &self.form {
            Form::Dense(lower) => {
                for i in 0..m {
                    for j in 0..=i {
                        full[i * m + j] = lower[i * m + j];
                        full[j * m + i] = lower[i * m + j];
                    }
                }
            }
            Form::Sparse(edges) | Form::Nearest { edges, .. } => {
                for i in 0..m {
                    for at in edges.starts[i]..edges.starts[i + 1] {
                        full[i * m + edges.columns[at] as usize] = edges.values[at];
                    }
                }
            }
            Form::Streamed => {
                row_blocks(&mut full, m, |first, block| {
                    kernel_tile(
                        &self.points,
                        self.kernel().sigma,
                        first..first + block.len() / m,
                        0..m,
                        block,
                        m,
                    );
                });
            }
        }
        full
    }
}

/// `exp(-|x_i - x_j|^2 / (2 sigma^2))` for a tile, diagonal exactly 1, on the calling thread.
fn kernel_tile(
    points: &Points,
    sigma: f64,
    rows: Range<usize>,
    cols: Range<usize>,
    out: &mut [f32],
    stride: usize,
) {
    let (first, width) = (rows.start, cols.len());
    points.squared_distances(rows.clone(), cols.clone(), out, stride);
    let factor = (-0.5 / (sigma * sigma)) as f32;
    vectorised(|| {
        for row in out.chunks_mut(stride) {
            for value in &mut row[..width] {
                *value = exp(factor * *value);
            }
        }
    });
    for i in rows {
        if cols.contains(&i) {
            out[(i - first) * stride + i - cols.start] = 1.0;
        }
    }
}

/// Prepares the affinity of the rows of `x`.
pub fn pairwise(x: &Matrix<f32>, affinity: &mut Affinity) {
    let m = x.rows();
    let kernel = affinity.kernel();
    affinity.rows = m;
    affinity.points.set(x, x.cols());
    affinity.degrees.resize(m, 0.0);
    let Affinity {
        points,
        form,
        degrees,
        ..
    } = affinity;
    let sigma = kernel.sigma;
    match form {
        Form::Dense(lower) => {
            lower.set_rows(0);
            lower.set_cols(m);
            lower.set_rows(m);
            // The last blocks are the longest: they go first, so that no thread is left with one at the end.
            lower
                .par_chunks_mut(BLOCK * m)
                .enumerate()
                .rev()
                .for_each(|(block, rows)| {
                    let range = block * BLOCK..block * BLOCK + rows.len() / m;
                    kernel_tile(points, sigma, range.clone(), 0..range.end, rows, m);
                });
            degrees_of_lower(lower, degrees);
        }
        Form::Sparse(_) => unreachable!("the affinity of a graph"),
        Form::Nearest {
            edges,
            outgoing,
            incoming,
        } => {
            outgoing.resize_with(m, Vec::new);
            nearest(points, sigma, kernel.neighbors.unwrap_or(m), outgoing);
            symmetrise(outgoing, incoming, edges);
            edges.degrees(degrees);
        }
        Form::Streamed => {
            row_blocks(degrees, 1, |first, degrees| {
                degrees.fill(0.0);
                for_tiles(points, sigma, first..first + degrees.len(), |_, tile, width| {
                    vectorised(|| {
                        for (degree, row) in degrees.iter_mut().zip(tile.chunks_exact(width)) {
                            *degree += sum(row);
                        }
                    });
                });
            });
        }
    }
}

/// Forms the tiles of a row block one after the other: `work(first_column, tile, width)`.
fn for_tiles(points: &Points, sigma: f64, rows: Range<usize>, mut work: impl FnMut(usize, &[f32], usize)) {
    let mut tile = Vec::new();
    for columns in tiles(points.len()) {
        let (first, width) = (columns.start, columns.len());
        tile.resize(rows.len() * width, 0.0);
        let tile = &mut tile[..];
        kernel_tile(points, sigma, rows.clone(), columns, tile, width);
        work(first, tile, width);
    }
}

/// For each row its nearest other rows, sorted by column, with their affinities.
fn nearest(points: &Points, sigma: f64, neighbors: usize, lists: &mut [Neighbors]) {
    let count = neighbors.min(points.len().saturating_sub(1));
    let factor = (-0.5 / (sigma * sigma)) as f32;
    keep_nearest_of(points, points, count, Some, lists);
    lists.par_iter_mut().for_each(|list| {
        for (_, value) in list.iter_mut() {
            *value = exp(factor * *value);
        }
        list.sort_unstable_by_key(|&(column, _)| column);
    });
}

/// `(B + B') / 2` of the directed neighbour lists B, plus the diagonal of ones.
fn symmetrise(outgoing: &[Neighbors], incoming: &mut Vec<Neighbors>, edges: &mut Edges) {
    incoming.resize_with(outgoing.len(), Vec::new);
    incoming.iter_mut().for_each(Vec::clear);
    // Sorted by origin, because origins are visited in order.
    for (i, list) in outgoing.iter().enumerate() {
        for &(j, value) in list {
            incoming[j as usize].push((i as u32, value));
        }
    }
    edges.clear();
    for (i, (outgoing, incoming)) in outgoing.iter().zip(incoming.iter()).enumerate() {
        // Three sorted lists become one: what goes out, what comes in, and the row itself.
        let (mut out, mut into) = (outgoing.iter().peekable(), incoming.iter().peekable());
        let mut own = Some(i as u32);
        while let Some(column) = [out.peek().map(|e| e.0), into.peek().map(|e| e.0), own]
            .into_iter()
            .flatten()
            .min()
        {
            let mut value = 0.0;
            if let Some(edge) = out.next_if(|edge| edge.0 == column) {
                value += 0.5 * edge.1;
            }
            if let Some(edge) = into.next_if(|edge| edge.0 == column) {
                value += 0.5 * edge.1;
            }
            if own == Some(column) {
                own = None;
                value = 1.0;
            }
            edges.columns.push(column);
            edges.values.push(value);
        }
        edges.starts.push(edges.columns.len());
    }
}

/// `[S | D] = A [Y | 1]`.
pub fn contract(
    affinity: &Affinity,
    membership: &Matrix<f32>,
    contraction: &mut Matrix<f32>,
    degrees: &mut Matrix<f32>,
) {
    let (m, k) = (membership.rows(), membership.cols());
    degrees[..m].copy_from_slice(&affinity.degrees[..m]);
    let y = &**membership;
    row_blocks(contraction, k, |first, block| {
        let rows = block.len() / k;
        let end = first + rows;
        match &affinity.form {
            Form::Dense(lower) => {
                product(
                    (rows, k, end),
                    plain(&lower[first * m..], m),
                    plain(y, k),
                    0.0,
                    block,
                    k,
                );
                if end < m {
                    let above = transposed(&lower[end * m + first..], m);
                    product((rows, k, m - end), above, plain(&y[end * k..], k), 1.0, block, k);
                }
            }
            Form::Sparse(edges) | Form::Nearest { edges, .. } => {
                block.fill(0.0);
                for (i, out) in (first..end).zip(block.chunks_exact_mut(k)) {
                    for at in edges.starts[i]..edges.starts[i + 1] {
                        let value = edges.values[at];
                        for (out, &y) in out.iter_mut().zip(membership.row(edges.columns[at] as usize)) {
                            *out += value * y;
                        }
                    }
                }
            }
            Form::Streamed => {
                block.fill(0.0);
                for_tiles(
                    &affinity.points,
                    affinity.kernel().sigma,
                    first..end,
                    |column, tile, width| {
                        product(
                            (rows, k, width),
                            plain(tile, width),
                            plain(&y[column * k..], k),
                            1.0,
                            block,
                            k,
                        );
                    },
                );
            }
        }
    });
}

/// `C_ab = sum of A_ij over i in a, j in b`, accumulated in f64.
pub fn cut_matrix(x: &Matrix<f32>, labels: &[u32], clusters: usize, kernel: HeatKernel) -> CutMatrix {
    let d = x.cols();
    let mut points = Points::new(x.rows());
    let directed = if let Some(neighbors) = kernel.neighbors {
        points.set(x, d);
        let mut directed = vec![0.0; clusters * clusters];
        let mut lists = vec![Vec::new(); points.len()];
        nearest(&points, kernel.sigma, neighbors, &mut lists);
        for (i, list) in lists.into_iter().enumerate() {
            let row = &mut directed[labels[i] as usize * clusters..][..clusters];
            row[labels[i] as usize] += 1.0;
            for (j, value) in list {
                row[labels[j as usize] as usize] += f64::from(value);
            }
        }
        directed
    } else {
        // With rows sorted by cluster, the sum over a cluster's columns is the sum of a stretch of the tile.
        let mut order: Vec<u32> = (0..x.rows() as u32).collect();
        order.sort_by_key(|&i| labels[i as usize]);
        let mut sorted = Vec::with_capacity(x.len());
        for &i in &order {
            sorted.extend_from_slice(x.row(i as usize));
        }
        points.set(&sorted, d);
        drop(sorted);
        let sorted_labels: Vec<usize> = order.iter().map(|&i| labels[i as usize] as usize).collect();
        dense_block_sums(&points, kernel.sigma, &sorted_labels, clusters)
    };
    let mut cut = directed.clone();
    for a in 0..clusters {
        for b in 0..clusters {
            cut[a * clusters + b] = 0.5 * (directed[a * clusters + b] + directed[b * clusters + a]);
        }
    }
    cut
}

/// Block sums of the dense kernel over rows sorted by label. Row blocks are summed in parallel, in waves that are added in
/// order, so that memory stays bounded and the bits fixed.
fn dense_block_sums(points: &Points, sigma: f64, labels: &[usize], clusters: usize) -> CutMatrix {
    const WAVE: usize = 64;
    let n = points.len();
    let mut total = vec![0.0; clusters * clusters];
    let blocks: Vec<Range<usize>> = (0..n)
        .step_by(BLOCK)
        .map(|first| first..n.min(first + BLOCK))
        .collect();
    for wave in blocks.chunks(WAVE) {
        // (row label, sums by column label) of each stretch of equal row labels, most blocks having one or two.
        let parts: Vec<Vec<(usize, Vec<f64>)>> = wave
            .par_iter()
            .map(|rows| {
                let mut part: Vec<(usize, Vec<f64>)> = Vec::new();
                for &label in &labels[rows.clone()] {
                    if part.last().is_none_or(|(last, _)| *last != label) {
                        part.push((label, vec![0.0; clusters]));
                    }
                }
                for_tiles(points, sigma, rows.clone(), |first, tile, width| {
                    let columns = &labels[first..first + width];
                    let mut stretch = 0;
                    for (i, row) in rows.clone().zip(tile.chunks_exact(width)) {
                        if part[stretch].0 != labels[i] {
                            stretch += 1;
                        }
                        let mut from = 0;
                        for same in columns.chunk_by(|a, b| a == b) {
                            let sums = &mut part[stretch].1;
                            sums[same[0]] += f64::from(vectorised(|| sum(&row[from..from + same.len()])));
                            from += same.len();
                        }
                    }
                });
                part
            })
            .collect();
        for (label, sums) in parts.into_iter().flatten() {
            for (total, sum) in total[label * clusters..][..clusters].iter_mut().zip(sums) {
                *total += sum;
            }
        }
    }
    total
}
