//! The safetensors format: a JSON header, then little-endian tensors. Read by mapping.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use ::safetensors::tensor::{Metadata, SafeTensors, TensorInfo};
use ::safetensors::{Dtype, SafeTensorError};
use serde_json::{Map, Value, json};

use super::bytes::Bytes;
use super::matrix::{Element, Endian, Matrix, Origin, one_line};
use crate::atomic;
use crate::error::{Error, Result};

/// A type of numbers that tensors are written as.
pub trait Stored: bytemuck::Pod {
    /// Its name in the format.
    const TYPE: &'static str;
    /// The elements of a matrix, of which these are the bytes, as the nearest numbers of this type.
    fn decode(matrix: &Matrix, bytes: &[u8]) -> Vec<Self>;
}

impl Stored for f32 {
    const TYPE: &'static str = "F32";
    fn decode(matrix: &Matrix, _bytes: &[u8]) -> Vec<f32> {
        matrix.to_f32()
    }
}

impl Stored for f64 {
    const TYPE: &'static str = "F64";
    fn decode(matrix: &Matrix, bytes: &[u8]) -> Vec<f64> {
        if matrix.element() != Element::F64 {
            return matrix.to_f32().into_iter().map(f64::from).collect();
        }
        let (numbers, _) = bytes.as_chunks();
        numbers.iter().map(|&number| f64::from_le_bytes(number)).collect()
    }
}

/// A tensor in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T = f32> {
    /// Length of every axis; empty for a single number.
    pub shape: Vec<usize>,
    /// The elements in C order.
    pub values: Vec<T>,
}

/// What a file holds: its tensors by name, and its free text by key.
pub type Contents<T> = (BTreeMap<String, Tensor<T>>, BTreeMap<String, String>);

/// A mapped file whose header has been read and checked.
struct Archive<'a> {
    path: &'a Path,
    bytes: Bytes,
    metadata: Metadata,
    /// Where the tensors begin.
    start: usize,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        Archive::new(path, Bytes::map(path)?)
    }

    fn new(path: &'a Path, bytes: Bytes) -> Result<Self> {
        let (len, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(path, e))?;
        // Offsets near 2^64 can wrap around in the crate's own check.
        if bytes.len() - 8 - len != metadata.data_len() {
            return Err(damaged(path, SafeTensorError::MetadataIncompleteBuffer));
        }
        Ok(Archive {
            path,
            bytes,
            metadata,
            start: len + 8,
        })
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.metadata.offset_keys();
        names.sort();
        names
    }

    fn axes(&self, name: &str) -> usize {
        self.metadata.info(name).map_or(0, |info| info.shape.len())
    }

    fn place(&self, info: &TensorInfo) -> Range<usize> {
        let (begin, end) = info.data_offsets;
        self.start + begin..self.start + end
    }

    fn data(&self, name: &str) -> &[u8] {
        let info = self.metadata.info(name);
        info.map_or(&[], |info| &self.bytes[self.place(info)])
    }

    fn tensor(&self, name: &str) -> Result<Matrix> {
        let origin = Origin::array(self.path, name);
        let Some(info) = self.metadata.info(name) else {
            return Err(origin.error("not in the file", "check the name"));
        };
        let element = match info.dtype {
            Dtype::U8 => Element::U8,
            Dtype::I8 => Element::I8,
            Dtype::U16 => Element::U16,
            Dtype::I16 => Element::I16,
            Dtype::U32 => Element::U32,
            Dtype::I32 => Element::I32,
            Dtype::U64 => Element::U64,
            Dtype::I64 => Element::I64,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::BF16,
            Dtype::F32 => Element::F32,
            Dtype::F64 => Element::F64,
            other => {
                let problem = format!("elements of type {other}");
                return Err(origin.error(problem, "save it as F32, F16, BF16, F64 or whole numbers"));
            }
        };
        let data = self.bytes.slice(self.place(info));
        Matrix::new(origin, info.shape.clone(), element, Endian::Little, data)
    }
}

