//! Output files that appear whole or not at all.
//!
//! A file is written under a temporary name in the folder of its final one, flushed to the disk and renamed. Whoever
//! looks at the final name therefore sees the old contents or the new ones, even after Ctrl-C, a full disk or a
//! power cut half-way.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Bytes gathered before they go to the operating system.
const BUFFER: usize = 1 << 18;

/// Names of files that are not finished begin and end so.
const PREFIX: &str = ".neuncut-";
const SUFFIX: &str = ".tmp";

/// Removes from `folder` what processes that were killed left unfinished, and nobody has written to for so long. A process that is
/// writing there must have written more recently: where that can be any, give zero only if there is none.
pub fn sweep(folder: &Path, idle: Duration) -> Result<()> {
    let failed = |e| Error::io(folder, "remove unfinished files", e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let written = entry.metadata().and_then(|found| found.modified()).ok();
        let since = written
            .and_then(|written| written.elapsed().ok())
            .unwrap_or_default();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) && since >= idle {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Where a file named `path` will really be, links followed, and the folder that is in; refused when no file can be there.
pub(crate) fn place(path: &Path) -> Result<(PathBuf, PathBuf)> {
    match fs::metadata(path) {
        Ok(old) if old.is_dir() => {
            return Err(Error::io(
                path,
                "write the file",
                io::ErrorKind::IsADirectory.into(),
            ));
        }
        // A rename would put a plain file in the place of a device such as /dev/null.
        Ok(old) if !old.is_file() => {
            let advice = "name a new file, or one that may be replaced";
            return Err(Error::file(path, "not an ordinary file", advice));
        }
        _ => {}
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.exists() {
        let problem = format!("the folder {} does not exist", folder.display());
        return Err(Error::file(path, problem, "create it first"));
    }
    let folder = folder.to_path_buf();
    Ok((target, folder))
}

/// A rename lasts once the folder is on the disk. Some file systems cannot sync a folder; the file is complete either way.
pub(crate) fn sync_folder(target: &Path) {
    if let Some(folder) = target.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

/// A file being written. [`commit`](Self::commit) makes it appear; dropping it leaves no trace.
#[derive(Debug)]
pub struct AtomicFile {
    /// As the caller named it, for messages.
    path: PathBuf,
    /// Where the rename goes: `path` with symbolic links followed, so that a link stays a link.
    target: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Starts the file that will appear at `path`, whose folder must exist.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (target, folder) = place(path)?;
        // 0o666 is what any program asks for; the umask takes away what the user does not want.
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(|e| Error::io(path, "create the file", plain(e)))?;
        Ok(AtomicFile {
            path: path.to_path_buf(),
            target,
            file: BufWriter::with_capacity(BUFFER, file),
        })
    }

    /// The final path, as given to [`create`](Self::create).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `bytes`; like `write_all`, but the error names the final path.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let put = self.file.write_all(bytes);
        put.map_err(|e| self.error(e))
    }

    /// Writes everything to the disk and lets the file appear under its final name.
    pub fn commit(mut self) -> Result<()> {
        self.flushed()?;
        let synced = self.file.get_ref().as_file().sync_all();
        synced.map_err(|e| self.error(e))?;
        let target = self.target.clone();
        self.appear()?;
        sync_folder(&target);
        Ok(())
    }

    /// The same without waiting for the disk: after a power cut the file may be there and not be whole. For files whose readers notice.
    pub(crate) fn commit_unsynced(mut self) -> Result<()> {
        self.flushed()?;
        self.appear()
    }

    fn flushed(&mut self) -> Result<()> {
        let flushed = self.file.flush();
        flushed.map_err(|e| self.error(e))
    }

    fn appear(self) -> Result<()> {
        let AtomicFile { path, target, file } = self;
        // Nothing is left in the buffer after the flush.
        let (file, _) = file.into_parts();
        file.persist(&target)
            .map_err(|e| Error::io(&path, "rename the finished file", e.error))?;
        Ok(())
    }

    fn error(&self, source: io::Error) -> Error {
        Error::io(&self.path, "write the file", plain(source))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(plain)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(plain)
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to).map_err(plain)
    }
}

/// Writes `bytes` to `path` in one go.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.put(bytes.as_ref())?;
    file.commit()
}

/// The operating system's own words: `tempfile` adds the temporary name, which means nothing to the user.
fn plain(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((words, _)) => io::Error::new(error.kind(), words),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        names
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_committed_file_appears_and_a_dropped_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let mut file = AtomicFile::create(&path).unwrap();
        file.put(b"first").unwrap();
        assert!(!path.exists(), "visible before the commit");
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");

        let mut file = AtomicFile::create(&path).unwrap();
        file.put(&[7; 3 * BUFFER]).unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"first", "replaced without a commit");
        write(&path, "second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(entries(folder.path()), ["out.txt"]);
    }

    #[test]
    fn what_is_not_finished_is_swept_up_once_nobody_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let mut file = AtomicFile::create(&path).unwrap();
        file.put(b"half").unwrap();
        let writing = entries(folder.path());
        sweep(folder.path(), Duration::from_secs(600)).unwrap();
        assert_eq!(entries(folder.path()), writing);
        fs::write(&path, "another").unwrap();
        sweep(folder.path(), Duration::ZERO).unwrap();
        assert_eq!(entries(folder.path()), ["out.txt"]);
    }

    #[test]
    fn permissions_are_those_of_any_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        write(&ours, "x").unwrap();
        fs::write(&theirs, "x").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&theirs));
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn places_that_cannot_be_written_are_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let text = |path: &Path| AtomicFile::create(path).unwrap_err().to_string();
        assert!(text(&folder.path().join("no/x")).contains("no does not exist; create it first"));
        assert!(text(folder.path()).contains("name a file, not a folder"));
        assert!(text(&folder.path().join("file/x")).contains("x: cannot create the file"));
        assert!(!text(&folder.path().join("file/x")).contains("at path"));
        assert!(text(Path::new("/dev/null")).contains("/dev/null: not an ordinary file"));
        assert!(text(Path::new("/proc/x")).contains("/proc/x: cannot create the file"));
    }

    /// /dev/full takes no bytes, as a disk without space.
    #[test]
    fn a_full_disk_is_reported_for_the_final_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");
        let full = || {
            let temporary = NamedTempFile::new_in(&folder).unwrap().into_temp_path();
            let device = File::options().write(true).open("/dev/full").unwrap();
            AtomicFile {
                path: path.clone(),
                target: path.clone(),
                file: BufWriter::new(NamedTempFile::from_parts(device, temporary)),
            }
        };
        let mut file = full();
        let early = file.put(&[0; 1 << 20]).unwrap_err().to_string();
        drop(file);
        let mut file = full();
        file.put(b"a few bytes").unwrap();
        let late = file.commit().unwrap_err().to_string();
        for text in [early, late] {
            assert!(
                text.contains("out.bin: cannot write the file: No space left"),
                "{text}"
            );
            assert!(text.contains("free some disk space"), "{text}");
            assert!(!text.contains(PREFIX) && !text.contains("at path"), "{text}");
        }
        assert!(entries(folder.path()).is_empty());
    }
}
