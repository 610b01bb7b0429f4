//! From raw rows to what the network reads, and to what its graph is built on: chains of transforms, fitted once on the training
//! rows, stored with the model, and replayed on every row that is ever labelled.

mod scattering;
mod reader;
mod kept;
mod loader;
pub(crate) mod stream;
mod autoencoder;
mod fitting;
mod pipeline;
mod kept_fit;
mod file;

pub use autoencoder::{AutoencoderRule, AutoencoderStep};
pub use file::{Extracted, Extraction};
pub use kept::Kept;
pub use kept_fit::{kept_choice, kept_or_fitted};
pub use loader::Loader;
pub use pipeline::{Extractor, Pipeline, Prepared};
pub use reader::{Reader, Widths};
pub use scattering::{Scattering, ScatteringRule};

use crate::error::{Error, Result};

/// One transform of rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// `scatnet=J:L:ORDER`: the [scattering coefficients](Scattering) of pictures of 8-bit pixels, in the place of these. Only the first
    /// of a chain can be it.
    Scatnet(ScatteringRule),
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
    /// `quantiles`: beside the numbers of a row, where each is among the quantiles of its column, from -sqrt(3) to sqrt(3): what is close
    /// together is spread, and a network tells it apart beside what is far.
    Quantiles,
    /// `whiten=LAMBDA`: the rows of the ridge form of a self-expressive affinity. With `X'X = U diag(w) U'` of the training rows, w
    /// scaled so that its sum is 3000, rows become `x U diag(sqrt(w) / (w + LAMBDA))`.
    Whiten(f64),
    /// `pca=DIMS`: the product with the leading eigenvectors of X'X of the training rows, each with its largest entry positive. They are
    /// principal components where the mean has been subtracted before.
    Pca(usize),
    /// `autoencoder=WIDTHS:EPOCHS`: the codes of an auto-encoder that is trained on the training rows, from one layer's width to the next,
    /// the code last.
    Autoencoder(AutoencoderRule),
}

/// The lambda of `whiten` without a number.
pub const LAMBDA: f64 = 0.1;

impl Transform {
    /// Whether it takes longer, to fit or to apply, than to read what came of it.
    fn takes_long(&self) -> bool {
        match self {
            Transform::Scatnet(_) | Transform::Whiten(_) | Transform::Pca(_) | Transform::Autoencoder(_) => {
                true
            }
            Transform::Pixels
            | Transform::Center
            | Transform::Standardize
            | Transform::Scale
            | Transform::Unit
            | Transform::Rms
            | Transform::Quantiles => false,
        }
    }

