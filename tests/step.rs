//! `neuncut step` against PyTorch: one training step on each problem of `tests/golden/step.json`, every array that
//! comes out of it compared with what autograd and `torch.optim.Adam` gave in float64.

#[path = "common/golden.rs"]
mod golden;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use golden::{errors, errs_at_most_twice_as_much, folder, problems};

/// Bound on the error of a float64 step, relative to an array's largest entry.
///
/// A sum has at most 129 terms (the rows of the largest problem) and six such sums follow one another: affinity,
/// contraction, logits, and the way back through two layers to the first. Each loses at most 129 of its terms' unit
/// roundings of 1.1e-16, together 9e-14. The gradient of a bias adds terms that cancel, to a hundredth of their
/// size in the worst problem: 9e-12, and the next power of ten. (Even the 1e-6 added to the volumes, doubled by
/// mistake, shows at 6e-7.)
const F64_BOUND: f64 = 1e-10;

#[test]
fn the_reference_in_f64_takes_the_step_that_autograd_takes() {
    let mut wrong = Vec::new();
    for problem in problems() {
        for (name, error) in errors(&problem, neuncut("reference", "f64")) {
            if error > F64_BOUND {
                wrong.push(format!("{} {name}: relative error {error:.1e}", problem.file));
            }
        }
    }
    assert!(wrong.is_empty(), "above {F64_BOUND:.0e}:\n{}", wrong.join("\n"));
}

#[test]
fn the_cpu_in_fp32_errs_at_most_twice_as_much_as_plain_loops() {
    errs_at_most_twice_as_much(&problems(), neuncut("reference", "fp32"), neuncut("cpu", "fp32"));
}

#[test]
fn every_golden_step_is_listed_and_every_combination_of_the_loss_is_there() {
    let problems = problems();
    let listed: BTreeSet<&str> = problems.iter().map(|problem| problem.file.as_str()).collect();
    let names: Vec<String> = fs::read_dir(folder())
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

/// Makes a step in a process of its own.
fn neuncut(device: &'static str, precision: &'static str) -> impl Fn(&[String]) {
    move |arguments| {
        let run = Command::new(env!("CARGO_BIN_EXE_neuncut"))
            .args(["step", "--device", device, "--precision", precision])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
    }
}
