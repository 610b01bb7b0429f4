//! `neuncut graph`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use neuncut::data::Dataset;
use neuncut::data::csr::Csr;
use neuncut::data::npy::LabelWriter;
use neuncut::memory::Needs;
use neuncut::ops::Ops;
use neuncut::options::{Affinity, Preparation};
use neuncut::prepare::prepare;
use neuncut::progress::Progress;
use neuncut::{Error, Result, values};
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};
use super::options::{CacheOptions, DataOptions, GraphOptions, TruthOptions};

/// Arguments of `graph`.
#[derive(Args)]
pub struct GraphArgs {
    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    graph: GraphOptions,

    /// Where the graph goes: .npz, in SciPy's sparse layout (scipy.sparse.load_npz), one row for each training row
    #[arg(long, short, value_name = "GRAPH.npz")]
    output: PathBuf,

    /// Also write which rows of the data they are: .npy, rising
    #[arg(long, value_name = "ROWS.npy")]
    training_rows: Option<PathBuf>,

    #[command(flatten)]
    cache: CacheOptions,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Builds the graph.
pub fn run(args: GraphArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    let began = Instant::now();
    let preparation = args.data.graph_preparation(&args.graph)?;
    let inputs = args.data.inputs(&TruthOptions::default());
    let mut inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    values::output(&args.output, "npz", &inputs)?;
    if let Some(rows) = &args.training_rows {
        inputs.push(&args.output);
        values::output(rows, "npy", &inputs)?;
    }
    let data = args.data.open(&TruthOptions::default())?;
    let data = args.cache.of(data, console)?;
    let built = args.device.run(Build {
        preparation,
        data: &data,
        eigenvalues: None,
        console,
    })?;
    let Built {
        graph,
        chosen,
        preparation,
        device,
    } = built;
    graph.save(&args.output)?;
    if let Some(path) = &args.training_rows {
        let mut writer = LabelWriter::create(path, chosen.len())?;
        writer.write(&chosen.iter().map(|&row| row as u32).collect::<Vec<_>>())?;
        writer.commit()?;
    }

    let components = graph.components();
    let own = (0..graph.rows())
        .filter(|&i| graph.row(i).any(|(j, _)| j == i))
        .count();
    let edges = (graph.entries() - own) / 2;
    let mean = 2.0 * edges as f64 / graph.rows() as f64;
    let seconds = began.elapsed().as_secs_f64();
    let value = json!({
        "data": data.name(),
        "rows": graph.rows(),
        "edges": edges,
        "entries": graph.entries(),
        "mean_neighbors": mean,
        "components": components.sizes.len(),
        "component_sizes": components.sizes.iter().take(20).collect::<Vec<_>>(),
        "graph_features": preparation.graph_features,
        "neighbors": preparation.neighbors,
        "seconds": seconds,
        "device": device,
        "output": args.output,
        "training_rows": args.training_rows,
    });
    let mut text = format!("{:<15} {} of {}\n", "rows", graph.rows(), data.rows());
    text += &format!("{:<15} {edges}\n", "edges");
    text += &format!("{:<15} {mean:.1} of a row, on average\n", "neighbours");
    let parts = match &components.sizes[..] {
        [_] => "1: the graph is connected".to_string(),
        sizes => format!("{}, the largest of {} rows", sizes.len(), sizes[0]),
    };
    text += &format!("{:<15} {parts}\n", "components");
    text += &format!("{:<15} {}\n", "graph features", preparation.graph_features);
    text += &format!("{:<15} {seconds:.1} on {device}\n", "seconds");
    text += &format!("{:<15} {}", "graph", args.output.display());
    console.result(value, &text)
}

/// A graph of training rows.
pub struct Built {
    /// The graph.
    pub graph: Csr,
    /// Which rows of the data its rows are.
    pub chosen: Vec<u64>,
    /// How it was made, nothing left to `auto`.
    pub preparation: Preparation,
    /// Where.
    pub device: String,
}

/// Makes a graph of training rows on any backend.
pub struct Build<'a> {
    /// How.
    pub preparation: Preparation,
    /// Of which data.
    pub data: &'a Dataset,
    /// How many of its eigenvalues are sought then, so that there is memory for that too.
    pub eigenvalues: Option<usize>,
    /// Who is told.
    pub console: &'a mut Console,
}

impl Job for Build<'_> {
    type Output = Built;
    fn run<O: Ops>(self, ops: &O) -> Result<Built> {
        let mut preparation = self.preparation;
        self.console.line(&format!(
            "{}: {} rows of {} numbers",
            self.data.name(),
            self.data.rows(),
            self.data.cols()
        ));
        let mut needs = Needs::of_preparation::<O>(&preparation, self.data)?;
        if let Some(count) = self.eigenvalues {
            needs.let_go("the training rows");
            needs.spectrum(count);
        }
        needs.check()?;
        let prepared = prepare(ops, &mut preparation, self.data, self.console)?;
        if let Affinity::File(path) = &preparation.affinity {
            preparation.graph_features = format!("as in {path}");
        }
        let graph = prepared.graph.ok_or_else(|| {
            Error::option(
                "--affinity",
                "the heat kernel within mini-batches is no graph of all training rows",
                "choose knn, or a file",
            )
        })?;
        Ok(Built {
            graph,
            chosen: prepared.chosen,
            preparation,
            device: ops.name(),
        })
    }
}
