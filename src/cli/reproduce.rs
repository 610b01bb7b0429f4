//! `neuncut reproduce`: an experiment of the paper, from the data to its row of the table.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, ValueEnum};
use neuncut::data::Dataset;
use neuncut::data::labels::labels_beside;
use neuncut::fit::Metrics;
use neuncut::progress::Progress;
use neuncut::run_folder::RunFolder;
use neuncut::{Error, Result, values};
use serde_json::json;

use super::console::Console;
use super::device::DeviceArgs;
use super::fit::{self, FitArgs};
use super::generate::{self, Existing, GenerateArgs};
use super::options::CacheOptions;
use super::parse;

/// Options of `fit` that `reproduce` itself gives, or has no use for.
const OWN: [&str; 6] = [
    "--out",
    "--labels",
    "--overwrite",
    "--resume",
    "--config",
    "--cache",
];

/// An experiment of the paper (He et al., Pattern Recognition 2025).
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Experiment {
    /// MNIST, scattering features: all images of --from
    Mnist,
    /// Fashion-MNIST, the same features
    Fmnist,
    /// 8,100,000 digits of `generate mnist8m` made of those of --from, the same features
    Mnist8m,
    /// 1,281,167 rows of `generate embeddings` in 1,000 clusters, in the place of CLIP's embeddings of ImageNet; trained on 100,000
    ImagenetShape,
}

/// What the paper reports of it: ACC, NMI, ARI, and minutes where it does.
struct Paper {
    about: &'static str,
    scores: [f64; 3],
    minutes: Option<f64>,
}

impl Experiment {
    fn name(self) -> &'static str {
        match self {
            Experiment::Mnist => "mnist",
            Experiment::Fmnist => "fmnist",
            Experiment::Mnist8m => "mnist8m",
            Experiment::ImagenetShape => "imagenet-shape",
        }
    }

    /// What makes its data, and how many rows, where they are made.
    fn made(self) -> Option<(&'static str, u64)> {
        match self {
            Experiment::Mnist | Experiment::Fmnist => None,
            Experiment::Mnist8m => Some((generate::MNIST8M, 8_100_000)),
            Experiment::ImagenetShape => Some((generate::EMBEDDINGS, 1_281_167)),
        }
    }

    /// Options of `fit`, and their values.
    fn options(self) -> Vec<(&'static str, String)> {
        let all: &[(&str, &str)] = match self {
            Experiment::Mnist | Experiment::Fmnist | Experiment::Mnist8m => &[
                ("--clusters", "10"),
                ("--features", "scatnet,pca=500,center,unit"),
            ],
            Experiment::ImagenetShape => &[
                ("--clusters", "1000"),
                ("--features", "center,unit"),
                ("--train-rows", "100000"),
                ("--batch", "3000"),
                ("--epochs", "20"),
            ],
        };
        all.iter()
            .map(|&(option, value)| (option, value.to_string()))
            .collect()
    }

    fn paper(self) -> Paper {
        let (about, scores, minutes) = match self {
            Experiment::Mnist => ("heat kernel", [0.982, 0.947, 0.958], None),
            Experiment::Fmnist => ("heat kernel", [0.687, 0.663, 0.535], None),
            Experiment::Mnist8m => ("a GTX 1080 Ti", [0.968, 0.923, 0.926], Some(1.36)),
            Experiment::ImagenetShape => (
                "of CLIP's embeddings of ImageNet itself, a GTX 1080 Ti",
                [0.624, 0.813, 0.473],
                Some(5.23),
            ),
        };
        Paper {
            about,
            scores,
            minutes,
        }
    }
}

/// Arguments of `reproduce`.
#[derive(Args)]
pub struct ReproduceArgs {
    /// Which experiment
    #[arg(value_enum)]
    experiment: Experiment,

    /// A folder in MNIST's layout: the images of mnist and fmnist, what mnist8m is made of
    #[arg(long, value_name = "DIR")]
    from: Option<String>,

