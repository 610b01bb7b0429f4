//! A chain of transforms, fitted on the training rows.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Transform, describe, parse};
use crate::data::safetensors;
use crate::eigen::eigen;
use crate::error::{Error, Result};
use crate::network::{download, to_host, to_real};
use crate::ops::{Ops, Shape};

/// Rows that are transformed at a time in fitting.
const CHUNK: usize = 4096;

/// What the eigenvalues of X'X are scaled to sum up to before lambda is added: a mini-batch of 3000 rows of norm 1.
const WHITENED_ROWS: f64 = 3000.0;

/// What a transform took from the training rows: vectors of a number for each column, or matrices, by name.
type Fitted = Vec<(&'static str, Vec<f32>)>;

/// A fitted chain of transforms.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    columns: usize,
    steps: Vec<(Transform, Fitted)>,
}

impl Pipeline {
    /// Fits the transforms on the rows of `x`, one after the other, and applies them to it. `x` may be
    /// [training rows](Ops::training_rows): it is transformed a chunk at a time.
    pub fn fit<O: Ops>(ops: &O, transforms: &[Transform], x: &mut O::Matrix) -> Result<Self> {
        let mut pipeline = Pipeline {
            columns: x.cols(),
            steps: Vec::new(),
        };
        if transforms.is_empty() {
            return Ok(pipeline);
        }
        let rows = x.rows();
        let mut chunk = ops.matrix("a chunk of rows", CHUNK.min(rows), x.cols())?;
        for &transform in transforms {
            let fitted = match transform {
                Transform::Pixels | Transform::Unit | Transform::Rms => Vec::new(),
                Transform::Center => vec![("mean", pipeline.moments(ops, x, &mut chunk)?.0)],
                Transform::Scale => {
                    let (mean, deviation) = pipeline.moments(ops, x, &mut chunk)?;
                    let squares = mean.iter().chain(&deviation).map(|&v| f64::from(v).powi(2));
                    let root = (squares.sum::<f64>() / x.cols() as f64).sqrt();
                    let factor = if root > 0.0 { (1.0 / root) as f32 } else { 0.0 };
                    vec![("scale", vec![factor; x.cols()])]
                }
                Transform::Standardize => {
                    let (mean, deviation) = pipeline.moments(ops, x, &mut chunk)?;
                    let inverse = deviation.iter().map(|&d| if d > 0.0 { 1.0 / d } else { 0.0 });
                    vec![("mean", mean), ("scale", inverse.collect())]
                }
                Transform::Whiten(lambda) => {
                    vec![("map", pipeline.whitening(ops, x, lambda, &mut chunk)?)]
                }
            };
            pipeline.steps.push((transform, fitted));
        }
        pipeline.prepare(ops)?.replace(ops, x, &mut chunk)?;
        Ok(pipeline)
    }

    /// Transforms the rows of `x`, which may be [training rows](Ops::training_rows).
    pub fn apply<O: Ops>(&self, ops: &O, x: &mut O::Matrix) -> Result<()> {
        let mut chunk = ops.matrix("a chunk of rows", CHUNK.min(x.rows()), x.cols())?;
        self.prepare(ops)?.replace(ops, x, &mut chunk)
    }

    /// Means and standard deviations of the columns of the transformed rows of `x`, summed in f64.
    fn moments<O: Ops>(&self, ops: &O, x: &O::Matrix, chunk: &mut O::Matrix) -> Result<(Vec<f32>, Vec<f32>)> {
        let (rows, cols) = (x.rows(), x.cols());
        let prepared = self.prepare(ops)?;
        // Around the first row, so that squares of large numbers that hardly change do not drown how they do.
        let mut origin: Vec<f64> = Vec::new();
        let (mut sums, mut squares) = (vec![0f64; cols], vec![0f64; cols]);
        for first in (0..rows).step_by(CHUNK) {
            prepared.apply_to_chunk(ops, x, first, chunk)?;
            for row in to_host(ops, chunk)?.chunks_exact(cols) {
                if origin.is_empty() {
                    origin = row.iter().map(|&value| f64::from(value)).collect();
                }
                for (c, &value) in row.iter().enumerate() {
                    let apart = f64::from(value) - origin[c];
                    sums[c] += apart;
                    squares[c] += apart * apart;
                }
            }
        }
        let n = rows as f64;
        let mean = |c: usize| (origin[c] + sums[c] / n) as f32;
        let deviation = |c: usize| (squares[c] / n - (sums[c] / n).powi(2)).max(0.0).sqrt() as f32;
        Ok(((0..cols).map(mean).collect(), (0..cols).map(deviation).collect()))
    }