    const PLAIN: [(&'static str, Transform); 7] = [
        ("pixels", Transform::Pixels),
        ("center", Transform::Center),
        ("standardize", Transform::Standardize),
        ("scale", Transform::Scale),
        ("unit", Transform::Unit),
        ("rms", Transform::Rms),
        ("quantiles", Transform::Quantiles),
    ];

    fn parse(text: &str) -> Option<Transform> {
        if let Some((_, plain)) = Transform::PLAIN.iter().find(|(known, _)| *known == text) {
            return Some(plain.clone());
        }
        let transform = match text.split_once('=') {
            None if text == "whiten" => Transform::Whiten(LAMBDA),
            None if text == "autoencoder" => Transform::Autoencoder(AutoencoderRule::default()),
            None if text == "scatnet" => Transform::Scatnet(ScatteringRule::default()),
            Some(("whiten", number)) => {
                Transform::Whiten(number.parse().ok().filter(|&l: &f64| l > 0.0 && l.is_finite())?)
            }
            Some(("autoencoder", rule)) => Transform::Autoencoder(AutoencoderRule::parse(rule)?),
            Some(("scatnet", rule)) => Transform::Scatnet(ScatteringRule::parse(rule)?),
            Some(("pca", dims)) => Transform::Pca(dims.parse().ok().filter(|&dims: &usize| dims > 0)?),
            _ => return None,
        };
        Some(transform)
    }

    /// Length of the rows that it makes of rows of `width` numbers, which a reader hands on.
    fn outputs(&self, width: usize) -> usize {
        match self {
            Transform::Pca(dims) => *dims,
            Transform::Autoencoder(rule) => rule.outputs(),
            Transform::Quantiles => width.saturating_mul(2),
            _ => width,
        }
    }

    /// Numbers in a row of what it takes from the training rows, where it makes rows of `outputs`.
    fn fitted_columns(&self, outputs: usize) -> usize {
        match self {
            Transform::Quantiles => outputs / 2,
            _ => outputs,
        }
    }

    /// As in `--features`.
    pub fn name(&self) -> String {
        match self {
            Transform::Whiten(lambda) => format!("whiten={lambda}"),
            Transform::Scatnet(rule) => format!("scatnet={}", rule.describe()),
            Transform::Pca(dims) => format!("pca={dims}"),
            Transform::Autoencoder(rule) => format!("autoencoder={}", rule.describe()),
            plain => {
                let mut known = Transform::PLAIN.into_iter();
                known
                    .find(|(_, other)| other == plain)
                    .map_or("", |(name, _)| name)
                    .to_string()
            }
        }
    }
}

/// Reads `--features` (or the `option` that it is): names separated by commas, or `none`.
pub fn parse(option: &'static str, text: &str) -> Result<Vec<Transform>> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let transforms: Vec<Transform> = text
        .split(',')
        .map(|name| {
            Transform::parse(name.trim()).ok_or_else(|| {
                let names: Vec<&str> = Transform::PLAIN.iter().map(|(name, _)| *name).collect();
                Error::option(
                    option,
                    format!("{:?} is no transform", name.trim()),
                    format!(
                        "choose from {}, whiten=0.1, pca=500, scatnet=J:L:ORDER with J 1 to 4, L 1 to 16 and order 1 or 2, \
                         {} (separated by commas), none, or auto",
                        names.join(", "),
                        AutoencoderRule::usage()
                    ),
                )
            })
        })
        .collect::<Result<_>>()?;
    if transforms
        .iter()
        .skip(1)
        .any(|t| matches!(t, Transform::Scatnet(_)))
    {
        return Err(Error::option(
            option,
            "scatnet reads the pixels themselves, but comes after another transform",
            "let it be the first, as in scatnet,pca=500,center,unit",
        ));
    }
    Ok(transforms)
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
    use crate::data::{Dataset, safetensors};
    use crate::ops::{Ops, Real, Shape};
    use crate::progress::{Progress, Silent, Unheard};
    use crate::random::{Purpose, Stream};

    const CHAINS: [&str; 18] = [
        "none",
        "pixels",
        "center",
        "center,unit",
        "pixels,center,rms",
        "center,unit,center",
        "standardize",
        "center,scale",
        "center,scale,quantiles",
        "quantiles,pca=1,quantiles",
        "standardize,unit",
        "center,unit,whiten=0.1",
        "center,unit,whiten=0.25,unit",
        "pca=1",
        "pca=1,standardize",
        "unit,pca=1,scale",
        "autoencoder=3:2",
        "center,scale,autoencoder=9-4:2,autoencoder=2-5:1,center,unit",
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

    fn fit<O: Ops<Matrix = Matrix<R>>, R: Real>(
        ops: &O,
        chain: &str,
        rows: &[f32],
        cols: usize,
    ) -> (Pipeline, Matrix<R>) {
        let transforms = parse("--features", chain).expect("known transforms");
        let values = rows.iter().map(|&v| R::of(v.into())).collect();
        let x = Matrix::from_rows(rows.len() / cols, cols, values);
        Pipeline::fit(ops, Reader::plain(cols), &transforms, x, 3, &mut Silent).expect("enough memory")
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
                let (pipeline, fitted) = fit(&ops, chain, &raw, cols);
                assert_eq!(
                    (pipeline.reader().columns(), pipeline.outputs()),
                    (cols, fitted.cols())
                );
                assert!(
                    fitted.iter().all(|v| v.is_finite()),
                    "{chain} of {count} x {cols}"
                );

                pipeline.save(&path).expect("a writable folder");
                let loaded = Pipeline::load(&path).expect("what was saved");
                assert_eq!(loaded, pipeline);
                // Rows come in other portions than in training, unless there are layers, whose products may end in other digits where
                // they are of few rows.
                let portion = if chain.contains("autoencoder") { 4096 } else { 1000 };
                let mut prepared = loaded.prepare(&ops, portion).expect("enough memory");
                let mut again = Vec::new();
                for part in raw.chunks(portion * cols) {
                    let mut x = Matrix::from_rows(part.len() / cols, cols, part.to_vec());
                    let x = prepared.apply(&ops, &mut x).expect("rows of the same length");
                    again.extend_from_slice(x);
                }
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&again), bits(&fitted), "{chain} of {count} x {cols}");
            }
        }
    }

    #[test]
    fn a_chain_that_is_fitted_in_two_parts_is_the_chain() {
        let ops = Fast::new(2).expect("two threads");
        let (count, cols) = (5000, 17);
        let raw = rows(count, cols);
        for (first, more) in [
            ("center,unit", "whiten=0.1,unit"),
            ("center,pca=5", "scale,pca=2,unit"),
            ("center,scale", "quantiles"),
            ("center,scale,autoencoder=5:1", "center,autoencoder=2:1"),
        ] {
            let (begun, x) = fit(&ops, first, &raw, cols);
            let transforms = parse("--features", more).expect("known transforms");
            let parts = begun
                .extend(&ops, &transforms, x, 3, &mut Silent)
                .expect("enough memory");
            let whole = fit(&ops, &format!("{first},{more}"), &raw, cols);
            assert!(parts == whole, "{first} and {more}");
        }
    }

    #[test]
    fn centred_columns_have_mean_0_and_normalised_rows_their_length() {
        let ops = Fast::new(2).expect("two threads");
        let (count, cols) = (1021, 33);
        let fitted = |chain: &str| fit(&ops, chain, &rows(count, cols), cols).1;
        let centred = fitted("center");
        for c in 0..cols {
            let sum: f64 = centred.iter().skip(c).step_by(cols).map(|&v| f64::from(v)).sum();
            // The mean is rounded once, and so is each difference: an epsilon of numbers around 100 each.
            assert!(
                (sum / count as f64).abs() < 100.0 * f64::from(f32::EPSILON),
                "column {c}"
            );
        }
        for (chain, length) in [("center,unit", 1.0), ("center,rms", 33f64.sqrt())] {
            for norm in norms(&fitted(chain), cols) {
                // Rows have a norm around 100, beside which the 1e-6 added to it is lost.
                assert!((norm / length - 1.0).abs() < 1e-5, "{chain}: {norm}");
            }
        }
        // A row of zeros has no direction and stays.
        let (_, x) = fit(&ops, "unit", &[0.0, 0.0, 0.0, 3.0, 0.0, 4.0], 3);
        assert_eq!(x[..3], [0.0; 3]);
        assert!((f64::from(x[3]) - 0.6).abs() < 1e-6 && (f64::from(x[5]) - 0.8).abs() < 1e-6);
    }

    #[test]
    fn places_among_quantiles_are_spread_evenly_and_ties_share_one() {
        let ops = Fast::new(2).expect("two threads");
        let seed = rand::random();
        println!("seed {seed}");
        let stream = Stream::new(seed, Purpose::Synthetic, 87);
        let count = 2051;
        // Normal numbers around two places far apart; 0 for most rows, else even; and the same for all.
        let value = |at: usize| match (at % 3, at / 3) {
            (0, i) => (stream.normal(at as u64)[0] + 1e4 * (i % 2) as f64) as f32,
            (1, i) if i % 4 == 0 => 1.0 + stream.uniform(at as u64)[0] as f32,
            (1, _) => 0.0,
            _ => 7.0,
        };
        let raw: Vec<f32> = (0..3 * count).map(value).collect();
        let (pipeline, x) = fit(&ops, "quantiles", &raw, 3);
        assert_eq!((pipeline.outputs(), x.cols()), (6, 6));
        let column = |c: usize| x.iter().skip(c).step_by(6).copied().collect::<Vec<f32>>();
        for c in 0..3 {
            let same: Vec<f32> = raw.iter().skip(c).step_by(3).copied().collect();
            assert_eq!(column(c), same);
        }
        // Each is where its rank is, within a 64th of the whole.
        let places = column(3);
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| raw[3 * a].total_cmp(&raw[3 * b]));
        for (rank, &row) in order.iter().enumerate() {
            let even = 12f64.sqrt() * (rank as f64 / (count - 1) as f64 - 0.5);
            let apart = (f64::from(places[row]) - even).abs();
            assert!(apart < 12f64.sqrt() / 64.0 + 1e-6, "rank {rank}: {apart}");
        }
        assert!(order.windows(2).all(|pair| places[pair[0]] <= places[pair[1]]));
        // Three quarters of the numbers are the same: their place is in the middle of theirs.
        let of_zeros = f64::from(column(4)[1]);
        assert!(
            (of_zeros - 12f64.sqrt() * (0.375 - 0.5)).abs() < 12f64.sqrt() / 64.0,
            "{of_zeros}"
        );
        assert_eq!(column(5), vec![0.0; count]);
        // Rows beyond all that were seen are where the last is.
        let mut prepared = pipeline.prepare(&ops, 1).expect("enough memory");
        let mut beyond = Matrix::from_rows(1, 3, vec![1e9, -5.0, 8.0]);
        let beyond = prepared.apply(&ops, &mut beyond).expect("a row");
        let most = 3f32.sqrt();
        assert!((beyond[3] - most).abs() < 1e-6 && beyond[4] == column(4)[1] && beyond[5] == 0.0);
    }

    #[test]
    fn of_many_rows_a_part_tells_the_quantiles() {
        let ops = Fast::new(2).expect("two threads");
        let seed = rand::random();
        println!("seed {seed}");
        let stream = Stream::new(seed, Purpose::Synthetic, 88);
        // In turns low and high, as rows of a file may come, and one far out.
        let (count, cols) = (9001, 1030);
        let value = |at: usize| stream.uniform((at / 4) as u64)[at % 4] + 10.0 * (at / cols % 2) as f32;
        let mut raw: Vec<f32> = (0..count * cols).map(value).collect();
        raw[4444 * cols] = 1000.0;
        let (_, x) = fit(&ops, "quantiles", &raw, cols);
        let places = |parity: usize| -> Vec<f64> {
            let rows = (0..count).filter(|row| row % 2 == parity && *row != 4444);
            rows.map(|row| f64::from(x.row(row)[cols])).collect()
        };
        // Each half has its half of the places, from -sqrt(3) to 0 and on to sqrt(3), of 4000 rows or so with a deviation of 0.02 of its
        // mean.
        for (places, mean) in [(places(0), -0.75f64.sqrt()), (places(1), 0.75f64.sqrt())] {
            let found = places.iter().sum::<f64>() / places.len() as f64;
            assert!((found - mean).abs() < 0.15, "{found}, not {mean}");
        }
        assert!((x.row(4444)[cols] - 3f32.sqrt()).abs() < 1e-6);
        // Of numbers that cannot be told apart from others in f32 there are no quantiles.
        let transforms = parse("--features", "quantiles").expect("a known transform");
        for far in [vec![-3e38, 3e38], vec![f32::NAN, 1.0], vec![1.0, f32::INFINITY]] {
            let x = Matrix::from_rows(2, 1, far);
            let refused = Pipeline::fit(&ops, Reader::plain(1), &transforms, x, 3, &mut Silent);
            let told = refused.expect_err("numbers beyond f32").to_string();
            assert!(
                told.contains("quantiles: the numbers are too far apart"),
                "{told}"
            );
        }
    }

    #[test]
    fn both_backends_transform_alike() {
        let (fast, exact) = (Fast::new(2).expect("two threads"), Reference::<f64>::new());
        let (count, cols) = (129, 33);
        let raw = rows(count, cols);
        // Every rounding is amplified by training, which has a test of its own.
        // Every rounding is amplified by knots that lie close together, too.
        let amplified = |chain: &&str| chain.contains("autoencoder") || chain.contains("quantiles");
        for chain in CHAINS.into_iter().filter(|chain| !amplified(chain)) {
            let (_, ours) = fit(&fast, chain, &raw, cols);
            let (_, wide) = fit(&exact, chain, &raw, cols);
            let ours: Vec<f64> = ours.iter().map(|&v| v.into()).collect();
            // Eigenvectors of eigenvalues that are nearly the same may be turned among themselves: only angles count then.
            let angles = |rows: &[f64]| -> Vec<f64> {
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let pairs = rows
                    .chunks_exact(cols)
                    .flat_map(|a| rows.chunks_exact(cols).map(move |b| dot(a, b)));
                pairs.collect()
            };
            let whitened = chain.contains("whiten");
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
    fn principal_components_are_uncorrelated_and_ordered() {
        let ops = Fast::new(2).expect("two threads");
        let (count, cols, dims) = (5000, 33, 7);
        // Each column is wider than the next, and all are mixed with the first.
        let stream = Stream::new(rand::random(), Purpose::Synthetic, 86);
        let raw: Vec<f32> = (0..count)
            .flat_map(|row| {
                let value = |c: usize| stream.normal((row * cols + c) as u64)[0] * 0.8f64.powi(c as i32);
                (0..cols)
                    .map(move |c| (50.0 + value(c) + 0.3 * value(0)) as f32)
                    .collect::<Vec<_>>()
            })
            .collect();
        let (centred, _) = fit(&ops, "center", &raw, cols);
        let (pipeline, projected) = fit(&ops, &format!("center,pca={dims}"), &raw, cols);
        assert_eq!((projected.rows(), projected.cols()), (count, dims));

        let x = centred
            .apply(&ops, Matrix::from_rows(count, cols, raw.clone()))
            .expect("enough memory");
        let moment = |m: &Matrix<f32>, a: usize, b: usize| -> f64 {
            (0..count)
                .map(|i| f64::from(m.row(i)[a]) * f64::from(m.row(i)[b]))
                .sum()
        };
        let total: f64 = (0..cols).map(|c| moment(&x, c, c)).sum();
        let kept: Vec<f64> = (0..dims).map(|c| moment(&projected, c, c)).collect();
        assert!(kept.is_sorted_by(|a, b| a >= b), "{kept:?}");
        // Products are summed in f32 over 256 rows at a time; the map and the rows are rounded to f32.
        let rounding = 256.0 * f64::from(f32::EPSILON);
        for a in 0..dims {
            for b in 0..a {
                let apart = moment(&projected, a, b).abs() / total;
                assert!(apart < rounding, "{a} and {b}: {apart:e}");
            }
        }
        let energy = pipeline.energy().expect("it has components");
        assert!(
            (energy - kept.iter().sum::<f64>() / total).abs() < rounding,
            "{energy}"
        );
        // No other directions hold more: what is left of all is what the components of all leave.
        let (all, everything) = fit(&ops, &format!("center,pca={cols}"), &raw, cols);
        assert!((all.energy().expect("it has components") - 1.0).abs() < 1e-6);
        for c in 0..dims {
            assert_eq!(
                everything.row(17)[c].to_bits(),
                projected.row(17)[c].to_bits(),
                "column {c}"
            );
        }
        // Turned, not stretched.
        let square = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        for i in [0, 1, 4999] {
            assert!(
                (square(everything.row(i)) / square(x.row(i)) - 1.0).abs() < 1e-5,
                "row {i}"
            );
        }
    }

    #[test]
    fn components_point_where_their_largest_entry_is_positive() {
        let ops = Fast::new(1).expect("a thread");
        // All rows are multiples of (1, -3, 2): the direction is (-1, 3, -2) over its length.
        let raw = [2.0f32, -6.0, 4.0, -1.0, 3.0, -2.0, 0.5, -1.5, 1.0];
        let (_, x) = fit(&ops, "pca=1", &raw, 3);
        for (found, factor) in x.iter().zip([-2.0, 1.0, -0.5]) {
            assert!(
                (f64::from(*found) - factor * 14f64.sqrt()).abs() < 1e-6,
                "{found}"
            );
        }
    }

    #[test]
    fn what_is_fitted_on_rows_in_memory_is_what_is_fitted_on_a_stream_of_them() {
        let ops = Fast::new(2).expect("two threads");
        let data = Dataset::open("mnist-t10k").expect("it is built in");
        let transforms = parse("--features", "scatnet=3:2:1,center,pca=9,unit").expect("known transforms");
        let reader = Reader::new("--features", &transforms, &data).expect("pictures");
        assert_eq!(reader.outputs(), 7 * 16);
        let streamed = Pipeline::fit_streamed(&ops, reader.clone(), &transforms, &data, &mut Silent);
        let streamed = streamed.expect("enough memory");
        assert_eq!(streamed.transforms(), transforms);

        let read = Pipeline::new(reader.clone())
            .rows(&ops, &data, &mut Silent)
            .expect("enough memory");
        let (pipeline, x) =
            Pipeline::fit(&ops, reader, &transforms, read, 0, &mut Silent).expect("enough memory");
        assert_eq!(pipeline, streamed);
        assert_eq!(x, streamed.rows(&ops, &data, &mut Silent).expect("enough memory"));

        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("features.safetensors");
        pipeline.save(&path).expect("a writable folder");
        assert_eq!(Pipeline::load(&path).expect("what was saved"), pipeline);
    }

    #[test]
    fn an_auto_encoder_bends_where_principal_components_cannot() {
        let ops = Fast::new(2).expect("two threads");
        let stream = Stream::new(rand::random(), Purpose::Synthetic, 87);
        // A parabola, of which a straight line loses the variance of t^2, 4 / 45, of 1 / 3 + 4 / 45.
        let raw: Vec<f32> = (0..3000)
            .flat_map(|i| {
                let t = 2.0 * stream.uniform_f64(i)[0] - 1.0;
                [t as f32, (t * t - 1.0 / 3.0) as f32]
            })
            .collect();
        let straight = fit(&ops, "pca=1", &raw, 2).0.energy().expect("it has components");
        let (pipeline, codes) = fit(&ops, "autoencoder=50-50-1:100", &raw, 2);
        let bent = pipeline.error().expect("it has an auto-encoder");
        println!(
            "lost by a line {:.4}, by an auto-encoder {bent:.4}",
            1.0 - straight
        );
        assert!((1.0 - straight - 4.0 / 19.0).abs() < 0.03, "{straight}");
        assert!(bent < 0.5 * (1.0 - straight), "{bent}");
        assert_eq!((codes.rows(), codes.cols()), (3000, 1));
        assert_eq!(fit(&ops, "pca=1", &raw, 2).0.error(), None);
    }

    #[test]
    fn auto_encoders_depend_on_the_seed_and_their_place_and_not_on_threads() {
        let raw = rows(700, 6);
        let fitted = |threads: usize, chain: &str, seed: u64| {
            let ops = Fast::new(threads).expect("threads");
            let transforms = parse("--features", chain).expect("known transforms");
            let x = Matrix::from_rows(700, 6, raw.clone());
            Pipeline::fit(&ops, Reader::plain(6), &transforms, x, seed, &mut Silent).expect("enough memory")
        };
        let chain = "center,scale,autoencoder=20-6:3";
        let (first, codes) = fitted(1, chain, 3);
        assert_eq!(fitted(3, chain, 3), (first.clone(), codes.clone()));
        assert_ne!(fitted(1, chain, 4).1, codes);
        // The same rows, one place further on.
        assert_ne!(fitted(1, "center,scale,scale,autoencoder=20-6:3", 3).1, codes);

        // Encoders bear the names of PyTorch.
        let bytes = first.bytes();
        let text = String::from_utf8_lossy(&bytes[..1000]);
        for name in ["2.0.weight", "2.0.bias", "2.2.weight", "2.2.bias", "2.error"] {
            assert!(text.contains(&format!("\"{name}\"")), "{name}: {text}");
        }
    }

    #[test]
    fn training_an_auto_encoder_ends_at_what_is_no_number_and_when_asked_to() {
        let ops = Fast::new(2).expect("two threads");
        let transforms = parse("--features", "autoencoder=5-2:4").expect("known transforms");
        let ended = |value: f32, progress: &mut dyn Progress| {
            let x = Matrix::from_rows(300, 3, vec![value; 900]);
            let ended = Pipeline::fit(&ops, Reader::plain(3), &transforms, x, 0, progress);
            ended.expect_err("this should end").to_string()
        };
        for (value, told) in [(1e25, "inf"), (f32::NAN, "NaN")] {
            let message = ended(value, &mut Silent);
            let words = format!("autoencoder: its error became {told} in epoch 1 of 4");
            assert!(
                message.starts_with(&words) && !message.contains('\n'),
                "{message}"
            );
        }
        assert_eq!(
            ended(1.0, &mut Unheard(&|| true)),
            "interrupted; training had not begun"
        );

        let data = Dataset::open("mnist-t10k").expect("it is built in");
        let streamed = Pipeline::fit_streamed(&ops, Reader::plain(784), &transforms, &data, &mut Silent);
        let message = streamed.expect_err("rows are not in memory").to_string();
        assert!(message.contains("rows in memory"), "{message}");
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
        let scattered = |image: &'static str| [("features", "scatnet"), ("columns", "784"), ("image", image)];
        refused(&scattered("")[..2], &[], "lacks the shape \"image\"");
        refused(&scattered("28x28"), &[], "lacks the shape \"image\"");
        refused(&scattered("28x29x1"), &[], "lacks the shape \"image\"");
        refused(&scattered("2x392x1"), &[], "too small");
        let projected = [("features", "pca=2"), ("columns", "3")];
        refused(
            &projected,
            &[("0.map", &[3, 1], &[0.0; 3])],
            "no tensor 0.map of 6 numbers",
        );
        refused(
            &projected,
            &[("0.map", &[3, 2], &[0.0; 6])],
            "no tensor 0.energy of 2 numbers",
        );
        let coded = [("features", "unit,autoencoder=2:1"), ("columns", "3")];
        let (weight, bias) = (
            ("1.0.weight", &[2, 3][..], &[0.0; 6][..]),
            ("1.0.bias", &[2][..], &[0.0; 2][..]),
        );
        refused(&coded, &[], "no tensor named 1.0.weight");
        refused(&coded, &[weight], "1.0.bias is missing");
        refused(&coded, &[weight, bias], "no tensor 1.error of 1 numbers");
        refused(
            &coded,
            &[weight, ("1.0.bias", &[2], &[0.0, f32::NAN])],
            "a number that is not finite",
        );
        refused(
            &[("features", "autoencoder=2:1"), ("columns", "4")],
            &[("0.0.weight", weight.1, weight.2), ("0.0.bias", bias.1, bias.2)],
            "the network 0. makes [2] of 3 numbers, not [2] of 4",
        );
        refused(
            &[("features", "autoencoder=5-2:1"), ("columns", "3")],
            &[("0.0.weight", weight.1, weight.2), ("0.0.bias", bias.1, bias.2)],
            "the network 0. makes [2] of 3 numbers, not [5, 2] of 3",
        );
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
            "pca",
            "pca=0",
            "pca=-5",
            "pca=many",
            "scatnet=0",
            "scatnet=3:8:2:1",
            "center,scatnet",
            "autoencoder=",
            "autoencoder=0",
            "autoencoder=5-0",
            "autoencoder=5--2",
            "autoencoder=10001",
            "autoencoder=9-9-9-9-9-9-9-9-9",
            "autoencoder=5:",
            "autoencoder=5:0",
            "autoencoder=5:10001",
            "autoencoder=:30",
            "autoencoder=5:1:1",
        ] {
            assert!(parse("--features", wrong).is_err(), "{wrong:?}");
        }
    }
}
