//! The folder that a training leaves behind, and goes on from.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic;
use crate::data::safetensors;
use crate::error::{Error, Result};
use crate::features::Pipeline;
use crate::model::Model;
use crate::ops::Real;
use crate::options::FitOptions;
use crate::spectral::Spectrum;
use crate::train::{Checkpoint, EpochRecord};

/// A run: `config.toml`, `features.safetensors`, `model.safetensors`, `history.jsonl`, `metrics.json`, `labels.npy`, `report.html`;
/// `training-rows.npy` and, where a graph of them was cut, `graph.npz`, `graph-features.safetensors` and `spectrum.json`; and, while it
/// is not finished, `checkpoint.safetensors` of its first attempt, `checkpoint-2.safetensors` of its second, and so on.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder at `path`, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        RunFolder { path: path.into() }
    }

    /// Makes the folder for a new run, before the long work begins, and keeps others out of it. What is in it stays.
    ///
    /// # Errors
    /// When it cannot be made, another process is at work in it, it holds a run and `overwrite` is not given, or the run would
    /// replace one of the `inputs` or another file that is not of a run.
    pub fn reserve(&self, overwrite: bool, inputs: &[&Path]) -> Result<Reserved> {
        if self.path.exists() && !self.path.is_dir() {
            return Err(Error::file(
                &self.path,
                "there is a file of this name",
                "choose another --out",
            ));
        }
        let missing = self.path.ancestors().take_while(|folder| !folder.exists());
        let mut reserved = Reserved {
            made: missing.map(Path::to_path_buf).collect(),
            _lock: None,
        };
        fs::create_dir_all(&self.path).map_err(|e| Error::io(&self.path, "make the run's folder", e))?;
        reserved._lock = Some(self.lock()?);
        self.check_place(overwrite, inputs)?;
        Ok(reserved)
    }

    /// Keeps others out of the folder of a run that goes on.
    ///
    /// # Errors
    /// When another process is at work in it.
    pub fn enter(&self) -> Result<Reserved> {
        Ok(Reserved {
            made: Vec::new(),
            _lock: Some(self.lock()?),
        })
    }

    /// The folder itself is locked, not a file in it, so that nothing is left behind; the lock ends with the process at the
    /// latest, however that ends.
    fn lock(&self) -> Result<File> {
        let folder = File::open(&self.path).map_err(|e| Error::io(&self.path, "open the run's folder", e))?;
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::file(
                &self.path,
                "another process is at work on the run in this folder",
                "wait for its end, or choose another --out",
            )),
            // Some file systems have no locks; there, runs are as safe as their users.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(folder),
        }
    }

    /// Refuses to write a new run over what is not a run to be replaced.
    fn check_place(&self, overwrite: bool, inputs: &[&Path]) -> Result<()> {
        let inputs: Vec<PathBuf> = inputs
            .iter()
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        let is_run = self.config_file().exists() && self.load_options().is_ok();
        let files = self.files();
        for file in &files {
            if file.canonicalize().is_ok_and(|place| inputs.contains(&place)) {
                return Err(Error::file(
                    file,
                    "the run reads this file, and would replace it by its own of that name",
                    "choose another --out",
                ));
            }
        }
        for file in &files {
            if !is_run && file.symlink_metadata().is_ok() {
                return Err(Error::file(
                    file,
                    "this file is not of a run, and a run would replace it",
                    "choose another --out, or move the file away",
                ));
            }
        }
        if is_run && !overwrite {
            return Err(Error::file(
                &self.path,
                "there is a run in this folder already",
                "choose another --out, go on with it by --resume, or replace it by --overwrite",
            ));
        }
        Ok(())
    }

    /// Removes the run, but not the folder.
    pub fn clear(&self) -> Result<()> {
        self.files().iter().try_for_each(|file| remove(file))
    }

    /// Whether there is a run in the folder that did not come to its end.
    pub fn is_unfinished(&self) -> bool {
        self.load_options().is_ok() && !self.metrics_file().exists()
    }

    /// Whether a training that stopped can go on, rather than begin anew.
    pub fn has_progress(&self) -> bool {
        !self.checkpoint_files().is_empty() || self.model_file().exists()
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Resolved options.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }
    /// Fitted features.
    pub fn features_file(&self) -> PathBuf {
        self.path.join("features.safetensors")
    }
    /// Fitted features of the rows that the graph is built on.
    pub fn graph_features_file(&self) -> PathBuf {
        self.path.join("graph-features.safetensors")
    }
    /// The graph of the training rows.
    pub fn graph_file(&self) -> PathBuf {
        self.path.join("graph.npz")
    }
    /// Which rows of the data were trained on.
    pub fn training_rows_file(&self) -> PathBuf {
        self.path.join("training-rows.npy")
    }
    /// The leading eigenvalues of that graph.
    pub fn spectrum_file(&self) -> PathBuf {
        self.path.join("spectrum.json")
    }
    /// The network.
    pub fn model_file(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }
    /// One JSON object per epoch.
    pub fn history_file(&self) -> PathBuf {
        self.path.join("history.jsonl")
    }
    /// Scores.
    pub fn metrics_file(&self) -> PathBuf {
        self.path.join("metrics.json")
    }
    /// Labels of all rows of the data.
    pub fn labels_file(&self) -> PathBuf {
        self.path.join("labels.npy")
    }
    /// The run as a page.
    pub fn report_file(&self) -> PathBuf {
        self.path.join("report.html")
    }
    /// State of an attempt, counted from 0, of an unfinished training.
    pub fn checkpoint_file(&self, attempt: usize) -> PathBuf {
        self.path.join(match attempt {
            0 => "checkpoint.safetensors".to_string(),
            _ => format!("checkpoint-{}.safetensors", attempt + 1),
        })
    }

    /// Those that are there, in the order of their names.
    fn checkpoint_files(&self) -> Vec<PathBuf> {
        let is_one = |name: &str| {
            let middle = name
                .strip_prefix("checkpoint")
                .and_then(|rest| rest.strip_suffix(".safetensors"));
            middle.is_some_and(|middle| {
                let number = middle.strip_prefix('-').map(str::parse::<usize>);
                middle.is_empty() || matches!(number, Some(Ok(_)))
            })
        };
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(is_one))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found
    }

    /// In an order in which they can be removed: what is left, should that be cut short, is an unfinished run.
    fn files(&self) -> Vec<PathBuf> {
        let before = [self.metrics_file(), self.model_file()];
        let after = [
            self.history_file(),
            self.features_file(),
            self.graph_features_file(),
            self.graph_file(),
            self.training_rows_file(),
            self.spectrum_file(),
            self.labels_file(),
            self.report_file(),
            self.config_file(),
        ];
        [&before[..], &self.checkpoint_files(), &after].concat()
    }

    /// Reads the options of the run.
    pub fn load_options(&self) -> Result<FitOptions> {
        let path = self.config_file();
        let text = read_text(&path, "read the run's options")?;
        toml::from_str(&text).map_err(|e| config_error(&path, &e))
    }

    /// Writes the options of the run.
    pub fn save_options(&self, options: &FitOptions) -> Result<()> {
        let text = toml::to_string(options)
            .map_err(|e| Error::file(self.config_file(), e.to_string(), "report this as a bug"))?;
        atomic::write(self.config_file(), text)
    }

    /// Reads the fitted features.
    pub fn load_pipeline(&self) -> Result<Pipeline> {
        Pipeline::load(&self.features_file())
    }

    /// Reads the network.
    pub fn load_model(&self) -> Result<Model> {
        let path = self.model_file();
        if !path.exists() {
            return Err(Error::file(
                &self.path,
                "there is no trained run in this folder",
                "check the path, or train with fit (with --resume if that was begun)",
            ));
        }
        let (tensors, _) = safetensors::read(&path)?;
        Model::from_tensors(&path, "", &tensors)
    }

    /// Writes the network under PyTorch's names.
    pub fn save_model(&self, model: &Model) -> Result<()> {
        let tensors = model.tensors("");
        let tensors: Vec<(&str, &[usize], &[f32])> = tensors
            .iter()
            .map(|(name, shape, values)| (&name[..], &shape[..], *values))
            .collect();
        safetensors::write(self.model_file(), &tensors, &Default::default())
    }

    /// Reads the checkpoints of all attempts that have one.
    pub fn load_checkpoints<R: Real>(&self) -> Result<Vec<Checkpoint<R>>> {
        let files = self.checkpoint_files();
        files.iter().map(|path| Checkpoint::load(path)).collect()
    }

    /// Removes the checkpoints of a finished run.
    pub fn remove_checkpoints(&self) -> Result<()> {
        self.checkpoint_files().iter().try_for_each(|file| remove(file))
    }

    /// Reads the history, leaving out a last line that a kill cut short.
    pub fn load_history(&self) -> Result<Vec<EpochRecord>> {
        let path = self.history_file();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = read_text(&path, "read the history")?;
        Ok(text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// Writes the whole history.
    pub fn save_history(&self, history: &[EpochRecord]) -> Result<()> {
        let lines = history
            .iter()
            .map(|record| json(&self.history_file(), record).map(|line| line + "\n"));
        atomic::write(self.history_file(), lines.collect::<Result<String>>()?)
    }

    /// Appends one epoch to the history.
    pub fn append_history(&self, record: &EpochRecord) -> Result<()> {
        use io::Write;
        let path = self.history_file();
        let line = json(&path, record)? + "\n";
        let file = fs::OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|e| Error::io(&path, "append to the history", e))
    }

    /// Writes the metrics, readably.
    pub fn save_metrics(&self, metrics: &impl Serialize) -> Result<()> {
        save_json(self.metrics_file(), metrics)
    }

    /// Writes the spectrum, readably.
    pub fn save_spectrum(&self, spectrum: &Spectrum) -> Result<()> {
        save_json(self.spectrum_file(), spectrum)
    }

    /// Reads the spectrum, if it is there.
    pub fn load_spectrum(&self) -> Result<Option<Spectrum>> {
        load_json(self.spectrum_file(), "read the spectrum")
    }

    /// Reads the metrics, if the run is finished.
    pub fn load_metrics<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        load_json(self.metrics_file(), "read the metrics")
    }
}