    /// Rows in a file instead of made ones: what an earlier call made, or embeddings of your own
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "rows"])]
    data: Option<PathBuf>,

    /// Labels of --data, which only score
    #[arg(long, value_name = "FILE", requires = "data")]
    labels: Option<PathBuf>,

    /// Rows to make, for a smaller experiment [default: as many as the paper has]
    #[arg(long, value_name = "N")]
    rows: Option<u64>,

    /// Folder of the run; rows that are made stay beside it, in RUN.npy and RUN-labels.npy. When it was stopped, the same command,
    /// without --overwrite, goes on where it was, with the rows that are made and with the training, to the same bits [default:
    /// runs/reproduce-EXPERIMENT]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,

    /// Replace the run that is in --out, and the rows beside it
    #[arg(long)]
    overwrite: bool,

    /// Seed of the run and of rows that are made
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    cache: CacheOptions,
    #[command(flatten)]
    device: DeviceArgs,

    /// More options of fit, in the place of those of the experiment, as in `-- --train-rows 50000`
    #[arg(last = true, value_name = "FIT OPTIONS")]
    more: Vec<OsString>,
}

/// A command line of `fit`.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct FitLine {
    #[command(flatten)]
    fit: FitArgs,
}

/// Makes the data where it has to be made, trains, and prints the row.
pub fn run(args: ReproduceArgs, console: &mut Console) -> Result<()> {
    let experiment = args.experiment;
    let folder = format!("runs/reproduce-{}", experiment.name());
    let out = args.out.clone().unwrap_or_else(|| folder.into());
    let run = RunFolder::at(out.clone());
    let goes_on = !args.overwrite && run.is_unfinished();
    let line = |data: &Path, labels: Option<&Path>| fit_line(&args, goes_on, &out, data, labels);
    // A run that goes on is one of the same options.
    let same = |words: Vec<OsString>, rows: Option<usize>| match goes_on {
        true => fit::check_same(parsed(words.clone())?, rows, &run).map(|()| words),
        false => Ok(words),
    };
    let mut made = None;
    let words = match (experiment.made(), &args.data) {
        (_, Some(data)) => same(line(data, args.labels.as_deref())?, None)?,
        (None, None) => {
            let Some(from) = &args.from else {
                return Err(Error::option(
                    "--from",
                    format!("{} is not built in", experiment.name()),
                    "name the folder of its four files (train-images-idx3-ubyte.gz and so on)",
                ));
            };
            if args.rows.is_some() {
                return Err(Error::option(
                    "--rows",
                    format!("{} is not made", experiment.name()),
                    "leave it away: all images are labelled; `-- --train-rows N` says how many are trained on",
                ));
            }
            same(line(Path::new(from), None)?, None)?
        }
        (Some((name, rows)), None) => {
            let (data, labels) = files_beside(&out)?;
            let rows = args.rows.unwrap_or(rows);
            let count = usize::try_from(rows).unwrap_or(usize::MAX);
            values::at_least("--rows", 1, count)?;
            // A mistyped option, or one that does not go with so many rows, is told before the long work.
            let words = line(&data, Some(&labels))?;
            fit::check(parsed(words.clone())?, count)?;
            if name == generate::MNIST8M
                && let Some(from) = &args.from
                && Dataset::open_training(from)?.labels().is_none()
            {
                return Err(Error::option(
                    "--from",
                    format!("{from} has no labels, which the row of the table needs"),
                    "name a folder in MNIST's layout; or generate mnist8m, and fit that",
                ));
            }
            let words = same(words, Some(count))?;
            let _reserved = match goes_on {
                true => run.enter()?,
                false => run.reserve(args.overwrite, &[])?,
            };
            let existing = match args.overwrite {
                true => Existing::Replace,
                false => Existing::Keep,
            };
            let options = GenerateArgs {
                name: name.into(),
                rows,
                from: args.from.clone(),
                output: data,
                seed: args.seed,
                device: args.device,
            };
            made = Some(generate::generate(&options, existing, console)?);
            words
        }
    };
    let shown: Vec<String> = words.iter().map(|word| quoted(&word.to_string_lossy())).collect();
    let command = format!("neuncut fit {}", shown.join(" "));
    console.line(&command);
    let (metrics, run) = fit::fitted(parsed(words)?, console)?;

    let mut phases = Vec::new();
    // Of what an earlier process did, the time is not known.
    let mut whole = !goes_on;
    if let Some(made) = &made {
        let phase = match made.written.resumed {
            0 => "generating",
            _ => "generating the rest",
        };
        whole &= made.written.resumed == 0;
        phases.push((phase.to_string(), made.seconds));
    }
    phases.extend(metrics.phases());
    let paper = experiment.paper();
    let mut value = json!(metrics);
    value["experiment"] = json!(experiment.name());
    value["command"] = json!(command);
    value["run"] = json!(run.path());
    value["phases"] = json!(phases);
    let [acc, nmi, ari] = paper.scores;
    value["paper"] =
        json!({ "about": paper.about, "acc": acc, "nmi": nmi, "ari": ari, "minutes": paper.minutes });
    let text = row(&metrics, &phases, whole, &paper, &run.report_file());
    console.result(value, &text)
}

