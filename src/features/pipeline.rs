//! A chain of transforms, fitted on the training rows.

use std::collections::BTreeMap;
use std::path::Path;

use super::autoencoder::{self, Encoder};
use super::fitting::{self, Fitted, UNFITTED};
use super::kept::{Kept, KeptRows};
use super::loader::Loader;
use super::reader::Reader;
use super::scattering::Scattering;
use super::stream::Source;
use super::{Transform, describe, parse};
use crate::atomic;
use crate::data::bytes::Bytes;
use crate::data::cache::Cache;
use crate::data::raw::Raw;
use crate::data::{Dataset, ImageShape, safetensors};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Activations, Network, download, of_real, to_real};
use crate::ops::{Ops, Shape};
use crate::progress::{Progress, Silent};

/// Rows that are transformed at a time.
pub(super) const CHUNK: usize = 4096;

/// Numbers that a chunk of very long rows has at most.
const CHUNK_NUMBERS: usize = 1 << 26;

/// A fitted chain of transforms.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    reader: Reader,
    steps: Vec<Step>,
}

/// A fitted transform of what the reader hands on.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    transform: Transform,
    fitted: Fitted,
    /// Length of the rows that it makes.
    outputs: usize,
}

impl Pipeline {
    /// No transforms, but for what the reader does.
    pub fn new(reader: Reader) -> Self {
        Pipeline {
            reader,
            steps: Vec::new(),
        }
    }

    /// Fits the transforms on `x`, one after the other, and returns `x` transformed. Its rows are as `reader` hands them on, and it
    /// may be [training rows](Ops::training_rows), of which it is returned as some too: it is transformed a chunk at a time.
    /// `seed` is that of the auto-encoders among the transforms.
    pub fn fit<O: Ops>(
        ops: &O,
        reader: Reader,
        transforms: &[Transform],
        x: O::Matrix,
        seed: u64,
        progress: &mut dyn Progress,
    ) -> Result<(Self, O::Matrix)> {
        Pipeline::new(reader).extend(ops, transforms, x, seed, progress)
    }

    /// The same chain with more transforms, fitted on rows `x` that have gone through this one.
    pub fn extend<O: Ops>(
        &self,
        ops: &O,
        transforms: &[Transform],
        mut x: O::Matrix,
        seed: u64,
        progress: &mut dyn Progress,
    ) -> Result<(Self, O::Matrix)> {
        let mut pipeline = self.clone();
        // Rows of another length are made at once: long ones take much memory.
        let mut applied = self.steps.len();
        for transform in without_reader(transforms) {
            let fitted = match transform {
                Transform::Autoencoder(rule) => {
                    // Its mini-batches are of any rows, which must be there as it reads them.
                    x = pipeline.replaced(ops, applied, x, progress)?;
                    applied = pipeline.steps.len();
                    Fitted::Encoder(autoencoder::fit(ops, rule, &x, seed, applied, progress)?)
                }
                _ => {
                    let mut pending = pipeline.prepare_from(ops, applied, CHUNK.min(x.rows()))?;
                    fitting::fit(
                        ops,
                        transform,
                        pipeline.outputs(),
                        progress,
                        &mut |progress, work| {
                            let mut chunk = ops.matrix("a chunk of rows", CHUNK.min(x.rows()), x.cols())?;
                            for first in (0..x.rows()).step_by(CHUNK) {
                                progress.not_interrupted(UNFITTED)?;
                                work(pending.apply_to_rows(ops, &x, first, &mut chunk)?)?;
                            }
                            Ok(())
                        },
                    )?
                }
            };
            pipeline.add(transform, fitted);
            if pipeline.outputs() != x.cols() {
                x = pipeline.replaced(ops, applied, x, progress)?;
                applied = pipeline.steps.len();
            }
        }
        x = pipeline.replaced(ops, applied, x, progress)?;
        Ok((pipeline, x))
    }

