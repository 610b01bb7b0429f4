//! NumPy's `.npz`: a zip archive of `.npy` files. Stored members are mapped, deflated ones unpacked.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::bytes::{Bytes, buffer};
use super::matrix::{Matrix, Origin, one_line};
use super::npy;
use crate::atomic::AtomicFile;
use crate::error::{Error, Result};

/// An array of any number of axes, in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Length of every axis; empty for a single number.
    pub shape: Vec<usize>,
    /// The elements in C order.
    pub values: Vec<f64>,
}

/// Elements to be written.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// Stored as `<f8`.
    F64(&'a [f64]),
    /// Stored as `<f4`.
    F32(&'a [f32]),
}

/// A `.npz` file whose directory has been read.
pub(super) struct Archive<'a> {
    path: &'a Path,
    bytes: Bytes,
    zip: ZipArchive<Cursor<Bytes>>,
    /// Names of the arrays.
    pub names: Vec<String>,
}

impl<'a> Archive<'a> {
    pub fn open(path: &'a Path) -> Result<Self> {
        let bytes = Bytes::map(path)?;
        let zip = ZipArchive::new(Cursor::new(bytes.clone())).map_err(|e| damaged(path, e))?;
        let names = zip
            .file_names()
            .filter_map(|name| Some(name.ok()?.strip_suffix(".npy")?.to_string()));
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return Err(Error::file(
                path,
                "no arrays in it",
                "write it with numpy.savez(path, x=..., y=...)",
            ));
        }
        Ok(Archive {
            path,
            bytes,
            zip,
            names,
        })
    }

    pub fn array(&mut self, name: &str) -> Result<Matrix> {
        let (origin, bytes) = self.member(name)?;
        npy::parse(origin, bytes)
    }

    /// An array that is a single string.
    pub fn text(&mut self, name: &str) -> Result<String> {
        let (origin, bytes) = self.member(name)?;
        npy::parse_text(origin, &bytes)
    }

    /// The file of an array.
    fn member(&mut self, name: &str) -> Result<(Origin, Bytes)> {
        let path = self.path;
        let mut member = self
            .zip
            .by_name(&format!("{name}.npy"))
            .map_err(|e| damaged(path, e))?;
        let size = usize::try_from(member.size()).unwrap_or(usize::MAX);
        let origin = Origin::array(path, name);
        if member.compression() == CompressionMethod::Stored {
            let start = member.data_start().and_then(|start| usize::try_from(start).ok());
            let end = start.and_then(|start| start.checked_add(size));
            return match (start, end) {
                (Some(start), Some(end)) if end <= self.bytes.len() => {
                    Ok((origin, self.bytes.slice(start..end)))
                }
                _ => Err(origin.error("it ends outside the file", "write or fetch the file again")),
            };
        }
        // A false directory must not reserve more than the member can hold: deflate packs at most 1032 to 1.
        let packed = usize::try_from(member.compressed_size())
            .unwrap_or(usize::MAX)
            .min(self.bytes.len());
        let room = size.min(packed.saturating_mul(1032));
        let mut data = buffer(room, || one_line(format!("array {name} of {}", path.display())))?;
        let limit = (size as u64).saturating_add(1);
        let unpacked = member.by_ref().take(limit).read_to_end(&mut data);
        unpacked.map_err(|e| damaged(path, ZipError::Io(e)))?;
        Ok((origin, data.into()))
    }
}

/// The rows of a `.npz` file (array `x`, or the only one), and its labels (`y` or `labels`) when it has them.
pub fn open(path: impl AsRef<Path>) -> Result<(Matrix, Option<Matrix>)> {
    let path = path.as_ref();
    let mut archive = Archive::open(path)?;
    let labels = ["y", "labels"]
        .into_iter()
        .find(|label| archive.names.iter().any(|name| name == label));
    let data: Vec<&String> = archive
        .names
        .iter()
        .filter(|name| Some(name.as_str()) != labels)
        .collect();
    let name = match &data[..] {
        many if many.iter().any(|name| *name == "x") => "x".to_string(),
        [only] => only.to_string(),
        _ => {
            let problem = one_line(format!("no array x among {}", archive.names.join(", ")));
            return Err(Error::file(
                path,
                problem,
                "write it with numpy.savez(path, x=..., y=...)",
            ));
        }
    };
    let matrix = archive.array(&name)?;
    let labels = labels.map(|name| archive.array(name)).transpose()?;
    Ok((matrix, labels))
}