/// The command line of `fit` that makes the run, or goes on with it.
fn fit_line(
    args: &ReproduceArgs,
    goes_on: bool,
    out: &Path,
    data: &Path,
    labels: Option<&Path>,
) -> Result<Vec<OsString>> {
    let device = args.device;
    let mut options = args.experiment.options();
    options.extend([
        ("--seed", args.seed.to_string()),
        ("--device", device.device.to_string()),
        ("--precision", device.precision.to_string()),
        ("--threads", device.threads.to_string()),
    ]);
    // Those that are given stand in the place of the experiment's.
    let given: Vec<String> = args
        .more
        .iter()
        .map(|word| option_of(&word.to_string_lossy()))
        .collect();
    if let Some(own) = given.iter().find(|word| OWN.contains(&word.as_str())) {
        return Err(Error::option(
            "options of fit",
            format!("{own} is for reproduce to say"),
            "give --out, --overwrite, --cache, and --data with --labels before the --; neuncut fit has --resume and --config",
        ));
    }
    options.retain(|(option, _)| !given.iter().any(|word| word == option));
    let mut words: Vec<OsString> = vec![data.into()];
    for (option, value) in options {
        words.extend([option.into(), value.into()]);
    }
    if let Some(labels) = labels {
        words.extend(["--labels".into(), labels.into()]);
    }
    words.extend(["--out".into(), out.into()]);
    if args.overwrite {
        words.push("--overwrite".into());
    }
    if goes_on {
        words.push("--resume".into());
    }
    if let Some(cache) = &args.cache.cache {
        words.extend(["--cache".into(), cache.into()]);
    }
    words.extend(args.more.iter().cloned());
    parsed(words.clone())?;
    Ok(words)
}

/// What the rows and labels of the run in `out` are called.
fn files_beside(out: &Path) -> Result<(PathBuf, PathBuf)> {
    let Some(name) = out.file_name() else {
        return Err(Error::option(
            "--out",
            format!("{} has no name that rows beside it could bear", out.display()),
            "name a folder, as in runs/mine",
        ));
    };
    let mut name = name.to_os_string();
    name.push(".npy");
    let data = out.with_file_name(name);
    let labels = labels_beside(&data);
    Ok((data, labels))
}

/// The option that a word of a command line is, in its long form.
fn option_of(word: &str) -> String {
    match word.strip_prefix("-k") {
        Some(_) => "--clusters".into(),
        None => word.split('=').next().unwrap_or_default().into(),
    }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./=,:-+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn parsed(words: Vec<OsString>) -> Result<FitArgs> {
    match FitLine::try_parse_from(words) {
        Ok(line) => Ok(line.fit),
        Err(answer) if parse::is_help(&answer) => answer.exit(),
        Err(answer) => Err(Error::option(
            "options of fit",
            parse::one_line(&answer),
            "give behind -- what neuncut fit takes",
        )),
    }
}

/// The row for people, beside the paper's.
fn row(metrics: &Metrics, phases: &[(String, f64)], whole: bool, paper: &Paper, report: &Path) -> String {
    let line = |name: &str, scores: Option<[f64; 3]>, minutes: Option<f64>, about: &str| {
        let minutes = minutes.map_or("-".to_string(), |minutes| format!("{minutes:.2}"));
        let [acc, nmi, ari] = match scores {
            Some(scores) => scores.map(|score| format!("{score:.3}")),
            None => ["-", "-", "-"].map(String::from),
        };
        format!("{name:<12} {acc:>6} {nmi:>6} {ari:>6} {minutes:>8}  {about}\n")
    };
    let mut text = format!(
        "{:<12} {:>6} {:>6} {:>6} {:>8}\n",
        "", "ACC", "NMI", "ARI", "minutes"
    );
    let all: f64 = phases.iter().map(|(_, seconds)| seconds).sum();
    let about = format!("{} rows on {}", metrics.rows, metrics.device);
    let scores = metrics.scores.map(|scores| [scores.acc, scores.nmi, scores.ari]);
    text += &line("neuncut", scores, whole.then_some(all / 60.0), &about);
    text += &line("the paper", Some(paper.scores), paper.minutes, paper.about);
    for (phase, seconds) in phases {
        text += &format!("{phase:<20} {seconds:>8.1} s\n");
    }
    text + &format!("report       {}", report.display())
}