    /// Fits the transforms on all rows of some data, which are read once for each pass, whatever their number.
    pub fn fit_streamed<O: Ops>(
        ops: &O,
        reader: Reader,
        transforms: &[Transform],
        data: &Dataset,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        // Before rows are read for any other.
        fitting::check(transforms)?;
        let mut pipeline = Pipeline::new(reader);
        for transform in without_reader(transforms) {
            let stage = format!("fitting {}", transform.name());
            let fitted = fitting::fit(
                ops,
                transform,
                pipeline.outputs(),
                progress,
                &mut |progress, work| pipeline.each_chunk(ops, data, 0, &stage, progress, |x| work(x)),
            )?;
            pipeline.add(transform, fitted);
        }
        Ok(pipeline)
    }

    fn add(&mut self, transform: &Transform, fitted: Fitted) {
        self.steps.push(Step {
            transform: transform.clone(),
            fitted,
            outputs: transform.outputs(self.outputs()),
        });
    }

    /// Transforms rows `x` that are as the reader hands them on, and may be [training rows](Ops::training_rows), as they are then
    /// returned.
    pub fn apply<O: Ops>(&self, ops: &O, x: O::Matrix) -> Result<O::Matrix> {
        self.replaced(ops, 0, x, &Silent)
    }

    /// Rows `chosen` of some data, transformed, as [training rows](Ops::training_rows); from its cache where they are there.
    pub fn training_rows<O: Ops>(
        &self,
        ops: &O,
        data: &Dataset,
        chosen: &[u64],
        progress: &mut dyn Progress,
    ) -> Result<O::Matrix> {
        self.reader.check(data)?;
        let columns = data.cols();
        let count = CHUNK.min(chosen.len());
        let mut to = ops.training_rows(chosen.len(), self.outputs())?;
        let mut extractor = self.extractor(ops, count)?.caching(ops, self, data.cache());
        let mut raw = vec![0.0; count * columns];
        progress.begin("reading", chosen.len() as u64, "rows");
        for (i, rows) in chosen.chunks(CHUNK).enumerate() {
            progress.not_interrupted("training had not begun")?;
            let raw = &mut raw[..rows.len() * columns];
            data.gather_rows(rows, raw)?;
            let made = extractor.extract(ops, Raw::F32(raw))?;
            ops.upload(&download(ops, made)?, &mut to, i * CHUNK)?;
            extractor.tell(progress);
            progress.advance((i * CHUNK + rows.len()) as u64, "");
        }
        progress.end();
        Ok(to)
    }

    /// All rows of some data, transformed, in the backend's memory.
    pub fn rows<O: Ops>(&self, ops: &O, data: &Dataset, progress: &mut dyn Progress) -> Result<O::Matrix> {
        let mut rows = ops.matrix("the rows", data.rows(), self.outputs())?;
        let mut first = 0;
        self.each_chunk(ops, data, 0, "reading", progress, |x| {
            ops.upload(&download(ops, x)?, &mut rows, first)?;
            first += x.rows();
            Ok(())
        })?;
        Ok(rows)
    }

    /// Hands on the rows of some data from `first` on, transformed, or found so in its cache, a chunk at a time. Memory does not depend on
    /// their number.
    pub fn each_chunk<O: Ops>(
        &self,
        ops: &O,
        data: &Dataset,
        first: usize,
        stage: &str,
        progress: &mut dyn Progress,
        mut work: impl FnMut(&O::Matrix) -> Result<()>,
    ) -> Result<()> {
        let (mut extractor, source) = self.source(ops, data, first, stage)?;
        source.each_chunk(progress, |rows| work(extractor.extract(ops, rows)?))?;
        extractor.tell(progress);
        Ok(())
    }