/// The rows of a file (tensor `x`, or the only one of two axes or more), and its labels (`y` or `labels`) if any.
pub fn open(path: impl AsRef<Path>) -> Result<(Matrix, Option<Matrix>)> {
    let path = path.as_ref();
    let archive = Archive::open(path)?;
    let names = archive.names();
    let labels = ["y", "labels"]
        .into_iter()
        .find(|label| names.iter().any(|name| name == label));
    let wide = |name: &&String| archive.axes(name) >= 2 && Some(name.as_str()) != labels;
    let name = match &names.iter().filter(wide).collect::<Vec<_>>()[..] {
        _ if names.iter().any(|name| name == "x") => "x",
        [only] => only.as_str(),
        _ => {
            let problem = format!("no tensor x among {}", list(&names));
            return Err(Error::file(
                path,
                problem,
                "name the n x d tensor x, and the labels y",
            ));
        }
    };
    let labels = labels.map(|label| archive.tensor(label)).transpose()?;
    Ok((archive.tensor(name)?, labels))
}

/// The labels of a file: tensor `y`, `labels`, or the only one.
pub fn open_labels(path: &Path) -> Result<Matrix> {
    let archive = Archive::open(path)?;
    let names = archive.names();
    let known = ["y", "labels"]
        .into_iter()
        .find(|label| names.iter().any(|name| name == label));
    match (known, &names[..]) {
        (Some(name), _) => archive.tensor(name),
        (None, [only]) => archive.tensor(only),
        (None, many) => {
            let problem = format!("no tensor y or labels among {}", list(many));
            Err(Error::file(path, problem, "name the tensor of labels y"))
        }
    }
}

/// All tensors of a file as numbers of one type, and its metadata.
pub fn read<T: Stored>(path: impl AsRef<Path>) -> Result<Contents<T>> {
    let path = path.as_ref();
    parse(path, Bytes::map(path)?)
}

/// The same of the bytes of such a file; `path` is for messages.
pub fn parse<T: Stored>(path: &Path, bytes: Bytes) -> Result<Contents<T>> {
    let archive = Archive::new(path, bytes)?;
    let mut tensors = BTreeMap::new();
    for name in archive.names() {
        let matrix = archive.tensor(&name)?;
        let values = T::decode(&matrix, archive.data(&name));
        tensors.insert(
            name,
            Tensor {
                shape: matrix.shape().to_vec(),
                values,
            },
        );
    }
    let metadata = archive.metadata.metadata().iter().flatten();
    Ok((
        tensors,
        metadata.map(|(key, text)| (key.clone(), text.clone())).collect(),
    ))
}

/// Writes tensors of the given name, shape and values, with `metadata`; equal contents give equal bytes.
pub fn write<T: Stored>(
    path: impl AsRef<Path>,
    tensors: &[(&str, &[usize], &[T])],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    atomic::write(path, bytes(tensors, metadata))
}

/// The bytes of such a file.
pub fn bytes<T: Stored>(tensors: &[(&str, &[usize], &[T])], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let described: Vec<_> = tensors
        .iter()
        .map(|&(name, shape, _)| (name, T::TYPE, shape))
        .collect();
    let mut bytes = header(&described, metadata);
    for (_, _, values) in tensors {
        bytes.extend_from_slice(bytemuck::cast_slice(values));
    }
    bytes
}

/// The bytes before the data of tensors (name, type, shape) that follow one another in this order.
///
/// The crate's own serialiser keeps metadata in a hash map, whose order changes from run to run.
pub(crate) fn header(tensors: &[(&str, &str, &[usize])], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut map = Map::new();
    if !metadata.is_empty() {
        map.insert("__metadata__".to_string(), json!(metadata));
    }
    let mut end = 0;
    for &(name, dtype, shape) in tensors {
        let begin = end;
        let bits = dtype
            .trim_start_matches(|c: char| !c.is_ascii_digit())
            .parse::<usize>();
        let size = bits.expect("the name of a type ends in its bits") / 8;
        end += shape.iter().product::<usize>() * size;
        let tensor = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
        map.insert(name.to_string(), tensor);
    }
    let mut text = Value::Object(map).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "no tensors at all".to_string()
    } else {
        names.join(", ")
    }
}

fn damaged(path: &Path, error: SafeTensorError) -> Error {
    let problem = match error {
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
            "the header is truncated".to_string()
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            "the tensors in the header do not fill the file exactly".to_string()
        }
        other => one_line(other),
    };
    let advice = "the file is truncated, damaged, or not safetensors: write or fetch it again";
    Error::file(path, problem, advice)
}
