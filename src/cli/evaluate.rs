//! `neuncut evaluate`

use std::path::PathBuf;

use clap::Args;
use neuncut::graph::Cuts;
use neuncut::data::{Dataset, Labels};
use neuncut::features::{self, Pipeline};
use neuncut::network::to_real;
use neuncut::ops::{HeatKernel, Ops};
use neuncut::options::{Auto, Neighbors};
use neuncut::predict::CHUNK;
use neuncut::run_folder::RunFolder;
use neuncut::scores::{Contingency, Mean, acc, ari, nmi};
use neuncut::{Error, Result, values};
use serde_json::{Value, json};

use super::console::Console;
use super::device::{DeviceArgs, Job};

/// Arguments of `evaluate`.
#[derive(Args)]
pub struct EvaluateArgs {
    /// The labelling to judge: .npy, .npz, .safetensors, IDX, .csv or .txt
    #[arg(long, value_name = "FILE")]
    predictions: PathBuf,

    /// True labels, for ACC, NMI and ARI
    #[arg(long, value_name = "FILE", required_unless_present = "data")]
    labels: Option<PathBuf>,

    /// Rows that were labelled, for the exact Ncut and Rcut, which need no true labels. Time grows with the square of the rows
    #[arg(long, value_name = "DATA")]
    data: Option<String>,

    /// With --data: take features, sigma and neighbors from this run
    #[arg(long, value_name = "RUN", requires = "data")]
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

    #[command(flatten)]
    device: DeviceArgs,
}

/// Prints the scores.
pub fn run(args: EvaluateArgs, console: &mut Console) -> Result<()> {
    let began = std::time::Instant::now();
    let predictions = Labels::open(&args.predictions)?;
    let clusters = predictions.classes.len();
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
    if let Some(data) = &args.data {
        let cuts = args.device.run(ExactCuts {
            args: &args,
            source: data,
            predictions: &predictions,
        })?;
        value["ncut"] = json!(cuts.ncut);
        value["rcut"] = json!(cuts.rcut);
        lines.push(format!("{:<22} {:.6}", "Ncut", cuts.ncut));
        lines.push(format!("{:<22} {:.6}", "Rcut", cuts.rcut));
    }
    value["seconds"] = Value::from(began.elapsed().as_secs_f64());
    console.result(value, &lines.join("\n"))
}

struct ExactCuts<'a> {
    args: &'a EvaluateArgs,
    source: &'a str,
    predictions: &'a Labels,
}

impl Job for ExactCuts<'_> {
    type Output = Cuts;
    fn run<O: Ops>(self, ops: &O) -> Result<Cuts> {
        exact_cuts(ops, self.args, self.source, self.predictions)
    }
}

fn exact_cuts<O: Ops>(ops: &O, args: &EvaluateArgs, source: &str, predictions: &Labels) -> Result<Cuts> {
    let data = Dataset::open(source)?;
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
    let mut x = ops.matrix("the rows", data.rows(), data.cols())?;
    let mut chunk = vec![0.0; CHUNK.min(data.rows()) * data.cols()];
    for first in (0..data.rows()).step_by(CHUNK) {
        let chunk = &mut chunk[..CHUNK.min(data.rows() - first) * data.cols()];
        data.read_rows(first, chunk)?;
        ops.upload(&to_real::<O>(chunk), &mut x, first)?;
    }
    let kernel = match &args.run {
        Some(run) => {
            let run = RunFolder::at(run);
            let options = run.load_options()?;
            let pipeline = run.load_pipeline()?;
            if pipeline.columns() != data.cols() {
                return Err(Error::Shape {
                    what: format!("a row of {}", data.name()),
                    found: format!("{} numbers", data.cols()),
                    expected: format!("{}, as in training", pipeline.columns()),
                });
            }
            pipeline.prepare(ops)?.apply(ops, &mut x)?;
            let Auto::Value(sigma) = options.sigma else {
                return Err(Error::file(
                    run.path(),
                    "this run is not finished",
                    "finish it with fit --resume",
                ));
            };
            HeatKernel {
                sigma,
                neighbors: options.neighbors.limit(),
            }
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
                None | Some("auto") => neuncut::prepare::usual_transforms(ops, &data, &x, 0)?,
                Some(text) => features::parse("--features", text)?,
            };
            Pipeline::fit(ops, &transforms, &mut x)?;
            HeatKernel {
                sigma,
                neighbors: neighbors.limit(),
            }
        }
    };
    let clusters = predictions.classes.len();
    let matrix = ops.cut_matrix(&x, &predictions.index, clusters, kernel)?;
    Ok(Cuts::of(
        &matrix,
        &neuncut::graph::count(&predictions.index, clusters),
    ))
}
