//! Which transforms suit the rows of some data: from how its columns spread, from whether whitened rows agree better with themselves,
//! and from how narrow the places are in which most rows are.

use crate::eigen::eigen;
use crate::error::Result;
use crate::features::{Pipeline, Reader, Transform};
use crate::network::{download, gathered, to_real};
use crate::ops::{Ops, Real, Shape};
use crate::progress::Progress;
use crate::random::{Permutation, Purpose};

/// A column whose standard deviation is this many times that of the middle one measures something else than the others do.
const ODD_SPREAD: f64 = 10.0;

/// Columns whose mean squared correlation is below this over the number of rows are principal components: what spreads less matters
/// less.
const UNCORRELATED: f64 = 10.0;

/// Up to this many standardised columns the length of a row tells too much to be normalised away.
const FEW_COLUMNS: usize = 20;

/// Up to this many columns rows are points in space.
const SPACE: usize = 3;

/// Rows that are looked at, at most, for the spread of columns.
const SPREAD_ROWS: usize = 5000;

/// Columns that are looked at, at most: eigenvectors of more take long.
pub const COLUMNS: usize = 1000;

/// Rows whose neighbours are compared, and neighbours of each.
const QUERIES: usize = 2000;
const NEIGHBORS: usize = 5;

/// Ways to part the components in two, at least and at most. Of few components it matters which are together: as many ways are looked
/// at as give this many components in all.
const PARTINGS: (usize, usize) = (3, 24);
const PARTED: usize = 192;

/// The transforms for rows of numbers that are no pixels. Columns of unlike spread are standardised; rows of up to three columns are
/// points in space, whose distances matter, and are only brought to a common scale; all others are centred and normalised.
pub fn usual_transforms<O: Ops>(ops: &O, rows: &O::Matrix, seed: u64) -> Result<Vec<Transform>> {
    let d = rows.cols();
    let x = sample(ops, rows, SPREAD_ROWS, seed)?;
    let n = x.rows();
    let values = download(ops, &x)?;
    let value = |i: usize, c: usize| values[i * d + c].to_f64();
    let means: Vec<f64> = (0..d)
        .map(|c| (0..n).map(|i| value(i, c)).sum::<f64>() / n as f64)
        .collect();
    let spread = |c: usize| ((0..n).map(|i| (value(i, c) - means[c]).powi(2)).sum::<f64>() / n as f64).sqrt();
    let spreads: Vec<f64> = (0..d).map(spread).collect();
    let mut changing: Vec<usize> = (0..d).filter(|&c| spreads[c] > 0.0).collect();
    changing.sort_by(|&a, &b| spreads[a].total_cmp(&spreads[b]));
    let odd = match &changing[..] {
        [] => false,
        sorted => {
            let middle = spreads[sorted[(sorted.len() - 1) / 2]];
            spreads[sorted[sorted.len() - 1]] > ODD_SPREAD * middle
        }
    };
    let odd = odd && {
        // A sample of columns tells.
        let order = Permutation::new(seed, Purpose::Estimate, 10, changing.len() as u64);
        let few: Vec<usize> = (0..changing.len().min(200) as u64)
            .map(|at| changing[order.at(at) as usize])
            .collect();
        mean_squared_correlation(&few, n, |i, c| (value(i, c) - means[c]) / spreads[c])
            > UNCORRELATED / n as f64
    };
    Ok(match (odd, d) {
        (true, 1..=FEW_COLUMNS) => vec![Transform::Standardize],
        (true, _) => vec![Transform::Standardize, Transform::Unit],
        (false, 1..=SPACE) => vec![Transform::Center, Transform::Scale],
        (false, _) => vec![Transform::Center, Transform::Unit],
    })
}

/// Rows that are looked at, at most, for crowds.
const CROWD_ROWS: usize = 2000;

/// Parts of the different numbers of a column, one of which makes a crowd, at least; more where there are to be more clusters.
const CROWDS: usize = 10;

/// What a part of numbers takes that are spread evenly counts 1; of normal ones one takes 0.8, and of as skewed ones as incomes 0.3. What
/// is much narrower, a network hardly sees.
const CROWDED: f64 = 0.18;

