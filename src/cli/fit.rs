//! `neuncut fit`

use std::path::{Path, PathBuf};

use clap::Args;
use neuncut::data::Dataset;
use neuncut::data::folder::BUILT_IN;
use neuncut::fit::{CheckpointEvery, Metrics, Start, fit};
use neuncut::ops::{Cut, Ops, Penalty, Volumes};
use neuncut::options::{
    self, Affinity, Arithmetic, Auto, Device, FitOptions, Hidden, Neighbors, Subgraph,
};
use neuncut::progress::Progress;
use neuncut::run_folder::{Reserved, RunFolder, config_error};
use neuncut::{Error, Result, values};
use serde::Deserialize;
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};

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

/// The options that a file can give too, each of which may be left out. All but the last three decide the outcome.
#[derive(Args, Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Partial {
    /// What to cluster: a file (IDX, IDX.gz, .npy, .npz, .safetensors, .csv), a folder in MNIST's layout, or the built-in
    /// mnist-t10k [default: mnist-t10k]
    data: Option<String>,

    /// Number of clusters (required here or in --config)
    #[arg(long, short = 'k', value_name = "K", help_heading = "Data")]
    clusters: Option<usize>,

    /// File of labels, one per row (.npy, .npz, .safetensors, IDX, .csv, .txt); they only score
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    labels: Option<String>,

    /// Rows drawn at random to train on; all rows are labelled [default: 20000]
    #[arg(long, value_name = "N", help_heading = "Data")]
    train_rows: Option<usize>,

    /// Transforms of the rows, in order: pixels (divide by 255), center (subtract the mean), unit (unit norm), rms (unit norm
    /// times sqrt(d)); none; or auto: pixels,center,unit for images, none for up to 3 columns, else center,unit [default: auto]
    #[arg(long, value_name = "LIST", help_heading = "Data")]
    features: Option<String>,

    /// What mini-batches' affinities are: knn (parts of the nearest-neighbour graph of all training rows), heat (the heat kernel
    /// between the rows of a mini-batch, as published), or a file with the sparse affinity of the training rows (.npz, as
    /// scipy.sparse.save_npz writes it) [default: knn]
    #[arg(long, value_name = "knn|heat|FILE", help_heading = "Affinity")]
    affinity: Option<Affinity>,

    /// Transforms of the rows that the graph is built on, as in --features, and standardize, whiten=0.1; auto: chosen from the data
    /// [default: auto]
    #[arg(long, value_name = "LIST", help_heading = "Affinity")]
    graph_features: Option<String>,

    /// Nearest others of each row that it has edges to; auto: twice the logarithm of the rows. With --affinity heat, entries kept in
    /// each row of a mini-batch's affinity; auto: 10; or all [default: auto]
    #[arg(long, value_name = "S|all|auto", help_heading = "Affinity")]
    neighbors: Option<Neighbors>,

    /// Width of the heat kernel, in the unit of the features; auto: on edges of the graph each row's own, the distance to its 7th
    /// neighbour; within mini-batches the median of that, over sqrt(2) [default: auto]
    #[arg(long, value_name = "S|auto", help_heading = "Affinity")]
    sigma: Option<Auto>,

    /// Weight of an edge that only one of its two ends chose, relative to one that both did: 0 leaves mutual neighbours, 0.5 is the
    /// mean of both directions, 1 the union [default: 0.1]
    #[arg(long, value_name = "W", help_heading = "Affinity")]
    one_sided: Option<f64>,

    /// Neighbours that each seed row brings into its mini-batch [default: 4]
    #[arg(long, value_name = "N", help_heading = "Affinity")]
    seed_neighbors: Option<usize>,

    /// How a mini-batch's part of the graph is kept: sparse, dense, or auto (whichever is less work) [default: auto]
    #[arg(long, value_name = "FORM", help_heading = "Affinity")]
    subgraph: Option<Subgraph>,

    /// What training begins with: spectral (labels of spectral clustering of the graph), kmeans, random, or a file of labels
    /// [default: spectral with a graph, else random]
    #[arg(long, value_name = "spectral|kmeans|random|FILE", help_heading = "Start")]
    start: Option<options::Start>,

    /// Epochs, at most, in which the network is fitted to the labels of the start [default: 100]
    #[arg(long, value_name = "E", help_heading = "Start")]
    warm_up: Option<usize>,

    /// Trainings from different starts, of which the one with the smallest exact cut of the graph is taken [default: 1]
    #[arg(long, value_name = "R", help_heading = "Start")]
    restarts: Option<usize>,

    /// Rounds of split and merge moves at most, each followed by another training [default: 0]
    #[arg(long, value_name = "N", help_heading = "Start")]
    moves: Option<usize>,

    /// Clusters to begin with, as a multiple of those wanted; they are merged, two at a time, by the exact cut of the graph
    /// [default: 1]
    #[arg(long, value_name = "F", help_heading = "Start")]
    overcluster: Option<f64>,

    /// Weight of the orthogonality penalty; auto: from the spectrum of a mini-batch graph [default: auto]
    #[arg(long, value_name = "G|auto", help_heading = "Loss")]
    gamma: Option<Auto>,

    /// Form of the penalty: squared, or frobenius (the norm over K) [default: squared]
    #[arg(long, value_name = "FORM", help_heading = "Loss")]
    penalty: Option<Penalty>,

    /// Whether gradients pass through the volumes: through or fixed [default: through]
    #[arg(long, value_name = "MODE", help_heading = "Loss")]
    volumes: Option<Volumes>,

    /// Cut that is relaxed: ncut (clusters measured by degrees) or rcut (by rows) [default: ncut]
    #[arg(long, value_name = "CUT", help_heading = "Loss")]
    cut: Option<Cut>,

    /// Widths of the hidden layers, or none [default: 512,512]
    #[arg(long, value_name = "LIST", help_heading = "Network and training")]
    hidden: Option<Hidden>,

    /// Rows per mini-batch [default: 1000, or all training rows if there are fewer]
    #[arg(long, value_name = "M", help_heading = "Network and training")]
    batch: Option<usize>,

    /// Passes over the training rows [default: 100]
    #[arg(long, value_name = "E", help_heading = "Network and training")]
    epochs: Option<usize>,

    /// Learning rate of Adam in the first epoch; falls along a half cosine [default: 0.005]
    #[arg(long, value_name = "RATE", help_heading = "Network and training")]
    lr: Option<f64>,

    /// L2 penalty on the weights, as part of the gradient [default: 0.0001]
    #[arg(long, value_name = "L2", help_heading = "Network and training")]
    weight_decay: Option<f64>,

    /// Seed of weights, shuffles and samples [default: 0]
    #[arg(long, value_name = "N", help_heading = "Network and training")]
    seed: Option<u64>,

    /// Where to compute: auto (the first GPU that works, else the CPU), cpu, cuda, cuda:1 (and so on), or reference (plain
    /// loops, for checks) [default: auto]
    #[arg(long, value_name = "DEVICE", help_heading = "Run")]
    device: Option<Device>,

    /// What to compute in: fp32, tf32x3, tf32, bf16; the reference also in f64; or auto: fp32 on the CPU, tf32x3 on a GPU, f64 in
    /// the reference [default: auto]
    #[arg(long, value_name = "PRECISION", help_heading = "Run")]
    precision: Option<Arithmetic>,

    /// CPU threads; 0 for one per core. The result does not depend on it [default: 0]
    #[arg(long, value_name = "N", help_heading = "Run")]
    threads: Option<usize>,

    /// Folder for the run [default: runs/DATA-kK-seedN]
    #[arg(long, value_name = "RUN", help_heading = "Run")]
    out: Option<PathBuf>,

    /// Least seconds between two checkpoints; 0 for one after every epoch [default: 10]
    #[arg(long, value_name = "SECONDS", help_heading = "Run")]
    checkpoint_seconds: Option<f64>,
}

