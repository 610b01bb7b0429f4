//! `neuncut predict`

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use neuncut::data::{Dataset, LabelStream, npy};
use neuncut::graph::count;
use neuncut::ops::Ops;
use neuncut::predict::{CHUNK, Predictor};
use neuncut::progress::Progress;
use neuncut::resumable::{Resumable, digest};
use neuncut::run_folder::RunFolder;
use neuncut::scores::{Scores, Tally};
use neuncut::{Error, Result, values};
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

    /// Label only the i-th of N slices of the rows, i from 0; `neuncut merge` joins what N such commands write, wherever they run
    /// [default: all rows]
    #[arg(long, value_name = "i/N")]
    shard: Option<Shard>,

    #[command(flatten)]
    device: DeviceArgs,
}

/// A slice of the rows: `i/N`, i from 0.
#[derive(Clone, Copy, Debug)]
struct Shard {
    index: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, of)| {
            let (index, of) = (index.parse().ok()?, of.parse().ok()?);
            Some(Shard { index, of })
        });
        parts
            .filter(|shard| shard.index < shard.of)
            .ok_or_else(|| "give i/N with i from 0 to N - 1, as in 0/4".into())
    }
}

impl Shard {
    /// Its rows of `rows`: whole chunks, so that they are labelled to the same bits as without shards.
    fn rows(self, rows: usize) -> Range<usize> {
        let chunks = rows.div_ceil(CHUNK);
        let begin = |index: usize| rows.min(chunks * index / self.of * CHUNK);
        begin(self.index)..begin(self.index + 1)
    }
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
    let shard = args.shard.unwrap_or(Shard { index: 0, of: 1 });
    let rows = shard.rows(data.rows());
    if rows.is_empty() {
        return Err(Error::option(
            "--shard",
            format!(
                "no rows in slice {} of {}: {} rows in chunks of {CHUNK}",
                shard.index,
                shard.of,
                data.rows()
            ),
            "use fewer slices",
        ));
    }
    let content = content(&run, args, &ops.name(), &rows)?;
    let mut output = Output::open(args, &content, rows.len(), clusters)?;
    let done = output.done();
    if done > 0 {
        console.line(&format!("going on behind {done} rows that are labelled already"));
    }
    // Chunk by chunk, so that memory does not grow with the number of rows.
    let mut tally = match &truth {
        Some(truth) => Some(Tally::new(clusters, truth.classes().len())?),
        None => None,
    };
    let (mut first, mut true_labels) = (rows.start, Vec::new());
    let mut sizes = vec![0; clusters];
    let mut add = |labels: &[u32]| -> Result<()> {
        for (total, part) in sizes.iter_mut().zip(count(labels, clusters)) {
            *total += part;
        }
        if let (Some(truth), Some(tally)) = (&truth, &mut tally) {
            true_labels.resize(labels.len(), 0);
            truth.read(first, &mut true_labels)?;
            tally.add(labels, &true_labels)?;
            first += labels.len();
        }
        Ok(())
    };
    let labelled = output.each_done(&mut add).and_then(|()| {
        let left = rows.start + done..rows.end;
        let with_probabilities = args.probabilities.is_some();
        predictor.label_all(
            &data,
            left,
            with_probabilities,
            console,
            |labels, probabilities| {
                add(labels)?;
                output.write(labels, probabilities)
            },
        )
    });
    if let Err(error) = labelled {
        return Err(output.leave(error));
    }
    output.commit()?;
    let table = tally.map(Tally::finish).transpose()?;
    let scores = table.as_ref().map(Scores::from);
    let seconds = began.elapsed().as_secs_f64();
    let mut value = json!({
        "data": data.name(),
        "rows": rows.len(),
        "sizes": sizes,
        "labels": args.output,
        "probabilities": args.probabilities,
        "device": ops.name(),
        "seconds": seconds,
    });
    let mut text = format!(
        "{} rows labelled in {seconds:.1} s: {}",
        rows.len(),
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

/// All that decides what is written, in words: the run, the data as it lies on the disk, and how it is computed.
fn content(run: &RunFolder, args: &PredictArgs, device: &str, rows: &Range<usize>) -> Result<String> {
    let mut files = Vec::new();
    for path in [run.model_file(), run.features_file()] {
        let bytes = fs::read(&path).map_err(|e| Error::io(&path, "read the run", e))?;
        files.push(format!("{:016x}", digest(&bytes)));
    }
    let data = Path::new(&args.data);
    let mut inside: Vec<PathBuf> = match fs::read_dir(data) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => vec![data.to_path_buf()],
    };
    inside.sort();
    for path in inside {
        let meta = fs::metadata(&path).ok();
        let stamp = meta.map(|meta| (meta.len(), meta.modified().ok()));
        files.push(format!("{} {stamp:?}", path.display()));
    }
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!(
        "{version} {device} rows {rows:?} {files:?} {:?}",
        args.probabilities
    ))
}