/// The right to work in the folder of a run, until dropped, and the folders made for it. Those that are still empty then are
/// taken away again: a start that failed leaves nothing behind.
#[derive(Debug)]
#[must_use = "others are kept out only until this is dropped"]
pub struct Reserved {
    _lock: Option<File>,
    /// From the innermost outwards.
    made: Vec<PathBuf>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        for folder in &self.made {
            // Fails, as it should, where there is something in it.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// What is wrong in a TOML file, on one line with its place.
pub fn config_error(path: &Path, error: &toml::de::Error) -> Error {
    let mut problem = error.message().lines().collect::<Vec<_>>().join("; ");
    if let (Some(span), Ok(text)) = (error.span(), fs::read_to_string(path)) {
        let line = text
            .get(..span.start)
            .map_or(1, |before| before.matches('\n').count() + 1);
        problem = format!("line {line}: {problem}");
    }
    Error::file(
        path,
        problem,
        "the names are those of the options of `neuncut fit --help`, without the dashes in front",
    )
}

fn json(path: &Path, record: &EpochRecord) -> Result<String> {
    serde_json::to_string(record).map_err(|e| Error::file(path, e.to_string(), "report this as a bug"))
}

fn save_json(path: PathBuf, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::file(&path, e.to_string(), "report this as a bug"))?;
    atomic::write(path, text + "\n")
}

fn load_json<T: DeserializeOwned>(path: PathBuf, action: &'static str) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    serde_json::from_str(&read_text(&path, action)?)
        .map(Some)
        .map_err(|e| Error::file(&path, format!("damaged: {e}"), "remove it, then --resume"))
}

fn read_text(path: &Path, action: &'static str) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Error::io(path, action, e))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path, "remove an old file", e)),
        _ => Ok(()),
    }
}
