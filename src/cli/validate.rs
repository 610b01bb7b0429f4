//! `neuncut validate`

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use neuncut::cpu::Fast;
use neuncut::cuda::tiles::{Tiles, Tiling};
use neuncut::cuda::{Card, Cuda};
use neuncut::ops::{Ops, Precision};
use neuncut::options::Device;
use neuncut::progress::Progress;
use neuncut::validate::{Operation, Row, Settings, Sizes, run_operation, tiled};
use neuncut::{Error, Result};
use serde_json::{Value, json};

use super::console::Console;
use super::device;

/// Calls whose shortest time is told.
const REPEATS: usize = 3;

/// Arguments of `validate`.
#[derive(Args)]
pub struct ValidateArgs {
    /// What is checked: auto (the first GPU, else the CPU), cpu, cuda, cuda:1 (and so on)
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Device,

    /// Precision to check: fp32, tf32x3, tf32, bf16, or all that the device has
    #[arg(long, value_name = "PRECISION", default_value = "all")]
    precision: Wanted,

    /// Leave out the problems that take long
    #[arg(long)]
    quick: bool,

    /// Operations to check, with a comma between two [default: all]
    #[arg(long, value_name = "OPERATIONS", value_delimiter = ',')]
    only: Vec<Operation>,

    /// Seed of the problems [default: another one each time]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

/// Precisions asked for.
#[derive(Clone, Copy)]
enum Wanted {
    All,
    One(Precision),
}

impl FromStr for Wanted {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let named = Precision::ALL
            .into_iter()
            .find(|precision| precision.name() == text);
        match (text, named) {
            ("all", _) => Ok(Wanted::All),
            (_, Some(precision)) => Ok(Wanted::One(precision)),
            _ => Err("choose from all, fp32, tf32x3, tf32, bf16".to_string()),
        }
    }
}

/// Checks every operation of a device against the f64 reference.
pub fn run(args: ValidateArgs, console: &mut Console) -> Result<()> {
    match device::or_first_gpu(args.device) {
        Device::Auto | Device::Cpu => match args.precision {
            Wanted::All | Wanted::One(Precision::Fp32) => {
                let ops = Fast::new(0)?;
                validate("cpu", &[(&ops, Precision::Fp32)], &[], &args, console)
            }
            Wanted::One(other) => Err(Error::option(
                "--precision",
                format!("the CPU does not compute in {}", other.name()),
                "use fp32, or another --device",
            )),
        },
        Device::Cuda(ordinal) => {
            let card = Card::open(ordinal)?;
            let precisions = match args.precision {
                Wanted::All => Precision::ALL.to_vec(),
                Wanted::One(precision) => vec![precision],
            };
            // All on one card: they get the same problems, and the references solve each once.
            let backends: Vec<_> = precisions
                .iter()
                .map(|&precision| Cuda::new(card.clone(), precision).keeping_gradients())
                .collect();
            let backends: Vec<_> = backends.iter().zip(precisions).collect();
            let fed = Cuda::new(card.clone(), Precision::Fp32).feeding_rows();
            // Tiles that the rule takes for large products only, or small ones, on problems of all sizes.
            let tiled_backend = |tiles, precision| {
                Cuda::new(card.clone(), precision)
                    .keeping_gradients()
                    .tiling(Tiling::Always(tiles))
            };
            let mut in_tiles = Vec::new();
            for (_, precision) in &backends {
                for (tiles, suffix) in Tiles::ALL.into_iter().zip(["short", "square", "wide"]) {
                    in_tiles.push((tiled_backend(tiles, *precision), *precision, suffix));
                }
            }
            let fed_operations = [Operation::Nearest, Operation::Rows, Operation::Training];
            let mut others = vec![Others {
                ops: &fed,
                precision: Precision::Fp32,
                operations: &fed_operations,
                suffix: "fed",
            }];
            for (ops, precision, suffix) in &in_tiles {
                others.push(Others {
                    ops,
                    precision: *precision,
                    operations: tiled(*precision),
                    suffix,
                });
            }
            let device = Device::Cuda(ordinal).to_string();
            validate(&device, &backends, &others, &args, console)
        }
        Device::Reference => Err(Error::option(
            "--device",
            "the reference is what other devices are checked against",
            "use cpu",
        )),
    }
}

