//! Output files that the same command goes on with when it was stopped or killed.
//!
//! The rows that are done lie beside the final file, in one whose name tells what they are part of. Rows are appended in order and
//! nothing else is ever written, so that whatever is there of them is right; only a last row may be cut short.

use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::atomic::{place, sync_folder};
use crate::error::{Error, Result};

/// Names of files that are not finished begin and end so; between are the final name and 16 hexadecimal digits.
const PREFIX: &str = ".neuncut-";
const SUFFIX: &str = ".part";

/// What the rows were made with may lie beside them, under the same name but for this.
const FITTED: &str = ".fitted";

/// 64 bits that tell texts apart (FNV-1a).
pub fn digest(bytes: &[u8]) -> u64 {
    let round = |state: u64, &byte: &u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, round)
}

/// The files of some data as they lie on the disk, in words: lengths and times of the file, or of all in the folder. They change when
/// the data do; for built-in data there is nothing to tell.
pub fn stamps(source: &str) -> Vec<String> {
    let source = Path::new(source);
    let mut files = match fs::read_dir(source) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => vec![source.to_path_buf()],
    };
    // What is being written may be there, too.
    files.retain(|file| {
        !file
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    });
    files.sort();
    let stamp = |file: &PathBuf| {
        let found = fs::metadata(file)
            .ok()
            .map(|found| (found.len(), found.modified().ok()));
        format!("{} {found:?}", file.display())
    };
    files.iter().map(stamp).collect()
}

/// What is told when work on a file ends early with `done` of `rows` rows, and whether these are kept: after Ctrl-C, and when the
/// system refused something, which can be mended. What is wrong with the input stays wrong.
pub fn ended_early(error: Error, done: usize, rows: usize) -> (Error, bool) {
    match error {
        _ if done == 0 => (error, false),
        Error::Interrupted(_) => {
            let told = format!("{done} of {rows} rows are done; the same command goes on behind them");
            (Error::Interrupted(told), true)
        }
        Error::Io {
            path, action, source, ..
        } => {
            let advice = "check the disk; the same command then goes on where it stopped";
            let told = Error::Io {
                path,
                action,
                source,
                advice,
            };
            (told, true)
        }
        other => (other, false),
    }
}

/// A file of a header and rows of equal length, on its way to being finished by [`commit`](Self::commit).
#[derive(Debug)]
pub struct Resumable {
    /// As the caller named it, for messages.
    path: PathBuf,
    target: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    header: u64,
    row: u64,
    /// Rows in the file.
    rows: u64,
}

impl Resumable {
    /// Opens what there is of the file that will appear at `path`: `header`, then rows of `row` bytes, at most `most`. `content`
    /// describes all that decides what is written; what another command left unfinished under the same name is removed.
    ///
    /// # Errors
    /// When the file cannot be written, or another process is writing it.
    pub fn open(
        path: impl AsRef<Path>,
        content: &str,
        header: &[u8],
        row: usize,
        most: usize,
    ) -> Result<Self> {
        let path = path.as_ref();
        let (target, folder) = place(path)?;
        let failed = |e| Error::io(path, "create the file", e);
        let name = target
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let own = format!("{:016x}", digest(content.as_bytes()));
        let mut others = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let found = entry.file_name().to_string_lossy().into_owned();
            if part_of(&found, &name).is_some_and(|content| content != own) {
                others.push(entry.path());
            }
        }
        let parts = others
            .iter()
            .filter(|other| other.extension().is_some_and(|e| e == "part"));
        let held = parts.map(|other| {
            let file = File::open(other).map_err(failed)?;
            lock(&file, path).map(|()| file)
        });
        let held = held.collect::<Result<Vec<File>>>()?;
        for other in others {
            fs::remove_file(other).map_err(failed)?;
        }
        drop(held);
        let part = folder.join(format!("{PREFIX}{name}-{own}{SUFFIX}"));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)
            .map_err(failed)?;
        lock(&file, path)?;
        let len = file.metadata().map_err(failed)?.len();
        let mut found = vec![0; header.len()];
        let begun = file.read_exact_at(&mut found, 0).is_ok() && found == header;
        let mut this = Resumable {
            path: path.to_path_buf(),
            target,
            part,
            file: BufWriter::new(file),
            header: header.len() as u64,
            row: row as u64,
            rows: 0,
        };
        if begun {
            let rows = (len - this.header) / this.row;
            this.go_on_behind(rows.min(most as u64) as usize)?;
        } else {
            this.file.get_ref().set_len(0).map_err(failed)?;
            this.put(header)?;
        }
        Ok(this)
    }

    /// Rows that are there.
    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    /// Forgets all but the first `rows` rows.
    pub fn go_on_behind(&mut self, rows: usize) -> Result<()> {
        self.rows = rows as u64;
        let end = self.header + self.rows * self.row;
        let cut = self.file.get_ref().set_len(end);
        cut.and_then(|()| self.file.seek(SeekFrom::Start(end)))
            .map(drop)
            .map_err(|e| Error::io(&self.path, "write the file", e))
    }

    /// Where what the rows are made with may be kept until the file is finished or given up.
    pub fn fitted(&self) -> PathBuf {
        let mut name = self.part.with_extension("").into_os_string();
        name.push(FITTED);
        PathBuf::from(name)
    }

    /// Appends what comes behind the last row.
    pub fn write_tail(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(bytes)
    }

    /// Appends whole rows, and hands them to the operating system: they stay if this process is killed.
    pub fn write(&mut self, rows: &[u8]) -> Result<()> {
        self.put(rows)?;
        self.flush()?;
        self.rows += rows.len() as u64 / self.row;
        Ok(())
    }

    /// Reads the rows `first..` that were found, as many as fit.
    pub fn read(&self, first: usize, rows: &mut [u8]) -> Result<()> {
        let at = self.header + first as u64 * self.row;
        let read = self.file.get_ref().read_exact_at(rows, at);
        read.map_err(|e| Error::io(&self.path, "read what is done of the file", e))
    }

    /// Writes everything to the disk and lets the file appear under its final name.
    pub fn commit(mut self) -> Result<()> {
        self.flush()?;
        let synced = self.file.get_ref().sync_all();
        synced.map_err(|e| Error::io(&self.path, "write the file", e))?;
        let renamed = fs::rename(&self.part, &self.target);
        renamed.map_err(|e| Error::io(&self.path, "rename the finished file", e))?;
        // Of no use any more; mostly there is none.
        let _ = fs::remove_file(self.fitted());
        sync_folder(&self.target);
        Ok(())
    }

    /// Gives up what is there.
    pub fn discard(self) {
        // An error already says why there will be no file.
        let _ = fs::remove_file(&self.part);
        let _ = fs::remove_file(self.fitted());
    }

    fn flush(&mut self) -> Result<()> {
        let flushed = self.file.flush();
        flushed.map_err(|e| Error::io(&self.path, "write the file", e))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let put = self.file.write_all(bytes);
        put.map_err(|e| Error::io(&self.path, "write the file", e))
    }
}

