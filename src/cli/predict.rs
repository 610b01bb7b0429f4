//! `neuncut predict`

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use neuncut::data::{Dataset, LabelStream, npy};
use neuncut::graph::count;
use neuncut::ops::Ops;
use neuncut::predict::{CHUNK, Predictor};
use neuncut::progress::Progress;
use neuncut::resumable::{Resumable, digest, ended_early, stamps};
use neuncut::run_folder::RunFolder;
use neuncut::scores::{Scores, Tally};
use neuncut::{Error, Result, values};
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};
use super::options::CacheOptions;
use super::shard::{Shard, Slice};

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

    /// Label only the i-th of N slices of the rows, i from 0; `neuncut merge` joins what N such commands write, wherever they run:
    /// FILE.npy, and FILE.npy.slice, which says what it is a part of [default: all rows]
    #[arg(long, value_name = "i/N")]
    shard: Option<Shard>,

    #[command(flatten)]
    cache: CacheOptions,
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
    let pipeline = run.load_pipeline()?;
    let predictor = Predictor::new(ops, &model, &pipeline)?;
    let (data, mut truth) = Dataset::open_streamed(&args.data)?;
    let data = args.cache.of(data, console)?;
    let mut predictor = predictor.caching(&pipeline, data.cache());
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
    // Chunk by chunk, so that memory does not grow with the number of rows.
    let mut tally = match &truth {
        Some(truth) => Some(Tally::new(clusters, truth.classes().len())?),
        None => None,
    };
    let files = run_digests(&run)?;
    let content = content(args, &files, &ops.arithmetic(), &rows);
    let mut output = Output::open(args, &content, rows.len(), clusters)?;
    let done = output.done();
    if done > 0 {
        console.line(&format!("going on behind {done} rows that are labelled already"));
    }
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
        return Err(output.leave(error, rows.len()));
    }
    let slice = args.shard.map(|_| Slice {
        rows: rows.clone(),
        of_rows: data.rows(),
        run: files,
    });
    output.commit(args, slice.as_ref())?;
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

/// The digests of the run's files.
fn run_digests(run: &RunFolder) -> Result<Vec<String>> {
    let files = [run.model_file(), run.features_file()].into_iter();
    let digests = files.map(|path| {
        let bytes = fs::read(&path).map_err(|e| Error::io(&path, "read the run", e))?;
        Ok(format!("{:016x}", digest(&bytes)))
    });
    digests.collect()
}

/// All that decides what is written, in words: the run, the data as it lies on the disk, and how it is computed.
fn content(args: &PredictArgs, run: &[String], arithmetic: &str, rows: &Range<usize>) -> String {
    let files = [run, &stamps(&args.data)].concat();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{version} {arithmetic} rows {rows:?} {files:?} {:?}",
        args.probabilities
    )
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

    /// After an error: what it says, once what cannot be gone on with is gone.
    fn leave(self, error: Error, rows: usize) -> Error {
        let (error, kept) = ended_early(error, self.done(), rows);
        if !kept {
            self.discard();
        }
        error
    }

    fn discard(self) {
        self.labels.discard();
        if let Some(memberships) = self.memberships {
            memberships.discard();
        }
    }

    fn commit(self, args: &PredictArgs, slice: Option<&Slice>) -> Result<()> {
        // The labels last: where they are, everything is.
        if let (Some(memberships), Some(path)) = (self.memberships, &args.probabilities) {
            Slice::put(slice, path)?;
            memberships.commit()?;
        }
        Slice::put(slice, &args.output)?;
        self.labels.commit()
    }
}
