//! The training steps of `tests/golden/step.json`, and how far the step of a program is from what PyTorch gave in float64.
#![allow(dead_code)] // each test file compiles this module anew and uses its own part of it

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use neuncut::data::npz::{Array, read_arrays};
use serde_json::Value;

/// The part of the float32 bound that does not come from the plain float32 computation: four unit roundings,
/// for an exponential and a fused multiply-add that round differently from the plain loops'.
const F32_FLOOR: f64 = 2.0 * f32::EPSILON as f64;

/// One entry of step.json.
pub struct Problem {
    pub file: String,
    pub options: Vec<(&'static str, String)>,
}

/// `tests/golden` of this package, or of the one that it is a part of.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("tests/golden"))
        .find(|folder| folder.is_dir())
        .expect("the tests come with tests/golden")
}

/// All of them.
pub fn problems() -> Vec<Problem> {
    let text = fs::read_to_string(folder().join("step.json")).unwrap();
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

/// Lets `step` make the step that the arguments it is given describe, and returns, for each expected array, the largest
/// difference from it divided by its own largest entry.
pub fn errors(problem: &Problem, step: impl FnOnce(&[String])) -> Vec<(String, f64)> {
    let input = folder().join(&problem.file);
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.npz");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let mut arguments = vec!["--problem".into(), text(&input), "-o".into(), text(&output)];
    for (option, value) in &problem.options {
        arguments.extend([(*option).to_owned(), value.clone()]);
    }
    step(&arguments);

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

/// Asserts that `step` errs at most twice as much as `plain`, plain loops in the same precision. The error of a single
/// array is luck when the array is small (a scalar may come out exact), so plain loops are given their worst error of an
/// output over all `problems`.
pub fn errs_at_most_twice_as_much(problems: &[Problem], plain: impl Fn(&[String]), step: impl Fn(&[String])) {
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    for problem in problems {
        for (name, error) in errors(problem, &plain) {
            assert!(
                error.is_finite(),
                "{} {name}: the reference gave {error}",
                problem.file
            );
            let worst = worst.entry(name).or_default();
            *worst = worst.max(error);
        }
    }
    let mut wrong = Vec::new();
    for problem in problems {
        for (name, error) in errors(problem, &step) {
            let bound = 2.0 * worst[&name] + F32_FLOOR;
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
