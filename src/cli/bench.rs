//! `neuncut bench`

use clap::Args;
use neuncut::bench::{StepShape, Timings, Work, bench};
use neuncut::cuda::tiles::{Tiles, Tiling};
use neuncut::ops::{Ceilings, Ops};
use neuncut::options::{Device, Hidden};
use neuncut::{Error, Result, values};
use serde_json::{Value, json};

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};

/// Arguments of `bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// What is timed: step, a training step; inference, the labels of rows that are in the device's memory; predict, those of rows of a
    /// file that is in the page cache, which are read, brought to the device and labelled at the same time
    #[arg(long, value_name = "WORK", value_parser = ["step", "inference", "predict"], default_value = "step")]
    work: String,

    /// Sizes: mnist (d 500, k 10; m of a step 1000), imagenet (d 768, k 1000; m of a step 3000), both with hidden layers of 512 and 512;
    /// or custom
    #[arg(long, value_name = "SHAPE", value_parser = ["mnist", "imagenet", "custom"], default_value = "mnist")]
    shape: String,

    /// Rows in the mini-batch [default: none; required by a step of custom], or rows that are labelled [default: 65536 of inference,
    /// 262144 of predict]
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

    /// Samples to take, after warming up: a run each, or several where a run is short
    #[arg(long, value_name = "N", default_value_t = 50)]
    iterations: usize,

    /// Tiles that a GPU computes matrix products in: fastest (of those that a product has, as all other commands do), rule (by a rule of
    /// thumb), short (32 x 64), square (64 x 64) or wide (128 x 128), where a product has them
    #[arg(long, value_name = "TILES", value_parser = ["fastest", "rule", "short", "square", "wide"], default_value = "fastest")]
    tiles: String,

    #[command(flatten)]
    device: DeviceArgs,
}

impl BenchArgs {
    /// How tiles are chosen, where that is not as in all commands.
    fn tiling(&self) -> Option<Tiling> {
        match &self.tiles[..] {
            "rule" => Some(Tiling::Rule),
            "short" => Some(Tiling::Always(Tiles::Short)),
            "square" => Some(Tiling::Always(Tiles::Square)),
            "wide" => Some(Tiling::Always(Tiles::Wide)),
            _ => None,
        }
    }

    fn work(&self) -> Work {
        match &self.work[..] {
            "inference" => Work::Inference,
            "predict" => Work::Predict,
            _ => Work::Step,
        }
    }

    fn shape(&self) -> Result<StepShape> {
        let sizes = [
            ("--batch", self.batch.filter(|_| self.work() == Work::Step)),
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
            None => Ok(StepShape {
                rows: self.rows(Some(named.rows))?,
                ..named
            }),
            Some((option, _)) => Err(Error::option(
                option,
                format!("the shape {} has its own", self.shape),
                "leave it away, or give --shape custom",
            )),
        }
    }

    fn custom(&self) -> Result<StepShape> {
        let hidden = self.hidden.clone().unwrap_or(Hidden(vec![512, 512])).0;
        for &width in &hidden {
            values::at_least("--hidden", 1, width)?;
        }
        Ok(StepShape {
            rows: self.rows(None)?,
            dims: given("--dims", 1, self.dims)?,
            clusters: given("--clusters", 2, self.clusters)?,
            hidden,
        })
    }

    /// Rows, where the shape may have its own for a step.
    fn rows(&self, of_step: Option<usize>) -> Result<usize> {
        match self.work() {
            Work::Step => given("--batch", 2, self.batch.or(of_step)),
            // Enough that a device is busy all the time.
            Work::Inference => given("--batch", 1, self.batch.or(Some(1 << 16))),
            // And that its beginning and end, when nothing overlaps, count for little.
            Work::Predict => given("--batch", 1, self.batch.or(Some(1 << 18))),
        }
    }
}

/// A size that custom needs.
fn given(option: &'static str, least: usize, value: Option<usize>) -> Result<usize> {
    let value = value.ok_or_else(|| Error::option(option, "not given", "--shape custom needs it"))?;
    values::at_least(option, least, value).map(|()| value)
}

/// Times the work.
pub fn run(args: BenchArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    let shape = args.shape()?;
    values::at_least("--iterations", 1, args.iterations)?;
    let device = args.device.resolve();
    let job = Bench {
        args: &args,
        shape,
        console,
    };
    let outcome = match (args.tiling(), device.device) {
        (None, _) => device.run(job),
        (Some(tiling), Device::Cuda(_)) => device.run_tiled(job, tiling),
        (Some(_), other) => Err(Error::option(
            "--tiles",
            format!("{other} has no tiles to choose from"),
            "leave it away, or give --device cuda",
        )),
    }?;
    let (value, text) = (outcome.json(device), outcome.table());
    console.result(value, &text)
}