impl Partial {
    /// What is given here, else what `other` gives.
    fn or(self, other: Partial) -> Partial {
        Partial {
            data: self.data.or(other.data),
            clusters: self.clusters.or(other.clusters),
            labels: self.labels.or(other.labels),
            train_rows: self.train_rows.or(other.train_rows),
            features: self.features.or(other.features),
            affinity: self.affinity.or(other.affinity),
            graph_features: self.graph_features.or(other.graph_features),
            one_sided: self.one_sided.or(other.one_sided),
            seed_neighbors: self.seed_neighbors.or(other.seed_neighbors),
            subgraph: self.subgraph.or(other.subgraph),
            start: self.start.or(other.start),
            warm_up: self.warm_up.or(other.warm_up),
            restarts: self.restarts.or(other.restarts),
            moves: self.moves.or(other.moves),
            overcluster: self.overcluster.or(other.overcluster),
            sigma: self.sigma.or(other.sigma),
            neighbors: self.neighbors.or(other.neighbors),
            gamma: self.gamma.or(other.gamma),
            penalty: self.penalty.or(other.penalty),
            volumes: self.volumes.or(other.volumes),
            cut: self.cut.or(other.cut),
            hidden: self.hidden.or(other.hidden),
            batch: self.batch.or(other.batch),
            epochs: self.epochs.or(other.epochs),
            lr: self.lr.or(other.lr),
            weight_decay: self.weight_decay.or(other.weight_decay),
            seed: self.seed.or(other.seed),
            device: self.device.or(other.device),
            precision: self.precision.or(other.precision),
            threads: self.threads.or(other.threads),
            out: self.out.or(other.out),
            checkpoint_seconds: self.checkpoint_seconds.or(other.checkpoint_seconds),
        }
    }

