//! k-means: Lloyd's iterations from k-means++ starts.

mod device;
mod host;

use crate::error::{Error, Result};
use crate::ops::{Ops, Shape};
use crate::progress::Progress;
use crate::random::{Purpose, Stream};

/// Iterations of one start at most.
const ITERATIONS: usize = 300;

/// A start ends when the centres move by less than this share of the rows' variance, as squared distances.
const STILL: f64 = 1e-4;

/// Rows and centres of at most so many numbers in all, as those of eigenvectors are, are worked on by the host's threads, wherever they come from:
/// a device would compute for less than its calls take.
const FEW: usize = 64;
const FEW_IN_CENTERS: usize = 4096;

/// The best of some starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Kmeans {
    /// The cluster of each row.
    pub labels: Vec<u32>,
    /// Means of the clusters, k x d.
    pub centers: Vec<f64>,
    /// Sum of the squared distances of rows to their means.
    pub inertia: f64,
}

/// Clusters the rows of `x`: the best, by inertia, of `starts` runs of Lloyd's iteration from greedy k-means++ centres (Arthur and
/// Vassilvitskii, 2007).
///
/// # Errors
/// [`Error::Option`] for more clusters than rows, [`Error::Interrupted`], [`Error::Memory`].
pub fn kmeans<O: Ops>(
    ops: &O,
    x: &O::Matrix,
    clusters: usize,
    starts: usize,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Kmeans> {
    if clusters > x.rows() {
        return Err(Error::option(
            "--clusters",
            format!("{clusters} clusters of {} rows", x.rows()),
            "ask for fewer clusters or give more rows",
        ));
    }
    match x.cols() <= FEW && x.cols() * clusters <= FEW_IN_CENTERS {
        true => best_of(&mut host::Rows::new(ops, x)?, clusters, starts, seed, progress),
        false => best_of(
            &mut device::Rows::new(ops, x, clusters)?,
            clusters,
            starts,
            seed,
            progress,
        ),
    }
}

fn best_of(
    rows: &mut dyn Rows,
    clusters: usize,
    starts: usize,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Kmeans> {
    let mut best: Option<Kmeans> = None;
    progress.begin("k-means", starts as u64, "starts");
    for start in 0..starts.max(1) {
        let stream = Stream::new(seed, Purpose::Start, 1 + start as u32);
        let centers = seeds(rows, clusters, &stream, progress)?;
        let found = lloyd(rows, clusters, centers, progress)?;
        if best.as_ref().is_none_or(|best| found.inertia < best.inertia) {
            best = Some(found);
        }
        progress.advance(start as u64 + 1, "");
    }
    progress.end();
    Ok(best.expect("there is at least one start"))
}

/// The rows that are clustered, wherever they are worked on.
trait Rows {
    /// What is known of them before.
    fn moments(&self) -> &Moments;
    /// Row `i`.
    fn row(&mut self, i: usize) -> Result<Vec<f64>>;
    /// Products `x_i . c` of all rows with some centres, one after the other in `centers`, row by row.
    fn products(&mut self, centers: &[f64], progress: &dyn Progress) -> Result<Vec<f64>>;
    /// The nearest of some centres to each row.
    fn assign(&mut self, centers: &[f64], progress: &dyn Progress) -> Result<Assigned>;
}

/// What an iteration finds.
struct Assigned {
    /// The nearest centre of each row, the first of equally near ones.
    labels: Vec<u32>,
    /// `x . c - |c|^2 / 2` of it, which is the largest.
    scores: Vec<f64>,
    /// Sums of the rows of each centre, k x d, and how many they are.
    sums: Vec<f64>,
    counts: Vec<f64>,
}

impl Assigned {
    /// Nothing yet, for k centres of d numbers.
    fn of(k: usize, d: usize) -> Self {
        Assigned {
            labels: Vec::new(),
            scores: Vec::new(),
            sums: vec![0.0; k * d],
            counts: vec![0.0; k],
        }
    }
}

/// `-|c|^2 / 2` of each centre of `d` numbers.
fn halves(centers: &[f64], d: usize) -> Vec<f64> {
    let square = |center: &[f64]| center.iter().map(|v| v * v).sum::<f64>();
    centers
        .chunks_exact(d)
        .map(|center| -0.5 * square(center))
        .collect()
}

/// Squares and sums of rows of `d` numbers.
struct Moments {
    d: usize,
    /// `|x_i|^2`.
    squares: Vec<f64>,
    /// Of each column.
    sums: Vec<f64>,
}

impl Moments {
    fn new(d: usize) -> Self {
        Moments {
            d,
            squares: Vec::new(),
            sums: vec![0.0; d],
        }
    }

    fn add(&mut self, row: impl Iterator<Item = f64>) {
        let mut square = 0.0;
        for (sum, v) in self.sums.iter_mut().zip(row) {
            *sum += v;
            square += v * v;
        }
        self.squares.push(square);
    }

    fn rows(&self) -> usize {
        self.squares.len()
    }

    /// Mean over columns of their variance.
    fn variance(&self) -> f64 {
        let n = self.rows() as f64;
        let of_means: f64 = self.sums.iter().map(|sum| (sum / n).powi(2)).sum();
        (self.squares.iter().sum::<f64>() / n - of_means).max(0.0) / self.d as f64
    }
}

/// Squared distances of all rows to some centres, row by row.
fn distances(rows: &mut dyn Rows, centers: &[f64], progress: &dyn Progress) -> Result<Vec<f64>> {
    let mut found = rows.products(centers, progress)?;
    let Moments { d, squares, .. } = rows.moments();
    let of_centers = halves(centers, *d);
    for (row, square) in found.chunks_exact_mut(of_centers.len()).zip(squares) {
        for (value, half) in row.iter_mut().zip(&of_centers) {
            *value = (square - 2.0 * (half + *value)).max(0.0);
        }
    }
    Ok(found)
}

/// Greedy k-means++: each next centre is the best of a few rows drawn with probability in proportion to their squared distance
/// to the centres so far.
fn seeds(rows: &mut dyn Rows, clusters: usize, stream: &Stream, progress: &dyn Progress) -> Result<Vec<f64>> {
    let n = rows.moments().rows();
    let tries = 2 + (clusters as f64).ln() as usize;
    let mut centers = rows.row(stream.below(0, n as u64) as usize)?;
    let mut nearest = distances(rows, &centers, progress)?;
    for l in 1..clusters {
        let total: f64 = nearest.iter().sum();
        let mut drawn = Vec::with_capacity(tries);
        for t in 0..tries {
            let at = (l * tries + t) as u64;
            let i = match total > 0.0 {
                true => pick(&nearest, total * stream.uniform_f64(at)[0]),
                // All rows are where a centre is.
                false => stream.below(at, n as u64) as usize,
            };
            drawn.push(rows.row(i)?);
        }
        let distances = distances(rows, &drawn.concat(), progress)?;
        let mut sums = vec![0.0; tries];
        for (nearest, row) in nearest.iter().zip(distances.chunks_exact(tries)) {
            for (sum, distance) in sums.iter_mut().zip(row) {
                *sum += nearest.min(*distance);
            }
        }
        let best = (0..tries)
            .min_by(|&a, &b| sums[a].total_cmp(&sums[b]))
            .unwrap_or(0);
        for (nearest, row) in nearest.iter_mut().zip(distances.chunks_exact(tries)) {
            *nearest = nearest.min(row[best]);
        }
        centers.extend_from_slice(&drawn[best]);
    }
    Ok(centers)
}

fn lloyd(
    rows: &mut dyn Rows,
    clusters: usize,
    mut centers: Vec<f64>,
    progress: &dyn Progress,
) -> Result<Kmeans> {
    let (n, d, k) = (rows.moments().rows(), rows.moments().d, clusters);
    let variance = rows.moments().variance();
    let mut labels = vec![0; n];
    for _ in 0..ITERATIONS {
        let mut found = rows.assign(&centers, progress)?;
        let unchanged = found.labels == labels;
        // A centre without rows takes the row that is furthest from its own.
        for l in (0..k).filter(|&l| found.counts[l] == 0.0).collect::<Vec<_>>() {
            let squares = &rows.moments().squares;
            let distance = |i: usize| squares[i] - 2.0 * found.scores[i];
            let lonely = (0..n).filter(|&i| found.counts[found.labels[i] as usize] > 1.0);
            let Some(far) = lonely.max_by(|&a, &b| distance(a).total_cmp(&distance(b))) else {
                continue;
            };
            let row = rows.row(far)?;
            let from = found.labels[far] as usize;
            for (c, value) in row.iter().enumerate() {
                found.sums[from * d + c] -= value;
                found.sums[l * d + c] = *value;
            }
            found.counts[from] -= 1.0;
            found.counts[l] = 1.0;
            found.labels[far] = l as u32;
            found.scores[far] = f64::INFINITY;
        }
        labels = found.labels;
        let mut moved = 0.0;
        for l in (0..k).filter(|&l| found.counts[l] > 0.0) {
            for c in 0..d {
                let mean = found.sums[l * d + c] / found.counts[l];
                moved += (mean - centers[l * d + c]).powi(2);
                centers[l * d + c] = mean;
            }
        }
        if unchanged || moved <= STILL * variance {
            break;
        }
    }
    // Of rows around their means.
    let mut sizes = vec![0.0; k];
    labels.iter().for_each(|&label| sizes[label as usize] += 1.0);
    let of_means: f64 = centers
        .chunks_exact(d)
        .zip(&sizes)
        .map(|(center, size)| size * center.iter().map(|v| v * v).sum::<f64>())
        .sum();
    let squares = &rows.moments().squares;
    Ok(Kmeans {
        labels,
        inertia: (squares.iter().sum::<f64>() - of_means).max(0.0),
        centers,
    })
}

/// The place at which the running sum reaches `target`.
fn pick(weights: &[f64], target: f64) -> usize {
    let mut sum = 0.0;
    for (i, weight) in weights.iter().enumerate() {
        sum += weight;
        if sum > target {
            return i;
        }
    }
    // Rounding: the last row that has any weight.
    weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Matrix};
    use crate::progress::Silent;

    fn clustered(rows: &Matrix<f32>, clusters: usize) -> Kmeans {
        let ops = Fast::new(1).expect("a thread");
        kmeans(&ops, rows, clusters, 2, 0, &mut Silent).expect("no error")
    }

    #[test]
    fn as_many_clusters_as_rows_one_row_and_rows_all_alike() {
        let one = clustered(&Matrix::from_rows(1, 3, vec![1.0, -2.0, 3.0]), 1);
        assert_eq!((one.labels, one.centers), (vec![0], vec![1.0, -2.0, 3.0]));
        let mut all = clustered(&Matrix::from_rows(5, 1, vec![0.0, 1.0, 10.0, 11.0, 50.0]), 5).labels;
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        let alike = clustered(&Matrix::from_rows(6, 2, vec![0.5; 12]), 3);
        assert_eq!(alike.inertia, 0.0);
        assert!(alike.labels.iter().all(|&label| label < 3));
        let ops = Fast::new(1).expect("a thread");
        let more = kmeans(&ops, &Matrix::from_rows(1, 1, vec![0f32]), 2, 1, 0, &mut Silent);
        assert!(
            more.expect_err("refused")
                .to_string()
                .contains("2 clusters of 1 rows")
        );
    }

    #[test]
    fn the_host_finds_what_the_backend_finds_on_any_number_of_threads() {
        let seed = rand::random::<u32>();
        println!("seed {seed}");
        let random = Stream::new(seed.into(), Purpose::Start, 0);
        // More rows than a part has, and centres beyond whole lanes.
        let (n, d, k) = (5000, 7, 19);
        let rows = Matrix::from_rows(
            n,
            d,
            (0..n * d).map(|at| random.normal(at as u64)[0] as f32).collect(),
        );
        let ops = Fast::new(1).expect("a thread");
        let mut backend = device::Rows::new(&ops, &rows, k).expect("room");
        let centers: Vec<f64> = rows[..k * d].iter().map(|&v| f64::from(v)).collect();
        let expected = backend.assign(&centers, &Silent).expect("no error");
        for threads in [1, 3] {
            let ops = Fast::new(threads).expect("threads");
            let mut host = host::Rows::new(&ops, &rows).expect("room");
            let found = host.assign(&centers, &Silent).expect("no error");
            // A tie within rounding may go the other way.
            let other = found
                .labels
                .iter()
                .zip(&expected.labels)
                .filter(|(a, b)| a != b)
                .count();
            assert!(other <= 2, "{other} rows have another centre");
            assert_eq!(found.counts.iter().sum::<f64>(), n as f64);
            let again = host::Rows::new(&Fast::new(2).expect("threads"), &rows)
                .and_then(|mut rows| rows.assign(&centers, &Silent))
                .expect("no error");
            assert_eq!(
                (found.labels, found.sums),
                (again.labels, again.sums),
                "the same bits"
            );
        }
    }
}
