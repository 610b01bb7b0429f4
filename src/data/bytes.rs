//! Bytes that stay where they are: a mapped file or a buffer, and cheap slices of either.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Bytes of a file in memory at a time while it is streamed: a multiple of every element's size.
const BLOCK: usize = 1 << 16;

#[derive(Debug)]
enum Storage {
    Mapped { path: PathBuf, file: File, map: Mmap },
    Owned(Vec<u8>),
}

/// A shared, read-only run of bytes. Cloning and slicing copy nothing.
#[derive(Clone, Debug)]
pub struct Bytes {
    storage: Arc<Storage>,
    range: Range<usize>,
}

impl Bytes {
    /// Maps a whole file; nothing is read until it is touched.
    ///
    /// The file must not be shortened while it is mapped: touching a page that is gone ends the process.
    pub fn map(path: &Path) -> Result<Self> {
        let open = |e| Error::io(path, "open the file", e);
        let file = File::open(path).map_err(open)?;
        let kind = file.metadata().map_err(open)?;
        if kind.is_dir() {
            return Err(open(io::ErrorKind::IsADirectory.into()));
        }
        if !kind.is_file() {
            return Err(Error::file(
                path,
                "not an ordinary file",
                "copy it into one first",
            ));
        }
        // SAFETY: the mapping is read-only and never handed out mutably; the remaining hazard, another process
        // changing the file, is documented above and shared by every program that maps files.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "map the file", e))?;
        let range = 0..map.len();
        Ok(Bytes {
            storage: Arc::new(Storage::Mapped {
                path: path.to_path_buf(),
                file,
                map,
            }),
            range,
        })
    }

    /// The bytes at `range`, counted from the start of these.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len());
        Bytes {
            storage: Arc::clone(&self.storage),
            range: self.range.start + range.start..self.range.start + range.end,
        }
    }

    /// Copies the bytes from `start` on, as many as fit in `out`. A mapped file is read, for the reason that [`stream`](Self::stream) has.
    pub fn read(&self, start: usize, out: &mut [u8]) -> Result<()> {
        assert!(start + out.len() <= self.len());
        match &*self.storage {
            Storage::Mapped { path, file, .. } => file
                .read_exact_at(out, (self.range.start + start) as u64)
                .map_err(|e| Error::io(path, "read the file", e)),
            Storage::Owned(_) => {
                out.copy_from_slice(&self[start..start + out.len()]);
                Ok(())
            }
        }
    }

    /// Hands on the bytes at `range`, in order and in blocks that end on multiples of 8 bytes from its start.
    ///
    /// A mapped file is read, not touched through the mapping: pages touched there stay resident, a large block of them
    /// at once, so that memory would grow with the file. What is read is the operating system's to keep or to drop.
    pub fn stream(&self, range: Range<usize>, mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Storage::Mapped { path, file, .. } = &*self.storage else {
            return sink(&self[range]);
        };
        assert!(range.start <= range.end && range.end <= self.len());
        let mut block = vec![0; BLOCK.min(range.len())];
        for start in range.clone().step_by(BLOCK) {
            let block = &mut block[..BLOCK.min(range.end - start)];
            file.read_exact_at(block, (self.range.start + start) as u64)
                .map_err(|e| Error::io(path, "read the file", e))?;
            sink(block)?;
        }
        Ok(())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Bytes {
            storage: Arc::new(Storage::Owned(bytes)),
            range,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all = match &*self.storage {
            Storage::Mapped { map, .. } => &map[..],
            Storage::Owned(bytes) => bytes,
        };
        &all[self.range.clone()]
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// An empty buffer with room for `len` bytes, or an error that says what it was for.
pub fn buffer(len: usize, what: impl FnOnce() -> String) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match bytes.try_reserve_exact(len) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Error::Memory {
            what: what(),
            mib: len.div_ceil(1 << 20) as u64,
            advice: "store the data uncompressed and in C order (.npy or .safetensors), which is mapped, not loaded",
        }),
    }
}
