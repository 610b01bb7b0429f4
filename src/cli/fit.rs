//! `neuncut fit`

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use neuncut::data::Dataset;
use neuncut::fit::{CheckpointEvery, Metrics, Start, fit};
use neuncut::ops::Ops;
use neuncut::options::{self, Affinity, Arithmetic, Device, FitOptions};
use neuncut::progress::Progress;
use neuncut::run_folder::{Reserved, RunFolder, config_error};
use neuncut::{Error, Result, values};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};
use super::options::{CacheOptions, FitGroups, Group, options};

options! {
    /// Where and how the run is made: what does not decide its outcome, but for the last digits.
    struct RunOptions {
        /// Where to compute: auto (the first GPU that works, else the CPU), cpu, cuda, cuda:1 (and so on), or reference (plain
        /// loops, for checks) [default: auto]
        #[arg(long, value_name = "DEVICE", help_heading = "Run")]
        device: Device,

        /// What to compute in: fp32, tf32x3, tf32, bf16; the reference also in f64; or auto: fp32 on the CPU, tf32x3 on a GPU, f64 in
        /// the reference [default: auto]
        #[arg(long, value_name = "PRECISION", help_heading = "Run")]
        precision: Arithmetic,

        /// CPU threads; 0 for one per core. The result does not depend on it [default: 0]
        #[arg(long, value_name = "N", help_heading = "Run")]
        threads: usize,

        /// Folder for the run [default: runs/DATA-kK-seedN]
        #[arg(long, value_name = "RUN", help_heading = "Run")]
        out: PathBuf,

        /// Least seconds between two checkpoints; 0 for one after every epoch [default: 10]
        #[arg(long, value_name = "SECONDS", help_heading = "Run")]
        checkpoint_seconds: f64,
    }
}

/// Arguments of `fit`. What is not given comes from --config, then from the defaults.
#[derive(Args)]
pub struct FitArgs {
    #[command(flatten)]
    options: Partial,

    /// File with any of the options above as `name = value` lines (TOML); the command line comes before it. A run's own
    /// config.toml repeats that run
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    config: Option<PathBuf>,

    /// Go on with the unfinished run in --out; the result has the same bits as without the interruption
    #[arg(long, conflicts_with = "overwrite", help_heading = "Run")]
    resume: bool,

    /// Replace the run that is in --out
    #[arg(long, help_heading = "Run")]
    overwrite: bool,
}

/// The options that a file can give too.
#[derive(Args, Default)]
struct Partial {
    #[command(flatten)]
    fit: FitGroups,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten, next_help_heading = "Run")]
    cache: CacheOptions,
}

impl Partial {
    /// What is given here, else what `other` gives.
    fn or(self, other: Partial) -> Partial {
        Partial {
            fit: self.fit.or(other.fit),
            run: self.run.or(other.run),
            cache: self.cache.or(other.cache),
        }
    }

    /// The run's folder, as given or as the options name it.
    fn folder(&self) -> Result<RunFolder> {
        let folder = match &self.run.out {
            Some(out) if out.as_os_str().is_empty() => {
                return Err(Error::option("--out", "an empty path", "name a folder"));
            }
            Some(out) => out.clone(),
            None => {
                let data = &self.fit.data;
                let source = data.source();
                let stem = Path::new(&source).file_stem().unwrap_or_default();
                let (k, seed) = (data.count()?, data.seed.unwrap_or(0));
                PathBuf::from("runs").join(format!("{}-k{k}-seed{seed}", stem.to_string_lossy()))
            }
        };
        Ok(RunFolder::at(folder))
    }

    fn resolve(self) -> Result<(FitOptions, Option<Dataset>)> {
        let device = self.device();
        self.fit.resolve(device)
    }

    /// Where to compute, of what decides the outcome.
    fn device(&self) -> DeviceArgs {
        DeviceArgs {
            device: self.run.device.unwrap_or(Device::Auto),
            precision: self.run.precision.unwrap_or_default(),
            threads: 0,
        }
    }
}

impl<'de> Deserialize<'de> for Partial {
    fn deserialize<D: Deserializer<'de>>(file: D) -> std::result::Result<Self, D::Error> {
        file.deserialize_map(FromFile)
    }
}

/// Reads options from a file, name by name, into their groups.
struct FromFile;

