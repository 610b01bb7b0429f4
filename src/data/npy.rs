//! NumPy's `.npy`: a short text header, then the elements. Read by mapping, written row by row.
//!
//! The header is a Python literal, of which this module reads exactly what NumPy writes for plain arrays. (A full
//! parser of Python literals would have to be shielded from hostile nesting, for no file that could be used.)

use std::path::Path;

use super::bytes::{Bytes, buffer};
use super::matrix::{Element, Endian, Matrix, Origin, ShapeText, byte_len};
use crate::atomic::AtomicFile;
use crate::error::{Error, Result};

// Every format here stores little-endian numbers, and they are written straight from memory.
const _: () = assert!(
    cfg!(target_endian = "little"),
    "neuncut runs on little-endian machines only"
);

const MAGIC: &[u8] = b"\x93NUMPY";
const ADVICE: &str = "write the file again with numpy.save";

/// Opens a `.npy` file. C order is mapped, Fortran order is rearranged in memory.
///
/// Element types: unsigned and signed integers of 8 to 64 bits, f16, f32, f64, and bf16 as `ml_dtypes` stores it
/// (two bytes of raw data, `V2`, which nothing else in use writes); either byte order.
pub fn open(path: impl AsRef<Path>) -> Result<Matrix> {
    let path = path.as_ref();
    parse(Origin::file(path), Bytes::map(path)?)
}

/// Reads the `.npy` array that fills `bytes`.
pub fn parse(origin: Origin, bytes: Bytes) -> Result<Matrix> {
    let (text, start) = header_text(&bytes).map_err(|problem| origin.error(problem, ADVICE))?;
    let header = Header::parse(text)
        .map_err(|problem| origin.error(format!("the .npy header is not usable: {problem}"), ADVICE))?;
    let (element, endian) = element(&header.descr).map_err(|kind| {
        let problem = format!("the array holds {kind} ({})", header.descr);
        origin.error(problem, "save it as numbers, such as x.astype(numpy.float32)")
    })?;
    let data = bytes.slice(start..bytes.len());
    if header.fortran_order {
        let data = to_c_order(&header.shape, element, &data)?;
        return Matrix::new(origin, header.shape, element, endian, data);
    }
    Matrix::new(origin, header.shape, element, endian, data)
}

/// Reads the `.npy` file of a single string (`|S3` or `<U3`).
pub(super) fn parse_text(origin: Origin, bytes: &[u8]) -> Result<String> {
    let (text, start) = header_text(bytes).map_err(|problem| origin.error(problem, ADVICE))?;
    let header = Header::parse(text)
        .map_err(|problem| origin.error(format!("the .npy header is not usable: {problem}"), ADVICE))?;
    let characters: Vec<u8> = match header.descr.get(..2) {
        Some("|S") => bytes[start..].to_vec(),
        // Four bytes each, of which ASCII uses the first.
        Some("<U") => bytes[start..].iter().step_by(4).copied().collect(),
        _ => return Err(origin.error(format!("not a string ({})", header.descr), ADVICE)),
    };
    let text = String::from_utf8_lossy(&characters);
    Ok(text.trim_end_matches('\0').to_string())
}

/// The header's text, and where the data begin.
fn header_text(bytes: &[u8]) -> std::result::Result<(&str, usize), String> {
    if !bytes.starts_with(MAGIC) {
        return Err("not a .npy file: it does not begin with \\x93NUMPY".to_string());
    }
    let truncated = || "the .npy header is truncated".to_string();
    let (start, len) = match bytes.get(6..12).ok_or_else(truncated)? {
        &[1, 0, a, b, _, _] => (10, usize::from(u16::from_le_bytes([a, b]))),
        &[2 | 3, 0, a, b, c, d] => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        version => return Err(format!(".npy version {}.{} is not known", version[0], version[1])),
    };
    let text = bytes.get(start..start + len).ok_or_else(truncated)?;
    let text = std::str::from_utf8(text).map_err(|_| "the .npy header is not text".to_string())?;
    Ok((text, start + len))
}

/// What NumPy says about an array.
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut rest = Literal(text);
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        rest.expect("{")?;
        while !rest.accept("}") {
            let key = rest.string()?;
            rest.expect(":")?;
            match key {
                "descr" if rest.0.trim_start().starts_with('[') => {
                    return Err("the array is structured (named fields)".to_string());
                }
                "descr" => descr = Some(rest.string()?.to_string()),
                "fortran_order" => fortran_order = Some(rest.boolean()?),
                "shape" => shape = Some(rest.tuple()?),
                _ => return Err(format!("unknown key '{key}'")),
            }
            if !rest.accept(",") {
                rest.expect("}")?;
                break;
            }
        }
        if !rest.0.trim().is_empty() {
            return Err("text after the closing brace".to_string());
        }
        Ok(Header {
            descr: descr.ok_or("no 'descr'")?,
            fortran_order: fortran_order.ok_or("no 'fortran_order'")?,
            shape: shape.ok_or("no 'shape'")?,
        })
    }
}