    /// Hands the rows of some data from `first` on, transformed, to `sink`, on a thread of its own, a chunk at a time, while the next is
    /// read and transformed.
    pub(super) fn stream<O: Ops>(
        &self,
        ops: &O,
        data: &Dataset,
        first: usize,
        stage: &str,
        progress: &mut dyn Progress,
        mut sink: impl FnMut(&[f32]) -> Result<()> + Send,
    ) -> Result<()> {
        let (mut extractor, source) = self.source(ops, data, first, stage)?;
        source.each_result(
            progress,
            |rows| ops.post(extractor.extract(ops, rows)?),
            |coming| Ok(of_real(ops.collect(coming)?)),
            |values| sink(&values),
        )
    }

    /// The rows of some data from `first` on, and what transforms a chunk of them.
    fn source<'a, O: Ops>(
        &self,
        ops: &O,
        data: &'a Dataset,
        first: usize,
        stage: &'a str,
    ) -> Result<(Extractor<O>, Source<'a>)> {
        self.reader.check(data)?;
        let (rows, chunk) = (first..data.rows(), self.chunk_rows());
        let extractor = self.extractor(ops, chunk.min(rows.len()))?;
        let extractor = extractor.caching(ops, self, data.cache());
        Ok((
            extractor,
            Source {
                data,
                rows,
                chunk,
                stage,
            },
        ))
    }

    /// What `cache` holds of rows that went through this, if there is one and they are worth keeping.
    pub fn kept<O: Ops>(&self, ops: &O, cache: Option<&Cache>) -> Option<Kept> {
        let cache = cache.filter(|_| self.transforms().iter().any(Transform::takes_long))?;
        let (columns, outputs) = (self.reader.columns(), self.outputs());
        Some(Kept::new(ops, cache, &self.bytes(), columns, outputs))
    }

    /// Room for up to `rows` rows of the data at a time, and all that they go through.
    pub fn extractor<O: Ops>(&self, ops: &O, rows: usize) -> Result<Extractor<O>> {
        Ok(Extractor {
            loader: Loader::new(ops, &self.reader, rows)?,
            prepared: self.prepare(ops, rows)?,
            x: ops.matrix("a chunk of rows", rows, self.reader.outputs())?,
            kept: KeptRows::new(rows),
        })
    }

    /// Rows that [`each_chunk`](Self::each_chunk) hands on at a time.
    pub fn chunk_rows(&self) -> usize {
        let widest = self.reader.columns().max(self.reader.outputs());
        (CHUNK_NUMBERS / widest).clamp(1, CHUNK)
    }

    /// How rows of the data are read.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Length of a transformed row.
    pub fn outputs(&self) -> usize {
        self.steps
            .last()
            .map_or(self.reader.outputs(), |step| step.outputs)
    }

    /// The transforms.
    pub fn transforms(&self) -> Vec<Transform> {
        let read = self.reader.scattering().map(|s| Transform::Scatnet(s.rule()));
        read.into_iter()
            .chain(self.steps.iter().map(|step| step.transform.clone()))
            .collect()
    }

    /// The share of the squares of the training rows that the last principal components keep, if there are any.
    pub fn energy(&self) -> Option<f64> {
        let of_step = |step: &Step| match &step.fitted {
            Fitted::Arrays(arrays) => match arrays[..] {
                [_, ("energy", ref shares)] => Some(shares.iter().map(|&share| f64::from(share)).sum()),
                _ => None,
            },
            Fitted::Encoder(_) => None,
        };
        self.steps.iter().rev().find_map(of_step)
    }

    /// The mean squared error of the last auto-encoder on the training rows, as a share of their mean square, if there is one.
    pub fn error(&self) -> Option<f64> {
        let of_step = |step: &Step| match &step.fitted {
            Fitted::Arrays(_) => None,
            Fitted::Encoder(encoder) => Some(encoder.error.into()),
        };
        self.steps.iter().rev().find_map(of_step)
    }

    /// Uploads what the transforms need for up to `rows` rows at a time.
    pub fn prepare<O: Ops>(&self, ops: &O, rows: usize) -> Result<Prepared<O>> {
        self.prepare_from(ops, 0, rows)
    }

    /// The same for the transforms from the given one on.
    fn prepare_from<O: Ops>(&self, ops: &O, first: usize, rows: usize) -> Result<Prepared<O>> {
        let uploaded = self.steps[first..].iter().map(|step| {
            let (arrays, encoder) = match &step.fitted {
                Fitted::Arrays(arrays) => (&arrays[..], None),
                Fitted::Encoder(encoder) => {
                    let network = Network::new(ops, &encoder.model)?;
                    let activations = network.activations(ops, rows)?;
                    (&[][..], Some((network, activations)))
                }
            };
            let needed = arrays.iter().filter(|(name, _)| *name != "energy");
            let matrices = needed.map(|(_, values)| {
                let columns = step.transform.fitted_columns(step.outputs);
                let mut matrix = ops.matrix("what transforms rows", values.len() / columns, columns)?;
                ops.upload(&to_real::<O>(values), &mut matrix, 0)?;
                Ok(matrix)
            });
            let mapped = match step.transform {
                Transform::Whiten(_) | Transform::Pca(_) | Transform::Quantiles => {
                    Some(ops.matrix("a chunk of rows", rows, step.outputs)?)
                }
                _ => None,
            };
            Ok(PreparedStep {
                transform: step.transform.clone(),
                fitted: matrices.collect::<Result<_>>()?,
                mapped,
                encoder,
            })
        });
        Ok(Prepared {
            steps: uploaded.collect::<Result<_>>()?,
        })
    }

    /// Rows that have gone through the first `applied` transforms, gone through all: in their place, unless they become of another length.
    fn replaced<O: Ops>(
        &self,
        ops: &O,
        applied: usize,
        mut x: O::Matrix,
        progress: &dyn Progress,
    ) -> Result<O::Matrix> {
        if applied == self.steps.len() {
            return Ok(x);
        }
        let (rows, columns) = (x.rows(), x.cols());
        let mut prepared = self.prepare_from(ops, applied, CHUNK.min(rows))?;
        let mut chunk = ops.matrix("a chunk of rows", CHUNK.min(rows), columns)?;
        if self.outputs() == columns {
            for first in (0..rows).step_by(CHUNK) {
                progress.not_interrupted(UNFITTED)?;
                let values = download(ops, prepared.apply_to_rows(ops, &x, first, &mut chunk)?)?;
                ops.upload(&values, &mut x, first)?;
            }
            return Ok(x);
        }
        let mut to = ops.training_rows(rows, self.outputs())?;
        for first in (0..rows).step_by(CHUNK) {
            progress.not_interrupted(UNFITTED)?;
            let values = download(ops, prepared.apply_to_rows(ops, &x, first, &mut chunk)?)?;
            ops.upload(&values, &mut to, first)?;
        }
        Ok(to)
    }

    /// Writes the pipeline to a safetensors file, atomically.
    pub fn save(&self, path: &Path) -> Result<()> {
        atomic::write(path, self.bytes())
    }

    /// The bytes of that file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut metadata = BTreeMap::from([
            ("features".to_string(), describe(&self.transforms())),
            ("columns".to_string(), self.reader.columns().to_string()),
        ]);
        if let Some(scattering) = self.reader.scattering() {
            let ImageShape {
                height,
                width,
                channels,
            } = scattering.image();
            metadata.insert("image".to_string(), format!("{height}x{width}x{channels}"));
        }
        let fitted = self.steps.iter().enumerate().flat_map(|(i, step)| {
            // Numbered as in the list of transforms, of which the reader may do the first.
            let i = i + usize::from(self.reader.scattering().is_some());
            let columns = step.transform.fitted_columns(step.outputs);
            let tensors = step.fitted.tensors(columns).into_iter();
            tensors.map(move |(name, shape, values)| (format!("{i}.{name}"), shape, values))
        });
        let fitted: Vec<_> = fitted.collect();
        let tensors: Vec<(&str, &[usize], &[f32])> = fitted
            .iter()
            .map(|(name, shape, values)| (&name[..], &shape[..], *values))
            .collect();
        safetensors::bytes(&tensors, &metadata)
    }

    /// Reads what [`save`](Self::save) wrote.
    pub fn load(path: &Path) -> Result<Self> {
        Pipeline::parse(path, Bytes::map(path)?)
    }

    /// The same from the bytes of such a file; `path` is for messages.
    pub(super) fn parse(path: &Path, bytes: Bytes) -> Result<Self> {
        let (tensors, metadata) = safetensors::parse::<f32>(path, bytes)?;
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
        let reader = match transforms.first() {
            Some(&Transform::Scatnet(rule)) => {
                let image = metadata
                    .get("image")
                    .and_then(|text| image(text))
                    .filter(|image| image.height * image.width * image.channels == columns)
                    .ok_or_else(|| bad("its metadata lacks the shape \"image\" of the pictures".into()))?;
                let scattering = Scattering::new("--features", rule, image);
                Reader::of(scattering.map_err(|_| bad("its pictures are too small for its scatnet".into()))?)
            }
            _ => Reader::plain(columns),
        };
        let take = |i: usize, name: &'static str, numbers: usize| {
            let tensor = tensors
                .get(&format!("{i}.{name}"))
                .filter(|tensor| tensor.values.len() == numbers)
                .ok_or_else(|| bad(format!("no tensor {i}.{name} of {numbers} numbers")))?;
            if !tensor.values.iter().all(|v| v.is_finite()) {
                return Err(bad(format!("{i}.{name} holds a number that is not finite")));
            }
            Ok((name, tensor.values.clone()))
        };
        let mut pipeline = Pipeline::new(reader);
        for (i, transform) in transforms.iter().enumerate() {
            let width = pipeline.outputs();
            let arrays = match *transform {
                Transform::Scatnet(_) => continue,
                Transform::Autoencoder(ref rule) => {
                    let model = Model::from_tensors(path, &format!("{i}."), &tensors)?;
                    let made: Vec<usize> = model.layers.iter().map(|layer| layer.outputs).collect();
                    if model.inputs() != width || made != rule.widths {
                        return Err(bad(format!(
                            "the network {i}. makes {made:?} of {} numbers, not {:?} of {width}",
                            model.inputs(),
                            rule.widths
                        )));
                    }
                    let (_, error) = take(i, "error", 1)?;
                    let error = error[0];
                    pipeline.add(transform, Fitted::Encoder(Encoder { model, error }));
                    continue;
                }
                Transform::Pixels | Transform::Unit | Transform::Rms => Vec::new(),
                Transform::Center => vec![take(i, "mean", width)?],
                Transform::Scale => vec![take(i, "scale", width)?],
                Transform::Standardize => vec![take(i, "mean", width)?, take(i, "scale", width)?],
                Transform::Quantiles => {
                    let numbers = width.saturating_mul(fitting::KNOTS);
                    vec![take(i, "knots", numbers)?, take(i, "levels", numbers)?]
                }
                Transform::Whiten(_) => vec![take(i, "map", width * width)?],
                Transform::Pca(dims) => vec![
                    take(i, "map", width.saturating_mul(dims))?,
                    take(i, "energy", dims)?,
                ],
            };
            pipeline.add(transform, Fitted::Arrays(arrays));
        }
        Ok(pipeline)
    }
}

