//! What was computed of rows, kept in a folder from one run to the next.
//!
//! A result lies in a file of its own, named by a digest of all that decides it. So it does not matter what becomes of the files that rows
//! are read from, which of the rows are asked for, or who else uses the folder: what is found is right, and what is not there, or not
//! whole, is computed anew. Any of the files may be deleted at any time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use twox_hash::xxhash3_128::Hasher;

use super::bytes::Bytes;
use crate::atomic::{self, AtomicFile};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// To be raised when results of the same key come out with other bits, or lie otherwise in their files.
const FORMAT: u64 = 1;

/// A file that nobody has written to for so long is of a process that was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

const MAGIC: [u8; 8] = *b"neuncut\0";

/// A digest of what decides a result: 128 bits (XXH3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u128);

impl Key {
    /// Of some parts in this order, and of where each of them ends.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Hasher::new();
        for part in parts {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        }
        Key(hasher.finish_128())
    }

    /// To be a part of another key.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

/// The beginning of a file; the rows follow.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    format: u64,
    key: [u8; 16],
    /// Of the rows.
    checksum: [u8; 16],
    rows: u64,
    /// Bytes in a row.
    row: u64,
}

impl Header {
    fn new(key: Key, rows: usize, values: &[u8]) -> Self {
        Header {
            magic: MAGIC,
            format: FORMAT,
            key: key.bytes(),
            checksum: Key::of(&[values]).bytes(),
            rows: rows as u64,
            row: (values.len() / rows.max(1)) as u64,
        }
    }
}

/// A folder of results. Clones share the folder, and what is counted and told of it.
#[derive(Clone, Debug)]
pub struct Cache(Arc<State>);

#[derive(Debug)]
struct State {
    folder: PathBuf,
    found: AtomicUsize,
    made: AtomicUsize,
    /// A result could not be written: no other is tried.
    closed: AtomicBool,
    warnings: Mutex<Vec<String>>,
}

