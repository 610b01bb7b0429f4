//! `neuncut merge`

use std::path::{Path, PathBuf};

use clap::Args;
use neuncut::data::npy;
use neuncut::progress::Progress;
use neuncut::{Error, Result, values};
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::shard;

/// Arguments of `merge`.
#[derive(Args)]
pub struct MergeArgs {
    /// The parts that `predict --shard` wrote, in any order, if the .slice file of each lies beside it; otherwise any .npy files of the
    /// same type and row length, in order
    #[arg(required = true, value_name = "PART.npy")]
    parts: Vec<PathBuf>,

    /// Where the whole goes: .npy
    #[arg(long, short, value_name = "FILE.npy")]
    output: PathBuf,
}

/// Joins the parts row-wise, to the bytes of a file that was written as one.
pub fn run(args: MergeArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    let inputs: Vec<&Path> = args.parts.iter().map(PathBuf::as_path).collect();
    values::output(&args.output, "npy", &inputs)?;
    let mut parts = inputs.iter().map(npy::open).collect::<Result<Vec<_>>>()?;
    let slices: Vec<_> = inputs
        .iter()
        .zip(&parts)
        .map(|(&path, part)| (path, part.rows()))
        .collect();
    let order = shard::in_order(&slices)?;
    match &order {
        Some(order) => parts = order.iter().map(|&at| parts[at].clone()).collect(),
        None => {
            console.line("no part has a .slice file beside it: joined in the order in which they are given")
        }
    }
    let rows: usize = parts.iter().map(|part| part.rows()).sum();
    console.begin("joining", rows as u64, "rows");
    npy::join(&parts, &args.output, &mut |done| {
        if console.interrupted() {
            return Err(Error::Interrupted("nothing was written".into()));
        }
        console.advance(done as u64, "");
        Ok(())
    })?;
    console.end();
    let text = format!("{rows} rows of {} parts: {}", parts.len(), args.output.display());
    console.result(
        json!({ "rows": rows, "parts": parts.len(), "file": args.output }),
        &text,
    )
}
