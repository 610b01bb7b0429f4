//! `neuncut-emulator step` against PyTorch: every golden step through the kernels, in each precision.

use std::process::{Command, Output};

use crate::golden::{errs_at_most_twice_as_much, folder, problems};
use clap::Parser;
use neuncut::cpu::Reference;
use neuncut::ops::Precision;
use neuncut::problem::{self, StepArgs, make_step};

/// Options of a step alone.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    step: StepArgs,
}

fn emulator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_neuncut-emulator"))
        .args(arguments)
        .output()
        .unwrap()
}

fn kernels_err_at_most_twice_as_much_as_plain_loops(precision: Precision) {
    let plain = |arguments: &[String]| {
        let Line { step } = Line::try_parse_from(arguments).unwrap();
        let problem = problem::Problem::read(&step).unwrap();
        make_step(&Reference::<f32>::rounding(precision), &step, &problem).unwrap();
    };
    let kernels = |arguments: &[String]| {
        let mut line = vec!["step", "--precision", precision.name(), "--seed", "1"];
        line.extend(arguments.iter().map(String::as_str));
        let told = emulator(&line);
        assert!(
            told.status.success(),
            "{line:?}: {}",
            String::from_utf8_lossy(&told.stderr)
        );
    };
    errs_at_most_twice_as_much(&problems(), plain, kernels);
}

#[test]
fn kernels_in_fp32() {
    kernels_err_at_most_twice_as_much_as_plain_loops(Precision::Fp32);
}

#[test]
fn kernels_in_tf32x3() {
    kernels_err_at_most_twice_as_much_as_plain_loops(Precision::Tf32x3);
}

#[test]
fn kernels_in_tf32() {
    kernels_err_at_most_twice_as_much_as_plain_loops(Precision::Tf32);
}

#[test]
fn kernels_in_bf16() {
    kernels_err_at_most_twice_as_much_as_plain_loops(Precision::Bf16);
}

#[test]
fn the_losses_are_told_and_tf32x3_is_the_default() {
    let here = tempfile::tempdir().unwrap();
    let input = folder().join("ncut-squared-through-m7.npz");
    let input = input.to_str().unwrap();
    let outputs = ["auto.npz", "tf32x3.npz", "fp32.npz"].map(|name| here.path().join(name));
    let [auto, tf32x3, fp32] = outputs.each_ref().map(|path| path.to_str().unwrap());
    let told = emulator(&["step", "--problem", input, "-o", auto, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert!(
        json["loss"].is_number() && json["device"] == "the emulator (tf32x3)",
        "{json}"
    );
    let told = emulator(&["step", "--problem", input, "-o", tf32x3, "--precision", "tf32x3"]);
    assert!(String::from_utf8_lossy(&told.stdout).starts_with("L_lap "));
    let told = emulator(&[
        "step",
        "--problem",
        input,
        "-o",
        fp32,
        "--precision",
        "fp32",
        "--quiet",
    ]);
    assert!(told.status.success() && told.stdout.is_empty());
    let [auto, tf32x3, fp32] = outputs.map(|path| std::fs::read(path).unwrap());
    assert!(auto == tf32x3, "the same bits from the same precision");
    assert!(auto != fp32, "the precision matters");
}

#[test]
fn what_cannot_be_done_is_told_in_one_line() {
    let here = tempfile::tempdir().unwrap();
    let output = here.path().join("out.npz");
    let output = output.to_str().unwrap();
    let input = folder().join("ncut-squared-through-m7.npz");
    let input = input.to_str().unwrap();
    for (code, arguments, words) in [
        (2, vec!["step", "--problem", input], "--output"),
        (
            2,
            vec!["step", "--problem", input, "-o", output, "--device", "cpu"],
            "--device",
        ),
        (
            2,
            vec!["step", "--problem", input, "-o", output, "--precision", "fp8"],
            "bf16",
        ),
        (
            1,
            vec!["step", "--problem", input, "-o", output, "--precision", "f64"],
            "--device reference",
        ),
        (
            1,
            vec!["step", "--problem", "nowhere.npz", "-o", output],
            "nowhere.npz",
        ),
        (
            1,
            vec!["step", "--problem", input, "-o", output, "--sigma", "0"],
            "--sigma",
        ),
    ] {
        let told = emulator(&arguments);
        let line = String::from_utf8(told.stderr).unwrap();
        assert_eq!(told.status.code(), Some(code), "{line}");
        assert!(
            line.starts_with("neuncut-emulator: ") && line.contains(words),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(told.stdout.is_empty(), "{line}");
    }
}