impl Cache {
    /// The cache in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Option`] where there can be no such folder.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| {
            Error::option(
                "--cache",
                format!("cannot make the folder {}: {e}", folder.display()),
                "name a folder, or a place where one can be made",
            )
        })?;
        // What cannot be removed does no harm.
        let _ = atomic::sweep(folder, ABANDONED);
        Ok(Cache(Arc::new(State {
            folder: folder.to_path_buf(),
            found: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            warnings: Mutex::default(),
        })))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Results that were found so far.
    pub fn found(&self) -> usize {
        self.0.found.load(Relaxed)
    }

    /// Results that were written so far.
    pub fn made(&self) -> usize {
        self.0.made.load(Relaxed)
    }

    /// The file of a result.
    pub fn file(&self, key: Key) -> PathBuf {
        self.0.folder.join(format!("{:032x}.neuncut", key.0))
    }

    /// The rows of a result, mapped, if they are there.
    pub fn find(&self, key: Key) -> Option<Bytes> {
        let path = self.file(key);
        let found = match Bytes::map(&path) {
            Ok(bytes) => rows(key, &bytes).ok_or_else(|| {
                Error::file(
                    &path,
                    "truncated or damaged",
                    "what should be there is computed anew",
                )
            }),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(going_on(error, "what is there is computed anew")),
        };
        match found {
            Ok(rows) => {
                self.0.found.fetch_add(1, Relaxed);
                Some(rows)
            }
            Err(error) => {
                self.warn(error.to_string());
                None
            }
        }
    }

    /// Keeps `values`, so many rows of equal length. That they cannot be written is told once, and nothing else is tried then.
    pub fn keep(&self, key: Key, rows: usize, values: &[u8]) {
        if self.0.closed.load(Relaxed) {
            return;
        }
        match self.write(key, rows, values) {
            Ok(()) => {
                self.0.made.fetch_add(1, Relaxed);
            }
            Err(error) => {
                if !self.0.closed.swap(true, Relaxed) {
                    let error = going_on(error, "what is computed from here on is not kept");
                    self.warn(error.to_string());
                }
            }
        }
    }

    fn write(&self, key: Key, rows: usize, values: &[u8]) -> Result<()> {
        let mut file = AtomicFile::create(self.file(key))?;
        file.put(bytemuck::bytes_of(&Header::new(key, rows, values)))?;
        file.put(values)?;
        // What a power cut leaves of it is known by the checksum.
        file.commit_unsynced()
    }

    /// Something for the user to know, whenever somebody [tells](Self::tell) it.
    pub fn warn(&self, text: String) {
        self.warnings().push(text);
    }

    /// Tells what the user should know and has not been told.
    pub fn tell(&self, progress: &mut dyn Progress) {
        for warning in self.warnings().drain(..) {
            progress.line(&format!("warning: {warning}"));
        }
    }

    fn warnings(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows in a file, if it is one of this key, and whole.
fn rows(key: Key, file: &Bytes) -> Option<Bytes> {
    let start = size_of::<Header>();
    let header: Header = bytemuck::pod_read_unaligned(file.get(..start)?);
    let values = file.slice(start..file.len());
    let expected = Header::new(key, usize::try_from(header.rows).ok()?, &values);
    let whole = header.rows.checked_mul(header.row) == Some(values.len() as u64);
    (whole && bytemuck::bytes_of(&header) == bytemuck::bytes_of(&expected)).then_some(values)
}

/// The same error with what is done about it.
fn going_on(error: Error, advice: &'static str) -> Error {
    match error {
        Error::Io {
            path, action, source, ..
        } => Error::Io {
            path,
            action,
            source,
            advice,
        },
        Error::File { path, problem, .. } => Error::file(path, problem, advice),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        // Made with the folders above it.
        let cache = Cache::open(&folder.path().join("a/cache")).unwrap();
        (folder, cache)
    }

    struct Lines(Vec<String>);

    impl Progress for Lines {
        fn line(&mut self, text: &str) {
            self.0.push(text.to_string());
        }
        fn begin(&mut self, _: &str, _: u64, _: &'static str) {}
        fn advance(&mut self, _: u64, _: &str) {}
        fn end(&mut self) {}
        fn interrupted(&self) -> bool {
            false
        }
    }

    fn told(cache: &Cache) -> Vec<String> {
        let mut lines = Lines(Vec::new());
        cache.tell(&mut lines);
        lines.0
    }

    #[test]
    fn what_was_kept_is_found_by_its_key_alone() {
        let (_folder, cache) = opened();
        let (key, other) = (Key::of(&[b"ab", b"c"]), Key::of(&[b"a", b"bc"]));
        assert_ne!(key, other);
        assert!(cache.find(key).is_none());
        cache.keep(key, 2, b"sixsix");
        cache.keep(other, 0, b"");
        assert_eq!(&cache.find(key).unwrap()[..], b"sixsix");
        assert_eq!(&cache.find(other).unwrap()[..], b"");
        assert!(cache.find(Key::of(&[b"abc"])).is_none());

        // Another process.
        let again = Cache::open(cache.folder()).unwrap();
        assert_eq!(&again.find(key).unwrap()[..], b"sixsix");
        assert_eq!((again.found(), again.made()), (1, 0));
        assert_eq!((cache.found(), cache.made()), (2, 2));
        // Rows are found at a multiple of every number's size.
        assert_eq!(size_of::<Header>() % 64, 0);
        assert_eq!(fs::read_dir(cache.folder()).unwrap().count(), 2);
        assert_eq!(told(&cache), [""; 0]);
    }

    #[test]
    fn a_file_that_is_not_whole_is_told_and_made_again() {
        let (_folder, cache) = opened();
        let key = Key::of(&[b"key"]);
        let path = cache.file(key);
        cache.keep(key, 3, &[7; 300]);
        let whole = fs::read(&path).unwrap();
        let len = whole.len();
        let changed = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        // Each field of the header, the first and the last of the rows; cut short; longer; of another key.
        let mut wrong: Vec<Vec<u8>> = [0, 8, 16, 32, 48, 56, 64, len - 1].map(changed).into();
        wrong.extend([0, 1, 63, 64, 100, len - 1].map(|end| whole[..end].to_vec()));
        wrong.push([&whole[..], &[7]].concat());
        let other = Key::of(&[b"other"]);
        cache.keep(other, 3, &[7; 300]);
        wrong.push(fs::read(cache.file(other)).unwrap());
        for (i, bytes) in wrong.iter().enumerate() {
            fs::write(&path, bytes).unwrap();
            assert!(cache.find(key).is_none(), "{i}");
            let lines = told(&cache);
            assert_eq!(lines.len(), 1, "{i}: {lines:?}");
            let (name, line) = (path.display().to_string(), &lines[0]);
            assert!(line.starts_with(&format!("warning: {name}: ")), "{line}");
            assert!(line.contains("computed anew") && !line.contains('\n'), "{line}");
            cache.keep(key, 3, &[7; 300]);
            assert!(cache.find(key).is_some(), "{i}");
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn that_nothing_can_be_kept_is_told_once() {
        let (folder, cache) = opened();
        cache.keep(Key::of(&[b"1"]), 1, b"1");
        fs::remove_dir_all(folder.path().join("a")).unwrap();
        for key in [b"2", b"3"] {
            cache.keep(Key::of(&[key]), 1, key);
            assert!(cache.find(Key::of(&[key])).is_none());
        }
        let lines = told(&cache);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("does not exist") && lines[0].contains("is not kept"));
        assert_eq!((cache.found(), cache.made()), (0, 1));
    }

    #[test]
    fn a_place_for_no_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [&file, &file.join("cache"), Path::new("/proc/cache")] {
            let text = Cache::open(path).unwrap_err().to_string();
            let words = format!("--cache: cannot make the folder {}", path.display());
            assert!(text.starts_with(&words), "{text}");
        }
    }
}