    fn source(&self) -> String {
        match self.data.as_deref().unwrap_or("mnist-t10k") {
            name if BUILT_IN.contains(&name) => name.to_string(),
            path => absolute(path),
        }
    }

    fn count(&self) -> Result<usize> {
        self.clusters.ok_or_else(|| {
            Error::option(
                "--clusters",
                "not given",
                "say how many clusters to look for, as in --clusters 10",
            )
        })
    }

    /// The run's folder, as given or as the options name it.
    fn folder(&self) -> Result<RunFolder> {
        let folder = match &self.out {
            Some(out) if out.as_os_str().is_empty() => {
                return Err(Error::option("--out", "an empty path", "name a folder"));
            }
            Some(out) => out.clone(),
            None => {
                let source = self.source();
                let stem = Path::new(&source).file_stem().unwrap_or_default();
                let (k, seed) = (self.count()?, self.seed.unwrap_or(0));
                PathBuf::from("runs").join(format!("{}-k{k}-seed{seed}", stem.to_string_lossy()))
            }
        };
        Ok(RunFolder::at(folder))
    }

    /// With the defaults filled in, and everything checked that can be without the data; the data too, where a default
    /// asks for it.
    fn resolve(self) -> Result<(FitOptions, Option<Dataset>)> {
        let (data, clusters) = (self.source(), self.count()?);
        let train_rows = self.train_rows.unwrap_or(20_000);
        values::at_least("--clusters", 2, clusters)?;
        values::at_least("--train-rows", 2, train_rows)?;
        let opened = match self.batch {
            Some(_) => None,
            None => Some(Dataset::open(&data)?),
        };
        let most = opened.as_ref().map_or(usize::MAX, Dataset::rows);
        let batch = self.batch.unwrap_or(most.min(train_rows).min(1000));
        let affinity = match self.affinity {
            Some(Affinity::File(path)) => Affinity::File(absolute(&path)),
            Some(other) => other,
            None => Affinity::Knn,
        };
        let heat = affinity == Affinity::Heat;
        let options = FitOptions {
            data,
            labels: self.labels.as_deref().map(absolute),
            clusters,
            train_rows,
            features: self.features.unwrap_or_else(|| "auto".into()),
            affinity: affinity.clone(),
            graph_features: self.graph_features.unwrap_or_else(|| "auto".into()),
            sigma: self.sigma.unwrap_or(Auto::Auto),
            neighbors: match self.neighbors.unwrap_or(Neighbors::Auto) {
                Neighbors::Auto if heat => Neighbors::Nearest(10),
                other => other,
            },
            one_sided: self.one_sided.unwrap_or(0.1),
            seed_neighbors: self.seed_neighbors.unwrap_or(4),
            subgraph: self.subgraph.unwrap_or(Subgraph::Auto),
            start: match self.start {
                Some(start) => start,
                None if heat => options::Start::Random,
                None => options::Start::Spectral,
            },
            warm_up: self.warm_up.unwrap_or(100),
            restarts: self.restarts.unwrap_or(1),
            moves: self.moves.unwrap_or(0),
            overcluster: self.overcluster.unwrap_or(1.0),
            gamma: self.gamma.unwrap_or(Auto::Auto),
            penalty: self.penalty.unwrap_or(Penalty::Squared),
            volumes: self.volumes.unwrap_or(Volumes::Through),
            cut: self.cut.unwrap_or(Cut::Ncut),
            hidden: self.hidden.unwrap_or(Hidden(vec![512, 512])),
            batch,
            epochs: self.epochs.unwrap_or(if heat { 100 } else { 20 }),
            lr: self.lr.unwrap_or(if heat { 5e-3 } else { 1e-3 }),
            weight_decay: self.weight_decay.unwrap_or(if heat { 1e-4 } else { 0.0 }),
            seed: self.seed.unwrap_or(0),
            device: self.device.unwrap_or(Device::Auto),
            precision: self.precision.unwrap_or_default(),
        };
        values::at_least("--batch", 2, options.batch)?;
        values::at_least("--epochs", 1, options.epochs)?;
        values::positive("--lr", options.lr)?;
        values::not_negative("--weight-decay", options.weight_decay)?;
        if let Auto::Value(sigma) = options.sigma {
            values::positive("--sigma", sigma)?;
        }
        if let Auto::Value(gamma) = options.gamma {
            values::not_negative("--gamma", gamma)?;
        }
        values::neighbors(options.neighbors)?;
        if let Some(&width) = options.hidden.0.iter().min() {
            values::at_least("--hidden", 1, width)?;
        }
        if options.features != "auto" {
            neuncut::features::parse("--features", &options.features)?;
        }
        Ok((options, opened))
    }
}

