//! From raw rows to what the network reads, and to what its graph is built on: chains of transforms, fitted once on the training
//! rows, stored with the model, and replayed on every row that is ever labelled.

mod scattering;
mod pipeline;

pub use pipeline::{Pipeline, Prepared};
pub use scattering::{Scattering, ScatteringRule};

use crate::error::{Error, Result};

/// One transform of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transform {
    /// `pixels`: divides by 255.
    Pixels,
    /// `center`: subtracts the mean of the training rows.
    Center,
    /// `standardize`: subtracts the mean of the training rows and divides each column by its standard deviation; columns that
    /// never change become 0.
    Standardize,
    /// `scale`: divides by one number, so that the entries of the training rows have mean square 1.
    Scale,
    /// `unit`: divides each row by its Euclidean norm (plus 1e-6).
    Unit,
    /// `rms`: like `unit`, then times sqrt(d), so that entries are of order 1.
    Rms,
    /// `whiten=LAMBDA`: the rows of the ridge form of a self-expressive affinity. With `X'X = U diag(w) U'` of the training rows, w
    /// scaled so that its sum is 3000, rows become `x U diag(sqrt(w) / (w + LAMBDA))`.
    Whiten(f64),
}

/// The lambda of `whiten` without a number.
pub const LAMBDA: f64 = 0.1;

impl Transform {
    const PLAIN: [(&'static str, Transform); 6] = [
        ("pixels", Transform::Pixels),
        ("center", Transform::Center),
        ("standardize", Transform::Standardize),
        ("scale", Transform::Scale),
        ("unit", Transform::Unit),
        ("rms", Transform::Rms),
    ];

    fn parse(text: &str) -> Option<Transform> {
        if let Some((_, plain)) = Transform::PLAIN.iter().find(|(known, _)| *known == text) {
            return Some(*plain);
        }
        let lambda = match text.split_once('=') {
            None if text == "whiten" => LAMBDA,
            Some(("whiten", number)) => number.parse().ok().filter(|&l: &f64| l > 0.0 && l.is_finite())?,
            _ => return None,
        };
        Some(Transform::Whiten(lambda))
    }

    /// As in `--features`.
    pub fn name(self) -> String {
        match self {
            Transform::Whiten(lambda) => format!("whiten={lambda}"),
            plain => {
                let known = Transform::PLAIN.iter().find(|(_, other)| *other == plain);
                known.map_or("", |(name, _)| name).to_string()
            }
        }
    }
}

/// Reads `--features` (or the `option` that it is): names separated by commas, or `none`.
pub fn parse(option: &'static str, text: &str) -> Result<Vec<Transform>> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|name| {
            Transform::parse(name.trim()).ok_or_else(|| {
                let names: Vec<&str> = Transform::PLAIN.iter().map(|(name, _)| *name).collect();
                Error::option(
                    option,
                    format!("{:?} is no transform", name.trim()),
                    format!(
                        "choose from {}, whiten=0.1 (separated by commas), none, or auto",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Matrix, Reference};
    use crate::data::safetensors;
    use crate::random::{Purpose, Stream};

    const CHAINS: [&str; 11] = [
        "none",
        "pixels",
        "center",
        "center,unit",
        "pixels,center,rms",
        "center,unit,center",
        "standardize",
        "center,scale",
        "standardize,unit",
        "center,unit,whiten=0.1",
        "center,unit,whiten=0.25,unit",
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
                let transforms = parse("--features", chain).expect("known transforms");
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
            Pipeline::fit(
                &ops,
                &parse("--features", chain).expect("known transforms"),
                &mut x,
            )
            .expect("enough memory");
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
            let transforms = parse("--features", chain).expect("known transforms");
            let mut ours = Matrix::from_rows(count, cols, raw.clone());
            let mut wide = Matrix::from_rows(count, cols, raw.iter().map(|&v| f64::from(v)).collect());
            Pipeline::fit(&fast, &transforms, &mut ours).expect("enough memory");
            Pipeline::fit(&exact, &transforms, &mut wide).expect("enough memory");
            let ours: Vec<f64> = ours.iter().map(|&v| v.into()).collect();
            // Eigenvectors of eigenvalues that are nearly the same may be turned among themselves: only angles count then.
            let angles = |rows: &[f64]| -> Vec<f64> {
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let pairs = rows
                    .chunks_exact(cols)
                    .flat_map(|a| rows.chunks_exact(cols).map(move |b| dot(a, b)));
                pairs.collect()
            };
            let whitened = transforms.iter().any(|t| matches!(t, Transform::Whiten(_)));
            let (ours, wide) = match whitened {
                true => (angles(&ours), angles(&wide)),
                false => (ours, wide.to_vec()),
            };
            let scale = wide.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
            for (ours, exact) in ours.iter().zip(&wide) {
                // Subtracting a mean around 100 keeps an epsilon of 100, some 1e-6 of what is left.
                assert!(
                    (ours - exact).abs() <= 1e-5 * scale,
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
            &[("features", "bleach"), ("columns", "3")],
            &[],
            "unknown features \"bleach\"",
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

        let message = parse("--features", "pixels,bleach")
            .expect_err("no such transform")
            .to_string();
        assert!(
            message.starts_with("--features: \"bleach\"") && message.contains("center"),
            "{message}"
        );
        for wrong in [
            "",
            "unit,",
            "whiten=0",
            "whiten=-1",
            "whiten=nan",
            "whiten=inf",
            "whiten=",
            "unit=2",
        ] {
            assert!(parse("--features", wrong).is_err(), "{wrong:?}");
        }
    }
}
