//! That training learns: known figures are found, and the history says what the scores say.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs the program in `folder` with `--json` and returns what it prints.
fn neuncut(folder: &Path, arguments: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_neuncut"))
        .args(arguments.split_whitespace())
        .args(["--json", "--quiet"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn score(value: &Value, name: &str) -> f64 {
    value[name]
        .as_f64()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Figures that no straight line parts, from 2,000 points, with nothing but the number of clusters given.
fn is_told_apart(figure: &str) {
    let folder = tempfile::tempdir().unwrap();
    neuncut(
        folder.path(),
        &format!("generate {figure} --rows 2000 --seed 4 -o train.safetensors"),
    );
    neuncut(
        folder.path(),
        &format!("generate {figure} --rows 50000 --seed 5 -o more.safetensors"),
    );
    let fit = neuncut(folder.path(), "fit train.safetensors -k 2 --out run");
    assert!(score(&fit, "acc") >= 0.99, "{fit}");
    let predict = neuncut(folder.path(), "predict run more.safetensors -o more.npy");
    assert!(score(&predict, "acc") >= 0.99, "{predict}");
}

#[test]
fn rings_are_told_apart_at_the_defaults() {
    is_told_apart("rings");
}

#[test]
fn moons_are_told_apart_at_the_defaults() {
    is_told_apart("moons");
}

#[test]
fn two_letters_c_are_told_apart_at_the_defaults() {
    is_told_apart("double-c");
}

#[test]
fn spirals_are_told_apart_at_the_defaults() {
    is_told_apart("spirals");
}

#[test]
fn two_letters_c_are_told_apart_and_so_are_points_never_seen() {
    let folder = tempfile::tempdir().unwrap();
    neuncut(
        folder.path(),
        "generate double-c --rows 5000 --seed 4 -o train.safetensors",
    );
    neuncut(
        folder.path(),
        "generate double-c --rows 50000 --seed 5 -o more.safetensors",
    );
    let fit = neuncut(
        folder.path(),
        "fit train.safetensors -k 2 --affinity heat --features none --neighbors all --sigma 0.2 --gamma 0.3 --batch 500 --out run",
    );
    assert!(score(&fit, "acc") > 0.99, "{fit}");
    assert!(score(&fit, "ncut") < 0.03, "{fit}");
    let predict = neuncut(folder.path(), "predict run more.safetensors -o more.npy");
    assert!(score(&predict, "acc") > 0.99, "{predict}");
}

/// A random start may merge two clouds and split a third; it never does worse, and most do better. The defaults find all.
#[test]
fn clouds_are_found_with_every_setting_left_to_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let found: Vec<f64> = (0..4)
        .map(|seed| {
            neuncut(
                folder.path(),
                &format!("generate blobs --rows 5000 --seed {seed} -o blobs{seed}.npz"),
            );
            let options =
                format!("fit blobs{seed}.npz -k 5 --affinity heat --epochs 20 --seed {seed} --out run{seed}");
            score(&neuncut(folder.path(), &options), "acc")
        })
        .collect();
    // Chance alone gives about 0.2.
    assert!(found.iter().all(|&acc| acc > 0.55), "{found:?}");
    assert!(found.iter().filter(|&&acc| acc > 0.99).count() >= 2, "{found:?}");
    let usual = neuncut(folder.path(), "fit blobs0.npz -k 5 --out usual");
    assert!(score(&usual, "acc") > 0.99, "{usual}");
}

/// All rows are trained on, so the scores of the epoch with the smallest cut, the run's, and a judgement of labels.npy are of the
/// same labels.
#[test]
fn the_history_the_metrics_and_the_labels_agree_about_the_best_epoch() {
    let folder = tempfile::tempdir().unwrap();
    neuncut(folder.path(), "generate subspaces --rows 1500 --seed 3 -o x.npz");
    let fit = neuncut(folder.path(), "fit x.npz -k 5 --hidden 64 --out run");
    let history = std::fs::read_to_string(folder.path().join("run/history.jsonl")).unwrap();
    let epochs: Vec<Value> = history
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let best = epochs
        .iter()
        .min_by(|a, b| score(a, "cut").total_cmp(&score(b, "cut")))
        .unwrap();
    for name in ["acc", "nmi", "ari"] {
        assert_eq!(score(best, name), score(&fit, name), "{name}");
    }
    assert_eq!(best["sizes"], fit["sizes"]);
    assert_eq!(score(best, "cut"), score(&fit, "ncut"));
    let judged = neuncut(
        folder.path(),
        "evaluate --predictions run/labels.npy --graph run/graph.npz",
    );
    assert!((score(&judged, "ncut") - score(&fit, "ncut")).abs() < 1e-6 * score(&fit, "ncut"));
}

/// All rows are trained on, so the last epoch's scores, the run's, and a judgement of labels.npy are of the same labels.
#[test]
fn the_history_the_metrics_and_the_labels_agree_about_real_digits() {
    let folder = tempfile::tempdir().unwrap();
    let fit = neuncut(folder.path(), "fit -k 10 --affinity heat --epochs 10 --out run");
    // k-means on these rows gives 0.54 with many more passes; ten epochs are on their way.
    assert!(score(&fit, "acc") > 0.4 && score(&fit, "nmi") > 0.4, "{fit}");
    let history = std::fs::read_to_string(folder.path().join("run/history.jsonl")).unwrap();
    let epochs: Vec<Value> = history
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = &epochs[epochs.len() - 1];
    for name in ["acc", "nmi", "ari"] {
        assert_eq!(score(last, name), score(&fit, name), "{name}");
    }
    assert_eq!(last["sizes"], fit["sizes"]);
    let nmi = |epoch: &Value| score(epoch, "nmi");
    assert!(nmi(last) > nmi(&epochs[0]) + 0.05, "the scores rise: {history}");
    let judged = neuncut(
        folder.path(),
        "evaluate --predictions run/labels.npy --data mnist-t10k --run run",
    );
    assert!((score(&judged, "ncut") - score(&fit, "ncut")).abs() < 1e-6 * score(&fit, "ncut"));
}
