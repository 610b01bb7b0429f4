//! The penalty weight gamma from the spectrum of a mini-batch graph.
//!
//! Near the uniform start Y = 1/k + E, a direction E that is an eigenvector of the Laplacian with eigenvalue lambda changes the
//! loss by `k (lambda - gamma) |E|^2` (squared penalty): it grows when lambda < gamma and dies when lambda > gamma. So gamma must
//! lie above the k-th eigenvalue, but below the bulk, or noise grows first. The bare spectrum of a mini-batch graph will
//! not do, since the graph falls into pieces that no smooth function can follow; what counts is the spectrum over functions
//! that the network can express.

use super::sample;
use crate::data::csr::Csr;
use crate::eigen::{eigen, generalised_eigenvalues};
use crate::error::{Error, Result};
use crate::graph::Sampler;
use crate::model::Model;
use crate::network::{Network, gathered, to_host};
use crate::ops::{Cut, GraphForm, HeatKernel, Ops, Penalty, Real, Shape, StepState};

/// Leading directions of the network's last hidden layer that stand for the smooth functions: twice as many as clusters, so that
/// the k-th eigenvalue has a bulk above it, within these bounds. More would take the eigensolver long.
const DIRECTIONS: std::ops::RangeInclusive<usize> = 50..=200;

/// Eigenvalues of a mini-batch graph over smooth functions.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// Rising, the first (of the constant function) about 0.
    pub eigenvalues: Vec<f64>,
    /// The scale they are measured on: 1 for (L, D), the mean degree for (L, I).
    pub unit: f64,
    /// The mean eigenvalue of the whole graph, smooth or not.
    pub mean: f64,
}

/// The least gamma, in the spectrum's unit. On a graph in clean pieces the k-th eigenvalue is about 0 and says nothing; but an
/// emptied cluster saves its part of the cut and costs gamma / 2, which must be worth more. Tried on five blobs, one seed: 0.03
/// lost a cluster, 0.1, 0.3 and 0.5 did not. It is no guarantee: other seeds merge two of them at 0.3 as well.
const LEAST: f64 = 0.3;

impl Spectrum {
    /// gamma for k clusters: the geometric mean of the k-th eigenvalue, below which the clusters would die, and of the bulk,
    /// for which the median stands or, when k is beyond it, the mean of the whole graph; at least 0.3 units. With the
    /// Frobenius penalty, the equivalent `2 k sqrt(k - 1)` times that.
    pub fn gamma(&self, clusters: usize, penalty: Penalty) -> f64 {
        let n = self.eigenvalues.len();
        let kth = self.eigenvalues[(clusters - 1).min(n - 1)].max(0.0);
        let bulk = if clusters <= n / 2 {
            self.eigenvalues[n / 2]
        } else {
            self.mean
        };
        let bulk = bulk.max(kth);
        let squared = (kth * bulk).sqrt().max(LEAST * self.unit);
        match penalty {
            Penalty::Squared => squared,
            Penalty::Frobenius => {
                let k = clusters as f64;
                squared * 2.0 * k * (k - 1.0).sqrt()
            }
        }
    }
}

/// What the affinity of a mini-batch is made of.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The heat kernel between its rows.
    Heat(HeatKernel),
    /// A part of the graph of all rows: seed rows and neighbours.
    Graph {
        /// The graph.
        edges: &'a Csr,
        /// Neighbours that a seed brings at most.
        per_seed: usize,
    },
}

