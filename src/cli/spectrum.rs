//! `neuncut spectrum`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use neuncut::data::csr::Csr;
use neuncut::memory::Needs;
use neuncut::ops::{Cut, Ops};
use neuncut::progress::Progress;
use neuncut::report::spectrum::{sheet, verdict};
use neuncut::spectral::{Spectrum, embed};
use neuncut::{Result, values};
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};
use super::drawing;
use super::graph::Build;
use super::options::{CacheOptions, CutOptions, DataOptions, GraphOptions, TruthOptions};

/// Arguments of `spectrum`.
#[derive(Args)]
pub struct SpectrumArgs {
    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    graph: GraphOptions,
    #[command(flatten)]
    cut: CutOptions,

    /// A graph to take instead of building one: .npz, as `neuncut graph`, `fit` and scipy.sparse.save_npz write it
    #[arg(long = "graph", value_name = "GRAPH.npz", conflicts_with_all = ["data", "train_rows", "features", "affinity",
        "graph_features", "neighbors", "sigma", "one_sided"])]
    file: Option<PathBuf>,

    /// Eigenvalues to compute; a gap is seen after all but the last two
    #[arg(long, value_name = "N", default_value_t = 45)]
    count: usize,

    /// Also draw them: .html, .svg, or their numbers as .json
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    cache: CacheOptions,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Computes the spectrum.
pub fn run(args: SpectrumArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    let began = Instant::now();
    values::at_least("--count", 4, args.count)?;
    let inputs = match &args.file {
        Some(path) => vec![path.clone()],
        None => args.data.inputs(&TruthOptions::default()),
    };
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    drawing::check(args.output.as_deref(), &inputs)?;
    let (name, graph) = match &args.file {
        Some(path) => (path.display().to_string(), Csr::open(path)?),
        None => {
            let preparation = args.data.graph_preparation(&args.graph)?;
            let data = args.data.open(&TruthOptions::default())?;
            let data = args.cache.of(data, console)?;
            let built = args.device.run(Build {
                preparation,
                data: &data,
                eigenvalues: Some(args.count),
                console,
            })?;
            (data.name().to_string(), built.graph)
        }
    };
    let (spectrum, device) = args.device.run(Eigenvalues {
        graph: &graph,
        count: args.count,
        cut: args.cut.cut.unwrap_or(Cut::Ncut),
        seed: args.data.seed.unwrap_or(0),
        console,
    })?;
    let seconds = began.elapsed().as_secs_f64();
    if let Some(warning) = spectrum.warning() {
        console.line(&format!("warning: {warning}"));
    }
    let components = graph.components().sizes.len();
    let affinity: Vec<f64> = spectrum.eigenvalues.iter().map(|value| 1.0 - value).collect();
    let gaps: Vec<f64> = spectrum
        .eigenvalues
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    let value = json!({
        "data": name,
        "rows": graph.rows(),
        "components": components,
        "eigenvalues": spectrum.eigenvalues,
        "affinity_eigenvalues": affinity,
        "gaps": gaps,
        "residuals": spectrum.residuals,
        "k": spectrum.gap.map(|gap| gap.clusters),
        "ratio": spectrum.gap.map(|gap| gap.ratio),
        "seconds": seconds,
        "device": device,
        "output": args.output,
    });
    let parts = if components == 1 {
        "connected".into()
    } else {
        format!("in {components} parts")
    };
    let sheet = sheet(
        format!("Spectrum of {name}"),
        format!("graph of {} rows, {parts}", graph.rows()),
        &spectrum,
    );
    drawing::write(args.output.as_deref(), &sheet, &value)?;
    let mut text = format!("{}\n\n{}", sheet.table.to_text(), verdict(&spectrum));
    if let Some(path) = &args.output {
        text += &format!("\n{}", path.display());
    }
    console.result(value, &text)
}

struct Eigenvalues<'a> {
    graph: &'a Csr,
    count: usize,
    cut: Cut,
    seed: u64,
    console: &'a mut Console,
}

impl Job for Eigenvalues<'_> {
    type Output = (Spectrum, String);
    fn run<O: Ops>(self, ops: &O) -> Result<Self::Output> {
        Needs::of_spectrum::<O>(self.graph, self.count).check()?;
        self.console
            .line(&format!("spectrum of a graph of {} rows", self.graph.rows()));
        let embedding = embed(ops, self.graph, self.count, self.cut, self.seed, self.console)?;
        Ok((Spectrum::of(&embedding), ops.name()))
    }
}
