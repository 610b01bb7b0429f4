//! A typed, row-major array of numbers, in the bytes of the file it came from.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use half::{bf16, f16};

use super::bytes::Bytes;
use crate::error::{Error, Result};

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Element::U8 | Element::I8 => 1,
            Element::U16 | Element::I16 | Element::F16 | Element::BF16 => 2,
            Element::U32 | Element::I32 | Element::F32 => 4,
            Element::U64 | Element::I64 | Element::F64 => 8,
        }
    }

    /// The element in the first [`size`](Self::size) bytes.
    fn number(self, bytes: &[u8], endian: Endian) -> Number {
        use Number::{Float, Integer};
        let size = self.size();
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(&bytes[..size]);
        if endian == Endian::Big {
            wide[..size].reverse();
        }
        let [a, b, c, d, ..] = wide;
        match self {
            Element::U8 => Integer(a.into()),
            Element::I8 => Integer((a as i8).into()),
            Element::U16 => Integer(u16::from_le_bytes([a, b]).into()),
            Element::I16 => Integer(i16::from_le_bytes([a, b]).into()),
            Element::U32 => Integer(u32::from_le_bytes([a, b, c, d]).into()),
            Element::I32 => Integer(i32::from_le_bytes([a, b, c, d]).into()),
            Element::U64 => Integer(u64::from_le_bytes(wide).into()),
            Element::I64 => Integer(i64::from_le_bytes(wide).into()),
            Element::F16 => Float(f16::from_le_bytes([a, b]).into()),
            Element::BF16 => Float(bf16::from_le_bytes([a, b]).into()),
            Element::F32 => Float(f32::from_le_bytes([a, b, c, d]).into()),
            Element::F64 => Float(f64::from_le_bytes(wide)),
        }
    }

    /// Whether elements are floating-point numbers, which may be NaN or infinite.
    pub fn is_float(self) -> bool {
        matches!(self, Element::F16 | Element::BF16 | Element::F32 | Element::F64)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// The order of the bytes of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Endian {
    Little,
    Big,
}

/// One element, exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An element of any integer type.
    Integer(i128),
    /// An element of any floating-point type.
    Float(f64),
}

impl Number {
    /// The nearest f64.
    pub fn to_f64(self) -> f64 {
        match self {
            Number::Integer(value) => value as f64,
            Number::Float(value) => value,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Number::Integer(value) => write!(f, "{value}"),
            // Debug writes 1e300, where Display writes three hundred zeros.
            Number::Float(value) => write!(f, "{value:?}"),
        }
    }
}

/// Which array of which file: the beginning of every message about it.
#[derive(Clone, Debug)]
pub struct Origin {
    path: PathBuf,
    array: Option<String>,
}

impl Origin {
    /// A file that holds a single array.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Origin {
            path: path.as_ref().to_path_buf(),
            array: None,
        }
    }

    /// One of the arrays of a file.
    pub fn array(path: impl AsRef<Path>, name: &str) -> Self {
        Origin {
            path: path.as_ref().to_path_buf(),
            array: Some(name.to_string()),
        }
    }

    /// An [`Error::File`] about this array.
    pub fn error(&self, problem: impl fmt::Display, advice: impl Into<String>) -> Error {
        match &self.array {
            Some(name) => Error::file(&self.path, one_line(format!("array {name}: {problem}")), advice),
            None => Error::file(&self.path, one_line(problem), advice),
        }
    }
}

/// An array seen as a matrix: the first axis counts rows, all others together count columns, C order.
///
/// A single axis is one column. Elements keep their type and byte order until they are read.
#[derive(Clone, Debug)]
pub struct Matrix {
    origin: Origin,
    shape: Vec<usize>,
    element: Element,
    endian: Endian,
    bytes: Bytes,
    rows: usize,
    cols: usize,
}

impl Matrix {
    /// The array of `shape` in `bytes`, which must have exactly the right length.
    pub fn new(
        origin: Origin,
        shape: Vec<usize>,
        element: Element,
        endian: Endian,
        bytes: Bytes,
    ) -> Result<Self> {
        let len = byte_len(&shape, element);
        if len != Some(bytes.len()) {
            let need = len.map_or("more than there can be".to_string(), |len| len.to_string());
            let (have, shape) = (bytes.len(), ShapeText(&shape));
            let problem = format!("{have} bytes of data, but shape {shape} of {element} needs {need}");
            return Err(origin.error(
                problem,
                "the file is truncated or damaged: write or fetch it again",
            ));
        }
        let rows = shape.first().copied().unwrap_or(1);
        // With 0 rows the product of the other axes has not been checked against the file.
        let cols = shape
            .iter()
            .skip(1)
            .try_fold(1usize, |product, &n| product.checked_mul(n));
        let cols = cols.unwrap_or(0);
        Ok(Matrix {
            origin,
            shape,
            element,
            endian,
            bytes,
            rows,
            cols,
        })
    }

    /// Hands out all elements as they are stored, piece by piece.
    pub fn stream(&self, sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.bytes.stream(0..self.bytes.len(), sink)
    }

    /// The byte order of the elements.
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// Where the array came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Length of every axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Type of the elements.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Length of the first axis.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Product of the lengths of all other axes.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The element at `index`, counted in C order.
    pub fn number(&self, index: usize) -> Number {
        let size = self.element.size();
        self.element
            .number(&self.bytes[index * size..(index + 1) * size], self.endian)
    }

