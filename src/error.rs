//! Every way a run can fail: one enum whose messages say what, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The result of every fallible call in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. `Display` gives one line fit for a terminal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read or write a path.
    #[error("{}: cannot {action}: {source}; {advice}", path.display())]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What was tried, as a verb phrase ("read the header").
        action: &'static str,
        /// The operating system's own reason.
        source: io::Error,
        /// What the user can do.
        advice: &'static str,
    },
    /// A file was readable but does not hold what it should.
    #[error("{}: {problem}; {advice}", path.display())]
    File {
        /// The file concerned.
        path: PathBuf,
        /// What was found, and what was expected.
        problem: String,
        /// What the user can do.
        advice: String,
    },
    /// An option has a value that cannot be used.
    #[error("{option}: {problem}; {advice}")]
    Option {
        /// The option as typed on the command line (`--clusters`).
        option: &'static str,
        /// What was given, and why it will not do.
        problem: String,
        /// What the user can do.
        advice: String,
    },
    /// Two arrays, or an array and a model, do not fit together.
    #[error("{what} is {found}, expected {expected}")]
    Shape {
        /// Which array.
        what: String,
        /// Its shape.
        found: String,
        /// The shape that was needed.
        expected: String,
    },
    /// A buffer could not be had.
    #[error("not enough memory for {what}: {mib} MiB were asked for; {advice}")]
    Memory {
        /// What the memory was for.
        what: String,
        /// The request, rounded up to MiB.
        mib: u64,
        /// What the user can do.
        advice: &'static str,
    },
    /// A GPU, or its driver, cannot do what was asked.
    #[error("{device}: {problem}; {advice}")]
    Device {
        /// Which device, as the user knows it.
        device: String,
        /// What was tried, and what it answered.
        problem: String,
        /// What the user can do.
        advice: String,
    },
    /// The loss is no longer a number.
    #[error(
        "the loss became {loss} at epoch {epoch}, batch {batch}; lower --lr, or check --sigma and the scale of the input"
    )]
    Diverged {
        /// The loss that was seen.
        loss: f64,
        /// Epoch, counted from 1.
        epoch: usize,
        /// Mini-batch within the epoch, counted from 1.
        batch: usize,
    },
    /// The user pressed Ctrl-C (or the process was asked to end) and the state was saved.
    #[error("interrupted; {0}")]
    Interrupted(String),
}

impl Error {
    /// An [`Error::Io`] with the usual advice for its kind.
    pub fn io(path: impl AsRef<Path>, action: &'static str, source: io::Error) -> Self {
        let advice = match source.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => {
                "check its permissions, or choose another place with -o or --out"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some disk space, or choose another disk with -o or --out"
            }
            io::ErrorKind::IsADirectory => "name a file, not a folder",
            io::ErrorKind::NotADirectory => "a part of the path is a file, not a folder",
            io::ErrorKind::UnexpectedEof => "the file is truncated: fetch or write it again",
            _ => "check the disk and the path",
        };
        Error::Io {
            path: path.as_ref().to_path_buf(),
            action,
            source,
            advice,
        }
    }

    /// An [`Error::File`].
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Error::File {
            path: path.as_ref().to_path_buf(),
            problem: problem.into(),
            advice: advice.into(),
        }
    }

    /// An [`Error::Option`].
    pub fn option(option: &'static str, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Error::Option {
            option,
            problem: problem.into(),
            advice: advice.into(),
        }
    }

    /// An [`Error::Device`].
    pub fn device(device: impl Into<String>, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Error::Device {
            device: device.into(),
            problem: problem.into(),
            advice: advice.into(),
        }
    }

    /// The exit code of the process: 130 after Ctrl-C, as shells expect, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Interrupted(_) => 130,
            _ => 1,
        }
    }
}