struct Bench<'a> {
    args: &'a BenchArgs,
    shape: StepShape,
    console: &'a mut Console,
}

impl<'a> Job for Bench<'a> {
    type Output = Outcome<'a>;
    fn run<O: Ops>(self, ops: &O) -> Result<Outcome<'a>> {
        let Bench { args, shape, console } = self;
        Ok(Outcome {
            args,
            device: ops.name(),
            ceilings: ops.ceilings()?,
            timings: bench(ops, args.work(), &shape, args.iterations, console)?,
            shape,
        })
    }
}

/// What was measured, and of what.
struct Outcome<'a> {
    args: &'a BenchArgs,
    shape: StepShape,
    device: String,
    /// What the device does at most.
    ceilings: Option<Ceilings>,
    timings: Timings,
}

/// What follows from the counts and the median time.
struct Rates {
    rows: f64,
    flop: f64,
    bytes: f64,
}

impl Outcome<'_> {
    /// Per second.
    fn rates(&self) -> Rates {
        let (work, seconds) = (self.args.work(), self.timings.quantile(0.5) / 1e6);
        Rates {
            rows: self.shape.rows as f64 / seconds,
            flop: self.shape.flop(work) / seconds,
            bytes: self.shape.bytes(work) / seconds,
        }
    }

    /// Bytes per second that the device copies at most, in its memory and from the host to it, where the work is one or the other.
    fn copies(&self) -> [Option<f64>; 2] {
        match (self.args.work(), self.ceilings) {
            (Work::Predict, Some(most)) => [None, most.host_to_device],
            (_, Some(most)) => [Some(most.copy), None],
            (_, None) => [None, None],
        }
    }

    /// For programs.
    fn json(&self, device: DeviceArgs) -> Value {
        let Outcome {
            args,
            shape,
            ceilings,
            timings,
            ..
        } = self;
        let (rates, work) = (self.rates(), args.work());
        let [copy, host_to_device] = self.copies();
        let kernels = timings.kernels.iter();
        let percent = |rate: f64, most: Option<f64>| most.map(|most| 100.0 * rate / most);
        json!({
            "work": args.work,
            "device": self.device,
            "precision": device.precision.to_string(),
            "tiles": matches!(device.device, Device::Cuda(_)).then_some(&args.tiles),
            "shape": args.shape,
            "m": shape.rows,
            "d": shape.dims,
            "k": shape.clusters,
            "hidden": shape.hidden,
            "samples": timings.samples.len(),
            "runs_per_sample": timings.runs_per_sample,
            "median_us": timings.quantile(0.5),
            "min_us": timings.quantile(0.0),
            "p10_us": timings.quantile(0.1),
            "p90_us": timings.quantile(0.9),
            "rows_per_second": rates.rows,
            "flop": shape.flop(work),
            "bytes": shape.bytes(work),
            "gflops": rates.flop / 1e9,
            "gbytes_per_second": rates.bytes / 1e9,
            "ceilings": ceilings.map(|most| json!({
                "matrix_gflops": most.matrix / 1e9,
                "copy_gbytes_per_second": most.copy / 1e9,
                "host_to_device_gbytes_per_second": most.host_to_device.map(|rate| rate / 1e9),
            })),
            "percent_of_matrix": percent(rates.flop, ceilings.map(|most| most.matrix)),
            "percent_of_copy": percent(rates.bytes, copy),
            "percent_of_host_to_device": percent(rates.bytes, host_to_device),
            "launches": (!timings.kernels.is_empty()).then_some(timings.kernels.len()),
            "kernels": kernels.map(|(name, us)| json!({ "name": name, "us": us })).collect::<Vec<_>>(),
        })
    }

    /// For people.
    fn table(&self) -> String {
        let Outcome {
            args,
            shape,
            ceilings,
            timings,
            ..
        } = self;
        let (rates, work) = (self.rates(), args.work());
        let mut lines = Vec::new();
        let mut row = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
        row("device", self.device.clone());
        row(
            "shape",
            format!(
                "{}: m {}, d {}, hidden {}, k {}",
                args.shape,
                shape.rows,
                shape.dims,
                Hidden(shape.hidden.clone()),
                shape.clusters
            ),
        );
        row(
            &args.work,
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
                "{:.3} GFLOP a run, {:.1} GFLOP/s{}",
                shape.flop(work) / 1e9,
                rates.flop / 1e9,
                share(rates.flop, ceilings.map(|most| most.matrix), "GFLOP/s")
            ),
        );
        let [copy, host_to_device] = self.copies();
        row(
            "traffic",
            format!(
                "{:.1} MB a run, {:.1} GB/s{}{}",
                shape.bytes(work) / 1e6,
                rates.bytes / 1e9,
                share(rates.bytes, copy, "GB/s"),
                share(rates.bytes, host_to_device, "GB/s from the host to the device")
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
}
