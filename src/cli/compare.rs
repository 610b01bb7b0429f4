//! `neuncut compare`

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use neuncut::baselines::{self, Task};
use neuncut::data::Dataset;
use neuncut::fit::{CheckpointEvery, Start, fit, needs};
use neuncut::ops::{Cut, Ops};
use neuncut::options::FitOptions;
use neuncut::prepare::prepare;
use neuncut::progress::Progress;
use neuncut::report::Sheet;
use neuncut::report::comparison::{Measure, mean_and_deviation, sheet};
use neuncut::run_folder::RunFolder;
use neuncut::{Error, Result, atomic, values};
use serde_json::{Value, json};

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};
use super::options::{CacheOptions, FitGroups, LandmarkOptions};

/// Arguments of `compare`.
#[derive(Args)]
pub struct CompareArgs {
    #[command(flatten)]
    fit: FitGroups,
    #[command(flatten)]
    landmarks: LandmarkOptions,

    /// Methods, separated by commas: neuncut (as fit does it), kmeans, spectral, nystrom, landmark (as baseline does them; the
    /// last two for --cut ncut only) [default: all that --cut allows]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    methods: Option<Vec<Method>>,

    /// Runs of each method, with the seeds from --seed on
    #[arg(long, value_name = "N", default_value_t = 5)]
    seeds: u64,

    /// Folder for the comparison: runs.jsonl (a line for each run, as they come), comparison.json, comparison.html, comparison.svg,
    /// and the runs of neuncut [default: comparisons/DATA-kK]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,

    /// Go on with the comparison in --out: runs that are there are not made again
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,

    /// Replace the comparison in --out
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    cache: CacheOptions,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A method that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Neuncut,
    Baseline(baselines::Method),
}

impl FromStr for Method {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "neuncut" => Ok(Method::Neuncut),
            other => other
                .parse()
                .map(Method::Baseline)
                .map_err(|advice: String| advice.replace("choose from ", "choose from neuncut, ")),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Method::Neuncut => "neuncut",
            Method::Baseline(method) => method.name(),
        })
    }
}

/// Runs the methods, and compares them.
pub fn run(args: CompareArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    values::at_least("--seeds", 1, args.seeds as usize)?;
    args.fit.data.graph_preparation(&args.fit.graph)?;
    let cut = args.fit.cut.cut.unwrap_or(Cut::Ncut);
    let check = |method: &Method| match method {
        Method::Neuncut => Ok(()),
        Method::Baseline(method) => method.check(cut),
    };
    let mut methods = match args.methods {
        Some(methods) => {
            methods.iter().try_for_each(check)?;
            methods
        }
        None => {
            let baselines = baselines::Method::ALL.map(Method::Baseline);
            let all = std::iter::once(Method::Neuncut).chain(baselines);
            all.filter(|method| check(method).is_ok()).collect()
        }
    };
    let landmarks = args.landmarks.count()?;
    let data = args.cache.of(args.fit.data.open(&args.fit.truth)?, console)?;
    let (options, _) = args.fit.resolve(args.device)?;
    let mut seen = Vec::new();
    methods.retain(|method| {
        !seen.contains(method) && {
            seen.push(*method);
            true
        }
    });
    let path = args.out.unwrap_or_else(|| {
        let stem = Path::new(&options.data)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        PathBuf::from("comparisons").join(format!("{stem}-k{}", options.clusters))
    });
    let folder = Folder { path };
    let settings = settings(&options, landmarks);
    let runs = args.device.run(Comparison {
        methods: &methods,
        seeds: options.seed..options.seed.saturating_add(args.seeds),
        options: &options,
        landmarks,
        data: &data,
        folder: &folder,
        settings: &settings,
        resume: args.resume,
        overwrite: args.overwrite,
        console,
    });
    let mut runs = runs.map_err(|error| match error {
        Error::Interrupted(_) => Error::Interrupted(format!(
            "finished runs are in {}; go on with the same command and --resume",
            folder.file("runs.jsonl").display()
        )),
        other => other,
    })?;
    runs.sort_by_key(|run| {
        methods
            .iter()
            .position(|method| run["method"] == method.to_string())
    });

    let drawing = drawing(&data, &options, &methods, &runs);
    let value = summary(&data, &options, &methods, runs, &folder);
    atomic::write(folder.file("comparison.json"), format!("{value:#}\n"))?;
    atomic::write(folder.file("comparison.html"), drawing.to_html())?;
    atomic::write(folder.file("comparison.svg"), drawing.to_svg())?;
    let text = format!(
        "{}\n\n{}",
        drawing.table.to_text(),
        folder.file("comparison.html").display()
    );
    console.result(value, &text)
}