/// Trains, and prints the scores.
pub fn run(args: FitArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    let from_file = args
        .config
        .as_deref()
        .map(read_config)
        .transpose()?
        .unwrap_or_default();
    let options = args.options.or(from_file);
    let seconds = options.checkpoint_seconds.unwrap_or(10.0);
    values::not_negative("--checkpoint-seconds", seconds)?;
    let (every, threads) = (CheckpointEvery(seconds), options.threads.unwrap_or(0));
    let folder = options.folder()?;
    let metrics = if args.resume {
        let (options, _entered) = resume(options, &folder)?;
        match folder.load_metrics::<Metrics>()? {
            Some(metrics) => {
                console.line("this run is finished already");
                metrics
            }
            None => train(&options, None, &folder, Start::GoOn, every, threads, console)?,
        }
    } else {
        let (options, data) = options.resolve()?;
        let inputs = [Some(&options.data), options.labels.as_ref()];
        let inputs = inputs.into_iter().flatten().map(Path::new);
        let inputs: Vec<&Path> = inputs.chain(args.config.as_deref()).collect();
        let _reserved = folder.reserve(args.overwrite, &inputs)?;
        train(&options, data, &folder, Start::Anew, every, threads, console)?
    };
    for warning in &metrics.warnings {
        console.line(&format!("warning: {warning}"));
    }
    let text = table(&metrics, &folder);
    let mut value = json!(metrics);
    value["run"] = json!(folder.path());
    console.result(value, &text)
}

fn train(
    options: &FitOptions,
    data: Option<Dataset>,
    folder: &RunFolder,
    start: Start,
    every: CheckpointEvery,
    threads: usize,
    console: &mut Console,
) -> Result<Metrics> {
    let data = match data {
        Some(data) => data,
        None => Dataset::open(&options.data)?,
    };
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
    // What was left to the data then is a number in the run now.
    let given = Partial {
        features: given.features.filter(|list| list != "auto"),
        sigma: given.sigma.filter(|&sigma| sigma != Auto::Auto),
        gamma: given.gamma.filter(|&gamma| gamma != Auto::Auto),
        ..given
    };
    let table = |options: &FitOptions| toml::Table::try_from(options).unwrap_or_default();
    let (repeated, _) = given.or(read_config(&folder.config_file())?).resolve()?;
    let (stored_table, repeated_table) = (table(&stored), table(&repeated));
    for (name, value) in &repeated_table {
        if stored_table.get(name) != Some(value) {
            let stored = stored_table
                .get(name)
                .map_or("not given".to_string(), toml::Value::to_string);
            return Err(Error::option(
                "--resume",
                format!(
                    "the run in {} was begun with {name} = {stored}, not {value}",
                    folder.path().display()
                ),
                "leave that option away, or start another run in another --out",
            ));
        }
    }
    Ok((stored, entered))
}

/// A path as it can be found from any folder; as given where it has no such form in UTF-8.
fn absolute(path: &str) -> String {
    let found = std::path::absolute(path).ok();
    let found = found.and_then(|found| found.into_os_string().into_string().ok());
    found.unwrap_or_else(|| path.to_string())
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
    row("sigma", format!("{:.4}", metrics.sigma));
    row("gamma", format!("{:.4}", metrics.gamma));
    row("seconds", format!("{:.1} on {}", metrics.seconds, metrics.device));
    row("report", folder.report_file().display().to_string());
    text.trim_end().to_string()
}

fn sizes(sizes: &[u64]) -> String {
    const MOST: usize = 20;
    let shown: Vec<String> = sizes.iter().take(MOST).map(u64::to_string).collect();
    let more = if sizes.len() > MOST {
        format!(" ... of {} clusters", sizes.len())
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(" "))
}
