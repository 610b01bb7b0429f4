//! From raw rows to what the network reads: a chain of transforms, fitted once on the training rows, stored with the model,
//! and replayed on every row that is ever labelled.

use std::collections::BTreeMap;
use std::path::Path;

use crate::data::{Dataset, safetensors};
use crate::error::{Error, Result};
use crate::network::{download, to_host, to_real};
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
                Transform::Center => pipeline.column_means(ops, x, &mut chunk)?,
                _ => Vec::new(),
            };
            pipeline.steps.push((transform, fitted));
        }
        let prepared = pipeline.prepare(ops)?;
        for first in (0..rows).step_by(CHUNK) {
            prepared.apply_to_chunk(ops, x, first, &mut chunk)?;
            ops.upload(&download(ops, &chunk)?, x, first)?;
        }
        Ok(pipeline)
    }

    /// Means of the columns of the transformed rows of `x`, summed in f64.
    fn column_means<O: Ops>(&self, ops: &O, x: &O::Matrix, chunk: &mut O::Matrix) -> Result<Vec<f32>> {
        let (rows, cols) = (x.rows(), x.cols());
        let prepared = self.prepare(ops)?;
        let mut sums = vec![0f64; cols];
        for first in (0..rows).step_by(CHUNK) {
            prepared.apply_to_chunk(ops, x, first, chunk)?;
            for row in to_host(ops, chunk)?.chunks_exact(cols) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(value);
                }
            }
        }
        Ok(sums.into_iter().map(|sum| (sum / rows as f64) as f32).collect())
    }

    /// Length of a raw row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Uploads what the transforms need.
    pub fn prepare<O: Ops>(&self, ops: &O) -> Result<Prepared<O>> {
        let uploaded = self.steps.iter().map(|(transform, values)| {
            if values.is_empty() {
                return Ok((*transform, None));
            }
            let mut vector = ops.matrix("the mean of the rows", 1, self.columns)?;
            ops.upload(&to_real::<O>(values), &mut vector, 0)?;
            Ok((*transform, Some(vector)))
        });
        Ok(Prepared {
            steps: uploaded.collect::<Result<_>>()?,
        })
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
        let columns = metadata
            .get("columns")
            .and_then(|columns| columns.parse().ok())
            .ok_or_else(|| bad("its metadata lacks the number \"columns\"".into()))?;
        let transforms = parse(text).map_err(|_| bad(format!("unknown features {text:?}")))?;
        let steps = transforms.into_iter().enumerate().map(|(i, transform)| {
            let fitted = match transform {
                Transform::Center => {
                    let mean = tensors
                        .remove(&format!("{i}.mean"))
                        .filter(|tensor| tensor.shape == [columns])
                        .ok_or_else(|| bad(format!("no tensor {i}.mean of {columns} numbers")))?;
                    if !mean.values.iter().all(|v| v.is_finite()) {
                        return Err(bad(format!("{i}.mean holds a number that is not finite")));
                    }
                    mean.values
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

/// Rows that are transformed at a time in fitting.
const CHUNK: usize = 4096;

/// A pipeline in a backend's memory.
pub struct Prepared<O: Ops> {
    steps: Vec<(Transform, Option<O::Matrix>)>,
}

impl<O: Ops> Prepared<O> {
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

    /// The rows of `x` from `first` on, as many as are left up to [`CHUNK`], transformed, in `chunk`.
    fn apply_to_chunk(&self, ops: &O, x: &O::Matrix, first: usize, chunk: &mut O::Matrix) -> Result<()> {
        chunk.set_rows(CHUNK.min(x.rows() - first));
        ops.copy_rows(x, first, chunk)?;
        self.apply(ops, chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Matrix, Reference};
    use crate::random::{Purpose, Stream};

    const CHAINS: [&str; 6] = [
        "none",
        "pixels",
        "center",
        "center,unit",
        "pixels,center,rms",
        "center,unit,center",
    ];

    /// Rows around 100, with a column that never changes.
    fn rows(count: usize, cols: usize) -> Vec<f32> {
        let stream = Stream::new(rand::random(), Purpose::Synthetic, 83);
        let value = |at: usize| match at % cols {
            0 => 7.0,
            _ => (100.0 + 20.0 * stream.normal(at as u64)[0]) as f32,
        };
        (0..count * cols).map(value).collect()
    }

    fn norms(x: &[f32], cols: usize) -> Vec<f64> {
        let square = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        x.chunks_exact(cols).map(|row| square(row).sqrt()).collect()
    }

    #[test]
    fn a_fitted_pipeline_gives_the_same_bits_again_from_its_file() {
        let ops = Fast::new(2).expect("two threads");
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("features.safetensors");
        for (count, cols) in [(1, 5), (129, 1), (5000, 17)] {
            let raw = rows(count, cols);
            for chain in CHAINS {
                let transforms = parse(chain).expect("known transforms");
                assert_eq!(describe(&transforms), chain);
                let mut fitted = Matrix::from_rows(count, cols, raw.clone());
                let pipeline = Pipeline::fit(&ops, &transforms, &mut fitted).expect("enough memory");
                assert_eq!(pipeline.columns(), cols);
                assert!(
                    fitted.iter().all(|v| v.is_finite()),
                    "{chain} of {count} x {cols}"
                );

                pipeline.save(&path).expect("a writable folder");
                let loaded = Pipeline::load(&path).expect("what was saved");
                assert_eq!(loaded, pipeline);
                // Rows come in other portions than in training.
                let prepared = loaded.prepare(&ops).expect("enough memory");
                let mut again = Vec::new();
                for part in raw.chunks(1000 * cols) {
                    let mut x = Matrix::from_rows(part.len() / cols, cols, part.to_vec());
                    prepared.apply(&ops, &mut x).expect("rows of the same length");
                    again.extend_from_slice(&x);
                }
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&again), bits(&fitted), "{chain} of {count} x {cols}");
            }
        }
    }

    #[test]
    fn centred_columns_have_mean_0_and_normalised_rows_their_length() {
        let ops = Fast::new(2).expect("two threads");
        let (count, cols) = (1021, 33);
        let fit = |chain: &str| {
            let mut x = Matrix::from_rows(count, cols, rows(count, cols));
            Pipeline::fit(&ops, &parse(chain).expect("known transforms"), &mut x).expect("enough memory");
            x
        };
        let centred = fit("center");
        for c in 0..cols {
            let sum: f64 = centred.iter().skip(c).step_by(cols).map(|&v| f64::from(v)).sum();
            // The mean is rounded once, and so is each difference: an epsilon of numbers around 100 each.
            assert!(
                (sum / count as f64).abs() < 100.0 * f64::from(f32::EPSILON),
                "column {c}"
            );
        }
        for (chain, length) in [("center,unit", 1.0), ("center,rms", 33f64.sqrt())] {
            for norm in norms(&fit(chain), cols) {
                // Rows have a norm around 100, beside which the 1e-6 added to it is lost.
                assert!((norm / length - 1.0).abs() < 1e-5, "{chain}: {norm}");
            }
        }
        // A row of zeros has no direction and stays.
        let mut x = Matrix::from_rows(2, 3, vec![0.0, 0.0, 0.0, 3.0, 0.0, 4.0]);
        Pipeline::fit(&ops, &[Transform::Unit], &mut x).expect("enough memory");
        assert_eq!(x[..3], [0.0; 3]);
        assert!((f64::from(x[3]) - 0.6).abs() < 1e-6 && (f64::from(x[5]) - 0.8).abs() < 1e-6);
    }

    #[test]
    fn both_backends_transform_alike() {
        let (fast, exact) = (Fast::new(2).expect("two threads"), Reference::<f64>::new());
        let (count, cols) = (129, 33);
        let raw = rows(count, cols);
        for chain in CHAINS {
            let transforms = parse(chain).expect("known transforms");
            let mut ours = Matrix::from_rows(count, cols, raw.clone());
            let mut wide = Matrix::from_rows(count, cols, raw.iter().map(|&v| f64::from(v)).collect());
            Pipeline::fit(&fast, &transforms, &mut ours).expect("enough memory");
            Pipeline::fit(&exact, &transforms, &mut wide).expect("enough memory");
            let scale = wide.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
            for (&ours, exact) in ours.iter().zip(wide.iter()) {
                // Subtracting a mean around 100 keeps an epsilon of 100, some 1e-6 of what is left.
                assert!(
                    (f64::from(ours) - exact).abs() <= 1e-5 * scale,
                    "{chain}: {ours} and {exact}"
                );
            }
        }
    }

    #[test]
    fn wrong_files_and_names_are_refused_in_one_line() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("features.safetensors");
        let refused = |metadata: &[(&str, &str)], tensors: &[(&str, &[usize], &[f32])], expected: &str| {
            let metadata = metadata
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect();
            safetensors::write(&path, tensors, &metadata).expect("a writable folder");
            let message = Pipeline::load(&path).expect_err(expected).to_string();
            assert!(
                message.contains(expected) && message.contains("features.safetensors"),
                "{message}"
            );
            assert!(!message.contains('\n'), "{message}");
        };
        refused(&[("columns", "3")], &[], "lacks \"features\"");
        refused(&[("features", "unit")], &[], "lacks the number \"columns\"");
        refused(
            &[("features", "unit"), ("columns", "many")],
            &[],
            "lacks the number \"columns\"",
        );
        refused(
            &[("features", "whiten"), ("columns", "3")],
            &[],
            "unknown features \"whiten\"",
        );
        let centred = [("features", "unit,center"), ("columns", "3")];
        refused(&centred, &[], "no tensor 1.mean of 3 numbers");
        refused(
            &centred,
            &[("0.mean", &[3], &[0.0; 3])],
            "no tensor 1.mean of 3 numbers",
        );
        refused(
            &centred,
            &[("1.mean", &[2], &[0.0; 2])],
            "no tensor 1.mean of 3 numbers",
        );
        refused(&centred, &[("1.mean", &[3], &[0.0, f32::NAN, 0.0])], "not finite");
        std::fs::write(&path, b"no tensors").expect("a writable folder");
        assert!(Pipeline::load(&path).is_err());
        assert!(Pipeline::load(&folder.path().join("none")).is_err());

        let message = parse("pixels,whiten").expect_err("no such transform").to_string();
        assert!(
            message.starts_with("--features: \"whiten\"") && message.contains("center"),
            "{message}"
        );
        assert!(parse("").is_err() && parse("unit,").is_err());
    }
}