/// Whether the network is given the places of rows among the quantiles, too: where they are of few numbers whose size matters, and
/// crowd in places that are narrow beside the distances between these. The crowds within a crowd are none to a network that sees
/// numbers in the unit of the whole.
///
/// Of each column the narrowest interval around each number is taken that holds a tenth of the different numbers, or a part for each
/// cluster where there are more; the median of these is set beside that of even numbers of the same standard deviation, and columns
/// count by their variances, in a geometric mean.
pub fn quantiles_help<O: Ops>(
    ops: &O,
    transforms: &[Transform],
    rows: &O::Matrix,
    clusters: usize,
    seed: u64,
) -> Result<bool> {
    let d = rows.cols();
    let by_length = transforms
        .iter()
        .any(|t| matches!(t, Transform::Unit | Transform::Pixels));
    if !may_be_crowded(d) || by_length {
        return Ok(false);
    }
    let x = sample(ops, rows, CROWD_ROWS, seed)?;
    let n = x.rows() as f64;
    let values = download(ops, &x)?;
    let parts = clusters.max(CROWDS);
    // Even numbers lie within the root of 12 standard deviations.
    let even = 12f64.sqrt() / parts as f64;
    let (mut total, mut sum) = (0.0, 0.0);
    for c in 0..d {
        let mut column: Vec<f64> = values.iter().skip(c).step_by(d).map(|v| v.to_f64()).collect();
        let mean = column.iter().sum::<f64>() / n;
        let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        column.sort_unstable_by(f64::total_cmp);
        column.dedup();
        if column.len() < 2 {
            continue;
        }
        total += variance;
        sum += variance * (crowd(&column, parts) / (even * variance.sqrt())).ln();
    }
    Ok(total > 0.0 && (sum / total).exp() < CROWDED)
}

/// Whether rows of so many numbers may be given their places among the quantiles.
pub fn may_be_crowded(columns: usize) -> bool {
    columns <= FEW_COLUMNS
}

