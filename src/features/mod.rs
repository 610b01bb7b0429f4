//! From raw rows to what the network reads: a chain of transforms, fitted once on the training rows, stored with the model,
//! and replayed on every row that is ever labelled.

use std::collections::BTreeMap;
use std::path::Path;

use crate::data::{Dataset, safetensors};
use crate::error::{Error, Result};
use crate::network::{to_host, to_real};
use crate::ops::{Ops, Shape};

/// One transform of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// `pixels`: divides by 255.
    Pixels,
    /// `center`: subtracts the mean of the training rows.
    Center,
    /// `unit`: divides each row by its Euclidean norm (plus 1e-6).
    Unit,
    /// `rms`: like `unit`, then times sqrt(d), so that entries are of order 1.
    Rms,
}

impl Transform {
    const ALL: [(&'static str, Transform); 4] = [
        ("pixels", Transform::Pixels),
        ("center", Transform::Center),
        ("unit", Transform::Unit),
        ("rms", Transform::Rms),
    ];

    /// The name in `--features`.
    pub fn name(self) -> &'static str {
        Transform::ALL
            .iter()
            .find(|(_, t)| *t == self)
            .map_or("", |(name, _)| name)
    }
}

/// Reads `--features`: names separated by commas, or `none`.
pub fn parse(text: &str) -> Result<Vec<Transform>> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|name| {
            let found = Transform::ALL.iter().find(|(known, _)| *known == name.trim());
            found.map(|(_, transform)| *transform).ok_or_else(|| {
                let names: Vec<&str> = Transform::ALL.iter().map(|(name, _)| *name).collect();
                Error::option(
                    "--features",
                    format!("{:?} is no transform", name.trim()),
                    format!(
                        "choose from {} (separated by commas), none, or auto",
                        names.join(", ")
                    ),
                )
            })
        })
        .collect()
}

/// The inverse of [`parse`].
pub fn describe(transforms: &[Transform]) -> String {
    if transforms.is_empty() {
        return "none".into();
    }
    transforms.iter().map(|t| t.name()).collect::<Vec<_>>().join(",")
}

/// What `--features auto` means: images of bytes are scaled to [0, 1], centred and normalised; rows of up to three columns are
/// points in space, whose lengths matter, and stay as they are; all other rows are centred and normalised.
pub fn default_for(data: &Dataset) -> Vec<Transform> {
    if data.is_pixels() {
        vec![Transform::Pixels, Transform::Center, Transform::Unit]
    } else if data.cols() <= 3 {
        Vec::new()
    } else {
        vec![Transform::Center, Transform::Unit]
    }
}

/// A fitted chain of transforms.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    columns: usize,
    steps: Vec<(Transform, Vec<f32>)>,
}

impl Pipeline {
    /// Fits the transforms on the rows of `x`, one after the other, and applies them to it.
    pub fn fit<O: Ops>(ops: &O, transforms: &[Transform], x: &mut O::Matrix) -> Result<Self> {
        let mut steps = Vec::new();
        for &transform in transforms {
            let fitted = match transform {
                Transform::Center => column_means(ops, x)?,
                _ => Vec::new(),
            };
            let step = (transform, fitted);
            Prepared::of(ops, x.cols(), std::slice::from_ref(&step))?.apply(ops, x)?;
            steps.push(step);
        }
        Ok(Pipeline {
            columns: x.cols(),
            steps,
        })
    }

    /// Length of a raw row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Uploads what the transforms need.
    pub fn prepare<O: Ops>(&self, ops: &O) -> Result<Prepared<O>> {
        Prepared::of(ops, self.columns, &self.steps)
    }