impl<'de> Visitor<'de> for FromFile {
    type Value = Partial;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("options")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut file: A) -> std::result::Result<Partial, A::Error> {
        let mut partial = Partial::default();
        while let Some(Name(field)) = file.next_key()? {
            // A name is of one of them, or it would not be one.
            let _ = partial.fit.take(field, &mut file)?
                || partial.run.take(field, &mut file)?
                || partial.cache.take(field, &mut file)?;
        }
        Ok(partial)
    }
}

/// The field of an option that a file names.
struct Name(&'static str);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(key: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(key)?;
        let spelled = |field: &str| field.replace('_', "-");
        let more = || [RunOptions::NAMES, CacheOptions::NAMES].into_iter().flatten();
        let known = || FitGroups::names().chain(more().copied());
        known()
            .find(|field| spelled(field) == name)
            .map(Name)
            .ok_or_else(|| {
                let names: Vec<String> = known().map(|field| format!("`{}`", spelled(field))).collect();
                D::Error::custom(format!(
                    "unknown field `{name}`, expected one of {}",
                    names.join(", ")
                ))
            })
    }
}

/// Trains, and prints the scores.
pub fn run(args: FitArgs, console: &mut Console) -> Result<()> {
    let (metrics, folder) = fitted(args, console)?;
    let text = table(&metrics, &folder);
    let mut value = json!(metrics);
    value["run"] = json!(folder.path());
    console.result(value, &text)
}

/// Refuses options, all of them given, that no training on so many rows could have.
pub fn check(args: FitArgs, rows: usize) -> Result<()> {
    let device = args.options.device();
    let options = args.options.fit.resolve_for(rows, device)?;
    neuncut::fit::check(&options, rows)
}

/// Refuses to go on with the run in `folder` where these options, all of them given, say something else than those it was begun with.
/// `rows` is how many rows the data have, where they need not be there.
pub fn check_same(args: FitArgs, rows: Option<usize>, folder: &RunFolder) -> Result<()> {
    let device = args.options.device();
    let wanted = match rows {
        Some(rows) => args.options.fit.resolve_for(rows, device)?,
        None => args.options.resolve()?.0,
    };
    let advice = "give the options of then, choose another --out, or replace the run by --overwrite";
    compare(&folder.load_options()?, &wanted, folder, "--out", advice)
}

/// Refuses `wanted`, for which `option` is to blame, where it is another run than the one `stored` in `folder`.
fn compare(
    stored: &FitOptions,
    wanted: &FitOptions,
    folder: &RunFolder,
    option: &'static str,
    advice: &str,
) -> Result<()> {
    let table = |options: &FitOptions| toml::Table::try_from(options).unwrap_or_default();
    let (stored, wanted) = (table(stored), table(wanted));
    // What was left to the data then is a number in the run now.
    let left_to_data = |name: &str, value: &toml::Value| {
        let names = ["features", "graph-features", "neighbors", "sigma", "gamma"];
        names.contains(&name) && value.as_str() == Some("auto")
    };
    let not_given = stored.keys().filter(|name| !wanted.contains_key(*name));
    for name in wanted.keys().chain(not_given) {
        let (then, now) = (stored.get(name), wanted.get(name));
        if then == now || now.is_some_and(|value| left_to_data(name, value)) {
            continue;
        }
        let told =
            |value: Option<&toml::Value>| value.map_or("not given".to_string(), toml::Value::to_string);
        return Err(Error::option(
            option,
            format!(
                "the run in {} was begun with {name} = {}, not {}",
                folder.path().display(),
                told(then),
                told(now)
            ),
            advice,
        ));
    }
    Ok(())
}

