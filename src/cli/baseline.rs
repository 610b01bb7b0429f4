//! `neuncut baseline`

use std::path::{Path, PathBuf};

use clap::Args;
use neuncut::baselines::{self, Method, Outcome, Task};
use neuncut::data::Dataset;
use neuncut::data::npy::LabelWriter;
use neuncut::ops::{Cut, Ops};
use neuncut::options::Preparation;
use neuncut::prepare::prepare;
use neuncut::progress::Progress;
use neuncut::train::collapse;
use neuncut::{Result, values};
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};
use super::fit::sizes;
use super::options::{CacheOptions, CutOptions, DataOptions, GraphOptions, LandmarkOptions, TruthOptions};

/// Arguments of `baseline`.
#[derive(Args)]
pub struct BaselineArgs {
    /// kmeans (of the features, 10 starts, or fewer beyond 100 clusters), spectral (spectral clustering of the graph, as Ng, Jordan and Weiss do it; other rows
    /// take the label of most of their 5 nearest training rows), nystrom (spectral clustering of the dense heat kernel, extended
    /// from landmarks), or landmark (of the graph in which rows are tied through their nearest landmarks); the last two for
    /// --cut ncut only
    method: Method,

    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    truth: TruthOptions,
    #[command(flatten)]
    graph: GraphOptions,
    #[command(flatten)]
    cut: CutOptions,
    #[command(flatten)]
    landmarks: LandmarkOptions,

    /// Where the labels go: .npy, one unsigned 32-bit number for each row of the data
    #[arg(long, short, value_name = "LABELS.npy")]
    output: Option<PathBuf>,

    #[command(flatten)]
    cache: CacheOptions,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Clusters the rows, and prints the scores.
pub fn run(args: BaselineArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    let task = Task {
        clusters: args.data.count()?,
        cut: args.cut.cut.unwrap_or(Cut::Ncut),
        landmarks: args.landmarks.count()?,
        sigma: args.graph.sigma.unwrap_or(neuncut::options::Auto::Auto),
        seed: args.data.seed.unwrap_or(0),
    };
    args.method.check(task.cut)?;
    let preparation = args.data.graph_preparation(&args.graph)?;
    if let Some(path) = &args.output {
        let inputs = args.data.inputs(&args.truth);
        values::output(
            path,
            "npy",
            &inputs.iter().map(PathBuf::as_path).collect::<Vec<&Path>>(),
        )?;
    }
    let data = args.cache.of(args.data.open(&args.truth)?, console)?;
    let outcome = args.device.run(Baseline {
        method: args.method,
        task,
        preparation,
        data: &data,
        console,
    })?;
    if let Some(path) = &args.output {
        let mut writer = LabelWriter::create(path, outcome.labels.len())?;
        writer.write(&outcome.labels)?;
        writer.commit()?;
    }
    let warnings: Vec<String> = collapse(&outcome.sizes).into_iter().collect();
    for warning in &warnings {
        console.line(&format!("warning: {warning}"));
    }
    let mut value = json!(outcome);
    value["warnings"] = json!(warnings);
    value["labels"] = json!(args.output);
    console.result(value, &table(&outcome, args.output.as_deref()))
}

/// The outcome for people.
fn table(outcome: &Outcome, output: Option<&Path>) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<12} {value}\n"));
    row("method", outcome.method.into());
    if let Some(scores) = outcome.scores {
        row("ACC", format!("{:.4}", scores.acc));
        row("NMI", format!("{:.4}", scores.nmi));
        row("ARI", format!("{:.4}", scores.ari));
    }
    row(
        "Ncut",
        format!(
            "{:.4}  (exact, on {} training rows)",
            outcome.cuts.ncut, outcome.cut_rows
        ),
    );
    row(
        "rows",
        format!("{} labelled, {} clustered", outcome.rows, outcome.train_rows),
    );
    row("clusters", sizes(&outcome.sizes));
    row("seconds", format!("{:.1} on {}", outcome.seconds, outcome.device));
    if let Some(path) = output {
        row("labels", path.display().to_string());
    }
    text.trim_end().to_string()
}

struct Baseline<'a> {
    method: Method,
    task: Task,
    preparation: Preparation,
    data: &'a Dataset,
    console: &'a mut Console,
}

impl Job for Baseline<'_> {
    type Output = Outcome;
    fn run<O: Ops>(self, ops: &O) -> Result<Outcome> {
        let mut preparation = self.preparation;
        self.console.line(&format!(
            "{}: {} rows of {} numbers",
            self.data.name(),
            self.data.rows(),
            self.data.cols()
        ));
        baselines::needs::<O>(self.method, &self.task, &preparation, self.data)?.check()?;
        let prepared = prepare(ops, &mut preparation, self.data, self.console)?;
        self.console.line(&format!(
            "features {}; graph of {} neighbours on {}",
            preparation.features, preparation.neighbors, preparation.graph_features
        ));
        baselines::run(ops, self.method, &self.task, &prepared, self.data, self.console)
    }
}
