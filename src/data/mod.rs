//! Data in and out: any supported file or folder becomes one [`Dataset`] of rows that are read as f32.

pub mod bytes;
pub mod cache;
pub mod matrix;
pub mod raw;
pub mod labels;
mod format;
pub mod idx;
pub mod npy;
pub mod npz;
pub mod csr;
pub mod safetensors;
pub mod csv;
pub mod folder;
pub mod written;
pub mod synthetic;
pub mod embeddings;

use std::ops::Range;
use std::path::Path;

use bytemuck::Pod;
use cache::Cache;
use folder::Parts;
use format::Format;
use half::{bf16, f16};
pub use labels::{LabelStream, Labels};
use matrix::{Element, Endian, Matrix, ShapeText};
use raw::RawRows;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Bytes of rows that one thread reads at a time.
const PIECE: usize = 1 << 19;

/// How the columns of a row are laid out as a picture: `row[(y * width + x) * channels + channel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Values per pixel.
    pub channels: usize,
}

/// Rows of numbers, left where they are (mapped, mostly) until they are read.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    parts: Vec<Matrix>,
    /// Row at which each part begins, and the number of all rows at the end.
    starts: Vec<usize>,
    cols: usize,
    labels: Option<Labels>,
    cache: Option<Cache>,
}

impl Dataset {
    /// Opens a built-in data set by name, a folder in MNIST's layout, or a file by its extension: IDX (plain or `.gz`),
    /// `.npy`, `.npz`, `.safetensors`, `.csv`.
    ///
    /// Files that can be mapped are left on the disk, however large, until rows are asked for; labels are read.
    pub fn open(source: &str) -> Result<Self> {
        Self::of(source, find(source)?)
    }

    /// As [`open`](Self::open), but of a folder that has them the training images alone, without the test images.
    pub fn open_training(source: &str) -> Result<Self> {
        let (mut parts, mut labels) = find(source)?;
        parts.truncate(1);
        labels.iter_mut().for_each(|labels| labels.truncate(1));
        Self::of(source, (parts, labels))
    }

    fn of(source: &str, (parts, labels): Parts) -> Result<Self> {
        let labels = labels.as_deref().map(Labels::from_matrices).transpose()?;
        let dataset = Self::join(source, parts)?;
        if let Some(labels) = &labels {
            dataset.check_labels(source, labels.len())?;
        }
        Ok(Dataset { labels, ..dataset })
    }

    /// Opens the rows as [`open`](Self::open) does, and leaves the labels where they are too: memory does not grow with
    /// the number of rows when both are in files that can be mapped. The data set itself has no labels then.
    pub fn open_streamed(source: &str) -> Result<(Self, Option<LabelStream>)> {
        let (parts, labels) = find(source)?;
        let labels = labels.map(LabelStream::new).transpose()?;
        let dataset = Self::join(source, parts)?;
        if let Some(labels) = &labels {
            dataset.check_labels(source, labels.len())?;
        }
        Ok((dataset, labels))
    }

    fn join(source: &str, parts: Vec<Matrix>) -> Result<Self> {
        let (mut starts, cols) = (vec![0], parts[0].cols());
        for part in &parts {
            let empty = if part.rows() == 0 {
                Some("no rows")
            } else {
                (part.cols() == 0).then_some("no columns")
            };
            if let Some(what) = empty {
                let problem = format!("{what} in it (shape {})", ShapeText(part.shape()));
                return Err(part
                    .origin()
                    .error(problem, "give a matrix of at least one row and one column"));
            }
            if part.shape()[1..] != parts[0].shape()[1..] {
                let (here, first) = (ShapeText(part.shape()), ShapeText(parts[0].shape()));
                let problem = format!("shape {here}, but the first part has shape {first}");
                return Err(part
                    .origin()
                    .error(problem, "all parts must have rows of the same shape"));
            }
            starts.push(starts[starts.len() - 1] + part.rows());
        }
        Ok(Dataset {
            name: name(source),
            parts,
            starts,
            cols,
            labels: None,
            cache: None,
        })
    }

    fn check_labels(&self, source: &str, labels: usize) -> Result<()> {
        if labels == self.rows() {
            return Ok(());
        }
        let problem = format!("{labels} labels for {} rows", self.rows());
        Err(Error::file(source, problem, "there must be one label per row"))
    }

    /// The same rows with other labels, one for each row.
    pub fn with_labels(self, labels: Labels) -> Result<Self> {
        if labels.len() != self.rows() {
            return Err(Error::Shape {
                what: format!("the number of labels for {}", self.name),
                found: labels.len().to_string(),
                expected: format!("{}, one per row", self.rows()),
            });
        }
        Ok(Dataset {
            labels: Some(labels),
            ..self
        })
    }