/// A backend that computes some operations in another way, and what its rows are marked with.
struct Others<'a, O> {
    ops: &'a O,
    precision: Precision,
    operations: &'a [Operation],
    suffix: &'static str,
}

/// Checks the backends of a device, one for each precision, and others beside them, and shows the table.
fn validate<O: Ops>(
    device: &str,
    backends: &[(&O, Precision)],
    others: &[Others<O>],
    args: &ValidateArgs,
    console: &mut Console,
) -> Result<()> {
    let seed = args.seed.unwrap_or_else(seed_of_the_clock);
    let settings = Settings {
        sizes: if args.quick { Sizes::Small } else { Sizes::Full },
        repeats: REPEATS,
        ..Settings::new(seed)
    };
    let wanted = |operation: &Operation| args.only.is_empty() || args.only.contains(operation);
    let operations: Vec<Operation> = Operation::ALL.into_iter().filter(wanted).collect();
    let mut rows = Vec::new();
    console.begin("validate", operations.len() as u64, "operations");
    for (done, operation) in operations.into_iter().enumerate() {
        rows.extend(run_operation(operation, backends, &settings, &mut |_| ())?);
        console.advance(done as u64 + 1, "");
    }
    for other in others {
        let backend = [(other.ops, other.precision)];
        for &operation in other.operations.iter().filter(|operation| wanted(operation)) {
            let found = run_operation(operation, &backend, &settings, &mut |_| ())?;
            rows.extend(found.into_iter().map(|row| Row {
                size: format!("{}, {}", row.size, other.suffix),
                ..row
            }));
        }
    }
    console.end();

    let failed = rows.iter().filter(|row| !row.passed()).count();
    let value = json!({
        "device": device,
        "name": backends.first().map(|(ops, _)| ops.name()),
        "seed": seed,
        "rows": rows.iter().map(row_json).collect::<Vec<_>>(),
        "passed": failed == 0,
    });
    let verdict = match failed {
        0 => format!("all {} rows pass (seed {seed})", rows.len()),
        _ => format!("{failed} of {} rows FAIL (seed {seed})", rows.len()),
    };
    console.result(value, &format!("{}\n{verdict}", table(&rows)))?;
    if failed == 0 {
        return Ok(());
    }
    Err(Error::device(
        device,
        format!("{failed} of {} checks fail with --seed {seed}", rows.len()),
        "do not rely on results of this device; its driver or its memory may be at fault, or neuncut itself",
    ))
}

fn seed_of_the_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| u64::from(since.subsec_nanos()))
}

/// A row with its verdict. JSON has no infinity: an error that is none is null.
fn row_json(row: &Row) -> Value {
    let mut value = json!(row);
    value["passed"] = row.passed().into();
    value
}

/// The table for people: a failed row also names its worst case.
fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<24} {:<9} {:<28} {:>9} {:>9}  {:<4} {:>12}",
        "kernel", "precision", "size", "error", "allowed", "", "us"
    );
    for row in rows {
        let verdict = if row.passed() { "pass" } else { "FAIL" };
        let time = row
            .microseconds
            .map_or(String::new(), |microseconds| format!("{microseconds:.1}"));
        text += &format!(
            "\n{:<24} {:<9} {:<28} {:>9.1e} {:>9.1e}  {verdict} {time:>12}",
            row.kernel,
            row.precision.name(),
            row.size,
            row.error,
            row.allowed,
        );
        if !row.passed() {
            text += &format!("  {}", row.case);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_row_says_so_and_where() {
        let row = |error: f64| Row {
            kernel: "linear",
            precision: Precision::Tf32,
            size: "m 7 k 3 d 5".into(),
            case: "with ReLU".into(),
            error,
            allowed: 1e-3,
            microseconds: Some(2.5),
        };
        let text = table(&[row(1e-3), row(f64::INFINITY)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].contains("pass") && !lines[1].contains("with ReLU"),
            "{text}"
        );
        assert!(
            lines[2].contains("FAIL") && lines[2].ends_with("with ReLU"),
            "{text}"
        );
        let failed = row_json(&row(f64::INFINITY));
        assert_eq!(failed["passed"], false);
        assert_eq!(failed["error"], Value::Null);
        assert_eq!(row_json(&row(0.0))["passed"], true);
    }
}
