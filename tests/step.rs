//! `neuncut step` against PyTorch: one training step on each problem of `tests/golden/step.json`, every array that
//! comes out of it compared with what autograd and `torch.optim.Adam` gave in float64.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use neuncut::data::npz::{Array, read_arrays};
use serde_json::Value;

/// Bound on the error of a float64 step, relative to an array's largest entry.
///
/// A sum has at most 129 terms (the rows of the largest problem) and six such sums follow one another: affinity,
/// contraction, logits, and the way back through two layers to the first. Each loses at most 129 of its terms' unit
/// roundings of 1.1e-16, together 9e-14. The gradient of a bias adds terms that cancel, to a hundredth of their
/// size in the worst problem: 9e-12, and the next power of ten. (Even the 1e-6 added to the volumes, doubled by
/// mistake, shows at 6e-7.)
const F64_BOUND: f64 = 1e-10;

/// The part of the float32 bound that does not come from the plain float32 computation: four unit roundings,
/// for an exponential and a fused multiply-add that round differently from the plain loops'.
const F32_FLOOR: f64 = 2.0 * f32::EPSILON as f64;

#[test]
fn the_reference_in_f64_takes_the_step_that_autograd_takes() {
    let mut wrong = Vec::new();
    for problem in problems() {
        for (name, error) in errors(&problem, "reference", "f64") {
            if error > F64_BOUND {
                wrong.push(format!("{} {name}: relative error {error:.1e}", problem.file));
            }
        }
    }
    assert!(wrong.is_empty(), "above {F64_BOUND:.0e}:\n{}", wrong.join("\n"));
}

/// The fast path may err twice as much as plain loops in the same precision. The error of a single array is luck
/// when the array is small (a scalar may come out exact), so plain loops are given their worst error of an output
/// over all the problems.
#[test]
fn the_cpu_in_fp32_errs_at_most_twice_as_much_as_plain_loops() {
    let problems = problems();
    let mut plain: BTreeMap<String, f64> = BTreeMap::new();
    for problem in &problems {
        for (name, error) in errors(problem, "reference", "fp32") {
            assert!(
                error.is_finite(),
                "{} {name}: the reference gave {error}",
                problem.file
            );
            let worst = plain.entry(name).or_default();
            *worst = worst.max(error);
        }
    }
    let mut wrong = Vec::new();
    for problem in &problems {
        for (name, error) in errors(problem, "cpu", "fp32") {
            let bound = 2.0 * plain[&name] + F32_FLOOR;
            if error > bound {
                wrong.push(format!(
                    "{} {name}: relative error {error:.1e}, at most {bound:.1e} was expected",
                    problem.file
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_golden_step_is_listed_and_every_combination_of_the_loss_is_there() {
    let problems = problems();
    let listed: BTreeSet<&str> = problems.iter().map(|problem| problem.file.as_str()).collect();
    let names: Vec<String> = fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in names.iter().filter(|name| name.ends_with(".npz")) {
        let is_a_step = name.starts_with("ncut-") || name.starts_with("rcut-");
        assert!(
            !is_a_step || listed.contains(name.as_str()),
            "{name} is not in step.json"
        );
    }
    for cut in ["ncut", "rcut"] {
        for penalty in ["squared", "frobenius"] {
            for volumes in ["through", "fixed"] {
                let settings = [("--cut", cut), ("--penalty", penalty), ("--volumes", volumes)];
                let found = problems.iter().any(|problem| {
                    settings
                        .iter()
                        .all(|&(option, value)| problem.options.contains(&(option, value.to_owned())))
                });
                assert!(found, "no problem has {settings:?}");
            }
        }
    }
}

/// One entry of step.json.
struct Problem {
    file: String,
    options: Vec<(&'static str, String)>,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn problems() -> Vec<Problem> {
    let text = fs::read_to_string(golden().join("step.json")).unwrap();
    let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
    let options = [
        ("--sigma", "sigma"),
        ("--gamma", "gamma"),
        ("--penalty", "penalty"),
        ("--volumes", "volumes"),
        ("--cut", "cut"),
        ("--lr", "lr"),
        ("--weight-decay", "weight_decay"),
        ("--step", "step"),
    ];
    let problem = |entry: &Value| Problem {
        file: entry["file"].as_str().unwrap().to_owned(),
        options: options
            .map(|(option, key)| (option, option_value(&entry[key])))
            .to_vec(),
    };
    entries.iter().map(problem).collect()
}

/// A string without the quotes JSON has around it, a number as it is.
fn option_value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Runs one step of `problem` and returns, for each expected array, the largest difference from it divided by its
/// own largest entry.
fn errors(problem: &Problem, device: &str, precision: &str) -> Vec<(String, f64)> {
    let input = golden().join(&problem.file);
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.npz");
    let run = Command::new(env!("CARGO_BIN_EXE_neuncut"))
        .args(["step", "--device", device, "--precision", precision])
        .args(
            problem
                .options
                .iter()
                .flat_map(|(option, value)| [*option, value.as_str()]),
        )
        .arg("--problem")
        .arg(&input)
        .arg("-o")
        .arg(&output)
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}: {}",
        problem.file,
        String::from_utf8_lossy(&run.stderr)
    );

    let found = read_arrays(&output).unwrap();
    let expected = read_arrays(&input).unwrap();
    let compare = |(name, expected): (&str, &Array)| {
        let found = found
            .get(name)
            .unwrap_or_else(|| panic!("{}: {name} did not come out", problem.file));
        assert_eq!(found.shape, expected.shape, "{}: shape of {name}", problem.file);
        (name.to_owned(), relative_error(&found.values, &expected.values))
    };
    expected
        .iter()
        .filter_map(|(name, array)| Some((name.strip_prefix("expect_")?, array)))
        .map(compare)
        .collect()
}

/// Largest difference over largest expected entry: infinite where a NaN came out, and where an array that should
/// be zero is not exactly that.
fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    let scale = expected
        .iter()
        .fold(0.0, |scale: f64, value| scale.max(value.abs()));
    let largest = found
        .iter()
        .zip(expected)
        .fold(0.0, |largest: f64, (found, expected)| {
            let difference = (found - expected).abs();
            // `f64::max` alone would drop the NaN.
            if difference.is_nan() {
                f64::INFINITY
            } else {
                largest.max(difference)
            }
        });
    if largest == 0.0 { 0.0 } else { largest / scale }
}