/// The transforms that are not the reader's.
fn without_reader(transforms: &[Transform]) -> impl Iterator<Item = &Transform> {
    transforms.iter().filter(|t| !matches!(t, Transform::Scatnet(_)))
}

/// Reads `28x28x1`.
fn image(text: &str) -> Option<ImageShape> {
    let sides: Option<Vec<usize>> = text.split('x').map(|side| side.parse().ok()).collect();
    match sides?[..] {
        [height, width, channels] if channels > 0 => Some(ImageShape {
            height,
            width,
            channels,
        }),
        _ => None,
    }
}

/// From rows of the data to what a pipeline makes of them, in a backend's memory.
pub struct Extractor<O: Ops> {
    loader: Loader<O>,
    prepared: Prepared<O>,
    x: O::Matrix,
    kept: KeptRows<O>,
}

impl<O: Ops> Extractor<O> {
    /// Takes rows that went through `pipeline`, which this was made of, from a cache, if there is one, and keeps them there.
    pub fn caching(mut self, ops: &O, pipeline: &Pipeline, cache: Option<&Cache>) -> Self {
        self.kept = self.kept.caching(pipeline.kept(ops, cache));
        self
    }

    /// The rows that this is for.
    pub fn reader(&self) -> &Reader {
        self.loader.reader()
    }

