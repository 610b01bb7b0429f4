//! Files made by hand, independently of the code under test.

use std::io::Write;
use std::path::PathBuf;

use flate2::{Compression, write::GzEncoder};
use neuncut::Result;
use neuncut::data::Dataset;
use tempfile::TempDir;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// A folder that is removed with its files.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file into the folder and returns its path as text.
    pub fn put(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    pub fn source(&self) -> String {
        self.0.path().to_str().unwrap().to_string()
    }
}

/// A `.npy` file of version 1 with this header text.
pub fn npy_with(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let padded = format!("{header:<117}\n");
    bytes.extend((padded.len() as u16).to_le_bytes());
    bytes.extend(padded.as_bytes());
    bytes.extend(data);
    bytes
}

pub fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_with(
        &format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"),
        data,
    )
}

pub fn npy_f32(shape: &str, values: &[f32]) -> Vec<u8> {
    npy("<f4", shape, &le(values))
}

pub fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub fn be(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

pub fn idx(kind: u8, axes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, axes.len() as u8];
    axes.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend(data);
    bytes
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn npz(method: CompressionMethod, members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// What `scipy.sparse.save_npz` writes of a matrix in CSR form.
pub struct Sparse {
    pub format: &'static str,
    pub shape: [i64; 2],
    pub indptr: Vec<i32>,
    pub indices: Vec<i32>,
    pub data: Vec<f64>,
}

impl Sparse {
    /// A path of three rows: 0 - 1 - 2.
    pub fn path() -> Self {
        Sparse {
            format: "csr",
            shape: [3, 3],
            indptr: vec![0, 2, 5, 7],
            indices: vec![0, 1, 0, 1, 2, 1, 2],
            data: vec![1.0, 0.5, 0.5, 1.0, 0.25, 0.25, 1.0],
        }
    }

    pub fn arrays(&self) -> Vec<(&'static str, Vec<u8>)> {
        let ints = |values: &[i32]| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            npy("<i4", &format!("({},)", values.len()), &bytes)
        };
        let data: Vec<u8> = self.data.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape: Vec<u8> = self.shape.iter().flat_map(|v| v.to_le_bytes()).collect();
        vec![
            ("indices.npy", ints(&self.indices)),
            ("indptr.npy", ints(&self.indptr)),
            (
                "format.npy",
                npy(&format!("|S{}", self.format.len()), "()", self.format.as_bytes()),
            ),
            ("shape.npy", npy("<i8", "(2,)", &shape)),
            ("data.npy", npy("<f8", &format!("({},)", self.data.len()), &data)),
        ]
    }

    pub fn npz(&self) -> Vec<u8> {
        let arrays = self.arrays();
        let members: Vec<(&str, &[u8])> = arrays.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        npz(CompressionMethod::Deflated, &members)
    }
}

pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// Opens a source and reads all of its rows, which are the same, or the same error, as they are stored.
pub fn read_all(source: &str) -> Result<(Dataset, Vec<f32>)> {
    let dataset = Dataset::open(source)?;
    let mut out = vec![f32::NAN; dataset.rows() * dataset.cols()];
    let read = dataset.read_rows(0, &mut out);
    let mut stored = dataset.raw_rows();
    match (&read, dataset.read_raw(0..dataset.rows(), &mut stored)) {
        (Ok(()), Ok(())) => assert_eq!(stored.view().to_f32(), out),
        (Err(error), Err(other)) => assert_eq!(error.to_string(), other.to_string()),
        (read, other) => panic!("{source}: {read:?}, but as it is stored {other:?}"),
    }
    read.map(|()| (dataset, out))
}