/// The median width of the narrowest intervals around some different numbers, two at least, in order, that one of so many parts of them
/// is in.
fn crowd(sorted: &[f64], parts: usize) -> f64 {
    let many = (sorted.len() / parts).max(1);
    let widths: Vec<f64> = sorted.windows(many + 1).map(|w| w[many] - w[0]).collect();
    let narrowest = |at: usize| {
        let around = &widths[at.saturating_sub(many)..=at.min(widths.len() - 1)];
        around.iter().copied().fold(f64::INFINITY, f64::min)
    };
    let mut all: Vec<f64> = (0..sorted.len()).map(narrowest).collect();
    let middle = all.len() / 2;
    *all.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Over all pairs of some columns.
fn mean_squared_correlation(columns: &[usize], rows: usize, value: impl Fn(usize, usize) -> f64) -> f64 {
    let p = columns.len();
    if p < 2 {
        return f64::INFINITY;
    }
    let mut sums = vec![0.0; p * p];
    let mut row = vec![0.0; p];
    for i in 0..rows {
        for (to, &c) in row.iter_mut().zip(columns) {
            *to = value(i, c);
        }
        for (a, sums) in row.iter().zip(sums.chunks_exact_mut(p)) {
            for (sum, b) in sums.iter_mut().zip(&row) {
                *sum += a * b;
            }
        }
    }
    let total: f64 = sums.iter().map(|sum| (sum / rows as f64).powi(2)).sum();
    (total - p as f64) / (p * (p - 1)) as f64
}

/// Columns beyond which nothing is whitened: all eigenvectors of their second moments are needed, whose time grows with their cube.
const MOST_WHITENED: usize = 5000;

/// Whether so many rows of so many numbers are whitened where that helps.
pub fn may_be_whitened(rows: usize, columns: usize) -> bool {
    columns > SPACE && columns <= MOST_WHITENED && rows > 2 * NEIGHBORS
}

/// Whether the neighbours of whitened rows are better ones. `rows` are transformed already, but not whitened.
///
/// Of both kinds of rows the principal components are parted in two at random. Where neighbours are due to what the rows are, not to
/// noise, those in one half are neighbours in the other: whitening pays where it raises this agreement, that is, where many small
/// components know as much as the few large ones that drown them, and harms where they hold noise.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted), [`Error::Memory`](crate::Error::Memory).
pub fn whitening_helps<O: Ops>(
    ops: &O,
    rows: &O::Matrix,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<bool> {
    let (n, d) = (rows.rows(), rows.cols());
    if !may_be_whitened(n, d) {
        return Ok(false);
    }
    let plain = columns_of(ops, rows, seed, progress)?;
    let reader = Reader::plain(plain.cols());
    let copy = columns_of(ops, rows, seed, progress)?;
    let (_, whitened) = Pipeline::fit(ops, reader, &WHITENED, copy, seed, progress)?;
    Ok(agreement(ops, &whitened, seed, progress)? > agreement(ops, &plain, seed, progress)?)
}

/// What follows the usual transforms where whitening pays.
pub const WHITENED: [Transform; 2] = [Transform::Whiten(crate::features::LAMBDA), Transform::Unit];

/// A copy of the rows, with a random choice of columns where there are very many.
fn columns_of<O: Ops>(ops: &O, rows: &O::Matrix, seed: u64, progress: &dyn Progress) -> Result<O::Matrix> {
    let (n, d) = (rows.rows(), rows.cols());
    let order = Permutation::new(seed, Purpose::Estimate, 11, d as u64);
    let kept: Vec<usize> = (0..d.min(COLUMNS) as u64)
        .map(|at| order.at(at) as usize)
        .collect();
    let mut copy = ops.matrix("rows to be compared", n, kept.len())?;
    let mut chunk = ops.matrix("rows to be compared", CHUNK.min(n), d)?;
    for first in (0..n).step_by(CHUNK) {
        progress.not_interrupted(UNDECIDED)?;
        chunk.set_rows(CHUNK.min(n - first));
        ops.copy_rows(rows, first, &mut chunk)?;
        let values = download(ops, &chunk)?;
        let picked: Vec<O::Real> = values
            .chunks_exact(d)
            .flat_map(|row| kept.iter().map(|&c| row[c]))
            .collect();
        ops.upload(&picked, &mut copy, first)?;
    }
    Ok(copy)
}

/// Rows that are copied at a time.
const CHUNK: usize = 4096;

/// What is told when this is interrupted.
const UNDECIDED: &str = "training had not begun";

/// Share of the neighbours by one half of the principal components that are neighbours by the other half too.
fn agreement<O: Ops>(ops: &O, rows: &O::Matrix, seed: u64, progress: &mut dyn Progress) -> Result<f64> {
    let (n, d) = (rows.rows(), rows.cols());
    let (_, centred) = Pipeline::fit(
        ops,
        Reader::plain(d),
        &[Transform::Center],
        columns_of(ops, rows, seed, progress)?,
        seed,
        progress,
    )?;
    let products = ops.gram(&centred, &centred)?;
    progress.not_interrupted(UNDECIDED)?;
    let (values, vectors) = eigen(&products, d);
    let largest = values[d - 1].max(0.0);
    let components: Vec<usize> = (0..d).filter(|&c| values[c] > 1e-9 * largest).collect();
    if components.len() < 2 {
        return Ok(0.0);
    }
    let asked = Permutation::new(seed, Purpose::Estimate, 12, n as u64);
    let asked: Vec<u32> = (0..n.min(QUERIES) as u64).map(|at| asked.at(at) as u32).collect();
    let (mut shared, mut all) = (0, 0);
    let partings = (PARTED / components.len()).clamp(PARTINGS.0, PARTINGS.1);
    for parting in 0..partings as u32 {
        let order = Permutation::new(seed, Purpose::Estimate, 13 + parting, components.len() as u64);
        let half = |first: u64| -> Vec<usize> {
            (first..components.len() as u64)
                .step_by(2)
                .map(|at| components[order.at(at) as usize])
                .collect()
        };
        let mut lists = Vec::new();
        for half in [half(0), half(1)] {
            progress.not_interrupted(UNDECIDED)?;
            let p = half.len();
            let chosen: Vec<f64> = (0..d)
                .flat_map(|r| half.iter().map(move |&c| (r, c)))
                .map(|(r, c)| vectors[r * d + c])
                .collect();
            let mut map = ops.matrix("principal components", d, p)?;
            ops.upload(&to_real::<O>(&chosen), &mut map, 0)?;
            let mut projected = ops.matrix("rows to be compared", n, p)?;
            ops.combine(&centred, &map, 0.0, &mut projected)?;
            let queries = gathered(ops, "rows to be compared", &projected, &asked)?;
            let count = (NEIGHBORS + 1).min(n);
            let found = ops.nearest(&queries, &projected, count)?;
            let others = found.rows.chunks_exact(count).zip(&asked).map(|(rows, own)| {
                let others = rows.iter().copied().filter(|row| row != own);
                others.take(NEIGHBORS).collect::<Vec<u32>>()
            });
            lists.push(others.collect::<Vec<_>>());
        }
        for (a, b) in lists[0].iter().zip(&lists[1]) {
            shared += a.iter().filter(|row| b.contains(row)).count();
            all += a.len();
        }
    }
    Ok(shared as f64 / all.max(1) as f64)
}

/// Some rows at random, or all.
fn sample<O: Ops>(ops: &O, rows: &O::Matrix, most: usize, seed: u64) -> Result<O::Matrix> {
    let n = rows.rows();
    let order = Permutation::new(seed, Purpose::Estimate, 14, n as u64);
    let chosen: Vec<u32> = (0..n.min(most) as u64).map(|at| order.at(at) as u32).collect();
    gathered(ops, "a sample of rows", rows, &chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Matrix};
    use crate::features::describe;
    use crate::progress::Silent;
    use crate::random::Stream;

    /// Rows of independent normal numbers, one for each of `spreads`, around the centres of ten clouds: `apart` says how far from
    /// one another these are in each column.
    fn clouds(rows: usize, seed: u64, spreads: &[f64], apart: impl Fn(usize) -> f64) -> Matrix<f32> {
        let d = spreads.len();
        let stream = Stream::new(seed, Purpose::Synthetic, 84);
        let value = |at: usize| {
            let (i, c) = (at / d, at % d);
            let [noise, _] = stream.normal(at as u64);
            let [_, centre] = stream.normal((i % 10 * d + c) as u64);
            (spreads[c] * noise + apart(c) * centre) as f32
        };
        Matrix::from_rows(rows, d, (0..rows * d).map(value).collect())
    }

    fn seed() -> u64 {
        let seed = rand::random();
        println!("seed {seed}");
        seed
    }

    #[test]
    fn whitening_pays_where_large_noise_drowns_many_small_columns() {
        let (ops, seed) = (Fast::new(2).expect("two threads"), seed());
        let spreads: Vec<f64> = (0..24).map(|c| if c < 4 { 40.0 } else { 1.0 }).collect();
        let rows = clouds(600, seed, &spreads, |c| if c < 4 { 0.0 } else { 3.0 });
        assert!(whitening_helps(&ops, &rows, seed, &mut Silent).expect("memory for a few rows"));
    }

    #[test]
    fn whitening_harms_where_small_columns_are_noise() {
        let (ops, seed) = (Fast::new(2).expect("two threads"), seed());
        let rows = clouds(600, seed, &[0.1; 40], |c| if c < 8 { 1.0 } else { 0.0 });
        assert!(!whitening_helps(&ops, &rows, seed, &mut Silent).expect("memory for a few rows"));
    }

    #[test]
    fn quantiles_help_where_rows_crowd_and_their_size_matters() {
        let (ops, seed) = (Fast::new(2).expect("two threads"), seed());
        let stream = Stream::new(seed, Purpose::Synthetic, 86);
        // Columns of normal or even numbers, around as many places as there are parts, so far from one another.
        let rows = |d: usize, parts: usize, apart: f64, even: bool| {
            let value = |at: usize| {
                let [normal, _] = stream.normal(at as u64);
                let number = if even {
                    stream.uniform_f64(at as u64)[0]
                } else {
                    normal
                };
                (number + apart * (at / d % parts) as f64) as f32
            };
            Matrix::from_rows(1500, d, (0..1500 * d).map(value).collect())
        };
        let points = [Transform::Center, Transform::Scale];
        let helps = |rows: &Matrix<f32>, transforms: &[Transform]| {
            quantiles_help(&ops, transforms, rows, 10, seed).expect("memory for a few rows")
        };
        for (d, parts, apart, even, expected) in [
            (2, 1, 0.0, false, false),
            (2, 1, 0.0, true, false),
            (3, 4, 5.0, false, false),
            (1, 3, 100.0, true, true),
            (2, 3, 1000.0, false, true),
            (FEW_COLUMNS, 3, 1000.0, false, true),
            (FEW_COLUMNS + 1, 3, 1000.0, false, false),
        ] {
            let found = helps(&rows(d, parts, apart, even), &points);
            assert_eq!(found, expected, "{parts} parts of {d} columns, {apart} apart");
        }
        // Ten parts of Cantor's set are wide enough, sixteen are not.
        let cantor = (0..1500).map(|at| {
            let digit = |place: i32| f64::from(at >> place & 1) / 3f64.powi(place);
            ((0..10).map(digit).sum::<f64>() + 1e-5 * stream.uniform_f64(at as u64)[0]) as f32
        });
        let cantor = Matrix::from_rows(1500, 1, cantor.collect());
        for (clusters, expected) in [(3, false), (10, false), (16, true)] {
            let found =
                quantiles_help(&ops, &points, &cantor, clusters, seed).expect("memory for a few rows");
            assert_eq!(found, expected, "{clusters} clusters");
        }
        // Rows of norm 1 have no size; and whole numbers, or equal ones, are no crowds.
        let far = rows(2, 3, 1000.0, false);
        assert!(!helps(&far, &[Transform::Center, Transform::Unit]));
        let whole: Vec<f32> = rows(2, 3, 5.0, false).iter().map(|v| v.round()).collect();
        assert!(!helps(&Matrix::from_rows(1500, 2, whole), &points));
        assert!(!helps(&Matrix::from_rows(1500, 2, vec![3.0; 3000]), &points));
        // A column that hardly varies beside another says nothing.
        let mut beside: Vec<f32> = rows(2, 1, 0.0, true).iter().copied().collect();
        for (at, value) in beside.iter_mut().enumerate().skip(1).step_by(2) {
            *value = 1e-3 * (*value + 1000.0 * (at % 3) as f32 / 1000.0);
        }
        assert!(!helps(&Matrix::from_rows(1500, 2, beside), &points));
    }

    #[test]
    fn of_few_columns_the_seed_does_not_decide() {
        let ops = Fast::new(2).expect("two threads");
        let uneven: Vec<f64> = (0..8).map(|c| 0.1 * 30f64.powf(f64::from(c) / 7.0)).collect();
        // By three ways to part their components, seeds 4 and 6, or 6, would say other than 0.
        for (rows_of, apart, expected) in [(7, 1.5, true), (9, 2.0, false)] {
            let rows = clouds(1800, rows_of, &uneven, |_| apart);
            for seed in [0, 4, 6] {
                let helps = whitening_helps(&ops, &rows, seed, &mut Silent).expect("memory for a few rows");
                assert_eq!(helps, expected, "rows {rows_of}, seed {seed}");
            }
        }
    }

    #[test]
    fn points_in_space_few_rows_and_equal_ones_are_not_whitened() {
        let ops = Fast::new(2).expect("two threads");
        for (rows, spreads) in [(600, &[1.0, 100.0, 1.0][..]), (10, &[1.0; 12]), (600, &[0.0; 12])] {
            let rows = clouds(rows, 1, spreads, |_| 0.0);
            assert!(!whitening_helps(&ops, &rows, 1, &mut Silent).expect("memory for a few rows"));
        }
    }

    #[test]
    fn columns_of_unlike_spread_are_standardised_unless_they_are_principal_components() {
        let (ops, seed) = (Fast::new(2).expect("two threads"), seed());
        let usual = |rows: Matrix<f32>| {
            describe(&usual_transforms(&ops, &rows, seed).expect("memory for a few rows"))
        };
        // A common part in all columns correlates them.
        let table = |d: usize, spread: &dyn Fn(usize) -> f64| {
            let stream = Stream::new(seed, Purpose::Synthetic, 85);
            let value = |at: usize| {
                let ([own, _], [_, common]) = (stream.normal(at as u64), stream.normal((at / d) as u64));
                (spread(at % d) * (own + 2.0 * common) + 1e3) as f32
            };
            Matrix::from_rows(500, d, (0..500 * d).map(value).collect())
        };
        let unlike = |c: usize| if c.is_multiple_of(3) { 200.0 } else { 1.0 };
        assert_eq!(usual(table(8, &unlike)), "standardize");
        assert_eq!(usual(table(30, &unlike)), "standardize,unit");
        assert_eq!(usual(table(8, &|_| 3.0)), "center,unit");
        // What never changes says nothing about spreads.
        assert_eq!(usual(table(8, &|c| if c < 6 { 0.0 } else { 3.0 })), "center,unit");
        assert_eq!(usual(table(2, &|_| 3.0)), "center,scale");
        assert_eq!(usual(table(2, &|c| [1.0, 200.0][c])), "standardize");
        let components: Vec<f64> = (0..30).map(|c| 100.0 * 0.7f64.powi(c)).collect();
        assert_eq!(usual(clouds(500, seed, &components, |_| 0.0)), "center,unit");
        assert_eq!(usual(clouds(500, seed, &[0.0; 5], |_| 0.0)), "center,unit");
        assert_eq!(usual(clouds(1, seed, &[1.0; 2], |_| 0.0)), "center,scale");
    }
}
