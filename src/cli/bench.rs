//! `neuncut bench`

use clap::Args;
use neuncut::bench::{StepShape, Timings, bench};
use neuncut::ops::Ops;
use neuncut::options::Hidden;
use neuncut::{Error, Result, values};
use serde_json::{Value, json};

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};

/// Arguments of `bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// Size of the step: mnist (m 1000, d 500, k 10), imagenet (m 3000, d 768, k 1000), both with hidden layers of 512 and 512;
    /// or custom
    #[arg(long, value_name = "SHAPE", value_parser = ["mnist", "imagenet", "custom"], default_value = "mnist")]
    shape: String,

    /// Rows in the mini-batch [default: none; required by custom]
    #[arg(long, short = 'm', value_name = "M")]
    batch: Option<usize>,

    /// Features of a row [default: none; required by custom]
    #[arg(long, short, value_name = "D")]
    dims: Option<usize>,

    /// Number of clusters [default: none; required by custom]
    #[arg(long, short = 'k', value_name = "K")]
    clusters: Option<usize>,

    /// Widths of the hidden layers of custom, or none [default: 512,512]
    #[arg(long, value_name = "LIST")]
    hidden: Option<Hidden>,

    /// Samples to take, after warming up: a step each, or several where a step is short
    #[arg(long, value_name = "N", default_value_t = 50)]
    iterations: usize,

    #[command(flatten)]
    device: DeviceArgs,
}

impl BenchArgs {
    fn shape(&self) -> Result<StepShape> {
        let sizes = [
            ("--batch", self.batch),
            ("--dims", self.dims),
            ("--clusters", self.clusters),
            ("--hidden", self.hidden.as_ref().map(|_| 0)),
        ];
        let named = match &self.shape[..] {
            "mnist" => StepShape::mnist(),
            "imagenet" => StepShape::imagenet(),
            _ => return self.custom(),
        };
        match sizes.into_iter().find(|(_, size)| size.is_some()) {
            None => Ok(named),
            Some((option, _)) => Err(Error::option(
                option,
                format!("the shape {} has its own", self.shape),
                "leave it away, or give --shape custom",
            )),
        }
    }

    fn custom(&self) -> Result<StepShape> {
        let size = |option, least, value: Option<usize>| {
            let value = value.ok_or_else(|| Error::option(option, "not given", "--shape custom needs it"))?;
            values::at_least(option, least, value).map(|()| value)
        };
        let hidden = self.hidden.clone().unwrap_or(Hidden(vec![512, 512])).0;
        for &width in &hidden {
            values::at_least("--hidden", 1, width)?;
        }
        Ok(StepShape {
            rows: size("--batch", 2, self.batch)?,
            dims: size("--dims", 1, self.dims)?,
            clusters: size("--clusters", 2, self.clusters)?,
            hidden,
        })
    }
}

/// Times steps.
pub fn run(args: BenchArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    let shape = args.shape()?;
    values::at_least("--iterations", 1, args.iterations)?;
    let device = args.device.resolve();
    let (name, timings) = device.run(Bench {
        shape: &shape,
        samples: args.iterations,
        console,
    })?;
    let value = json(&args.shape, &shape, &name, device, &timings);
    let text = table(&args.shape, &shape, &name, &timings);
    console.result(value, &text)
}

struct Bench<'a> {
    shape: &'a StepShape,
    samples: usize,
    console: &'a mut Console,
}

impl Job for Bench<'_> {
    type Output = (String, Timings);
    fn run<O: Ops>(self, ops: &O) -> Result<(String, Timings)> {
        let timings = bench(ops, self.shape, self.samples, self.console)?;
        Ok((ops.name(), timings))
    }
}

/// What follows from the counts and the median time.
struct Rates {
    rows: f64,
    flop: f64,
    bytes: f64,
}