/// The spectrum of the graph on one mini-batch of `data`, over the leading directions of the last hidden layer of `model`
/// (of the features themselves when there is no hidden layer): generalised eigenvalues of (L, D), or of (L, I) for the
/// ratio cut.
///
/// # Errors
/// [`Error::Option`] when distances between rows overflow, or no rows are tied, so that there is no graph.
pub fn smooth_spectrum<O: Ops>(
    ops: &O,
    data: &O::Matrix,
    model: &Model,
    source: Source,
    cut: Cut,
    batch: usize,
    seed: u64,
) -> Result<Spectrum> {
    let (x, affinity) = match source {
        Source::Heat(kernel) => {
            let x = sample(ops, data, seed, 1, batch)?;
            let mut affinity = ops.affinity(x.rows(), x.cols(), *DIRECTIONS.end(), kernel)?;
            ops.pairwise(&x, &mut affinity)?;
            (x, affinity)
        }
        Source::Graph { edges, per_seed } => {
            let batch = batch.min(edges.rows());
            let sampler = Sampler::Neighbors {
                graph: edges,
                batch,
                per_seed,
            };
            // An epoch that no training reaches.
            let rows = &sampler.epoch(seed, u32::MAX)[..batch];
            let graph = ops.graph("the graph of the training rows", edges)?;
            let mut order = ops.labels("a mini-batch", batch)?;
            ops.upload_labels(rows, &mut order)?;
            let state = ops.state(StepState::default())?;
            let mut affinity = ops.graph_affinity(&graph, batch, GraphForm::Sparse)?;
            ops.subgraph(&graph, &order, &state, &mut affinity)?;
            (gathered(ops, "a mini-batch", data, rows)?, affinity)
        }
    };
    let m = x.rows();
    let network = Network::new(ops, model)?;
    let mut activations = network.activations(ops, m)?;
    network.forward(ops, &x, &mut activations)?;
    let layers = model.layers.len();
    let hidden = if layers == 1 {
        &x
    } else {
        activations.hidden(layers - 2)
    };
    let wanted = (2 * model.clusters()).clamp(*DIRECTIONS.start(), *DIRECTIONS.end());
    let (functions, p) = leading_directions(&to_host(ops, hidden)?, m, hidden.cols(), wanted);

    let mut basis = ops.matrix("smooth functions", m, p)?;
    let reals: Vec<O::Real> = functions.iter().map(|&v| O::Real::of(v)).collect();
    ops.upload(&reals, &mut basis, 0)?;
    let mut product = ops.matrix("the affinity's product", m, p)?;
    let mut degrees = ops.matrix("the degrees", 1, m)?;
    ops.contract(&x, &affinity, &basis, &mut product, &mut degrees)?;
    let (product, degrees) = (to_host(ops, &product)?, to_host(ops, &degrees)?);
    if !product.iter().chain(&degrees).all(|v| v.is_finite()) {
        return Err(Error::option(
            "--gamma",
            "auto fails: the distances between rows are too large or too small for f32",
            "scale the input (--features unit does), or give a number",
        ));
    }

    if degrees.iter().all(|&degree| degree == 0.0) {
        return Err(Error::option(
            "--gamma",
            "auto fails: there is no edge between the rows of a mini-batch",
            "choose a larger --batch, or give a number",
        ));
    }

    // F' L F and F' D F, both symmetric up to rounding.
    let (mut laplacian, mut metric) = (vec![0.0; p * p], vec![0.0; p * p]);
    for i in 0..m {
        let degree = f64::from(degrees[i]);
        let weight = match cut {
            Cut::Ncut => degree,
            Cut::Rcut => 1.0,
        };
        let (f, af) = (&functions[i * p..][..p], &product[i * p..][..p]);
        for a in 0..p {
            for b in 0..p {
                let half = 0.5 * (f[a] * f64::from(af[b]) + f[b] * f64::from(af[a]));
                laplacian[a * p + b] += degree * f[a] * f[b] - half;
                metric[a * p + b] += weight * f[a] * f[b];
            }
        }
    }
    let mean_degree = degrees.iter().map(|&degree| f64::from(degree)).sum::<f64>() / m as f64;
    let unit = match cut {
        Cut::Ncut => 1.0,
        Cut::Rcut => mean_degree,
    };
    Ok(Spectrum {
        eigenvalues: generalised_eigenvalues(&laplacian, &metric, p),
        unit,
        // The trace of L is what the degrees hold beside the diagonal of ones.
        mean: unit * (mean_degree - 1.0) / mean_degree,
    })
}