/// The part of a Python literal that has not been read yet.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn accept(&mut self, token: &str) -> bool {
        match self.0.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> std::result::Result<(), String> {
        if self.accept(token) {
            return Ok(());
        }
        let found: String = self.0.trim_start().chars().take(10).collect();
        Err(format!("expected '{token}', found {found:?}"))
    }

    fn string(&mut self) -> std::result::Result<&'a str, String> {
        let quote = if self.accept("\"") { '"' } else { '\'' };
        if quote == '\'' {
            self.expect("'")?;
        }
        let (string, rest) = self.0.split_once(quote).ok_or("a string without an end")?;
        self.0 = rest;
        Ok(string)
    }

    fn boolean(&mut self) -> std::result::Result<bool, String> {
        if self.accept("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    fn tuple(&mut self) -> std::result::Result<Vec<usize>, String> {
        self.expect("(")?;
        let mut numbers = Vec::new();
        while !self.accept(")") {
            let text = self.0.trim_start();
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let number = text[..end].parse().map_err(|_| {
                let found: String = text.chars().take(24).collect();
                format!("expected the length of an axis, found {found:?}")
            })?;
            numbers.push(number);
            self.0 = &text[end..];
            // Python 2 wrote long integers with an L.
            self.accept("L");
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(numbers)
    }
}

/// The element type of a NumPy type string, or in words what it is instead.
fn element(descr: &str) -> std::result::Result<(Element, Endian), &'static str> {
    let (order, kind) = descr.split_at_checked(1).unwrap_or((descr, ""));
    let endian = match order {
        "<" | "|" | "=" => Endian::Little,
        ">" => Endian::Big,
        _ => {
            return Err(if descr == "bfloat16" {
                "bfloat16 as text"
            } else {
                "an unknown type"
            });
        }
    };
    let element = match kind {
        "u1" => Element::U8,
        "i1" => Element::I8,
        "u2" => Element::U16,
        "i2" => Element::I16,
        "u4" => Element::U32,
        "i4" => Element::I32,
        "u8" => Element::U64,
        "i8" => Element::I64,
        "f2" => Element::F16,
        "V2" => Element::BF16,
        "f4" => Element::F32,
        "f8" => Element::F64,
        _ => {
            return Err(match kind.bytes().next() {
                Some(b'b') => "booleans",
                Some(b'c') => "complex numbers",
                Some(b'O') => "Python objects",
                Some(b'S' | b'a' | b'U') => "strings",
                Some(b'm' | b'M') => "dates or times",
                Some(b'f') => "floats of an unusual size",
                Some(b'V') => "raw data",
                _ => "an unknown type",
            });
        }
    };
    Ok((element, endian))
}

/// Rearranges an array whose first axis varies fastest into one whose last axis does.
fn to_c_order(shape: &[usize], element: Element, data: &Bytes) -> Result<Bytes> {
    let size = element.size();
    let wide_axes = shape.iter().filter(|&&n| n != 1).count();
    if byte_len(shape, element) != Some(data.len()) || data.is_empty() || wide_axes < 2 {
        // Both orders are the same, or the length is wrong, which Matrix::new reports.
        return Ok(data.clone());
    }
    let (rows, cols) = (shape[0], shape[1..].iter().product());
    // Where each column (the axes after the first, in C order) begins in the file, in elements.
    let mut begins = vec![0; cols];
    for (column, begin) in begins.iter_mut().enumerate() {
        let (mut rest, mut stride) = (column, data.len() / size);
        for &n in shape[1..].iter().rev() {
            stride /= n;
            *begin += rest % n * stride;
            rest /= n;
        }
    }
    let mut out = buffer(data.len(), || {
        format!("an array of shape {} in C order", ShapeText(shape))
    })?;
    out.resize(data.len(), 0);
    // A block of rows is small enough for the cache while its columns are strewn over it.
    const BLOCK: usize = 64;
    for (block, out) in out.chunks_mut(BLOCK * cols * size).enumerate() {
        for (column, begin) in begins.iter().enumerate() {
            let first = begin + block * BLOCK;
            let count = BLOCK.min(rows - block * BLOCK);
            let source = &data[first * size..(first + count) * size];
            for (row, value) in source.chunks_exact(size).enumerate() {
                let at = (row * cols + column) * size;
                out[at..at + size].copy_from_slice(value);
            }
        }
    }
    Ok(out.into())
}

