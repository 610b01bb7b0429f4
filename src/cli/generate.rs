//! `neuncut generate`

use std::path::PathBuf;

use clap::Args;
use neuncut::data::synthetic::{self, Generator};
use neuncut::progress::Progress;
use neuncut::{Error, Result};
use serde_json::json;

use super::console::{Console, catch_interrupts};

/// Arguments of `generate`.
#[derive(Args)]
pub struct GenerateArgs {
    /// Which data: rings, double-c, moons, blobs, subspaces, spirals
    name: String,

    /// Number of rows
    #[arg(long, value_name = "N")]
    rows: u64,

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
    let began = std::time::Instant::now();
    let generator = Generator::parse(&args.name)?;
    console.begin("generating", args.rows, "rows");
    let paths = synthetic::write(generator, args.rows, args.seed, &args.output, &mut |done| {
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
        generator.name(),
        names.join(" and ")
    );
    let value = json!({
        "data": generator.name(),
        "rows": args.rows,
        "cols": generator.dims(),
        "classes": generator.classes(),
        "files": names,
        "seconds": began.elapsed().as_secs_f64(),
    });
    console.result(value, &text)
}