/// The constant function and the leading left singular directions of the centred columns of `values` (m x n), as the columns
/// of a row-major m x p matrix.
fn leading_directions(values: &[f32], m: usize, n: usize, wanted: usize) -> (Vec<f64>, usize) {
    let mut mean = vec![0.0; n];
    for row in values.chunks_exact(n) {
        for (mean, &v) in mean.iter_mut().zip(row) {
            *mean += f64::from(v) / m as f64;
        }
    }
    let centred: Vec<f64> = values
        .chunks_exact(n)
        .flat_map(|row| row.iter().zip(&mean).map(|(&v, mean)| f64::from(v) - mean))
        .collect();
    let p = wanted.min(n).min(m.saturating_sub(1));
    // The eigenvectors of the smaller of C'C and CC'.
    let columns: Vec<Vec<f64>> = if n <= m {
        let (_, vectors) = eigen(&gram(&centred, m, n), n);
        let along = |row: &[f64], at: usize| -> f64 {
            row.iter().enumerate().map(|(c, v)| v * vectors[c * n + at]).sum()
        };
        (n - p..n)
            .rev()
            .map(|at| centred.chunks_exact(n).map(|row| along(row, at)).collect())
            .collect()
    } else {
        let turned: Vec<f64> = (0..n * m).map(|at| centred[at % m * n + at / m]).collect();
        let (values, vectors) = eigen(&gram(&turned, n, m), m);
        (m - p..m)
            .rev()
            .map(|at| {
                (0..m)
                    .map(|i| vectors[i * m + at] * values[at].max(0.0).sqrt())
                    .collect()
            })
            .collect()
    };
    let functions =
        (0..m).flat_map(|i| std::iter::once(1.0).chain(columns.iter().map(move |column| column[i])));
    (functions.collect(), p + 1)
}