/// What must be the same in a comparison that goes on; seeds and methods may be added.
fn settings(options: &FitOptions, landmarks: usize) -> Value {
    let mut settings = json!(options);
    settings["landmarks"] = json!(landmarks);
    settings.as_object_mut().map(|table| table.remove("seed"));
    settings
}

/// The folder of a comparison.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the folder, or goes on with what is there: the runs that are done.
    fn enter(&self, settings: &Value, resume: bool, overwrite: bool) -> Result<Vec<Value>> {
        let (runs, stored) = (self.file("runs.jsonl"), self.file("settings.json"));
        if resume {
            let read = |path: &Path| {
                fs::read_to_string(path).map_err(|e| Error::io(path, "read the comparison to go on with", e))
            };
            if read(&stored)?.trim() != format!("{settings:#}") {
                return Err(Error::option(
                    "--resume",
                    format!(
                        "the comparison in {} was begun with other options",
                        self.path.display()
                    ),
                    "give the same ones, or another --out",
                ));
            }
            // A last line that was cut short is of a run that is made again.
            let lines = read(&runs)?;
            let done: Vec<Value> = lines
                .lines()
                .map_while(|line| serde_json::from_str(line).ok())
                .collect();
            let text: String = done.iter().map(|run| format!("{run}\n")).collect();
            atomic::write(runs, text)?;
            return Ok(done);
        }
        if runs.exists() && !overwrite {
            return Err(Error::file(
                &self.path,
                "there is a comparison in this folder already",
                "choose another --out, go on with it by --resume, or replace it by --overwrite",
            ));
        }
        fs::create_dir_all(&self.path)
            .map_err(|e| Error::io(&self.path, "make the comparison's folder", e))?;
        atomic::write(&stored, format!("{settings:#}\n"))?;
        atomic::write(runs, "")?;
        Ok(Vec::new())
    }

    /// Adds a finished run.
    fn append(&self, run: &Value) -> Result<()> {
        let path = self.file("runs.jsonl");
        let file = OpenOptions::new().append(true).open(&path);
        file.and_then(|mut file| writeln!(file, "{run}"))
            .map_err(|e| Error::io(&path, "append a run", e))
    }
}

struct Comparison<'a> {
    methods: &'a [Method],
    seeds: std::ops::Range<u64>,
    options: &'a FitOptions,
    landmarks: usize,
    data: &'a Dataset,
    folder: &'a Folder,
    settings: &'a Value,
    resume: bool,
    overwrite: bool,
    console: &'a mut Console,
}

impl Job for Comparison<'_> {
    type Output = Vec<Value>;
    fn run<O: Ops>(self, ops: &O) -> Result<Vec<Value>> {
        self.check_memory::<O>()?;
        // Nothing is left behind of what is refused.
        let done = self.folder.enter(self.settings, self.resume, self.overwrite)?;
        let mut runs = Vec::new();
        for seed in self.seeds.clone() {
            // Once for all baselines of a seed.
            let mut prepared = None;
            let options = FitOptions {
                seed,
                ..self.options.clone()
            };
            for &method in self.methods {
                let known = |run: &&Value| run["method"] == method.to_string() && run["seed"] == seed;
                if let Some(run) = done.iter().find(known) {
                    runs.push(run.clone());
                    continue;
                }
                let began = Instant::now();
                let run = match method {
                    Method::Neuncut => neuncut(ops, &options, self.data, self.folder, self.console)?,
                    Method::Baseline(method) => {
                        if prepared.is_none() {
                            let mut preparation = options.preparation();
                            prepared = Some(prepare(ops, &mut preparation, self.data, self.console)?);
                        }
                        let Some(prepared) = &prepared else {
                            unreachable!("made above");
                        };
                        let task = self.task(seed);
                        json!(baselines::run(
                            ops,
                            method,
                            &task,
                            prepared,
                            self.data,
                            self.console
                        )?)
                    }
                };
                self.console.line(&format!(
                    "{method} seed {seed}: {} in {:.1} s",
                    scores_text(&run),
                    began.elapsed().as_secs_f64()
                ));
                self.folder.append(&run)?;
                runs.push(run);
            }
        }
        Ok(runs)
    }
}

