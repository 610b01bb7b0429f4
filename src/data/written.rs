//! Rows that are made, as files of any size, written chunk by chunk.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::f16;

use super::format::Format;
use super::labels::labels_beside;
use super::{npy, npz, safetensors};
use crate::atomic::{AtomicFile, place};
use crate::error::{Error, Result};
use crate::resumable::{Resumable, ended_early};

/// Bytes of rows made at a time.
const CHUNK: usize = 1 << 22;

/// Rows that are looked at, where it is asked whether a file holds them already.
const LOOKED_AT: u64 = 64;

/// Rows, each a function of its number alone, and their labels.
pub trait Rows {
    /// What they are made of.
    type Value: Value;
    /// The shape of one.
    fn shape(&self) -> Vec<usize>;
    /// Makes the rows `first_row..`, as many as fit.
    ///
    /// # Errors
    /// Those of the device that makes them.
    fn fill(&self, first_row: u64, rows: &mut [Self::Value]) -> Result<()>;
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

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// The files: that of the rows first.
    pub files: Vec<PathBuf>,
    /// Rows that had been there already.
    pub resumed: u64,
}

/// Writes `rows` rows and their labels to `path`, by its extension.
///
/// `.npz` and `.safetensors` hold the rows as `x` and the labels as `y` (u32); beside `NAME.npy` and `NAME.csv` the labels are in
/// `NAME-labels.npy` and `NAME-labels.csv`. `progress` is told the number of rows made so far; its error ends the work, and no file
/// appears. Memory does not grow with `rows`. What an ended process has left of a `.npy` or `.safetensors` file is gone on with, if
/// `content`, which describes what the rows are, was the same.
///
/// # Errors
/// For no rows or too many, another extension, what cannot be written, those of `source` and of `progress`.
pub fn write<R: Rows>(
    source: &R,
    content: &str,
    rows: u64,
    path: impl AsRef<Path>,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Written> {
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
    let mut files = vec![path.to_path_buf()];
    let beside = labels_beside(path);
    let mut resumed = 0;
    match Format::of(path) {
        Some(Format::Npy) => {
            if labelled {
                // Refused before the long work; the rows' own place first.
                place(path)?;
                place(&beside)?;
            }
            let x = made.resumable(path, content, &npy::header(R::Value::NPY, &shape), progress)?;
            resumed = x.resumed;
            let mut y = labelled.then(|| AtomicFile::create(&beside)).transpose()?;
            if let Some(y) = &mut y {
                y.put(&npy::header("<u4", &[len]))?;
                made.each_label(|labels| y.put(bytemuck::cast_slice(labels)))?;
            }
            // The rows first, which are what takes long: both appear at nearly the same time.
            x.file.commit()?;
            if let Some(y) = y {
                y.commit()?;
                files.push(beside);
            }
        }
        Some(Format::Safetensors) => {
            let tensors: [(_, _, &[usize]); 2] = [("x", R::Value::SAFETENSORS, &shape), ("y", "U32", &[len])];
            let header = safetensors::header(&tensors[..1 + usize::from(labelled)], &BTreeMap::new());
            let mut x = made.resumable(path, content, &header, progress)?;
            resumed = x.resumed;
            made.each_label(|labels| x.file.write_tail(bytemuck::cast_slice(labels)))?;
            x.file.commit()?;
        }
        Some(Format::Csv) => {
            let mut x = AtomicFile::create(path)?;
            let mut y = labelled.then(|| AtomicFile::create(&beside)).transpose()?;
            made.each(0, progress, |values| x.put(lines(values, cols).as_bytes()))?;
            if let Some(y) = &mut y {
                made.each_label(|labels| y.put(lines(labels, 1).as_bytes()))?;
            }
            x.commit()?;
            if let Some(y) = y {
                y.commit()?;
                files.push(beside);
            }
        }
        Some(Format::Npz) => {
            let mut file = npz::Writer::create(path)?;
            file.start("x", R::Value::NPY, &shape)?;
            made.each(0, progress, |values| file.put(bytemuck::cast_slice(values)))?;
            if labelled {
                file.start("y", "<u4", &[len])?;
                made.each_label(|labels| file.put(bytemuck::cast_slice(labels)))?;
            }
            file.commit()?;
        }
        Some(Format::Idx) | None => {
            let problem = "this kind of file cannot be written";
            return Err(Error::file(
                path,
                problem,
                "choose a name that ends in .npy, .npz, .safetensors or .csv",
            ));
        }
    }
    Ok(Written { files, resumed })
}

/// What lies where rows and labels would be written.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Not all that would be written.
    Missing,
    /// All of it.
    Same,
    /// Something else is in this one.
    Other(PathBuf),
}

/// Whether [`write()`] left `rows` rows of `source` in `path`, a `.npy` file, and their labels, if they have any, beside it: by the
/// shape, by some rows from the first to the last, and by all labels.
///
/// # Errors
/// Those of `source`, and of files that cannot be read.
pub fn found<R: Rows>(source: &R, rows: u64, path: &Path) -> Result<Found> {
    let labels = labels_beside(path);
    let mut files = vec![(path, holds_rows as fn(&R, u64, &Path) -> Result<bool>)];
    if source.label(0).is_some() {
        files.push((&labels, holds_labels));
    }
    let mut found = Found::Same;
    for (file, same) in files {
        if !file.exists() {
            found = Found::Missing;
        } else if !same(source, rows, file)? {
            return Ok(Found::Other(file.to_path_buf()));
        }
    }
    Ok(found)
}