    /// The same rows; what is computed of them is looked for in `cache`, and kept there.
    pub fn with_cache(self, cache: Cache) -> Self {
        Dataset {
            cache: Some(cache),
            ..self
        }
    }

    /// Where what is computed of them is kept, if it is.
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// A short name: of the built-in data, the folder, or the file without its extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of rows, at least 1.
    pub fn rows(&self) -> usize {
        self.starts[self.parts.len()]
    }

    /// Numbers in each row, at least 1.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The label of every row, when they are known.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// The shape of the picture in each row: of arrays n x height x width, and n x height x width x channels with 1, 3 or
    /// 4 channels.
    pub fn image(&self) -> Option<ImageShape> {
        match *self.parts[0].shape() {
            [_, height, width] => Some(ImageShape {
                height,
                width,
                channels: 1,
            }),
            [_, height, width, channels @ (1 | 3 | 4)] => Some(ImageShape {
                height,
                width,
                channels,
            }),
            _ => None,
        }
    }

    /// Whether the rows are pictures of 8-bit pixels.
    pub fn is_pixels(&self) -> bool {
        self.image().is_some() && self.is_bytes()
    }

    /// Whether the rows are bytes one after the other, which may be pixels, but say nothing of a picture's shape.
    pub fn is_flat_bytes(&self) -> bool {
        self.parts[0].shape().len() == 2 && self.is_bytes()
    }

    fn is_bytes(&self) -> bool {
        self.parts.iter().all(|part| part.element() == Element::U8)
    }

    /// Reads the rows `first..` as f32, as many as fit in `out`; pixels come as 0 to 255.
    ///
    /// A value that is not a finite f32 is an error that names its row and column.
    ///
    /// # Panics
    /// If `out` is not a whole number of rows, or there are not so many.
    pub fn read_rows(&self, first: usize, out: &mut [f32]) -> Result<()> {
        assert!(
            out.len().is_multiple_of(self.cols),
            "{} values are not whole rows of {}",
            out.len(),
            self.cols
        );
        let mut out = out;
        for (part, rows) in self.split(first..first + out.len() / self.cols) {
            let (head, tail) = out.split_at_mut(rows.len() * self.cols);
            part.read_rows(rows.start, head)?;
            out = tail;
        }
        Ok(())
    }

    /// Room for rows as [`read_raw`](Self::read_raw) reads them, with nothing in it: as they are stored, where that is a type that backends
    /// take in, else as f32.
    pub fn raw_rows(&self) -> RawRows {
        match self.kind() {
            Some((Element::U8, _)) => RawRows::U8(Vec::new()),
            Some((Element::F16, Endian::Little)) => RawRows::F16(Vec::new()),
            Some((Element::BF16, Endian::Little)) => RawRows::BF16(Vec::new()),
            _ => RawRows::F32(Vec::new()),
        }
    }

    /// How numbers are stored, where all parts have them alike.
    fn kind(&self) -> Option<(Element, Endian)> {
        let kind = |part: &Matrix| (part.element(), part.endian());
        let first = kind(&self.parts[0]);
        self.parts.iter().all(|part| kind(part) == first).then_some(first)
    }

    /// Fills `to`, which [`raw_rows`](Self::raw_rows) made, with these rows, on all threads: one alone is slower than devices are.
    ///
    /// # Errors
    /// As [`read_rows`](Self::read_rows).
    pub fn read_raw(&self, rows: Range<usize>, to: &mut RawRows) -> Result<()> {
        let count = rows.len() * self.cols;
        match to {
            RawRows::U8(values) => {
                values.resize(count, 0);
                self.in_pieces(rows, values, |rows, to| self.read_stored(rows, to, |_| true))
            }
            RawRows::F16(values) => {
                values.resize(count, f16::ZERO);
                self.in_pieces(rows, values, |rows, to| {
                    self.read_stored(rows, to, |v| v.is_finite())
                })
            }
            RawRows::BF16(values) => {
                values.resize(count, bf16::ZERO);
                self.in_pieces(rows, values, |rows, to| {
                    self.read_stored(rows, to, |v| v.is_finite())
                })
            }
            RawRows::F32(values) => {
                values.resize(count, 0.0);
                match self.kind() {
                    Some((Element::F32, Endian::Little)) => self.in_pieces(rows, values, |rows, to| {
                        self.read_stored(rows, to, |v| v.is_finite())
                    }),
                    _ => self.in_pieces(rows, values, |rows, to| self.read_rows(rows.start, to)),
                }
            }
        }
    }