    /// Hands on the elements at `range`, counted in C order. A mapped file is streamed: memory does not grow with it.
    pub fn numbers(&self, range: Range<usize>, mut sink: impl FnMut(Number) -> Result<()>) -> Result<()> {
        let size = self.element.size();
        self.bytes.stream(range.start * size..range.end * size, |bytes| {
            bytes
                .chunks_exact(size)
                .try_for_each(|element| sink(self.element.number(element, self.endian)))
        })
    }

    /// All elements as the nearest f64, in C order.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.bytes.len() / self.element.size())
            .map(|i| self.number(i).to_f64())
            .collect()
    }

    /// All elements as the nearest f32, in C order, NaN and infinities included.
    pub fn to_f32(&self) -> Vec<f32> {
        let len = self.bytes.len() / self.element.size();
        let mut out = vec![0.0; len];
        self.decode(&self.bytes, &mut out);
        out
    }

    /// Rows `first..` as f32, as many as fit in `out`; u8 becomes 0 to 255. A mapped file is streamed: memory does not
    /// grow with it.
    ///
    /// An element that is NaN or infinite, or becomes so in f32, is an error that names its row and column.
    pub fn read_rows(&self, first: usize, out: &mut [f32]) -> Result<()> {
        let (start, size) = (first * self.cols, self.element.size());
        let mut done = 0;
        self.bytes
            .stream(start * size..(start + out.len()) * size, |bytes| {
                let count = bytes.len() / size;
                self.decode(bytes, &mut out[done..done + count]);
                done += count;
                Ok(())
            })?;
        // No early exit, so that the compiler can use vector instructions.
        if !self.element.is_float() || out.iter().fold(true, |finite, v| finite & v.is_finite()) {
            return Ok(());
        }
        let at = out.iter().position(|v| !v.is_finite()).unwrap_or(0);
        Err(self.not_finite(start + at))
    }

    /// Rows `first..` as they are stored, as many as fit in `out`, whose numbers are of the elements' type and byte order. A mapped file
    /// is read, as in [`read_rows`](Self::read_rows).
    ///
    /// An element that is not `finite` is an error that names its row and column.
    pub fn read_stored<T: Pod>(
        &self,
        first: usize,
        out: &mut [T],
        finite: impl Fn(&T) -> bool,
    ) -> Result<()> {
        let start = first * self.cols;
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(out);
        self.bytes.read(start * self.element.size(), bytes)?;
        if out.iter().fold(true, |all, v| all & finite(v)) {
            return Ok(());
        }
        let at = out.iter().position(|v| !finite(v)).unwrap_or(0);
        Err(self.not_finite(start + at))
    }

    /// The error that the element at `index` is not a finite f32.
    fn not_finite(&self, index: usize) -> Error {
        let (row, column) = (index / self.cols, index % self.cols);
        let problem = match self.number(index) {
            Number::Float(value) if value.is_finite() => format!("{value:?} is too large for f32"),
            Number::Float(value) if value.is_nan() => "the value is NaN".to_string(),
            value => format!("the value is {value}"),
        };
        self.origin.error(
            format!("{problem} at row {row}, column {column} (counted from 0)"),
            "every value must be a finite number: drop such rows or replace the values",
        )
    }

    fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        let endian = self.endian;
        match self.element {
            Element::U8 => each(bytes, endian, out, |[b]| f32::from(b)),
            Element::I8 => each(bytes, endian, out, |[b]| f32::from(b as i8)),
            Element::U16 => each(bytes, endian, out, |b| f32::from(u16::from_le_bytes(b))),
            Element::I16 => each(bytes, endian, out, |b| f32::from(i16::from_le_bytes(b))),
            Element::U32 => each(bytes, endian, out, |b| u32::from_le_bytes(b) as f32),
            Element::I32 => each(bytes, endian, out, |b| i32::from_le_bytes(b) as f32),
            Element::U64 => each(bytes, endian, out, |b| u64::from_le_bytes(b) as f32),
            Element::I64 => each(bytes, endian, out, |b| i64::from_le_bytes(b) as f32),
            Element::F16 => each(bytes, endian, out, |b| f16::from_le_bytes(b).to_f32()),
            Element::BF16 => each(bytes, endian, out, |b| bf16::from_le_bytes(b).to_f32()),
            Element::F32 => each(bytes, endian, out, f32::from_le_bytes),
            Element::F64 => each(bytes, endian, out, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

/// Decodes every `N` bytes by `from_le`; the bytes need no alignment.
fn each<const N: usize>(bytes: &[u8], endian: Endian, out: &mut [f32], from_le: impl Fn([u8; N]) -> f32) {
    let (chunks, _) = bytes.as_chunks::<N>();
    match endian {
        Endian::Little => {
            for (out, &chunk) in out.iter_mut().zip(chunks) {
                *out = from_le(chunk);
            }
        }
        Endian::Big => {
            for (out, &chunk) in out.iter_mut().zip(chunks) {
                let mut chunk = chunk;
                chunk.reverse();
                *out = from_le(chunk);
            }
        }
    }
}

/// Bytes of an array of `shape`, `None` when they cannot be counted.
pub fn byte_len(shape: &[usize], element: Element) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(element.size(), |product, &n| product.checked_mul(n))
}

/// A shape as Python writes it: `(3, 28, 28)`, `(3,)`.
pub struct ShapeText<'a>(pub &'a [usize]);

impl fmt::Display for ShapeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            [one] => write!(f, "({one},)"),
            many => {
                let axes: Vec<String> = many.iter().map(usize::to_string).collect();
                write!(f, "({})", axes.join(", "))
            }
        }
    }
}

/// Text out of a file, made fit for a message of one line.
pub(super) fn one_line(text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