/// Nobody else is to write what will be at `path` as long as `file` is open.
fn lock(file: &File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let advice = "wait for it, or choose another name";
            Err(Error::file(path, "another process is writing this file", advice))
        }
        // Some file systems have no locks.
        Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// The digits that tell the content, if `found` belongs to an unfinished file `name`.
fn part_of<'a>(found: &'a str, name: &str) -> Option<&'a str> {
    let rest = found.strip_prefix(PREFIX)?;
    let rest = rest.strip_suffix(SUFFIX).or_else(|| rest.strip_suffix(FITTED))?;
    let digits = rest.strip_prefix(name)?.strip_prefix('-')?;
    (digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn rows_that_are_whole_are_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");
        let open = |content: &str| Resumable::open(&path, content, b"head", 3, 10).unwrap();
        let mut file = open("this");
        assert_eq!(file.rows(), 0);
        file.write(b"abcdef").unwrap();
        // As if the process had been killed within a row.
        file.put(b"g").unwrap();
        file.flush().unwrap();
        drop(file);
        assert!(!path.exists());

        let mut file = open("this");
        assert_eq!(file.rows(), 2);
        let mut row = [0; 3];
        file.read(1, &mut row).unwrap();
        assert_eq!(&row, b"def");
        file.go_on_behind(1).unwrap();
        file.write(b"xyz").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"headabcxyz");
        assert_eq!(names(folder.path()), ["out.bin"]);
    }

    #[test]
    fn another_content_begins_anew_and_leaves_other_names_alone() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str, content: &str, header: &[u8]| {
            Resumable::open(folder.path().join(name), content, header, 1, 10).unwrap()
        };
        for name in ["a", "a-b"] {
            let mut file = open(name, "one", b"");
            file.write(b"12").unwrap();
            fs::write(file.fitted(), "fitted").unwrap();
        }
        assert_eq!(names(folder.path()).len(), 4);
        assert_eq!(open("a", "two", b"").rows(), 0);
        assert_eq!(open("a-b", "one", b"").rows(), 2);
        assert_eq!(open("a-b", "one", b"other").rows(), 0, "another header");
        // The other content of a has taken what was fitted for the first with it.
        assert_eq!(names(folder.path()).len(), 3);
        open("a", "two", b"").discard();
        open("a-b", "one", b"other").discard();
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn rows_are_kept_where_going_on_can_help() {
        let full = || {
            Error::io(
                "out.npy",
                "write the file",
                std::io::ErrorKind::StorageFull.into(),
            )
        };
        let input = || Error::file("x.csv", "a row of 3 numbers", "give rows of 2");
        let stopped = || Error::Interrupted("nothing was written".into());
        for error in [full(), input(), stopped()] {
            let before = error.to_string();
            let (told, kept) = ended_early(error, 0, 9);
            assert_eq!((told.to_string(), kept), (before, false));
        }
        let (told, kept) = ended_early(input(), 5, 9);
        assert_eq!((told.to_string(), kept), (input().to_string(), false));
        for (error, words) in [
            (full(), "out.npy: cannot write"),
            (stopped(), "interrupted; 5 of 9 rows are done"),
        ] {
            let (told, kept) = ended_early(error, 5, 9);
            let told = told.to_string();
            assert!(
                kept && told.contains(words) && told.contains("the same command"),
                "{told}"
            );
        }
    }

    #[test]
    fn stamps_change_with_the_files_and_not_with_what_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().to_str().unwrap();
        fs::write(folder.path().join("x.npy"), "12").unwrap();
        let before = stamps(source);
        assert_eq!(before.len(), 1);
        fs::write(folder.path().join(".neuncut-y.npy.part"), "1").unwrap();
        assert_eq!(stamps(source), before);
        fs::write(folder.path().join("x.npy"), "123").unwrap();
        assert_ne!(stamps(source), before);
        assert_eq!(stamps("mnist-t10k"), stamps("mnist-t10k"));
    }

    #[test]
    fn two_processes_do_not_write_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");
        let open = |content: &str| Resumable::open(&path, content, b"", 1, 10);
        let first = open("this").unwrap();
        for content in ["this", "that"] {
            let text = open(content).unwrap_err().to_string();
            let words = "out.bin: another process is writing this file; wait";
            assert!(text.contains(words), "{text}");
        }
        drop(first);
        open("that").unwrap();
    }
}
