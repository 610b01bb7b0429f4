//! Rows that are made, as files of any size, written chunk by chunk.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};

use half::f16;

use super::format::Format;
use super::labels::labels_beside;
use super::{npy, npz, safetensors};
use crate::atomic::AtomicFile;
use crate::error::{Error, Result};

/// Bytes of rows made at a time.
const CHUNK: usize = 1 << 22;

/// Rows, each a function of its number alone, and their labels.
pub trait Rows {
    /// What they are made of.
    type Value: Value;
    /// The shape of one.
    fn shape(&self) -> Vec<usize>;
    /// Makes the rows `first_row..`, as many as fit.
    fn fill(&self, first_row: u64, rows: &mut [Self::Value]);
    /// The label of a row; none of any, where they are not known.
    fn label(&self, row: u64) -> Option<u32>;
}

/// A kind of number that files hold.
pub trait Value: bytemuck::Pod + Display {
    /// Its name in NumPy's files.
    const NPY: &'static str;
    /// Its name in safetensors.
    const SAFETENSORS: &'static str;
}

impl Value for f32 {
    const NPY: &'static str = "<f4";
    const SAFETENSORS: &'static str = "F32";
}

impl Value for f16 {
    const NPY: &'static str = "<f2";
    const SAFETENSORS: &'static str = "F16";
}

impl Value for u8 {
    const NPY: &'static str = "|u1";
    const SAFETENSORS: &'static str = "U8";
}

/// Writes `rows` rows and their labels to `path`, by its extension, and returns the paths written.
///
/// `.npz` and `.safetensors` hold the rows as `x` and the labels as `y` (u32); beside `NAME.npy` and `NAME.csv` the labels are in
/// `NAME-labels.npy` and `NAME-labels.csv`. `progress` is told the number of rows made so far; its error ends the work, and no file
/// appears. Memory does not grow with `rows`.
///
/// # Errors
/// For no rows or too many, another extension, what cannot be written, and those of `progress`.
pub fn write<R: Rows>(
    source: &R,
    rows: u64,
    path: impl AsRef<Path>,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<PathBuf>> {
    let path = path.as_ref();
    let mut shape = source.shape();
    let cols: usize = shape.iter().product();
    let bytes = cols * size_of::<R::Value>();
    let len = usize::try_from(rows)
        .ok()
        .filter(|len| len.checked_mul(bytes + size_of::<u32>()).is_some());
    let Some(len) = len.filter(|&len| len > 0) else {
        let advice = "give at least one row, and no more than a disk can hold";
        return Err(Error::option("--rows", format!("{rows} rows"), advice));
    };
    shape.insert(0, len);
    let made = Made {
        source,
        rows,
        cols,
        chunk: (CHUNK / bytes).max(1),
    };
    let labelled = source.label(0).is_some();
    let whole = vec![path.to_path_buf()];
    let beside = labels_beside(path);
    match Format::of(path) {
        Some(format @ (Format::Npy | Format::Csv)) => {
            let mut x = AtomicFile::create(path)?;
            let mut y = labelled.then(|| AtomicFile::create(&beside)).transpose()?;
            let text = matches!(format, Format::Csv);
            if !text {
                x.put(&npy::header(R::Value::NPY, &shape))?;
                y.iter_mut()
                    .try_for_each(|y| y.put(&npy::header("<u4", &[len])))?;
            }
            made.each(progress, |values, labels| {
                x.put(&encoded(values, cols, text))?;
                y.iter_mut().try_for_each(|y| y.put(&encoded(labels, 1, text)))
            })?;
            x.commit()?;
            let Some(y) = y else {
                return Ok(whole);
            };
            y.commit()?;
            Ok(vec![path.to_path_buf(), beside])
        }
        Some(Format::Npz) => {
            let mut file = npz::Writer::create(path)?;
            file.start("x", R::Value::NPY, &shape)?;
            made.each(progress, |values, _| file.put(bytemuck::cast_slice(values)))?;
            if labelled {
                file.start("y", "<u4", &[len])?;
                made.each_label(|labels| file.put(bytemuck::cast_slice(labels)))?;
            }
            file.commit()?;
            Ok(whole)
        }
        Some(Format::Safetensors) => {
            let mut file = AtomicFile::create(path)?;
            let tensors: [(_, _, &[usize]); 2] = [("x", R::Value::SAFETENSORS, &shape), ("y", "U32", &[len])];
            let tensors = &tensors[..1 + usize::from(labelled)];
            file.put(&safetensors::header(tensors, &BTreeMap::new()))?;
            made.each(progress, |values, _| file.put(bytemuck::cast_slice(values)))?;
            made.each_label(|labels| file.put(bytemuck::cast_slice(labels)))?;
            file.commit()?;
            Ok(whole)
        }
        Some(Format::Idx) | None => {
            let problem = "this kind of file cannot be written";
            Err(Error::file(
                path,
                problem,
                "choose a name that ends in .npy, .npz, .safetensors or .csv",
            ))
        }
    }
}

/// All rows to be written.
struct Made<'a, R> {
    source: &'a R,
    rows: u64,
    cols: usize,
    /// Rows made at a time.
    chunk: usize,
}

impl<R: Rows> Made<'_, R> {
    fn slices(&self) -> impl Iterator<Item = std::ops::Range<u64>> {
        let rows = self.rows;
        let chunk = self.chunk;
        (0..rows)
            .step_by(chunk)
            .map(move |first| first..rows.min(first + chunk as u64))
    }

    /// Hands out all rows and their labels, a chunk at a time.
    fn each(
        &self,
        progress: &mut dyn FnMut(u64) -> Result<()>,
        mut put: impl FnMut(&[R::Value], &[u32]) -> Result<()>,
    ) -> Result<()> {
        let mut values: Vec<R::Value> = Vec::new();
        for rows in self.slices() {
            values.resize(
                (rows.end - rows.start) as usize * self.cols,
                bytemuck::Zeroable::zeroed(),
            );
            self.source.fill(rows.start, &mut values);
            let end = rows.end;
            let labels: Vec<u32> = rows.filter_map(|row| self.source.label(row)).collect();
            put(&values, &labels)?;
            progress(end)?;
        }
        Ok(())
    }

    /// Hands out all labels alone, for formats that store them after the rows.
    fn each_label(&self, mut put: impl FnMut(&[u32]) -> Result<()>) -> Result<()> {
        for rows in self.slices() {
            put(&rows
                .filter_map(|row| self.source.label(row))
                .collect::<Vec<u32>>())?;
        }
        Ok(())
    }
}

/// Values as a file holds them.
fn encoded<T: bytemuck::Pod + Display>(values: &[T], cols: usize, text: bool) -> Cow<'_, [u8]> {
    match text {
        true => lines(values, cols).into_bytes().into(),
        false => bytemuck::cast_slice(values).into(),
    }
}

/// One line for each `cols` values, in the shortest text that reads back as the same number.
fn lines<T: Display>(values: &[T], cols: usize) -> String {
    let mut text = String::new();
    for row in values.chunks_exact(cols) {
        for (column, value) in row.iter().enumerate() {
            let separator = if column == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{value}");
        }
        text.push('\n');
    }
    text
}
