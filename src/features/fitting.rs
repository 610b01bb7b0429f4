//! What transforms take from the training rows, which come a chunk at a time.

use super::Transform;
use super::autoencoder::Encoder;
use crate::eigen::{Leading, eigen, leading_of_full};
use crate::error::{Error, Result};
use crate::network::to_host;
use crate::ops::{Ops, Shape};
use crate::progress::Progress;
use crate::random::{Purpose, Stream};

/// What the eigenvalues of X'X are scaled to sum up to before lambda is added: a mini-batch of 3000 rows of norm 1.
const WHITENED_ROWS: f64 = 3000.0;

/// What a transform took from the training rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Fitted {
    /// Vectors of a number for each column, or matrices, by name.
    Arrays(Arrays),
    /// A network.
    Encoder(Encoder),
}

/// Numbers by name.
pub type Arrays = Vec<(&'static str, Vec<f32>)>;

impl Fitted {
    /// As they are stored, arrays in rows of `columns` numbers: names, shapes, numbers.
    pub fn tensors(&self, columns: usize) -> Vec<(String, Vec<usize>, &[f32])> {
        match self {
            Fitted::Arrays(arrays) => {
                let stored = arrays.iter().map(|(name, values)| {
                    let shape = match values.len() == columns {
                        true => vec![columns],
                        false => vec![values.len() / columns, columns],
                    };
                    (name.to_string(), shape, &values[..])
                });
                stored.collect()
            }
            Fitted::Encoder(encoder) => {
                let mut stored = encoder.model.tensors("");
                stored.push(("error".into(), vec![1], std::slice::from_ref(&encoder.error)));
                stored
            }
        }
    }
}

/// What a pass over all training rows does with a chunk of them.
pub type Work<'a, O> = dyn FnMut(&<O as Ops>::Matrix) -> Result<()> + 'a;

/// Hands on all training rows, as the transforms before have made them, a chunk at a time, unless it is interrupted.
pub type Pass<'a, O> = dyn FnMut(&mut dyn Progress, &mut Work<O>) -> Result<()> + 'a;

/// What is told when fitting is interrupted.
pub(super) const UNFITTED: &str = "the features were not fitted";

/// Fits a transform of rows of `width` numbers in as many passes as it needs.
///
/// # Errors
/// [`Error::Option`] for an auto-encoder, which is no matter of passes, [`Error::Interrupted`], and those of the backend.
pub fn fit<O: Ops>(
    ops: &O,
    transform: &Transform,
    width: usize,
    progress: &mut dyn Progress,
    pass: &mut Pass<O>,
) -> Result<Fitted> {
    Ok(Fitted::Arrays(match *transform {
        Transform::Scatnet(_) | Transform::Pixels | Transform::Unit | Transform::Rms => Vec::new(),
        Transform::Center => vec![("mean", moments(ops, width, progress, pass)?.0)],
        Transform::Scale => {
            let (mean, deviation) = moments(ops, width, progress, pass)?;
            let squares = mean.iter().chain(&deviation).map(|&v| f64::from(v).powi(2));
            let root = (squares.sum::<f64>() / width as f64).sqrt();
            let factor = if root > 0.0 { (1.0 / root) as f32 } else { 0.0 };
            vec![("scale", vec![factor; width])]
        }
        Transform::Standardize => {
            let (mean, deviation) = moments(ops, width, progress, pass)?;
            let inverse = deviation.iter().map(|&d| if d > 0.0 { 1.0 / d } else { 0.0 });
            vec![("mean", mean), ("scale", inverse.collect())]
        }
        Transform::Quantiles => quantiles(ops, width, progress, pass)?,
        Transform::Whiten(lambda) => vec![("map", whitening(ops, width, lambda, progress, pass)?)],
        Transform::Pca(dims) => components(ops, width, dims, progress, pass)?,
        Transform::Autoencoder(_) => return Err(streamed()),
    }))
}

/// Whether passes over rows are enough to fit the transforms.
///
/// # Errors
/// [`Error::Option`] for an auto-encoder.
pub fn check(transforms: &[Transform]) -> Result<()> {
    let is_trained = |transform: &Transform| matches!(transform, Transform::Autoencoder(_));
    match transforms.iter().any(is_trained) {
        true => Err(streamed()),
        false => Ok(()),
    }
}

fn streamed() -> Error {
    Error::option(
        "autoencoder",
        "it is trained on rows in memory, but these are streamed",
        "train it in a run of fit, or give other features",
    )
}

/// Means and standard deviations of the columns, summed in f64.
fn moments<O: Ops>(
    ops: &O,
    width: usize,
    progress: &mut dyn Progress,
    pass: &mut Pass<O>,
) -> Result<(Vec<f32>, Vec<f32>)> {
    // Around the first row, so that squares of large numbers that hardly change do not drown how they do.
    let mut origin: Vec<f64> = Vec::new();
    let (mut sums, mut squares) = (vec![0f64; width], vec![0f64; width]);
    let mut rows = 0;
    pass(progress, &mut |chunk| {
        rows += chunk.rows();
        for row in to_host(ops, chunk)?.chunks_exact(width) {
            if origin.is_empty() {
                origin = row.iter().map(|&value| f64::from(value)).collect();
            }
            for (c, &value) in row.iter().enumerate() {
                let apart = f64::from(value) - origin[c];
                sums[c] += apart;
                squares[c] += apart * apart;
            }
        }
        Ok(())
    })?;
    let n = rows as f64;
    let mean = |c: usize| (origin[c] + sums[c] / n) as f32;
    let deviation = |c: usize| (squares[c] / n - (sums[c] / n).powi(2)).max(0.0).sqrt() as f32;
    Ok((
        (0..width).map(mean).collect(),
        (0..width).map(deviation).collect(),
    ))
}

/// Knots of a column: the smallest number, those that so many equal parts of the rows end with, and the largest.
pub const KNOTS: usize = 65;

/// Numbers that quantiles are taken of, at most, but of so many rows in any case: of more a random half is kept, then a quarter, and so
/// on, and the smallest and the largest number of all.
const KEPT: usize = 1 << 22;
const KEPT_ROWS: usize = 4096;

/// The quantiles of the columns, and the levels that they are put to: numbers that are spread evenly then have mean 0 and mean square 1.
/// Where quantiles are the same, they are one, on the mean of their levels, and the last is repeated.
fn quantiles<O: Ops>(
    ops: &O,
    width: usize,
    progress: &mut dyn Progress,
    pass: &mut Pass<O>,
) -> Result<Arrays> {
    let most = (KEPT / width).max(KEPT_ROWS);
    let stream = Stream::new(0, Purpose::Estimate, 64);
    // Rows whose random bits begin with so many zeros are kept, with these bits.
    let (mut kept, mut bits, mut zeros): (Vec<f32>, Vec<u32>, u32) = (Vec::new(), Vec::new(), 0);
    let (mut least, mut largest) = (vec![f32::INFINITY; width], vec![f32::NEG_INFINITY; width]);
    let mut finite = true;
    let mut seen = 0;
    pass(progress, &mut |chunk| {
        for row in to_host(ops, chunk)?.chunks_exact(width) {
            for (c, &value) in row.iter().enumerate() {
                finite &= value.is_finite();
                (least[c], largest[c]) = (least[c].min(value), largest[c].max(value));
            }
            let [of_row, ..] = stream.words(seen);
            seen += 1;
            if of_row.leading_zeros() < zeros {
                continue;
            }
            kept.extend_from_slice(row);
            bits.push(of_row);
            if bits.len() > most {
                zeros += 1;
                let rows = kept.chunks_exact(width).zip(&bits);
                let stay = rows.filter(|(_, bits)| bits.leading_zeros() >= zeros);
                kept = stay.flat_map(|(row, _)| row).copied().collect();
                bits.retain(|bits| bits.leading_zeros() >= zeros);
            }
        }
        Ok(())
    })?;
    // A place between two knots is a share of what lies between them.
    let ranges = least.iter().zip(&largest).map(|(least, largest)| largest - least);
    if !finite || !ranges.into_iter().all(f32::is_finite) {
        return Err(Error::option(
            "quantiles",
            "the numbers are too far apart for f32, or none",
            "let standardize, or center and scale, come before it, or scale the data",
        ));
    }
    let (mut knots, mut levels) = (vec![0.0; KNOTS * width], vec![0.0; KNOTS * width]);
    for column in 0..width {
        let mut sorted: Vec<f32> = kept.iter().skip(column).step_by(width).copied().collect();
        // Of all rows those are among them already.
        if zeros > 0 {
            sorted.extend([least[column], largest[column]]);
        }
        sorted.sort_unstable_by(f32::total_cmp);
        let rows = sorted.len();
        let quantile = |knot: usize| sorted[knot * (rows - 1) / (KNOTS - 1)];
        let level = |first: usize, last: usize| {
            let middle = (first + last) as f64 / 2.0 / (KNOTS - 1) as f64;
            (12f64.sqrt() * (middle - 0.5)) as f32
        };
        let (mut first, mut place) = (0, 0);
        while first < KNOTS {
            let value = quantile(first);
            let same = (first..KNOTS).take_while(|&knot| quantile(knot) == value).count();
            let end = match first + same {
                KNOTS => KNOTS,
                _ => place + 1,
            };
            for at in place..end {
                knots[at * width + column] = value;
                levels[at * width + column] = level(first, first + same - 1);
            }
            (first, place) = (first + same, end);
        }
    }
    Ok(vec![("knots", knots), ("levels", levels)])
}

/// `X'X`, which is summed in f64.
fn second_moments<O: Ops>(
    ops: &O,
    width: usize,
    progress: &mut dyn Progress,
    pass: &mut Pass<O>,
) -> Result<Vec<f64>> {
    let mut moments = vec![0.0; width * width];
    pass(progress, &mut |chunk| {
        for (sum, part) in moments.iter_mut().zip(ops.gram(chunk, chunk)?) {
            *sum += part;
        }
        Ok(())
    })?;
    Ok(moments)
}

/// The matrix, old columns by new ones, that whitens the rows.
fn whitening<O: Ops>(
    ops: &O,
    width: usize,
    lambda: f64,
    progress: &mut dyn Progress,
    pass: &mut Pass<O>,
) -> Result<Vec<f32>> {
    let d = width;
    let moments = second_moments(ops, d, progress, pass)?;
    // All eigenvectors at once take long, and cannot be stopped within.
    progress.not_interrupted(UNFITTED)?;
    let (mut values, vectors) = eigen(&moments, d);
    progress.not_interrupted(UNFITTED)?;
    let total: f64 = values.iter().map(|value| value.max(0.0)).sum();
    for value in &mut values {
        // All rows 0: nothing to whiten.
        *value = if total > 0.0 {
            value.max(0.0) * WHITENED_ROWS / total
        } else {
            0.0
        };
    }
    let factors: Vec<f64> = values
        .iter()
        .map(|value| value.sqrt() / (value + lambda))
        .collect();
    Ok((0..d * d)
        .map(|at| (vectors[at] * factors[at % d]) as f32)
        .collect())
}

/// The leading eigenvectors of X'X as columns of a matrix, each with its largest entry positive (the first among equals), and the share
/// of the trace that each holds.
fn components<O: Ops>(
    ops: &O,
    width: usize,
    dims: usize,
    progress: &mut dyn Progress,
    pass: &mut Pass<O>,
) -> Result<Arrays> {
    if dims > width {
        return Err(Error::Shape {
            what: "the number of principal components".into(),
            found: dims.to_string(),
            expected: format!("at most {width}, as a row has numbers"),
        });
    }
    let mut rows = 0;
    let moments = second_moments(ops, width, progress, &mut |progress, work| {
        pass(progress, &mut |chunk| {
            rows += chunk.rows();
            work(chunk)
        })
    })?;
    // Beyond them any direction would do, and none would mean anything.
    if dims > rows {
        return Err(Error::Shape {
            what: "the number of principal components".into(),
            found: dims.to_string(),
            expected: format!("at most {rows}, as there are training rows"),
        });
    }
    let Leading { values, vectors } = leading_of_full(&moments, width, dims, progress, UNFITTED)?;
    let trace: f64 = (0..width).map(|c| moments[c * width + c]).sum();
    let energy = values.iter().map(|value| match trace > 0.0 {
        true => (value.max(0.0) / trace) as f32,
        false => 0.0,
    });
    let mut map = vec![0.0; width * dims];
    for c in 0..dims {
        let column = |row: usize| vectors[row * dims + c];
        let largest = (0..width).fold(0.0, |most: f64, row| {
            if column(row).abs() > most.abs() {
                column(row)
            } else {
                most
            }
        });
        for row in 0..width {
            map[row * dims + c] = (column(row) * largest.signum()) as f32;
        }
    }
    Ok(vec![("map", map), ("energy", energy.collect())])
}