    /// Has rows read a piece at a time, side by side; the first of several errors is told.
    fn in_pieces<T: Send>(
        &self,
        rows: Range<usize>,
        out: &mut [T],
        read: impl Fn(Range<usize>, &mut [T]) -> Result<()> + Sync,
    ) -> Result<()> {
        let each = (PIECE / (self.cols * size_of::<T>()).max(1)).max(1);
        if rows.len() <= each {
            return read(rows, out);
        }
        let done: Vec<Result<()>> = out
            .par_chunks_mut(each * self.cols)
            .enumerate()
            .map(|(piece, out)| {
                let first = rows.start + piece * each;
                read(first..rows.end.min(first + each), out)
            })
            .collect();
        done.into_iter().collect()
    }

    fn read_stored<T: Pod>(
        &self,
        rows: Range<usize>,
        out: &mut [T],
        finite: impl Fn(&T) -> bool + Copy,
    ) -> Result<()> {
        let mut out = out;
        for (part, rows) in self.split(rows) {
            let (head, tail) = out.split_at_mut(rows.len() * self.cols);
            part.read_stored(rows.start, head, finite)?;
            out = tail;
        }
        Ok(())
    }

    /// Reads the given rows as f32, in the given order.
    ///
    /// # Panics
    /// If `out` does not hold exactly these rows, or one of them does not exist.
    pub fn gather_rows(&self, rows: &[u64], out: &mut [f32]) -> Result<()> {
        assert_eq!(
            out.len(),
            rows.len() * self.cols,
            "room for {} rows of {}",
            rows.len(),
            self.cols
        );
        for (&row, out) in rows.iter().zip(out.chunks_exact_mut(self.cols)) {
            self.read_rows(row as usize, out)?;
        }
        Ok(())
    }

    /// The parts that `rows` fall in, and where in them.
    fn split(&self, rows: Range<usize>) -> impl Iterator<Item = (&Matrix, Range<usize>)> {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows(),
            "rows {rows:?} of {}",
            self.rows()
        );
        let parts = self.parts.iter().zip(self.starts.windows(2));
        parts.filter_map(move |(part, bounds)| {
            let (begin, end) = (rows.start.max(bounds[0]), rows.end.min(bounds[1]));
            (begin < end).then(|| (part, begin - bounds[0]..end - bounds[0]))
        })
    }
}

/// The rows and labels that `source` names, where they are.
fn find(source: &str) -> Result<Parts> {
    let path = Path::new(source);
    if folder::BUILT_IN.contains(&source) {
        return folder::built_in(source);
    }
    if path.is_dir() {
        return folder::open(path);
    }
    if !path.exists() {
        let problem = "no such file or folder, and not the name of built-in data";
        let advice = format!("check the path; built in: {}", folder::BUILT_IN.join(", "));
        return Err(Error::file(path, problem, advice));
    }
    let (matrix, labels) = match Format::of(path) {
        Some(Format::Npy) => (npy::open(path)?, None),
        Some(Format::Npz) => npz::open(path)?,
        Some(Format::Safetensors) => safetensors::open(path)?,
        Some(Format::Idx) => (idx::open(path)?, None),
        Some(Format::Csv) => (csv::open(path)?, None),
        None => return Err(Format::unknown(path)),
    };
    Ok((vec![matrix], labels.map(|labels| vec![labels])))
}

fn name(source: &str) -> String {
    let path = Path::new(source);
    let name = if folder::BUILT_IN.contains(&source) {
        path.as_os_str()
    } else if path.is_dir() {
        path.file_name().unwrap_or(path.as_os_str())
    } else {
        path.file_stem().unwrap_or(path.as_os_str())
    };
    name.to_string_lossy().into_owned()
}

/// The array of labels in a file.
fn find_labels(path: &Path) -> Result<Matrix> {
    match Format::of(path) {
        Some(Format::Npy) => npy::open(path),
        Some(Format::Npz) => npz::open_labels(path),
        Some(Format::Safetensors) => safetensors::open_labels(path),
        Some(Format::Idx) => idx::open(path),
        Some(Format::Csv) => csv::open_labels(path),
        None => Err(Format::unknown(path)),
    }
}

impl Labels {
    /// Reads labels from a `.npy`, `.npz`, `.safetensors`, IDX (also `.gz`), `.csv` or `.txt` file.
    ///
    /// The array must have one axis, or one column; in a file of several arrays it is `y`, `labels`, or the only
    /// one. Floating-point labels are accepted when they are whole. Text has one label per line.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_matrices(&[find_labels(path.as_ref())?])
    }
}

impl LabelStream {
    /// Opens the same files as [`Labels::open`], for `data`, which must have as many rows.
    pub fn open(path: impl AsRef<Path>, data: &Dataset) -> Result<Self> {
        let path = path.as_ref();
        let labels = Self::new(vec![find_labels(path)?])?;
        if labels.len() != data.rows() {
            let (found, rows, name) = (labels.len(), data.rows(), data.name());
            let problem = format!("{found} labels for the {rows} rows of {name}");
            return Err(Error::file(path, problem, "there must be one label per row"));
        }
        Ok(labels)
    }
}
