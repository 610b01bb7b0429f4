//! Features of all rows of some data as a file, made chunk by chunk, and gone on with when the process that made it was ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Pipeline, Reader, Transform, Widths, describe};
use crate::atomic::AtomicFile;
use crate::data::labels::labels_beside;
use crate::data::{Dataset, LabelStream, npy, safetensors};
use crate::error::{Error, Result};
use crate::ops::Ops;
use crate::progress::Progress;
use crate::resumable::{Resumable, ended_early, stamps};

/// Labels written at a time.
const LABELS: usize = 1 << 16;

/// What is to be written.
pub struct Extraction<'a> {
    /// What the rows were opened as.
    pub source: &'a str,
    /// The rows.
    pub data: &'a Dataset,
    /// Their labels, which are written too.
    pub labels: Option<&'a LabelStream>,
    /// What is done to the rows, fitted on all of them.
    pub transforms: &'a [Transform],
    /// Who asked for it, for messages.
    pub option: &'static str,
    /// `.npy`, with the labels in `NAME-labels.npy`; or `.safetensors`, with rows `x` (f32) and labels `y` (i64).
    pub output: &'a Path,
}

/// What was written.
pub struct Extracted {
    /// The files.
    pub files: Vec<PathBuf>,
    /// Rows that had been there already.
    pub resumed: usize,
    /// The fitted transforms.
    pub pipeline: Pipeline,
}

impl Extraction<'_> {
    /// Writes the file, or goes on with what the same call has left of it when it was cut short; the file has the same bits then.
    ///
    /// # Errors
    /// [`Error::Option`] where the rows cannot go through the transforms, and those of reading and writing.
    pub fn write<O: Ops>(&self, ops: &O, progress: &mut dyn Progress) -> Result<Extracted> {
        let (data, rows) = (self.data, self.data.rows());
        let reader = Reader::new(self.option, self.transforms, data)?;
        let columns = Widths::of(self.option, self.transforms, data)?.transformed;
        let content = format!(
            "{} {} {} {:?}",
            env!("CARGO_PKG_VERSION"),
            ops.arithmetic(),
            describe(self.transforms),
            stamps(self.source)
        );
        let row = columns * size_of::<f32>();
        let mut file = Resumable::open(self.output, &content, &self.header(columns), row, rows)?;
        let written = self.write_to(ops, reader, &mut file, progress);
        let (pipeline, resumed) = match written {
            Ok(done) => done,
            Err(error) => {
                let (error, kept) = ended_early(error, file.rows(), rows);
                if !kept {
                    file.discard();
                }
                return Err(error);
            }
        };
        let mut files = vec![self.output.to_path_buf()];
        match (self.labels, self.is_npy()) {
            (Some(labels), true) => {
                let path = labels_beside(self.output);
                let mut beside = AtomicFile::create(&path)?;
                beside.put(&npy::header("<i8", &[rows]))?;
                each_label(labels, |bytes| beside.put(bytes))?;
                // The rows first, which are what takes long: both appear at nearly the same time.
                file.commit()?;
                beside.commit()?;
                files.push(path);
            }
            (Some(labels), false) => {
                each_label(labels, |bytes| file.write_tail(bytes))?;
                file.commit()?;
            }
            (None, _) => file.commit()?,
        }
        Ok(Extracted {
            files,
            resumed,
            pipeline,
        })
    }

    /// Writes all rows that are not there yet; returns the fitted transforms, and how many rows there were.
    fn write_to<O: Ops>(
        &self,
        ops: &O,
        reader: Reader,
        file: &mut Resumable,
        progress: &mut dyn Progress,
    ) -> Result<(Pipeline, usize)> {
        let (data, rows) = (self.data, self.data.rows());
        let kept = file.fitted();
        let pipeline = match file.rows() > 0 && kept.exists() {
            true => Pipeline::load(&kept)?,
            false => {
                file.go_on_behind(0)?;
                let fitted = Pipeline::fit_streamed(ops, reader, self.transforms, data, progress)?;
                // Under a name that does not change, however it ends: without rows behind it, it is not read.
                fs::write(&kept, fitted.bytes()).map_err(|e| Error::io(self.output, "write the file", e))?;
                fitted
            }
        };
        // Whole chunks only: in others, rows might come out of a product with other last digits.
        let chunk = pipeline.chunk_rows();
        let resumed = match file.rows() == rows {
            true => rows,
            false => file.rows() / chunk * chunk,
        };
        file.go_on_behind(resumed)?;
        let stage = if self.transforms.iter().any(|t| matches!(t, Transform::Scatnet(_))) {
            "scattering"
        } else {
            "projecting"
        };
        pipeline.stream(ops, data, resumed, stage, progress, |values| {
            file.write(bytemuck::cast_slice(values))
        })?;
        Ok((pipeline, resumed))
    }

    fn is_npy(&self) -> bool {
        self.output
            .extension()
            .is_some_and(|given| given.eq_ignore_ascii_case("npy"))
    }

    fn header(&self, columns: usize) -> Vec<u8> {
        let shape = [self.data.rows(), columns];
        if self.is_npy() {
            return npy::header("<f4", &shape);
        }
        let mut tensors: Vec<(_, _, &[usize])> = vec![("x", "F32", &shape)];
        if self.labels.is_some() {
            tensors.push(("y", "I64", &shape[..1]));
        }
        safetensors::header(&tensors, &BTreeMap::new())
    }
}

/// Hands on all labels as the bytes of i64.
fn each_label(labels: &LabelStream, mut put: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut index = vec![0; LABELS.min(labels.len())];
    for first in (0..labels.len()).step_by(LABELS) {
        let index = &mut index[..LABELS.min(labels.len() - first)];
        labels.read(first, index)?;
        let values: Vec<i64> = index.iter().map(|&at| labels.classes()[at as usize]).collect();
        put(bytemuck::cast_slice(&values))?;
    }
    Ok(())
}
