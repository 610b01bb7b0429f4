//! `neuncut evaluate`

use std::path::PathBuf;

use clap::Args;
use neuncut::data::csr::Csr;
use neuncut::data::{Dataset, Labels};
use neuncut::features::{self, Pipeline, Reader};
use neuncut::graph::{Cuts, build};
use neuncut::ops::{HeatKernel, Ops};
use neuncut::options::{Affinity, Auto, Neighbors};
use neuncut::run_folder::RunFolder;
use neuncut::scores::{Contingency, Mean, acc, ari, nmi};
use neuncut::{Error, Result, prepare, values};
use serde_json::{Value, json};

use super::console::Console;
use super::device::{DeviceArgs, Job};
use super::options::CacheOptions;

/// Arguments of `evaluate`.
#[derive(Args)]
pub struct EvaluateArgs {
    /// The labelling to judge: .npy, .npz, .safetensors, IDX, .csv or .txt
    #[arg(long, value_name = "FILE")]
    predictions: PathBuf,

    /// True labels, for ACC, NMI and ARI
    #[arg(long, value_name = "FILE", required_unless_present_any = ["data", "graph", "run"])]
    labels: Option<PathBuf>,

    /// A graph, for the exact Ncut and Rcut, which need no true labels: .npz, as `neuncut graph`, `fit` and scipy.sparse.save_npz
    /// write it. There must be a prediction for each of its rows
    #[arg(long, value_name = "GRAPH.npz", conflicts_with_all = ["data", "run"])]
    graph: Option<PathBuf>,

    /// Rows that were labelled, for the exact cuts under a graph of theirs. Time grows with the square of the rows
    #[arg(long, value_name = "DATA")]
    data: Option<String>,

    /// The exact cuts under the training graph of this run; there must be a prediction for each row of its data, or for each training
    /// row. With --data: under a graph of those rows that is made as this run's was
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,

    /// With --data: transforms of the rows, as in fit [default: auto]
    #[arg(long, value_name = "LIST", requires = "data", conflicts_with = "run")]
    features: Option<String>,

    /// With --data: width of the heat kernel [default: none; required without --run]
    #[arg(long, value_name = "S", requires = "data", conflicts_with = "run")]
    sigma: Option<f64>,

    /// With --data: entries kept in each row of the affinity, or all [default: all]
    #[arg(long, value_name = "S|all", requires = "data", conflicts_with = "run")]
    neighbors: Option<Neighbors>,

    /// Clusters that were asked for: those without a row raise the exact cuts, as in fit [default: those of --run, else as many as
    /// there are different predictions]
    #[arg(long, short = 'k', value_name = "K")]
    clusters: Option<usize>,

    #[command(flatten)]
    cache: CacheOptions,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Prints the scores.
pub fn run(args: EvaluateArgs, console: &mut Console) -> Result<()> {
    let began = std::time::Instant::now();
    let predictions = Labels::open(&args.predictions)?;
    let clusters = asked_for(&args, predictions.classes.len())?;
    let mut value = json!({ "rows": predictions.len(), "clusters": clusters });
    let mut lines = Vec::new();
    if let Some(path) = &args.labels {
        let truth = Labels::open(path)?;
        if truth.len() != predictions.len() {
            return Err(Error::file(
                path,
                format!("{} labels for {} predictions", truth.len(), predictions.len()),
                "both files must speak of the same rows",
            ));
        }
        let table = Contingency::new(&predictions.index, clusters, &truth.index, truth.classes.len())?;
        for (name, label, score) in [
            ("acc", "ACC", acc(&table)),
            ("nmi", "NMI", nmi(&table, Mean::Geometric)),
            (
                "nmi_arithmetic",
                "NMI (arithmetic mean)",
                nmi(&table, Mean::Arithmetic),
            ),
            ("ari", "ARI", ari(&table)),
        ] {
            value[name] = json!(score);
            lines.push(format!("{label:<22} {score:.4}"));
        }
    }
    if let Some(cuts) = exact_cuts(&args, &predictions, clusters, console)? {
        value["ncut"] = json!(cuts.ncut);
        value["rcut"] = json!(cuts.rcut);
        lines.push(format!("{:<22} {:.6}", "Ncut", cuts.ncut));
        lines.push(format!("{:<22} {:.6}", "Rcut", cuts.rcut));
    }
    value["seconds"] = Value::from(began.elapsed().as_secs_f64());
    console.result(value, &lines.join("\n"))
}

/// How many clusters were asked for, when `seen` have rows.
fn asked_for(args: &EvaluateArgs, seen: usize) -> Result<usize> {
    match (args.clusters, &args.run) {
        (Some(given), _) => values::at_least("--clusters", seen, given).map(|()| given),
        // The predictions may be of another origin, in more clusters.
        (None, Some(run)) => Ok(RunFolder::at(run).load_options()?.clusters.max(seen)),
        (None, None) => Ok(seen),
    }
}

/// The exact cuts, under whatever graph is given.
fn exact_cuts(
    args: &EvaluateArgs,
    predictions: &Labels,
    clusters: usize,
    console: &mut Console,
) -> Result<Option<Cuts>> {
    if let Some(source) = &args.data {
        let job = OfRows {
            args,
            source,
            predictions,
            clusters,
            console,
        };
        return args.device.run(job).map(Some);
    }
    let (path, chosen) = match (&args.graph, &args.run) {
        (Some(path), _) => (path.clone(), None),
        (None, Some(run)) => {
            let run = RunFolder::at(run);
            if !run.graph_file().exists() {
                return Err(Error::file(
                    run.path(),
                    "this run has no graph: its affinity was the heat kernel within mini-batches",
                    "give --data too, for the heat kernel between all its rows",
                ));
            }
            let rows = Labels::open(run.labels_file())?.len();
            (
                run.graph_file(),
                Some((rows, Labels::open(run.training_rows_file())?)),
            )
        }
        (None, None) => return Ok(None),
    };
    let graph = Csr::open(&path)?;
    let given = &predictions.index;
    let labels = match chosen {
        _ if given.len() == graph.rows() => Some(given.clone()),
        // Of all rows of the run's data: no other number than that of the run's own labels will do.
        Some((rows, chosen)) if rows == given.len() && chosen.len() == graph.rows() => {
            let row = |at: u32| usize::try_from(chosen.classes[at as usize]).ok();
            let label = |&at: &u32| given.get(row(at)?).copied();
            chosen.index.iter().map(label).collect()
        }
        _ => None,
    };
    let labels = labels.ok_or_else(|| {
        Error::file(
            &args.predictions,
            format!(
                "{} predictions for the {} rows of the graph in {}",
                given.len(),
                graph.rows(),
                path.display()
            ),
            "both must speak of the same rows",
        )
    })?;
    Ok(Some(Cuts::of_graph(&graph, &labels, clusters)))
}

struct OfRows<'a> {
    args: &'a EvaluateArgs,
    source: &'a str,
    predictions: &'a Labels,
    clusters: usize,
    console: &'a mut Console,
}

