//! `neuncut generate`

use std::path::{Path, PathBuf};

use clap::Args;
use neuncut::data::Dataset;
use neuncut::data::infinite_mnist::InfiniteMnist;
use neuncut::data::synthetic::{Figure, Generator};
use neuncut::data::written::{self, Rows};
use neuncut::progress::Progress;
use neuncut::{Error, Result, values};
use serde_json::json;

use super::console::{Console, catch_interrupts};

/// Digits without end.
const MNIST8M: &str = "mnist8m";

/// Arguments of `generate`.
#[derive(Args)]
pub struct GenerateArgs {
    /// Which data: rings, double-c, moons, blobs, subspaces, spirals; or mnist8m: the digits of --from, then copies of them, each
    /// bent by a smooth random field and moved by a pixel at most (after Loosli, Canu and Bottou, 2007; the fields are this
    /// program's own, so that images are not those of the historical file)
    name: String,

    /// Number of rows; the historical MNIST8M has 8,100,000
    #[arg(long, value_name = "N")]
    rows: u64,

    /// The images that mnist8m begins with: a folder in MNIST's layout, of which the training images are taken, or any 8-bit grey
    /// images [default: the 10,000 digits that are built in]
    #[arg(long, value_name = "DIR")]
    from: Option<String>,

    /// Where to write, by extension: .npz and .safetensors hold rows `x` and labels `y`; beside .npy and .csv the labels go to
    /// NAME-labels.npy or NAME-labels.csv
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Seed; row i depends on the seed and i alone
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Writes the data.
pub fn run(args: GenerateArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    if args.name == MNIST8M {
        let source = args.from.as_deref().unwrap_or("mnist-t10k");
        values::output_as(&args.output, &["npy", "npz", "safetensors"], &[Path::new(source)])?;
        let data = Dataset::open_training(source)?;
        let digits = InfiniteMnist::new(&data, args.seed)?;
        let classes = data.labels().map_or(0, |labels| labels.classes.len());
        return write(&args, &digits, classes, console);
    }
    let generator = Generator::parse(&args.name)?;
    if args.from.is_some() {
        return Err(Error::option(
            "--from",
            format!("{} is made of nothing", args.name),
            "leave it away, or generate mnist8m",
        ));
    }
    write(
        &args,
        &Figure::new(generator, args.seed),
        generator.classes(),
        console,
    )
}

fn write<R: Rows>(args: &GenerateArgs, source: &R, classes: usize, console: &mut Console) -> Result<()> {
    let began = std::time::Instant::now();
    console.begin("generating", args.rows, "rows");
    let paths = written::write(source, args.rows, &args.output, &mut |done| {
        if console.interrupted() {
            return Err(Error::Interrupted("nothing was written".into()));
        }
        console.advance(done, "");
        Ok(())
    })?;
    console.end();
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let text = format!(
        "{} rows of {} written to {}",
        args.rows,
        args.name,
        names.join(" and ")
    );
    let value = json!({
        "data": args.name,
        "rows": args.rows,
        "cols": source.shape().iter().product::<usize>(),
        "classes": classes,
        "files": names,
        "seconds": began.elapsed().as_secs_f64(),
    });
    console.result(value, &text)
}
