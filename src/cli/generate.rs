//! `neuncut generate`

use std::path::{Path, PathBuf};

use clap::Args;
use neuncut::data::Dataset;
use neuncut::data::embeddings::{self, Embeddings};
use neuncut::data::labels::labels_beside;
use neuncut::data::synthetic::{Figure, Generator};
use neuncut::data::written::{self, Found, Rows, Written};
use neuncut::infinite_mnist::InfiniteMnist;
use neuncut::ops::Ops;
use neuncut::options::{Arithmetic, Device};
use neuncut::progress::Progress;
use neuncut::resumable::stamps;
use neuncut::{Error, Result, values};
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};

/// Digits without end.
pub const MNIST8M: &str = "mnist8m";

/// Rows in the shape of ImageNet's embeddings.
pub const EMBEDDINGS: &str = "embeddings";

/// Arguments of `generate`.
#[derive(Args)]
pub struct GenerateArgs {
    /// Which data: rings, double-c, moons, blobs, subspaces, spirals; embeddings: rows of 768 numbers (f16) of norm 1 in 1,000
    /// imbalanced, overlapping clusters, as CLIP makes them of ImageNet; or mnist8m: the digits of --from, then copies of them, each
    /// bent by a smooth random field and moved by a pixel at most (after Loosli, Canu and Bottou, 2007; the fields are this
    /// program's own, so that images are not those of the historical file), which alone can be made on a GPU, to the same bits
    pub name: String,

    /// Number of rows; the historical MNIST8M has 8,100,000
    #[arg(long, value_name = "N")]
    pub rows: u64,

    /// The images that mnist8m begins with: a folder in MNIST's layout, of which the training images are taken, or any 8-bit grey
    /// images [default: the 10,000 digits that are built in]
    #[arg(long, value_name = "DIR")]
    pub from: Option<String>,

    /// Where to write, by extension: .npz and .safetensors hold rows `x` and labels `y`; beside .npy and .csv the labels go to
    /// NAME-labels.npy or NAME-labels.csv. When it was stopped, the same command goes on with a .npy or .safetensors file where it
    /// was, to the same bits
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Seed; row i depends on the seed and i alone
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Where to make them.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What becomes of files that are there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// They are taken if they hold what would be made, and left alone if not.
    Keep,
    /// They are replaced.
    Replace,
}

/// What was written.
pub struct Made {
    /// The files, and how much of them was there.
    pub written: Written,
    cols: usize,
    classes: usize,
    /// How long it took.
    pub seconds: f64,
}

/// Writes the data, and tells where.
pub fn run(args: GenerateArgs, console: &mut Console) -> Result<()> {
    if args.name != MNIST8M && !matches!(args.device.device, Device::Auto | Device::Cpu) {
        return Err(Error::option(
            "--device",
            format!("{} is made on the CPU", args.name),
            "leave it away, or generate mnist8m",
        ));
    }
    let made = generate(&args, Existing::Replace, console)?;
    let names: Vec<String> = made
        .written
        .files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let text = format!(
        "{} rows of {} written to {}",
        args.rows,
        args.name,
        names.join(" and ")
    );
    let value = json!({
        "data": args.name,
        "rows": args.rows,
        "cols": made.cols,
        "classes": made.classes,
        "files": names,
        "resumed_rows": made.written.resumed,
        "seconds": made.seconds,
    });
    console.result(value, &text)
}

/// Writes the data; keeps those of `.npy` files alone.
pub fn generate(args: &GenerateArgs, existing: Existing, console: &mut Console) -> Result<Made> {
    catch_interrupts();
    let cpu = DeviceArgs {
        device: Device::Cpu,
        precision: Arithmetic::Auto,
        ..args.device
    };
    if args.name == MNIST8M {
        let source = args.from.as_deref().unwrap_or("mnist-t10k");
        values::output_as(&args.output, &["npy", "npz", "safetensors"], &[Path::new(source)])?;
        let data = Dataset::open_training(source)?;
        let by = |device: DeviceArgs, console: &mut Console| {
            device.run(Digits {
                args,
                existing,
                data: &data,
                console,
            })
        };
        if let Some(made) = by(args.device, console)? {
            return Ok(made);
        }
        let Some(made) = by(cpu, console)? else {
            unreachable!("the CPU takes images of any size");
        };
        return Ok(made);
    }
    if args.from.is_some() {
        return Err(Error::option(
            "--from",
            format!("{} is made of nothing", args.name),
            "leave it away, or generate mnist8m",
        ));
    }
    if args.name == EMBEDDINGS {
        return cpu.run(Figures {
            args,
            existing,
            source: &Embeddings::new(args.seed),
            classes: embeddings::CLASSES,
            console,
        });
    }
    let generator = Generator::parse(&args.name)?;
    cpu.run(Figures {
        args,
        existing,
        source: &Figure::new(generator, args.seed),
        classes: generator.classes(),
        console,
    })
}