fn holds_rows<R: Rows>(source: &R, rows: u64, path: &Path) -> Result<bool> {
    let mut shape = source.shape();
    let cols: usize = shape.iter().product();
    shape.insert(0, rows as usize);
    let Some(file) = Holding::open(path, R::Value::NPY, &shape, cols * size_of::<R::Value>())? else {
        return Ok(false);
    };
    let mut values: Vec<R::Value> = vec![bytemuck::Zeroable::zeroed(); cols];
    let looks = LOOKED_AT.min(rows);
    for look in 0..looks {
        let row = look * (rows - 1) / (looks - 1).max(1);
        source.fill(row, &mut values)?;
        if !file.holds(row, bytemuck::cast_slice(&values))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds_labels<R: Rows>(source: &R, rows: u64, path: &Path) -> Result<bool> {
    let Some(file) = Holding::open(path, "<u4", &[rows as usize], size_of::<u32>())? else {
        return Ok(false);
    };
    let chunk = CHUNK / size_of::<u32>();
    for first in (0..rows).step_by(chunk) {
        let of_chunk = first..rows.min(first + chunk as u64);
        let labels: Vec<u32> = of_chunk.filter_map(|row| source.label(row)).collect();
        if !file.holds(first, bytemuck::cast_slice(&labels))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A `.npy` file of a known header and length.
struct Holding<'a> {
    path: &'a Path,
    file: File,
    header: u64,
    row: u64,
}

impl<'a> Holding<'a> {
    /// Nothing where another header is in the file, or another number of rows of `row` bytes.
    fn open(path: &'a Path, kind: &str, shape: &[usize], row: usize) -> Result<Option<Self>> {
        let failed = |e| Error::io(path, "read the file", e);
        let file = File::open(path).map_err(failed)?;
        let header = npy::header(kind, shape);
        let len = file.metadata().map_err(failed)?.len();
        let this = Holding {
            path,
            file,
            header: header.len() as u64,
            row: row as u64,
        };
        let whole = len == this.header + shape[0] as u64 * this.row;
        Ok((whole && this.at(0, &header)?).then_some(this))
    }

    /// Whether these bytes are there from `row` on.
    fn holds(&self, row: u64, bytes: &[u8]) -> Result<bool> {
        self.at(self.header + row * self.row, bytes)
    }

    fn at(&self, place: u64, bytes: &[u8]) -> Result<bool> {
        let mut there = vec![0; bytes.len()];
        let read = self.file.read_exact_at(&mut there, place);
        read.map_err(|e| Error::io(self.path, "read the file", e))?;
        Ok(there == bytes)
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

/// A file with all its rows, some of which had been there.
struct WithRows {
    file: Resumable,
    resumed: u64,
}

impl<R: Rows> Made<'_, R> {
    fn slices(&self, first: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
        let rows = self.rows;
        let chunk = self.chunk;
        (first..rows)
            .step_by(chunk)
            .map(move |first| first..rows.min(first + chunk as u64))
    }

    /// Hands out the rows from `first` on, a chunk at a time.
    fn each(
        &self,
        first: u64,
        progress: &mut dyn FnMut(u64) -> Result<()>,
        mut put: impl FnMut(&[R::Value]) -> Result<()>,
    ) -> Result<()> {
        let mut values: Vec<R::Value> = Vec::new();
        for rows in self.slices(first) {
            values.resize(
                (rows.end - rows.start) as usize * self.cols,
                bytemuck::Zeroable::zeroed(),
            );
            self.source.fill(rows.start, &mut values)?;
            put(&values)?;
            progress(rows.end)?;
        }
        Ok(())
    }

    /// Hands out all labels, which are soon made.
    fn each_label(&self, mut put: impl FnMut(&[u32]) -> Result<()>) -> Result<()> {
        for rows in self.slices(0) {
            put(&rows
                .filter_map(|row| self.source.label(row))
                .collect::<Vec<u32>>())?;
        }
        Ok(())
    }

    /// A file with this header and all rows behind it: those that are there already, each a function of its number alone, and the rest.
    fn resumable(
        &self,
        path: &Path,
        content: &str,
        header: &[u8],
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<WithRows> {
        let content = format!("{} {content}", env!("CARGO_PKG_VERSION"));
        let rows = self.rows as usize;
        let bytes = self.cols * size_of::<R::Value>();
        let mut file = Resumable::open(path, &content, header, bytes, rows)?;
        let resumed = file.rows() as u64;
        let written = self.each(resumed, progress, |values| {
            file.write(bytemuck::cast_slice(values))
        });
        if let Err(error) = written {
            let (error, kept) = ended_early(error, file.rows(), rows);
            if !kept {
                file.discard();
            }
            return Err(error);
        }
        Ok(WithRows { file, resumed })
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