impl Job for OfRows<'_> {
    type Output = Cuts;
    fn run<O: Ops>(self, ops: &O) -> Result<Cuts> {
        cuts_of_rows(ops, self)
    }
}

fn cuts_of_rows<O: Ops>(ops: &O, job: OfRows) -> Result<Cuts> {
    let OfRows {
        args,
        source,
        predictions,
        clusters,
        console,
    } = job;
    let data = args.cache.of(Dataset::open(source)?, console)?;
    if data.rows() != predictions.len() {
        return Err(Error::file(
            &args.predictions,
            format!(
                "{} predictions for the {} rows of {}",
                predictions.len(),
                data.rows(),
                data.name()
            ),
            "both must speak of the same rows",
        ));
    }
    let (x, kernel) = match &args.run {
        Some(run) => {
            let run = RunFolder::at(run);
            let options = run.load_options()?;
            let pipeline = run.load_pipeline()?;
            if options.affinity == Affinity::Knn {
                let x = Pipeline::load(&run.graph_features_file())?.rows(ops, &data, console)?;
                let graph = build(
                    ops,
                    &x,
                    prepare::graph_rule(&options.preparation(), data.rows())?,
                    console,
                )?;
                return Ok(Cuts::of_graph(&graph, &predictions.index, clusters));
            }
            let x = pipeline.rows(ops, &data, console)?;
            let Auto::Value(sigma) = options.sigma else {
                return Err(Error::file(
                    run.path(),
                    "this run has no heat kernel: its affinity came from a file, or it is not finished",
                    "leave --data away for the cuts under its own graph, or finish it with fit --resume",
                ));
            };
            let neighbors = options.neighbors.limit();
            (x, HeatKernel { sigma, neighbors })
        }
        None => {
            let sigma = args.sigma.ok_or_else(|| {
                Error::option(
                    "--sigma",
                    "not given",
                    "give the width of the heat kernel, or --run",
                )
            })?;
            values::positive("--sigma", sigma)?;
            let neighbors = args.neighbors.unwrap_or(Neighbors::All);
            values::neighbors(neighbors)?;
            let transforms = match args.features.as_deref() {
                None | Some("auto") => {
                    let raw = Pipeline::new(Reader::plain(data.cols())).rows(ops, &data, console)?;
                    prepare::usual_transforms(ops, &data, &raw, 0)?
                }
                Some(text) => features::parse("--features", text)?,
            };
            let reader = Reader::new("--features", &transforms, &data)?;
            let pipeline = Pipeline::fit_streamed(ops, reader, &transforms, &data, console)?;
            let x = pipeline.rows(ops, &data, console)?;
            let neighbors = neighbors.limit();
            (x, HeatKernel { sigma, neighbors })
        }
    };
    let matrix = ops.cut_matrix(&x, &predictions.index, clusters, kernel)?;
    Ok(Cuts::of(
        &matrix,
        &neuncut::graph::count(&predictions.index, clusters),
    ))
}
