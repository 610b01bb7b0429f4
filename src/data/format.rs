//! Which format a file has.

use std::path::Path;

use crate::error::Error;

/// A file format, told by the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Idx,
    Npy,
    Npz,
    Safetensors,
    Csv,
}

impl Format {
    /// The format of a file of this name, if it is one of them.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("npy") => Some(Format::Npy),
            Some("npz") => Some(Format::Npz),
            Some("safetensors") => Some(Format::Safetensors),
            Some("csv" | "tsv" | "txt") => Some(Format::Csv),
            _ => {
                let plain = name.strip_suffix(".gz").unwrap_or(&name);
                (plain.ends_with("ubyte") || plain.ends_with(".idx")).then_some(Format::Idx)
            }
        }
    }

    /// The error for a file of any other name.
    pub fn unknown(path: &Path) -> Error {
        let problem = "unknown kind of file";
        let advice = "give .npy, .npz, .safetensors, .csv, .tsv, .txt, or IDX (-idx3-ubyte, .idx; also .gz)";
        Error::file(path, problem, advice)
    }
}