/// How the header names an element type.
fn descr(element: Element, endian: Endian) -> String {
    let order = match endian {
        _ if element.size() == 1 => '|',
        Endian::Little => '<',
        Endian::Big => '>',
    };
    let kind = match element {
        Element::U8 | Element::U16 | Element::U32 | Element::U64 => 'u',
        Element::I8 | Element::I16 | Element::I32 | Element::I64 => 'i',
        Element::F16 | Element::F32 | Element::F64 => 'f',
        Element::BF16 => 'V',
    };
    format!("{order}{kind}{}", element.size())
}

/// Writes the rows of several arrays, of the same type and the same axes but for the first, one after the other to `path`. `progress`
/// is told the number of rows written so far; its error ends the work, and no file appears.
///
/// # Errors
/// When the arrays differ, and when the file cannot be written.
pub fn join(
    parts: &[Matrix],
    path: impl AsRef<Path>,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<()> {
    let first = &parts[0];
    let kind = |part: &Matrix| {
        (
            descr(part.element(), part.endian()),
            part.shape().get(1..).map(<[_]>::to_vec),
        )
    };
    for part in parts {
        if kind(part) != kind(first) || part.shape().is_empty() {
            let told = |part: &Matrix| format!("{} of {}", ShapeText(part.shape()), part.element());
            let problem = format!("shape {}, but the first part has {}", told(part), told(first));
            return Err(part.origin().error(
                problem,
                "give parts of one whole: rows of the same length and type",
            ));
        }
    }
    let mut shape = first.shape().to_vec();
    shape[0] = parts.iter().map(Matrix::rows).sum();
    let mut file = AtomicFile::create(path)?;
    file.put(&header(&descr(first.element(), first.endian()), &shape))?;
    let row = first.cols() * first.element().size();
    let mut written = 0;
    for part in parts {
        part.stream(|bytes| {
            file.put(bytes)?;
            written += bytes.len();
            progress(written / row.max(1))
        })?;
    }
    file.commit()
}

/// The bytes before the data of an array, padded so that the data are aligned to 64 bytes.
pub fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let shape = ShapeText(shape);
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let len = (MAGIC.len() + 4 + text.len() + 1).next_multiple_of(64);
    let text_len = len - MAGIC.len() - 4;
    let mut bytes = [MAGIC, &[1, 0], &(text_len as u16).to_le_bytes(), text.as_bytes()].concat();
    bytes.resize(len - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// Writes an f32 matrix row by row; the file appears at [`commit`](Self::commit).
#[derive(Debug)]
pub struct MatrixWriter {
    file: AtomicFile,
    left: Remaining,
}

impl MatrixWriter {
    /// Starts a file of `rows` x `cols`.
    pub fn create(path: impl AsRef<Path>, rows: usize, cols: usize) -> Result<Self> {
        let mut file = AtomicFile::create(path)?;
        file.put(&header("<f4", &[rows, cols]))?;
        Ok(MatrixWriter {
            file,
            left: Remaining {
                total: rows,
                cols,
                written: 0,
            },
        })
    }

    /// Appends whole rows.
    pub fn write(&mut self, rows: &[f32]) -> Result<()> {
        self.left.written += rows.len();
        self.file.put(bytemuck::cast_slice(rows))
    }

    /// Finishes the file; an error when fewer or more rows than announced were written.
    pub fn commit(self) -> Result<()> {
        self.left.check(&self.file)?;
        self.file.commit()
    }
}

/// Writes u32 labels, one per row; the file appears at [`commit`](Self::commit).
#[derive(Debug)]
pub struct LabelWriter {
    file: AtomicFile,
    left: Remaining,
}

impl LabelWriter {
    /// Starts a file of `rows` labels.
    pub fn create(path: impl AsRef<Path>, rows: usize) -> Result<Self> {
        let mut file = AtomicFile::create(path)?;
        file.put(&header("<u4", &[rows]))?;
        Ok(LabelWriter {
            file,
            left: Remaining {
                total: rows,
                cols: 1,
                written: 0,
            },
        })
    }

    /// Appends labels.
    pub fn write(&mut self, labels: &[u32]) -> Result<()> {
        self.left.written += labels.len();
        self.file.put(bytemuck::cast_slice(labels))
    }

    /// Finishes the file; an error when fewer or more labels than announced were written.
    pub fn commit(self) -> Result<()> {
        self.left.check(&self.file)?;
        self.file.commit()
    }
}

/// How much of what the header announces has been written.
#[derive(Debug)]
struct Remaining {
    total: usize,
    cols: usize,
    written: usize,
}

impl Remaining {
    fn check(&self, file: &AtomicFile) -> Result<()> {
        if self.written == self.total * self.cols {
            return Ok(());
        }
        Err(Error::Shape {
            what: file.path().display().to_string(),
            found: format!("{} values", self.written),
            expected: format!("{} rows of {}", self.total, self.cols),
        })
    }
}
