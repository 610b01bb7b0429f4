//! Features of all rows of some data as a file, made chunk by chunk, and gone on with when the process that made it was ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Pipeline, Reader, Transform};
use crate::atomic::{AtomicFile, PartialFile};
use crate::data::labels::labels_beside;
use crate::data::{Dataset, LabelStream, npy, safetensors};
use crate::error::{Error, Result};
use crate::network::to_host;
use crate::ops::{Ops, Shape};
use crate::progress::Progress;

/// Labels written at a time.
const LABELS: usize = 1 << 16;

/// Rows that data is known again by, at most.
const KNOWN_ROWS: usize = 64;

/// What is to be written.
pub struct Extraction<'a> {
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
    /// Go on with what an earlier process has left of it; the file has the same bits then.
    pub resume: bool,
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
    /// Writes the file. Until it is whole, `OUTPUT.part` holds what there is of it, and `OUTPUT.fitted` what the transforms have
    /// taken from the rows; both are left when the work is cut short.
    ///
    /// # Errors
    /// [`Error::Option`] where the rows cannot go through the transforms, or what there is was made of something else.
    pub fn write<O: Ops>(&self, ops: &O, progress: &mut dyn Progress) -> Result<Extracted> {
        let (data, rows) = (self.data, self.data.rows());
        let reader = Reader::new(self.option, self.transforms, data)?;
        let known = fingerprint(data)?;
        let mut file = PartialFile::open(self.output)?;
        let fitted = self.fitted_file();
        let begun = match self.resume && fitted.exists() {
            true => Some(self.begun(&known, &fitted)?),
            false => None,
        };
        let pipeline = match begun {
            Some(pipeline) => pipeline,
            None => {
                file.keep(0)?;
                // Of something else, perhaps.
                let _ = fs::remove_file(&fitted);
                let made = Pipeline::fit_streamed(ops, reader, self.transforms, data, progress)
                    .and_then(|pipeline| self.keep_fitted(&pipeline, known).map(|()| pipeline));
                made.inspect_err(|_| {
                    // Nothing in it to go on with.
                    let _ = fs::remove_file(PartialFile::part(self.output));
                })?
            }
        };
        let header = self.header(pipeline.outputs());
        let (start, row) = (header.len() as u64, 4 * pipeline.outputs() as u64);
        // Whole chunks only: in others, rows might come out of a product with other last digits.
        let chunk = pipeline.chunk_rows();
        let there = (file.written()?.saturating_sub(start) / row) as usize;
        let resumed = if there >= rows {
            rows
        } else {
            there / chunk * chunk
        };
        if resumed == 0 {
            file.keep(0)?;
            file.put(&header)?;
        }
        file.keep(start + resumed as u64 * row)?;
        let mut done = resumed;
        let stage = if self.transforms.iter().any(|t| matches!(t, Transform::Scatnet(_))) {
            "scattering"
        } else {
            "projecting"
        };
        let written = pipeline.each_chunk(ops, data, resumed, stage, progress, |x| {
            file.put(bytemuck::cast_slice(&to_host(ops, x)?))?;
            done += x.rows();
            Ok(())
        });
        written.map_err(|error| match error {
            Error::Interrupted(_) => Error::Interrupted(format!(
                "{done} of {rows} rows were written; --resume goes on with them"
            )),
            // A full disk can be emptied; what is wrong with the rows stays wrong.
            Error::Io { .. } => error,
            error => {
                let _ = fs::remove_file(PartialFile::part(self.output));
                let _ = fs::remove_file(&fitted);
                error
            }
        })?;
        let mut files = vec![self.output.to_path_buf()];
        match (self.labels, self.is_npy()) {
            (Some(labels), true) => {
                let path = labels_beside(self.output);
                let mut beside = AtomicFile::create(&path)?;
                beside.put(&npy::header("<i8", &[rows]))?;
                each_label(labels, |bytes| beside.put(bytes))?;
                beside.commit()?;
                files.push(path);
            }
            (Some(labels), false) => each_label(labels, |bytes| file.put(bytes))?,
            (None, _) => {}
        }
        file.commit()?;
        // The file is whole: what is left of its making is of no use.
        let _ = fs::remove_file(&fitted);
        Ok(Extracted {
            files,
            resumed,
            pipeline,
        })
    }

    /// Under names that do not change: whatever the moment at which a process is killed, the next one takes its place.
    fn keep_fitted(&self, pipeline: &Pipeline, known: String) -> Result<()> {
        let mut file = PartialFile::open(self.fitted_file())?;
        file.keep(0)?;
        pipeline.encode(BTreeMap::from([("data".to_string(), known)]), |bytes| {
            file.put(bytes)
        })?;
        file.commit()
    }

    /// What the process before has fitted, if it was the same.
    fn begun(&self, known: &str, fitted: &Path) -> Result<Pipeline> {
        let (pipeline, metadata) = Pipeline::load_with(fitted)?;
        if metadata.get("data").map(String::as_str) == Some(known) && pipeline.transforms() == self.transforms
        {
            return Ok(pipeline);
        }
        Err(Error::option(
            "--resume",
            format!(
                "what is there of {} is of other data or other features",
                self.output.display()
            ),
            "bring these back, or leave --resume away to begin again",
        ))
    }

    fn fitted_file(&self) -> PathBuf {
        let mut path = self.output.as_os_str().to_owned();
        path.push(".fitted");
        PathBuf::from(path)
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

/// Shape and some of the rows of data, as a short text: FNV-1a of their bits.
fn fingerprint(data: &Dataset) -> Result<String> {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut row = vec![0.0; data.cols()];
    let count = data.rows().min(KNOWN_ROWS);
    for at in 0..count {
        data.read_rows(at * data.rows() / count, &mut row)?;
        for value in &row {
            hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    Ok(format!("{} x {} {hash:016x}", data.rows(), data.cols()))
}