impl Rates {
    /// Per second.
    fn of(shape: &StepShape, timings: &Timings) -> Self {
        let seconds = timings.quantile(0.5) / 1e6;
        Rates {
            rows: shape.rows as f64 / seconds,
            flop: shape.flop() / seconds,
            bytes: shape.bytes() / seconds,
        }
    }
}

/// The outcome for programs.
fn json(label: &str, shape: &StepShape, name: &str, device: DeviceArgs, timings: &Timings) -> Value {
    let rates = Rates::of(shape, timings);
    let kernels = timings.kernels.iter();
    let ceilings = timings.ceilings;
    json!({
        "device": name,
        "precision": device.precision.to_string(),
        "shape": label,
        "m": shape.rows,
        "d": shape.dims,
        "k": shape.clusters,
        "hidden": shape.hidden,
        "samples": timings.samples.len(),
        "steps_per_sample": timings.steps_per_sample,
        "median_us": timings.quantile(0.5),
        "min_us": timings.quantile(0.0),
        "p10_us": timings.quantile(0.1),
        "p90_us": timings.quantile(0.9),
        "rows_per_second": rates.rows,
        "flop": shape.flop(),
        "bytes": shape.bytes(),
        "gflops": rates.flop / 1e9,
        "gbytes_per_second": rates.bytes / 1e9,
        "ceilings": ceilings.map(|most| json!({
            "matrix_gflops": most.matrix / 1e9,
            "copy_gbytes_per_second": most.copy / 1e9,
        })),
        "percent_of_matrix": ceilings.map(|most| 100.0 * rates.flop / most.matrix),
        "percent_of_copy": ceilings.map(|most| 100.0 * rates.bytes / most.copy),
        "launches": (!timings.kernels.is_empty()).then_some(timings.kernels.len()),
        "kernels": kernels.map(|(name, us)| json!({ "name": name, "us": us })).collect::<Vec<_>>(),
    })
}

/// The outcome for people.
fn table(label: &str, shape: &StepShape, name: &str, timings: &Timings) -> String {
    let rates = Rates::of(shape, timings);
    let mut lines = Vec::new();
    let mut row = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
    row("device", name.to_string());
    row(
        "shape",
        format!(
            "{label}: m {}, d {}, hidden {}, k {}",
            shape.rows,
            shape.dims,
            Hidden(shape.hidden.clone()),
            shape.clusters
        ),
    );
    row(
        "step",
        format!(
            "{:.1} us, the median of {} samples (least {:.1}, 10 % below {:.1}, 10 % above {:.1})",
            timings.quantile(0.5),
            timings.samples.len(),
            timings.quantile(0.0),
            timings.quantile(0.1),
            timings.quantile(0.9)
        ),
    );
    row("throughput", format!("{:.0} rows/s", rates.rows));
    let share = |rate: f64, most: Option<f64>, unit: &str| {
        most.map_or(String::new(), |most| {
            format!(
                ", {:.1} % of the {:.1} {unit} measured",
                100.0 * rate / most,
                most / 1e9
            )
        })
    };
    row(
        "products",
        format!(
            "{:.3} GFLOP a step, {:.1} GFLOP/s{}",
            shape.flop() / 1e9,
            rates.flop / 1e9,
            share(rates.flop, timings.ceilings.map(|most| most.matrix), "GFLOP/s")
        ),
    );
    row(
        "traffic",
        format!(
            "{:.1} MB a step, {:.1} GB/s{}",
            shape.bytes() / 1e6,
            rates.bytes / 1e9,
            share(rates.bytes, timings.ceilings.map(|most| most.copy), "GB/s")
        ),
    );
    if !timings.kernels.is_empty() {
        let sum: f64 = timings.kernels.iter().map(|(_, us)| us).sum();
        row(
            "launches",
            format!("{}, {sum:.1} us one by one", timings.kernels.len()),
        );
        for (name, us) in &timings.kernels {
            row("", format!("{us:>9.1} us {:>5.1} %  {name}", 100.0 * us / sum));
        }
    }
    lines.join("\n")
}
