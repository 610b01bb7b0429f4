//! `neuncut gamma-search`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use neuncut::data::Dataset;
use neuncut::fit::{GammaSearch, LADDER, Rung, TOLERANCE, gamma_search};
use neuncut::ops::Ops;
use neuncut::options::{Auto, FitOptions};
use neuncut::progress::Progress;
use neuncut::report::gamma_search::{Point, sheet};
use neuncut::{Error, Result, values};
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};
use super::drawing;
use super::options::{CacheOptions, FitGroups};

/// Arguments of `gamma-search`.
#[derive(Args)]
pub struct GammaSearchArgs {
    #[command(flatten)]
    fit: FitGroups,

    /// The gammas to try; the largest shows the floor [default: 1e6,1000,300,100,30,10,3,1,0.3,0.1,0.03,0.01]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    gammas: Vec<f64>,

    /// How much above the floor an L_orth may lie, as a share of it
    #[arg(long, value_name = "SHARE", default_value_t = TOLERANCE)]
    tolerance: f64,

    /// Draw the curves: .html, .svg, or their numbers as .json
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    cache: CacheOptions,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Searches.
pub fn run(args: GammaSearchArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    let began = Instant::now();
    if args.fit.training.gamma.is_some_and(|gamma| gamma != Auto::Auto) {
        return Err(Error::option(
            "--gamma",
            "it is what is searched for",
            "leave it away, or give the values to try by --gammas",
        ));
    }
    let mut gammas = if args.gammas.is_empty() {
        LADDER.to_vec()
    } else {
        args.gammas
    };
    for &gamma in &gammas {
        values::positive("--gammas", gamma)?;
    }
    gammas.sort_by(|a, b| b.total_cmp(a));
    gammas.dedup();
    values::not_negative("--tolerance", args.tolerance)?;
    let inputs = args.fit.data.inputs(&args.fit.truth);
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    drawing::check(args.output.as_deref(), &inputs)?;
    let data = args.cache.of(args.fit.data.open(&args.fit.truth)?, console)?;
    let (options, _) = args.fit.resolve(args.device)?;
    let (found, device) = args.device.run(Search {
        options: &options,
        data: &data,
        gammas: &gammas,
        tolerance: args.tolerance,
        console,
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut value = json!(found);
    value["data"] = json!(data.name());
    value["clusters"] = json!(options.clusters);
    value["penalty"] = json!(options.penalty);
    value["tolerance"] = json!(args.tolerance);
    value["seconds"] = json!(seconds);
    value["device"] = json!(device);
    value["output"] = json!(args.output);
    let points: Vec<Point> = found.rungs.iter().map(point).collect();
    let verdict = format!(
        "gamma {}: the smallest L_lap among those whose L_orth comes within {:.0} % of {:.4}",
        found.gamma,
        100.0 * args.tolerance,
        found.floor
    );
    let sheet = sheet(
        format!(
            "Search for gamma: {} in {} clusters",
            data.name(),
            options.clusters
        ),
        verdict.clone(),
        &points,
    );
    drawing::write(args.output.as_deref(), &sheet, &value)?;
    let mut text = format!("{}\n\n{verdict}", sheet.table.to_text());
    if let Some(path) = &args.output {
        text += &format!("\n{}", path.display());
    }
    console.result(value, &text)
}

fn point(rung: &Rung) -> Point {
    Point {
        gamma: rung.gamma,
        l_lap: rung.l_lap,
        l_orth: rung.l_orth,
        cut: rung.cut.unwrap_or(f64::NAN),
        acc: rung.scores.map_or(f64::NAN, |scores| scores.acc),
    }
}

struct Search<'a> {
    options: &'a FitOptions,
    data: &'a Dataset,
    gammas: &'a [f64],
    tolerance: f64,
    console: &'a mut Console,
}

impl Job for Search<'_> {
    type Output = (GammaSearch, String);
    fn run<O: Ops>(self, ops: &O) -> Result<Self::Output> {
        let Search {
            options,
            data,
            gammas,
            tolerance,
            console,
        } = self;
        let mut told = |rung: &Rung, console: &mut dyn Progress| {
            console.line(&format!(
                "gamma {:<8} L_orth {:.4}  L_lap {:.4}  {:.1} s",
                rung.gamma, rung.l_orth, rung.l_lap, rung.seconds
            ));
        };
        let found = gamma_search(ops, options, data, gammas, tolerance, console, &mut told)?;
        Ok((found, ops.name()))
    }
}
