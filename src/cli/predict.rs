//! `neuncut predict`

use std::path::{Path, PathBuf};

use clap::Args;
use neuncut::data::npy::{LabelWriter, MatrixWriter};
use neuncut::data::{Dataset, LabelStream};
use neuncut::graph::count;
use neuncut::ops::Ops;
use neuncut::predict::Predictor;
use neuncut::run_folder::RunFolder;
use neuncut::scores::{Scores, Tally};
use neuncut::{Result, values};
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};

/// Arguments of `predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// Folder of a finished `neuncut fit`
    run: PathBuf,

    /// Rows to label: a file, a folder in MNIST's layout, or the built-in mnist-t10k. Rows, and true labels, are streamed from
    /// plain .npy, .safetensors and IDX files and uncompressed .npz, however many; those of .csv and .gz are held in memory
    data: String,

    /// Where the labels go: .npy, one unsigned 32-bit number per row
    #[arg(long, short, value_name = "LABELS.npy")]
    output: PathBuf,

    /// Also write the memberships: .npy, f32, rows x clusters
    #[arg(long, value_name = "P.npy")]
    probabilities: Option<PathBuf>,

    /// File of true labels, to print scores (data that brings its own labels is scored anyhow)
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    #[command(flatten)]
    device: DeviceArgs,
}

/// Labels the rows.
pub fn run(args: PredictArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    let mut inputs = vec![Path::new(&args.data)];
    inputs.extend(args.labels.as_deref());
    values::output(&args.output, "npy", &inputs)?;
    if let Some(probabilities) = &args.probabilities {
        inputs.push(&args.output);
        values::output(probabilities, "npy", &inputs)?;
    }
    args.device.run(Predict { args: &args, console })
}

struct Predict<'a> {
    args: &'a PredictArgs,
    console: &'a mut Console,
}

impl Job for Predict<'_> {
    type Output = ();
    fn run<O: Ops>(self, ops: &O) -> Result<()> {
        predict(ops, self.args, self.console)
    }
}

fn predict<O: Ops>(ops: &O, args: &PredictArgs, console: &mut Console) -> Result<()> {
    let began = std::time::Instant::now();
    let run = RunFolder::at(&args.run);
    let model = run.load_model()?;
    let clusters = model.clusters();
    let mut predictor = Predictor::new(ops, &model, &run.load_pipeline()?)?;
    let (data, mut truth) = Dataset::open_streamed(&args.data)?;
    if let Some(path) = &args.labels {
        truth = Some(LabelStream::open(path, &data)?);
    }
    let mut writer = LabelWriter::create(&args.output, data.rows())?;
    let mut memberships = match &args.probabilities {
        Some(path) => Some(MatrixWriter::create(path, data.rows(), clusters)?),
        None => None,
    };
    // Chunk by chunk, so that memory does not grow with the number of rows.
    let mut tally = match &truth {
        Some(truth) => Some(Tally::new(clusters, truth.classes().len())?),
        None => None,
    };
    let (mut first, mut true_labels) = (0, Vec::new());
    let mut sizes = vec![0; clusters];
    predictor.label_all(&data, memberships.is_some(), console, |labels, probabilities| {
        for (total, part) in sizes.iter_mut().zip(count(labels, clusters)) {
            *total += part;
        }
        if let (Some(truth), Some(tally)) = (&truth, &mut tally) {
            true_labels.resize(labels.len(), 0);
            truth.read(first, &mut true_labels)?;
            tally.add(labels, &true_labels)?;
            first += labels.len();
        }
        if let Some(memberships) = &mut memberships {
            memberships.write(probabilities)?;
        }
        writer.write(labels)
    })?;
    writer.commit()?;
    if let Some(memberships) = memberships {
        memberships.commit()?;
    }
    let table = tally.map(Tally::finish).transpose()?;
    let scores = table.as_ref().map(Scores::from);
    let seconds = began.elapsed().as_secs_f64();
    let mut value = json!({
        "data": data.name(),
        "rows": data.rows(),
        "sizes": sizes,
        "labels": args.output,
        "probabilities": args.probabilities,
        "device": ops.name(),
        "seconds": seconds,
    });
    let mut text = format!(
        "{} rows labelled in {seconds:.1} s: {}",
        data.rows(),
        args.output.display()
    );
    if let Some(scores) = scores {
        value["acc"] = json!(scores.acc);
        value["nmi"] = json!(scores.nmi);
        value["ari"] = json!(scores.ari);
        text += &format!(
            "\nACC {:.4}  NMI {:.4}  ARI {:.4}",
            scores.acc, scores.nmi, scores.ari
        );
    }
    console.result(value, &text)
}