impl Comparison<'_> {
    /// What the baselines are asked for.
    fn task(&self, seed: u64) -> Task {
        Task {
            clusters: self.options.clusters,
            cut: self.options.cut,
            landmarks: self.landmarks,
            sigma: self.options.sigma,
            seed,
        }
    }

    /// Refuses a comparison of which a method would need too much memory after others have run.
    fn check_memory<O: Ops>(&self) -> Result<()> {
        let (preparation, task) = (self.options.preparation(), self.task(self.options.seed));
        for method in self.methods {
            match method {
                Method::Neuncut => needs::<O>(self.options, self.data)?.check()?,
                Method::Baseline(method) => {
                    baselines::needs::<O>(*method, &task, &preparation, self.data)?.check()?;
                }
            }
        }
        Ok(())
    }
}

/// A run of fit in a folder of its own.
fn neuncut<O: Ops>(
    ops: &O,
    options: &FitOptions,
    data: &Dataset,
    folder: &Folder,
    console: &mut Console,
) -> Result<Value> {
    let run = RunFolder::at(folder.file(&format!("neuncut-seed{}", options.seed)));
    let _reserved = run.reserve(true, &[])?;
    let every = CheckpointEvery(f64::INFINITY);
    let metrics = fit(ops, options, data.clone(), &run, Start::Anew, every, console)?;
    let mut value = json!(metrics);
    value["method"] = json!("neuncut");
    value["seed"] = json!(options.seed);
    value["run"] = json!(run.path());
    Ok(value)
}

fn scores_text(run: &Value) -> String {
    let number = |name: &str| run[name].as_f64();
    let acc = number("acc").map_or(String::new(), |acc| format!("ACC {acc:.4} "));
    let cut = |name| number(name).unwrap_or(f64::NAN);
    format!("{acc}Ncut {:.4} Rcut {:.4}", cut("ncut"), cut("rcut"))
}

/// Field, name, caption and digits of what is compared.
const MEASURES: [(&str, &str, &str, usize); 6] = [
    (
        "acc",
        "ACC",
        "Accuracy under the best map of clusters to classes, over all rows; larger is better.",
        4,
    ),
    (
        "nmi",
        "NMI",
        "Normalised mutual information with the classes; larger is better.",
        4,
    ),
    ("ari", "ARI", "Adjusted Rand index; larger is better.", 4),
    (
        "ncut",
        "Ncut",
        "Exact normalised cut of the training graph, by no labels; smaller is better.",
        4,
    ),
    (
        "rcut",
        "Rcut",
        "Exact ratio cut of the same graph; smaller is better.",
        4,
    ),
    (
        "seconds",
        "seconds",
        "Wall time from the first row read to the last label.",
        2,
    ),
];

fn of_method<'a>(runs: &'a [Value], method: &'a Method, field: &'a str) -> Vec<f64> {
    let own = runs.iter().filter(|run| run["method"] == method.to_string());
    own.filter_map(|run| run[field].as_f64()).collect()
}

fn drawing(data: &Dataset, options: &FitOptions, methods: &[Method], runs: &[Value]) -> Sheet {
    let measures: Vec<Measure> = MEASURES
        .iter()
        .map(|&(field, name, caption, digits)| Measure {
            name: name.into(),
            caption: caption.into(),
            digits,
            values: methods
                .iter()
                .map(|method| of_method(runs, method, field))
                .collect(),
        })
        .collect();
    let names: Vec<String> = methods.iter().map(Method::to_string).collect();
    let rows = options.train_rows.min(data.rows());
    let each = runs.len().checked_div(methods.len()).unwrap_or(0);
    sheet(
        format!("{} in {} clusters", data.name(), options.clusters),
        format!(
            "{each} runs of each method, {rows} training rows, scored on all {}: mean ± standard deviation",
            data.rows()
        ),
        &names,
        &measures,
    )
}

/// All numbers: of each method over its runs, and of each run.
fn summary(
    data: &Dataset,
    options: &FitOptions,
    methods: &[Method],
    runs: Vec<Value>,
    folder: &Folder,
) -> Value {
    let of = |method: &Method| {
        let mut all = json!({ "method": method.to_string() });
        for (field, ..) in MEASURES {
            let values = of_method(&runs, method, field);
            if values.is_empty() {
                continue;
            }
            let (mean, deviation) = mean_and_deviation(&values);
            all[field] = json!({
                "mean": mean,
                "std": deviation,
                "min": values.iter().copied().fold(f64::INFINITY, f64::min),
                "max": values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            });
        }
        all
    };
    let table: Vec<Value> = methods.iter().map(of).collect();
    json!({
        "data": data.name(),
        "clusters": options.clusters,
        "rows": data.rows(),
        "train_rows": options.train_rows.min(data.rows()),
        "methods": table,
        "runs": runs,
        "out": folder.path,
    })
}