/// The labels of a `.npz` file: array `y`, `labels`, or the only one.
pub fn open_labels(path: &Path) -> Result<Matrix> {
    let mut archive = Archive::open(path)?;
    let known = ["y", "labels"]
        .into_iter()
        .find(|label| archive.names.iter().any(|name| name == label));
    let name = match (known, &archive.names[..]) {
        (Some(name), _) => name.to_string(),
        (None, [only]) => only.clone(),
        (None, many) => {
            let problem = one_line(format!("no array y or labels among {}", many.join(", ")));
            return Err(Error::file(
                path,
                problem,
                "write it with numpy.savez(path, y=...)",
            ));
        }
    };
    archive.array(&name)
}

/// All arrays of a `.npz` file, as f64.
pub fn read_arrays(path: impl AsRef<Path>) -> Result<BTreeMap<String, Array>> {
    let mut archive = Archive::open(path.as_ref())?;
    let mut arrays = BTreeMap::new();
    for name in archive.names.clone() {
        let matrix = archive.array(&name)?;
        arrays.insert(
            name,
            Array {
                shape: matrix.shape().to_vec(),
                values: matrix.to_f64(),
            },
        );
    }
    Ok(arrays)
}

/// Writes arrays of the given name, shape and values; equal arrays give equal bytes.
pub fn write_arrays(path: impl AsRef<Path>, arrays: &[(&str, &[usize], Values)]) -> Result<()> {
    let mut writer = Writer::create(path)?;
    for &(name, shape, values) in arrays {
        let (descr, bytes): (_, &[u8]) = match values {
            Values::F64(values) => ("<f8", bytemuck::cast_slice(values)),
            Values::F32(values) => ("<f4", bytemuck::cast_slice(values)),
        };
        writer.start(name, descr, shape)?;
        writer.put(bytes)?;
    }
    writer.commit()
}

/// A `.npz` file being written, array by array, uncompressed so that it can be mapped.
pub(super) struct Writer {
    path: std::path::PathBuf,
    zip: ZipWriter<Once>,
}

impl Writer {
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let zip = ZipWriter::new(Once {
            file: AtomicFile::create(path)?,
            failed: false,
        });
        Ok(Writer {
            path: path.to_path_buf(),
            zip,
        })
    }

    /// Begins an array, whose elements follow by [`put`](Self::put).
    pub fn start(&mut self, name: &str, descr: &str, shape: &[usize]) -> Result<()> {
        // Always the long form, as NumPy does, for arrays beyond 4 GiB; and a fixed date, for equal bytes.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(true);
        let started = self.zip.start_file(format!("{name}.npy"), options);
        started.map_err(|e| self.error(e.into()))?;
        self.put(&npy::header(descr, shape))
    }

    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let put = self.zip.write_all(bytes);
        put.map_err(|e| self.error(e))
    }

    pub fn commit(self) -> Result<()> {
        let path = self.path;
        let file = self
            .zip
            .finish()
            .map_err(|e| Error::io(&path, "write the file", unwrapped(e)))?;
        file.file.commit()
    }

    fn error(&self, source: io::Error) -> Error {
        Error::io(&self.path, "write the file", source)
    }
}

/// A file that fails once. `ZipWriter` tries to finish the archive even when it is dropped after an error, and prints the next
/// error on standard error; so all that comes after the first is taken and forgotten.
struct Once {
    file: AtomicFile,
    failed: bool,
}

impl Once {
    fn attempt<T>(&mut self, or: T, act: impl FnOnce(&mut AtomicFile) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Ok(or);
        }
        act(&mut self.file).inspect_err(|_| self.failed = true)
    }
}

impl Write for Once {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(bytes.len(), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt((), AtomicFile::flush)
    }
}

impl Seek for Once {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.attempt(0, |file| file.seek(to))
    }
}

fn unwrapped(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => other.into(),
    }
}

fn damaged(path: &Path, error: ZipError) -> Error {
    let problem = match error {
        ZipError::Io(error) => format!("the zip archive is damaged: {error}"),
        ZipError::InvalidArchive(words) => format!("not a usable .npz (zip) file: {words}"),
        other => format!("not a usable .npz (zip) file: {other}"),
    };
    Error::file(path, one_line(problem), "write it again with numpy.savez")
}
