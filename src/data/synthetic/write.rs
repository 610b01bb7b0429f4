//! Synthetic data as files of any size, made and written chunk by chunk.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};

use super::Generator;
use crate::atomic::AtomicFile;
use crate::data::format::Format;
use crate::data::labels::labels_beside;
use crate::data::{npy, npz, safetensors};
use crate::error::{Error, Result};

/// Rows made at a time.
const CHUNK: u64 = 1 << 16;

/// Writes `rows` rows and their labels to `path`, by its extension, and returns the paths written.
///
/// `.npz` and `.safetensors` hold the rows as `x` (f32) and the labels as `y` (u32); beside `NAME.npy` and `NAME.csv`
/// the labels are in `NAME-labels.npy` and `NAME-labels.csv`. `progress` is told the number of rows made so far; its
/// error ends the work, and no file appears. Memory does not grow with `rows`.
pub fn write(
    generator: Generator,
    rows: u64,
    seed: u64,
    path: impl AsRef<Path>,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<PathBuf>> {
    let path = path.as_ref();
    let dims = generator.dims();
    let len = usize::try_from(rows)
        .ok()
        .filter(|len| len.checked_mul(4 * dims + 4).is_some());
    let Some(len) = len.filter(|&len| len > 0) else {
        let advice = "give at least one row, and no more than a disk can hold";
        return Err(Error::option("--rows", format!("{rows} rows"), advice));
    };
    let points = Points {
        generator,
        rows,
        seed,
    };
    let whole = vec![path.to_path_buf()];
    let beside = labels_beside(path);
    match Format::of(path) {
        Some(Format::Npy) => {
            let mut x = npy::MatrixWriter::create(path, len, dims)?;
            let mut y = npy::LabelWriter::create(&beside, len)?;
            points.each(progress, |values, labels| {
                x.write(values)?;
                y.write(labels)
            })?;
            x.commit()?;
            y.commit()?;
            Ok(vec![path.to_path_buf(), beside])
        }
        Some(Format::Csv) => {
            let mut x = AtomicFile::create(path)?;
            let mut y = AtomicFile::create(&beside)?;
            points.each(progress, |values, labels| {
                x.put(lines(values, dims).as_bytes())?;
                y.put(lines(labels, 1).as_bytes())
            })?;
            x.commit()?;
            y.commit()?;
            Ok(vec![path.to_path_buf(), beside])
        }
        Some(Format::Npz) => {
            let mut file = npz::Writer::create(path)?;
            file.start("x", "<f4", &[len, dims])?;
            points.each(progress, |values, _| file.put(bytemuck::cast_slice(values)))?;
            file.start("y", "<u4", &[len])?;
            points.each_label(|labels| file.put(bytemuck::cast_slice(labels)))?;
            file.commit()?;
            Ok(whole)
        }
        Some(Format::Safetensors) => {
            let mut file = AtomicFile::create(path)?;
            let tensors: [(_, _, &[usize]); 2] = [("x", "F32", &[len, dims]), ("y", "U32", &[len])];
            file.put(&safetensors::header(&tensors, &BTreeMap::new()))?;
            points.each(progress, |values, _| file.put(bytemuck::cast_slice(values)))?;
            points.each_label(|labels| file.put(bytemuck::cast_slice(labels)))?;
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
struct Points {
    generator: Generator,
    rows: u64,
    seed: u64,
}

impl Points {
    /// Hands out all rows and their labels, a chunk at a time.
    fn each(
        &self,
        progress: &mut dyn FnMut(u64) -> Result<()>,
        mut put: impl FnMut(&[f32], &[u32]) -> Result<()>,
    ) -> Result<()> {
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for first in (0..self.rows).step_by(CHUNK as usize) {
            let end = self.rows.min(first + CHUNK);
            labels.resize((end - first) as usize, 0);
            values.resize(labels.len() * self.generator.dims(), 0.0);
            self.generator.fill(self.seed, first, &mut values, &mut labels);
            put(&values, &labels)?;
            progress(end)?;
        }
        Ok(())
    }

    /// Hands out all labels alone, for formats that store them after the rows.
    fn each_label(&self, mut put: impl FnMut(&[u32]) -> Result<()>) -> Result<()> {
        for first in (0..self.rows).step_by(CHUNK as usize) {
            let rows = first..self.rows.min(first + CHUNK);
            put(&rows.map(|row| self.generator.label(row)).collect::<Vec<u32>>())?;
        }
        Ok(())
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