/// Digits, which the device makes.
struct Digits<'a> {
    args: &'a GenerateArgs,
    existing: Existing,
    data: &'a Dataset,
    console: &'a mut Console,
}

impl Job for Digits<'_> {
    /// Nothing where a device that nobody asked for by name has no room for such images.
    type Output = Option<Made>;
    fn run<O: Ops>(self, ops: &O) -> Result<Option<Made>> {
        let image = self.data.image().map(|image| [image.height, image.width]);
        let nobody_asked = matches!(self.args.device.device, Device::Auto);
        if nobody_asked && image.is_some_and(|image| !ops.bends(image)) {
            return Ok(None);
        }
        let digits = InfiniteMnist::new(ops, self.data, self.args.seed)?;
        let classes = self.data.labels().map_or(0, |labels| labels.classes.len());
        write(self.args, self.existing, &digits, classes, self.console).map(Some)
    }
}

/// Rows that the host makes.
struct Figures<'a, R> {
    args: &'a GenerateArgs,
    existing: Existing,
    source: &'a R,
    classes: usize,
    console: &'a mut Console,
}

impl<R: Rows<Value: Send> + Sync> Job for Figures<'_, R> {
    type Output = Made;
    fn run<O: Ops>(self, ops: &O) -> Result<Made> {
        let source = OnHost {
            ops,
            rows: self.source,
        };
        write(self.args, self.existing, &source, self.classes, self.console)
    }
}

/// Rows that are made on the threads that a backend leaves to the host.
struct OnHost<'a, O, R> {
    ops: &'a O,
    rows: &'a R,
}

impl<O: Ops, R: Rows<Value: Send> + Sync> Rows for OnHost<'_, O, R> {
    type Value = R::Value;

    fn shape(&self) -> Vec<usize> {
        self.rows.shape()
    }
    fn fill(&self, first_row: u64, rows: &mut [R::Value]) -> Result<()> {
        self.ops.on_host(|| self.rows.fill(first_row, rows))
    }
    fn label(&self, row: u64) -> Option<u32> {
        self.rows.label(row)
    }
}

fn write<R: Rows>(
    args: &GenerateArgs,
    existing: Existing,
    source: &R,
    classes: usize,
    console: &mut Console,
) -> Result<Made> {
    let began = std::time::Instant::now();
    let made = |written| Made {
        written,
        cols: source.shape().iter().product(),
        classes,
        seconds: began.elapsed().as_secs_f64(),
    };
    if existing == Existing::Keep {
        match written::found(source, args.rows, &args.output)? {
            Found::Missing => {}
            Found::Same => {
                console.line(&format!("{}: the rows are there already", args.output.display()));
                return Ok(made(Written {
                    files: vec![args.output.clone(), labels_beside(&args.output)],
                    resumed: args.rows,
                }));
            }
            Found::Other(file) => {
                return Err(Error::file(
                    file,
                    "a file of this name is there, and not of these rows",
                    "replace it by --overwrite, take what is there by --data, or choose another --out",
                ));
            }
        }
    }
    console.begin("generating", args.rows, "rows");
    let from = args.from.as_deref().map(|from| (from, stamps(from)));
    let content = format!("{} {} {from:?}", args.name, args.seed);
    let written = written::write(source, &content, args.rows, &args.output, &mut |done| {
        if console.interrupted() {
            return Err(Error::Interrupted("nothing was written".into()));
        }
        console.advance(done, "");
        Ok(())
    })?;
    console.end();
    Ok(made(written))
}