/// `C'C` of a row-major m x n matrix.
fn gram(values: &[f64], m: usize, n: usize) -> Vec<f64> {
    debug_assert_eq!(values.len(), m * n);
    let mut product = vec![0.0; n * n];
    for row in values.chunks_exact(n) {
        for (&a, sums) in row.iter().zip(product.chunks_exact_mut(n)) {
            for (sum, b) in sums.iter_mut().zip(row) {
                *sum += a * b;
            }
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Matrix};
    use crate::graph::{GraphRule, Width, build};
    use crate::progress::Silent;
    use crate::random::{Purpose, Stream};

    /// `count` clouds of deviation 0.5 on a circle of radius 10, neighbours on it at least 6 apart.
    fn clouds(count: usize, seed: u64) -> Matrix<f32> {
        let stream = Stream::new(seed, Purpose::Synthetic, 82);
        let rows = (0..400).flat_map(|i| {
            let angle = std::f64::consts::TAU * (i % count) as f64 / count as f64;
            let [u, v] = stream.normal(i as u64);
            [10.0 * angle.cos() + 0.5 * u, 10.0 * angle.sin() + 0.5 * v].map(|v| v as f32)
        });
        Matrix::from_rows(400, 2, rows.collect())
    }

    #[test]
    fn clouds_far_apart_give_as_many_small_eigenvalues() {
        let seed = rand::random();
        println!("seed {seed}");
        let ops = Fast::new(2).expect("two threads");
        for count in [2, 3, 5, 10] {
            for (neighbors, cut) in [(None, Cut::Ncut), (Some(10), Cut::Ncut), (None, Cut::Rcut)] {
                let model = Model::random(seed, 2, &[128, 128], count);
                let kernel = HeatKernel {
                    sigma: 0.5,
                    neighbors,
                };
                let spectrum = smooth_spectrum(
                    &ops,
                    &clouds(count, seed),
                    &model,
                    Source::Heat(kernel),
                    cut,
                    400,
                    seed,
                )
                .expect("distances are of order 10");
                let values = &spectrum.eigenvalues;
                let name = format!("{count} clouds, {neighbors:?} neighbours, {cut:?}: {values:?}");
                assert!(values.is_sorted(), "{name}");
                // Sums of f32 products: some epsilons of the largest eigenvalue.
                let largest = values[values.len() - 1];
                assert!(values[0].abs() < 1e-5 * largest, "{name}");
                // The network's functions are nearly constant on a cloud: they vary by its deviation over its distance, 5 %.
                assert!(values[count - 1] < 0.05 * values[values.len() / 2], "{name}");
                assert!(values[count - 1] < 0.5 * values[count], "{name}");

                let gamma = spectrum.gamma(count, Penalty::Squared);
                let bulk = values[values.len() / 2].max(LEAST * spectrum.unit);
                assert!(values[count - 1] < gamma && gamma <= bulk, "{gamma}, {name}");
                // Near the uniform memberships |M|_F is the root of k - 1, and both penalties pull alike when
                // gamma_F / (2 k |M|_F) = gamma_S.
                let k = count as f64;
                let frobenius = spectrum.gamma(count, Penalty::Frobenius);
                assert!((frobenius / (2.0 * k * (k - 1.0).sqrt()) - gamma).abs() < 1e-12 * gamma);
            }
        }
    }

    #[test]
    fn a_spectrum_of_few_functions_still_gives_a_gamma() {
        let ops = Fast::new(2).expect("two threads");
        let kernel = HeatKernel {
            sigma: 1.0,
            neighbors: Some(3),
        };
        // No hidden layer and one column: the constant and one more function for five clusters. Then a single row.
        for rows in [30, 1] {
            let line = Matrix::from_rows(rows, 1, (0..rows).map(|i| i as f32).collect());
            let model = Model::random(1, 1, &[], 5);
            let spectrum =
                smooth_spectrum(&ops, &line, &model, Source::Heat(kernel), Cut::Ncut, 30, 1).expect("a line");
            assert_eq!(spectrum.eigenvalues.len(), rows.min(2));
            let gamma = spectrum.gamma(5, Penalty::Squared);
            assert!(gamma.is_finite() && gamma > 0.0, "{gamma}");
        }
    }

    #[test]
    fn parts_of_a_graph_give_a_small_eigenvalue_for_each_cloud() {
        let seed = rand::random();
        println!("seed {seed}");
        let ops = Fast::new(2).expect("two threads");
        let rule = GraphRule {
            neighbors: 10,
            width: Width::SelfTuning,
            one_sided: 0.1,
        };
        for count in [2, 3, 5] {
            let rows = clouds(count, seed);
            let edges = build(&ops, &rows, rule, &mut Silent).expect("distances are of order 10");
            let model = Model::random(seed, 2, &[128, 128], count);
            for cut in [Cut::Ncut, Cut::Rcut] {
                let source = Source::Graph {
                    edges: &edges,
                    per_seed: 4,
                };
                let spectrum = smooth_spectrum(&ops, &rows, &model, source, cut, 200, seed)
                    .expect("a graph in one piece");
                let values = &spectrum.eigenvalues;
                let name = format!("{count} clouds, {cut:?}: {values:?}");
                assert!(values[count - 1] < 0.1 * values[values.len() / 2], "{name}");
                let gamma = spectrum.gamma(count, Penalty::Squared);
                assert!(
                    values[count - 1] < gamma && gamma <= values[values.len() - 1],
                    "{gamma}, {name}"
                );
            }
        }
    }

    #[test]
    fn mini_batches_without_edges_are_refused() {
        let ops = Fast::new(2).expect("two threads");
        // Of 400 rows the first two are tied; a mini-batch of ten hardly ever holds them.
        let tied = |i: u32| match i {
            0 => vec![(1, 1.0)],
            1 => vec![(0, 1.0)],
            _ => Vec::new(),
        };
        let edges = Csr::from_rows((0..400).map(tied));
        let source = Source::Graph {
            edges: &edges,
            per_seed: 4,
        };
        let model = Model::random(1, 2, &[8], 2);
        let refused = (0..9)
            .find_map(|seed| smooth_spectrum(&ops, &clouds(2, 1), &model, source, Cut::Ncut, 10, seed).err());
        let message = refused.expect("no edge").to_string();
        assert!(
            message.contains("--gamma: auto fails: there is no edge"),
            "{message}"
        );
    }

    #[test]
    fn distances_beyond_f32_are_refused() {
        let ops = Fast::new(2).expect("two threads");
        let rows = (0..40 * 20).map(|i| 1e25 * (i % 7) as f32).collect();
        let data = Matrix::from_rows(40, 20, rows);
        let kernel = HeatKernel {
            sigma: 1.0,
            neighbors: None,
        };
        let model = Model::random(1, 20, &[8], 3);
        let message = smooth_spectrum(&ops, &data, &model, Source::Heat(kernel), Cut::Ncut, 40, 1)
            .expect_err("squares of 1e25 are infinite")
            .to_string();
        assert!(message.starts_with("--gamma: auto fails"), "{message}");
    }
}