    /// Whole rows of the data, transformed: memory of this, overwritten the next time.
    pub fn extract(&mut self, ops: &O, rows: Raw) -> Result<&O::Matrix> {
        self.kept.get(ops, rows, || {
            self.x.set_rows(rows.count() / self.loader.reader().columns());
            self.loader.load(ops, rows, &mut self.x)?;
            self.prepared.apply(ops, &mut self.x)
        })
    }

    /// Tells what the user should know of the cache.
    pub fn tell(&self, progress: &mut dyn Progress) {
        self.kept.tell(progress);
    }
}

/// A pipeline in a backend's memory, but for what its reader does.
pub struct Prepared<O: Ops> {
    steps: Vec<PreparedStep<O>>,
}

struct PreparedStep<O: Ops> {
    transform: Transform,
    fitted: Vec<O::Matrix>,
    /// Where rows go that do not stay in their place.
    mapped: Option<O::Matrix>,
    /// A network that they go through, and where they go there.
    encoder: Option<(Network<O>, Activations<O>)>,
}

impl<O: Ops> Prepared<O> {
    /// The rows in use of `x`, transformed: `x` itself, or memory of this pipeline, overwritten the next time.
    pub fn apply<'a>(&'a mut self, ops: &O, x: &'a mut O::Matrix) -> Result<&'a mut O::Matrix> {
        let mut x = x;
        for PreparedStep {
            transform,
            fitted,
            mapped,
            encoder,
        } in &mut self.steps
        {
            if let Some((network, activations)) = encoder {
                network.forward(ops, x, activations)?;
                x = activations.logits_mut();
                continue;
            }
            match (transform, &fitted[..], mapped) {
                (Transform::Pixels, ..) => ops.scale(1.0 / 255.0, x)?,
                (Transform::Center, [mean], _) => ops.center_rows(mean, x)?,
                (Transform::Scale, [scale], _) => ops.scale_columns(scale, x)?,
                (Transform::Standardize, [mean, scale], _) => {
                    ops.center_rows(mean, x)?;
                    ops.scale_columns(scale, x)?;
                }
                (Transform::Unit, ..) => ops.normalize_rows(1.0, x)?,
                (Transform::Rms, ..) => ops.normalize_rows((x.cols() as f64).sqrt(), x)?,
                (Transform::Quantiles, [knots, levels], Some(mapped)) => {
                    mapped.set_rows(x.rows());
                    ops.append_quantiles(knots, levels, x, mapped)?;
                    x = mapped;
                }
                (Transform::Whiten(_) | Transform::Pca(_), [map], Some(mapped)) => {
                    mapped.set_rows(x.rows());
                    ops.combine(x, map, 0.0, mapped)?;
                    x = mapped;
                }
                _ => unreachable!("fitted or loaded with all it needs"),
            }
        }
        Ok(x)
    }

    /// The rows of `x` from `first` on, as many as are left up to [`CHUNK`], transformed; `chunk` has room for them as they are.
    fn apply_to_rows<'a>(
        &'a mut self,
        ops: &O,
        x: &O::Matrix,
        first: usize,
        chunk: &'a mut O::Matrix,
    ) -> Result<&'a mut O::Matrix> {
        chunk.set_rows(CHUNK.min(x.rows() - first));
        ops.copy_rows(x, first, chunk)?;
        self.apply(ops, chunk)
    }
}