    /// The matrix, old columns by new ones, that whitens the transformed rows of `x`.
    fn whitening<O: Ops>(
        &self,
        ops: &O,
        x: &O::Matrix,
        lambda: f64,
        chunk: &mut O::Matrix,
    ) -> Result<Vec<f32>> {
        let d = x.cols();
        let prepared = self.prepare(ops)?;
        let mut moments = vec![0.0; d * d];
        for first in (0..x.rows()).step_by(CHUNK) {
            prepared.apply_to_chunk(ops, x, first, chunk)?;
            for (sum, part) in moments.iter_mut().zip(ops.gram(chunk, chunk)?) {
                *sum += part;
            }
        }
        let (mut values, vectors) = eigen(&moments, d);
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

    /// Length of a raw row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The transforms.
    pub fn transforms(&self) -> Vec<Transform> {
        self.steps.iter().map(|(transform, _)| *transform).collect()
    }

    /// Uploads what the transforms need.
    pub fn prepare<O: Ops>(&self, ops: &O) -> Result<Prepared<O>> {
        let d = self.columns;
        let uploaded = self.steps.iter().map(|(transform, fitted)| {
            let matrices = fitted.iter().map(|(_, values)| {
                let mut matrix = ops.matrix("what transforms rows", values.len() / d, d)?;
                ops.upload(&to_real::<O>(values), &mut matrix, 0)?;
                Ok(matrix)
            });
            Ok((*transform, matrices.collect::<Result<_>>()?))
        });
        Ok(Prepared {
            steps: uploaded.collect::<Result<_>>()?,
        })
    }

    /// Writes the pipeline to a safetensors file, atomically.
    pub fn save(&self, path: &Path) -> Result<()> {
        let metadata = BTreeMap::from([
            ("features".to_string(), describe(&self.transforms())),
            ("columns".to_string(), self.columns.to_string()),
        ]);
        let d = self.columns;
        let fitted = self.steps.iter().enumerate().flat_map(|(i, (_, fitted))| {
            fitted.iter().map(move |(name, values)| {
                let shape = if values.len() == d {
                    vec![d]
                } else {
                    vec![values.len() / d, d]
                };
                (format!("{i}.{name}"), shape, values)
            })
        });
        let fitted: Vec<_> = fitted.collect();
        let tensors: Vec<(&str, &[usize], &[f32])> = fitted
            .iter()
            .map(|(name, shape, values)| (&name[..], &shape[..], &values[..]))
            .collect();
        safetensors::write(path, &tensors, &metadata)
    }

    /// Reads what [`save`](Self::save) wrote.
    pub fn load(path: &Path) -> Result<Self> {
        let (mut tensors, metadata) = safetensors::read::<f32>(path)?;
        let bad = |problem: String| {
            Error::file(
                path,
                problem,
                "use the file that `neuncut fit` wrote, or train again",
            )
        };
        let text = metadata
            .get("features")
            .ok_or_else(|| bad("its metadata lacks \"features\"".into()))?;
        let columns: usize = metadata
            .get("columns")
            .and_then(|columns| columns.parse().ok())
            .ok_or_else(|| bad("its metadata lacks the number \"columns\"".into()))?;
        let transforms = parse("--features", text).map_err(|_| bad(format!("unknown features {text:?}")))?;
        let mut take = |i: usize, name: &'static str, numbers: usize| {
            let tensor = tensors
                .remove(&format!("{i}.{name}"))
                .filter(|tensor| tensor.values.len() == numbers)
                .ok_or_else(|| bad(format!("no tensor {i}.{name} of {numbers} numbers")))?;
            if !tensor.values.iter().all(|v| v.is_finite()) {
                return Err(bad(format!("{i}.{name} holds a number that is not finite")));
            }
            Ok((name, tensor.values))
        };
        let mut steps = Vec::new();
        for (i, transform) in transforms.into_iter().enumerate() {
            let fitted = match transform {
                Transform::Pixels | Transform::Unit | Transform::Rms => Vec::new(),
                Transform::Center => vec![take(i, "mean", columns)?],
                Transform::Scale => vec![take(i, "scale", columns)?],
                Transform::Standardize => vec![take(i, "mean", columns)?, take(i, "scale", columns)?],
                Transform::Whiten(_) => vec![take(i, "map", columns * columns)?],
            };
            steps.push((transform, fitted));
        }
        Ok(Pipeline { columns, steps })
    }
}

/// A pipeline in a backend's memory.
pub struct Prepared<O: Ops> {
    steps: Vec<(Transform, Vec<O::Matrix>)>,
}

impl<O: Ops> Prepared<O> {
    /// Transforms the rows in use of `x`.
    pub fn apply(&self, ops: &O, x: &mut O::Matrix) -> Result<()> {
        for (transform, fitted) in &self.steps {
            match (transform, &fitted[..]) {
                (Transform::Pixels, _) => ops.scale(1.0 / 255.0, x)?,
                (Transform::Center, [mean]) => ops.center_rows(mean, x)?,
                (Transform::Scale, [scale]) => ops.scale_columns(scale, x)?,
                (Transform::Standardize, [mean, scale]) => {
                    ops.center_rows(mean, x)?;
                    ops.scale_columns(scale, x)?;
                }
                (Transform::Unit, _) => ops.normalize_rows(1.0, x)?,
                (Transform::Rms, _) => ops.normalize_rows((x.cols() as f64).sqrt(), x)?,
                (Transform::Whiten(_), [map]) => {
                    let mut whitened = ops.matrix("a chunk of rows", x.rows(), x.cols())?;
                    ops.combine(x, map, 0.0, &mut whitened)?;
                    ops.copy_rows(&whitened, 0, x)?;
                }
                _ => unreachable!("fitted or loaded with all it needs"),
            }
        }
        Ok(())
    }

    /// Transforms the rows of `x` a chunk at a time.
    fn replace(&self, ops: &O, x: &mut O::Matrix, chunk: &mut O::Matrix) -> Result<()> {
        for first in (0..x.rows()).step_by(CHUNK) {
            self.apply_to_chunk(ops, x, first, chunk)?;
            ops.upload(&download(ops, chunk)?, x, first)?;
        }
        Ok(())
    }

    /// The rows of `x` from `first` on, as many as are left up to [`CHUNK`], transformed, in `chunk`.
    fn apply_to_chunk(&self, ops: &O, x: &O::Matrix, first: usize, chunk: &mut O::Matrix) -> Result<()> {
        chunk.set_rows(CHUNK.min(x.rows() - first));
        ops.copy_rows(x, first, chunk)?;
        self.apply(ops, chunk)
    }
}