/// What is written, row by row: labels, and memberships where they are asked for.
struct Output {
    labels: Resumable,
    memberships: Option<Resumable>,
}

impl Output {
    /// Begins, or finds what the same command has done before it was stopped.
    fn open(args: &PredictArgs, content: &str, rows: usize, clusters: usize) -> Result<Self> {
        let header = npy::header("<u4", &[rows]);
        let mut labels = Resumable::open(&args.output, content, &header, size_of::<u32>(), rows)?;
        let header = npy::header("<f4", &[rows, clusters]);
        let row = clusters * size_of::<f32>();
        let open = |path: &PathBuf| Resumable::open(path, content, &header, row, rows);
        let mut memberships = match args.probabilities.as_ref().map(open) {
            None => None,
            Some(Ok(memberships)) => Some(memberships),
            Some(Err(error)) => {
                labels.discard();
                return Err(error);
            }
        };
        let found = memberships
            .as_ref()
            .map_or(labels.rows(), |m| m.rows().min(labels.rows()));
        // In whole chunks: how rows are put together may change the last bits.
        let done = match found == rows {
            true => rows,
            false => found / CHUNK * CHUNK,
        };
        labels.go_on_behind(done)?;
        if let Some(memberships) = &mut memberships {
            memberships.go_on_behind(done)?;
        }
        Ok(Output { labels, memberships })
    }

    fn done(&self) -> usize {
        self.labels.rows()
    }

    /// Hands out the labels that were found, a chunk at a time.
    fn each_done(&self, add: &mut dyn FnMut(&[u32]) -> Result<()>) -> Result<()> {
        let mut chunk = vec![0u32; CHUNK.min(self.done())];
        for first in (0..self.done()).step_by(CHUNK) {
            let chunk = &mut chunk[..CHUNK.min(self.done() - first)];
            self.labels.read(first, bytemuck::cast_slice_mut(chunk))?;
            add(chunk)?;
        }
        Ok(())
    }

    fn write(&mut self, labels: &[u32], probabilities: &[f32]) -> Result<()> {
        if let Some(memberships) = &mut self.memberships {
            memberships.write(bytemuck::cast_slice(probabilities))?;
        }
        self.labels.write(bytemuck::cast_slice(labels))
    }

    /// After an error that is none of the input's: what is done stays where the same command finds it, and the error says so.
    fn leave(self, error: Error) -> Error {
        let done = self.done();
        match error {
            Error::Interrupted(_) if done > 0 => Error::Interrupted(format!(
                "{done} rows are labelled; the same command goes on behind them"
            )),
            Error::Io {
                path, action, source, ..
            } if done > 0 => Error::Io {
                path,
                action,
                source,
                advice: "check the disk; the same command then goes on where it stopped",
            },
            other => {
                self.discard();
                other
            }
        }
    }

    fn discard(self) {
        self.labels.discard();
        if let Some(memberships) = self.memberships {
            memberships.discard();
        }
    }

    fn commit(self) -> Result<()> {
        // The labels last: where they are, everything is.
        if let Some(memberships) = self.memberships {
            memberships.commit()?;
        }
        self.labels.commit()
    }
}