    /// Writes the pipeline to a safetensors file, atomically.
    pub fn save(&self, path: &Path) -> Result<()> {
        let transforms: Vec<Transform> = self.steps.iter().map(|(t, _)| *t).collect();
        let metadata = BTreeMap::from([
            ("features".to_string(), describe(&transforms)),
            ("columns".to_string(), self.columns.to_string()),
        ]);
        let shape = [self.columns];
        let names: Vec<String> = (0..self.steps.len()).map(|i| format!("{i}.mean")).collect();
        let fitted = self
            .steps
            .iter()
            .zip(&names)
            .filter(|((_, values), _)| !values.is_empty());
        let tensors: Vec<(&str, &[usize], &[f32])> = fitted
            .map(|((_, values), name)| (&name[..], &shape[..], &values[..]))
            .collect();
        safetensors::write(path, &tensors, &metadata)
    }

    /// Reads what [`save`](Self::save) wrote.
    pub fn load(path: &Path) -> Result<Self> {
        let (mut tensors, metadata) = safetensors::read(path)?;
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
        let columns = metadata
            .get("columns")
            .and_then(|columns| columns.parse().ok())
            .ok_or_else(|| bad("its metadata lacks the number \"columns\"".into()))?;
        let transforms = parse(text).map_err(|_| bad(format!("unknown features {text:?}")))?;
        let steps = transforms.into_iter().enumerate().map(|(i, transform)| {
            let fitted = match transform {
                Transform::Center => {
                    tensors
                        .remove(&format!("{i}.mean"))
                        .filter(|tensor| tensor.shape == [columns])
                        .ok_or_else(|| bad(format!("no tensor {i}.mean of {columns} numbers")))?
                        .values
                }
                _ => Vec::new(),
            };
            Ok((transform, fitted))
        });
        Ok(Pipeline {
            columns,
            steps: steps.collect::<Result<_>>()?,
        })
    }
}

/// A pipeline in a backend's memory.
pub struct Prepared<O: Ops> {
    steps: Vec<(Transform, Option<O::Matrix>)>,
}

impl<O: Ops> Prepared<O> {
    fn of(ops: &O, columns: usize, steps: &[(Transform, Vec<f32>)]) -> Result<Self> {
        let uploaded = steps.iter().map(|(transform, values)| {
            if values.is_empty() {
                return Ok((*transform, None));
            }
            let mut vector = ops.matrix("the mean of the rows", 1, columns)?;
            ops.upload(&to_real::<O>(values), &mut vector, 0)?;
            Ok((*transform, Some(vector)))
        });
        Ok(Prepared {
            steps: uploaded.collect::<Result<_>>()?,
        })
    }

    /// Transforms the rows in use of `x`.
    pub fn apply(&self, ops: &O, x: &mut O::Matrix) -> Result<()> {
        for (transform, fitted) in &self.steps {
            match (transform, fitted) {
                (Transform::Pixels, _) => ops.scale(1.0 / 255.0, x)?,
                (Transform::Center, Some(mean)) => ops.center_rows(mean, x)?,
                (Transform::Center, None) => {}
                (Transform::Unit, _) => ops.normalize_rows(1.0, x)?,
                (Transform::Rms, _) => ops.normalize_rows((x.cols() as f64).sqrt(), x)?,
            }
        }
        Ok(())
    }
}

/// Rows that cross to the host at a time.
const CHUNK: usize = 4096;

/// Means of the columns, summed in f64.
fn column_means<O: Ops>(ops: &O, x: &O::Matrix) -> Result<Vec<f32>> {
    let (rows, cols) = (x.rows(), x.cols());
    let mut sums = vec![0f64; cols];
    let mut chunk = ops.matrix("a chunk of rows", CHUNK.min(rows), cols)?;
    for first in (0..rows).step_by(CHUNK) {
        chunk.set_rows(CHUNK.min(rows - first));
        ops.copy_rows(x, first, &mut chunk)?;
        for row in to_host(ops, &chunk)?.chunks_exact(cols) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += f64::from(value);
            }
        }
    }
    Ok(sums.into_iter().map(|sum| (sum / rows as f64) as f32).collect())
}
