//! The IDX format of MNIST, plain (mapped) or gzipped (unpacked into memory).
//!
//! Four bytes `0 0 type axes`, each axis as a big-endian u32, then the elements, big-endian, in C order.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::bytes::{Bytes, buffer};
use super::matrix::{Element, Endian, Matrix, Origin, ShapeText, byte_len};
use crate::error::{Error, Result};

const ADVICE: &str = "give an IDX file, such as train-images-idx3-ubyte.gz, or fetch it again";

/// Opens an IDX file of any element type and any number of axes; gzip is told by its first bytes.
pub fn open(path: impl AsRef<Path>) -> Result<Matrix> {
    let path = path.as_ref();
    let bytes = Bytes::map(path)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return gunzip(path, &bytes);
    }
    let mut rest = &bytes[..];
    let header = Header::read(path, &mut rest, |e| truncated(path, e))?;
    let start = bytes.len() - rest.len();
    header.matrix(path, bytes.slice(start..bytes.len()))
}

/// Unpacks a gzipped IDX file that is in memory; `path` is for messages.
pub fn gunzip(path: &Path, packed: &[u8]) -> Result<Matrix> {
    let damaged = |e: io::Error| {
        let problem = match e.kind() {
            io::ErrorKind::UnexpectedEof => "the gzip stream ends too early".to_string(),
            _ => format!("the gzip stream is damaged ({e})"),
        };
        Error::file(path, problem, "fetch the file again")
    };
    let mut stream = MultiGzDecoder::new(packed);
    let header = Header::read(path, &mut stream, damaged)?;
    let expected = byte_len(&header.shape, header.element).unwrap_or(usize::MAX);
    // A false header must not reserve more than the stream can hold: deflate packs at most 1032 to 1.
    let room = expected.min(packed.len().saturating_mul(1032));
    let mut data = buffer(room, || format!("the unpacked {}", path.display()))?;
    // One byte more than expected shows trailing data, without unpacking all of it.
    let limit = (expected as u64).saturating_add(1);
    stream.take(limit).read_to_end(&mut data).map_err(damaged)?;
    header.matrix(path, data.into())
}

struct Header {
    element: Element,
    shape: Vec<usize>,
}

impl Header {
    /// Takes the header off the front of `source`.
    fn read(path: &Path, source: &mut impl Read, failed: impl Fn(io::Error) -> Error) -> Result<Self> {
        let mut magic = [0; 4];
        source.read_exact(&mut magic).map_err(&failed)?;
        let element = match magic {
            [0, 0, 0x08, _] => Element::U8,
            [0, 0, 0x09, _] => Element::I8,
            [0, 0, 0x0B, _] => Element::I16,
            [0, 0, 0x0C, _] => Element::I32,
            [0, 0, 0x0D, _] => Element::F32,
            [0, 0, 0x0E, _] => Element::F64,
            [a, b, c, d] => {
                let problem = format!("not an IDX file: it begins with {a:02x} {b:02x} {c:02x} {d:02x}");
                return Err(Error::file(path, problem, ADVICE));
            }
        };
        let axes = usize::from(magic[3]);
        if axes == 0 {
            return Err(Error::file(path, "an IDX file without axes", ADVICE));
        }
        let mut shape = Vec::with_capacity(axes);
        for _ in 0..axes {
            let mut axis = [0; 4];
            source.read_exact(&mut axis).map_err(&failed)?;
            shape.push(u32::from_be_bytes(axis) as usize);
        }
        Ok(Header { element, shape })
    }

    fn matrix(self, path: &Path, data: Bytes) -> Result<Matrix> {
        if byte_len(&self.shape, self.element).is_some_and(|expected| data.len() > expected) {
            let problem = format!("bytes follow the array of shape {}", ShapeText(&self.shape));
            return Err(Error::file(path, problem, ADVICE));
        }
        Matrix::new(Origin::file(path), self.shape, self.element, Endian::Big, data)
    }
}

fn truncated(path: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::file(path, "the IDX header is truncated", ADVICE),
        _ => Error::io(path, "read the header", source),
    }
}