/// Trains, and returns what comes of it and where it is.
pub fn fitted(args: FitArgs, console: &mut Console) -> Result<(Metrics, RunFolder)> {
    catch_interrupts();
    let from_file = args
        .config
        .as_deref()
        .map(read_config)
        .transpose()?
        .unwrap_or_default();
    let options = args.options.or(from_file);
    let seconds = options.run.checkpoint_seconds.unwrap_or(10.0);
    values::not_negative("--checkpoint-seconds", seconds)?;
    let (every, threads) = (CheckpointEvery(seconds), options.run.threads.unwrap_or(0));
    let (folder, cache) = (options.folder()?, options.cache.clone());
    let metrics = if args.resume {
        let (options, _entered) = resume(options, &folder)?;
        match folder.load_metrics::<Metrics>()? {
            Some(metrics) => {
                console.line("this run is finished already");
                metrics
            }
            None => {
                let data = cache.of(Dataset::open(&options.data)?, console)?;
                train(&options, data, &folder, Start::GoOn, every, threads, console)?
            }
        }
    } else {
        let (options, data) = options.resolve()?;
        let affinity = match &options.affinity {
            Affinity::File(path) => Some(path),
            _ => None,
        };
        let labels = match &options.start {
            options::Start::Labels(path) => Some(path),
            _ => None,
        };
        let inputs = [Some(&options.data), options.labels.as_ref(), affinity, labels];
        let inputs = inputs.into_iter().flatten().map(Path::new);
        let inputs: Vec<&Path> = inputs.chain(args.config.as_deref()).collect();
        let _reserved = folder.reserve(args.overwrite, &inputs)?;
        let data = data.map_or_else(|| Dataset::open(&options.data), Ok)?;
        let data = cache.of(data, console)?;
        train(&options, data, &folder, Start::Anew, every, threads, console)?
    };
    for warning in &metrics.warnings {
        console.line(&format!("warning: {warning}"));
    }
    Ok((metrics, folder))
}

fn train(
    options: &FitOptions,
    data: Dataset,
    folder: &RunFolder,
    start: Start,
    every: CheckpointEvery,
    threads: usize,
    console: &mut Console,
) -> Result<Metrics> {
    let device = DeviceArgs {
        device: options.device,
        precision: options.precision,
        threads,
    };
    let metrics = device.run(Fit {
        options,
        data,
        folder,
        start,
        every,
        console,
    });
    metrics.map_err(|error| match error {
        Error::Interrupted(what) if folder.has_progress() => Error::Interrupted(format!(
            "{what}; go on with: neuncut fit --resume --out {}",
            folder.path().display()
        )),
        other => other,
    })
}

struct Fit<'a> {
    options: &'a FitOptions,
    data: Dataset,
    folder: &'a RunFolder,
    start: Start,
    every: CheckpointEvery,
    console: &'a mut Console,
}

impl Job for Fit<'_> {
    type Output = Metrics;
    fn run<O: Ops>(self, ops: &O) -> Result<Metrics> {
        let Fit {
            options,
            data,
            folder,
            start,
            every,
            console,
        } = self;
        fit(ops, options, data, folder, start, every, console)
    }
}

fn read_config(path: &Path) -> Result<Partial> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read the options", e))?;
    toml::from_str(&text).map_err(|e| config_error(path, &e))
}

/// Enters the folder of the run to go on with, and reads its options. Options given again must say the same.
fn resume(given: Partial, folder: &RunFolder) -> Result<(FitOptions, Reserved)> {
    if !folder.config_file().exists() {
        return Err(Error::file(
            folder.path(),
            "there is no run to go on with",
            "check --out, or leave --resume away",
        ));
    }
    let entered = folder.enter()?;
    let stored = folder.load_options()?;
    let (repeated, _) = given.or(read_config(&folder.config_file())?).resolve()?;
    let advice = "leave that option away, or start another run in another --out";
    compare(&stored, &repeated, folder, "--resume", advice)?;
    Ok((stored, entered))
}

/// The outcome for people.
fn table(metrics: &Metrics, folder: &RunFolder) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<12} {value}\n"));
    if let Some(scores) = metrics.scores {
        row("ACC", format!("{:.4}", scores.acc));
        row("NMI", format!("{:.4}", scores.nmi));
        row("ARI", format!("{:.4}", scores.ari));
    }
    row(
        "Ncut",
        format!(
            "{:.4}  (exact, on {} training rows)",
            metrics.cuts.ncut, metrics.cut_rows
        ),
    );
    row(
        "rows",
        format!("{} labelled, {} trained on", metrics.rows, metrics.train_rows),
    );
    row("clusters", sizes(&metrics.sizes));
    if let Some(sigma) = metrics.sigma {
        row("sigma", format!("{sigma:.4}"));
    }
    row("gamma", format!("{:.4}", metrics.gamma));
    row("seconds", format!("{:.1} on {}", metrics.seconds, metrics.device));
    row("report", folder.report_file().display().to_string());
    text.trim_end().to_string()
}

/// Sizes of clusters, those of many cut short.
pub fn sizes(sizes: &[u64]) -> String {
    const MOST: usize = 20;
    let shown: Vec<String> = sizes.iter().take(MOST).map(u64::to_string).collect();
    let more = if sizes.len() > MOST {
        format!(" ... of {} clusters", sizes.len())
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(" "))
}
