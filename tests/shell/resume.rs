//! Runs that are stopped at any moment, and go on as if nothing had been.

use std::fs;
use std::process::Child;
use std::time::Duration;

use super::cli::epochs;
use super::sandbox::{Sandbox, finish, interrupt, wait_until};

/// A training of a few seconds: 12 mini-batches in each of 60 epochs.
const FIT: &str = "neuncut fit x.npy -k 5 --affinity heat --batch 111 --epochs 60 --hidden 64,48 --labels x-labels.npy --checkpoint-seconds 0";

/// Trainings from two starts, each in five stages: 8 clusters, merged to 5, and moved once.
const SEARCH: &str = "neuncut fit x.npy -k 5 --batch 111 --epochs 20 --hidden 64,48 --labels x-labels.npy --checkpoint-seconds 0 \
                      --warm-up 20 --restarts 2 --moves 1 --overcluster 1.5";

fn with_data() -> Sandbox {
    let here = Sandbox::new();
    here.ok("neuncut generate subspaces --rows 1403 --seed 11 -o x.npy");
    here
}

/// Asserts that two finished runs hold the same bits, but for wall times and the number of threads.
pub fn assert_same(here: &Sandbox, expected: &str, found: &str) {
    assert_eq!(here.list(expected), here.list(found));
    let told_apart = ["history.jsonl", "metrics.json", "report.html"];
    for file in here.list(expected) {
        if told_apart.contains(&&file[..]) {
            continue;
        }
        let same = here.bytes(&format!("{expected}/{file}")) == here.bytes(&format!("{found}/{file}"));
        assert!(same, "{found}/{file} has other bytes");
    }
    let history = |run: &str| epochs(&here.text(&format!("{run}/history.jsonl")));
    assert_eq!(history(expected), history(found));
    let scores = |run: &str| {
        let text = here.text(&format!("{run}/metrics.json"));
        let mut scores: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        for key in ["seconds", "stages", "device"] {
            assert!(scores.remove(key).is_some(), "no {key} in {text}");
        }
        scores
    };
    assert_eq!(scores(expected), scores(found));
}

/// Starts the training and waits for its first checkpoint.
fn start_until_checkpoint(here: &Sandbox, line: &str, run: &str) -> Child {
    let mut child = here.start(line);
    let checkpoint = here.path(run).join("checkpoint.safetensors");
    assert!(
        wait_until(&mut child, || checkpoint.exists()),
        "{line} ended without a checkpoint"
    );
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn killed_at_any_moment_a_run_goes_on_to_the_same_bits() {
    let here = with_data();
    here.ok(&format!("{FIT} --out whole"));
    killed_again_and_again(&here, FIT);
}

#[test]
fn killed_in_any_stage_a_search_goes_on_to_the_same_bits() {
    let here = with_data();
    here.ok(&format!("{SEARCH} --out whole"));
    let history = epochs(&here.text("whole/history.jsonl"));
    for stage in [true, false] {
        let found = history.iter().any(|epoch| epoch["agreement"].is_f64() == stage);
        assert!(found, "a warm-up and a training in {history:?}");
    }
    let attempts: Vec<_> = history.iter().map(|epoch| epoch["attempt"].as_u64()).collect();
    assert!(attempts.is_sorted(), "{attempts:?}");
    assert_eq!((attempts[0], attempts[attempts.len() - 1]), (Some(1), Some(2)));
    assert!(here.text("whole/report.html").contains("<dt>Attempt</dt>"));
    killed_again_and_again(&here, SEARCH);
}

/// Kills a run at random moments, goes on, and compares it with the one in `whole`.
fn killed_again_and_again(here: &Sandbox, fit: &str) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    // Of milliseconds, each spread evenly over a range that doubles.
    let pauses = (0..6).map(|i| (seed >> (10 * i)) % (50 << i));
    let mut resume = "";
    let mut kills = 0;
    for pause in pauses {
        let mut child = start_until_checkpoint(here, &format!("{fit} --out killed {resume}"), "killed");
        std::thread::sleep(Duration::from_millis(pause));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        kill(child);
        kills += 1;
        println!(
            "killed after {pause} ms in epoch {}",
            here.text("killed/history.jsonl").lines().count() + 1
        );
        resume = "--resume";
    }
    assert!(kills > 0, "the run was too short to be killed");
    // The options need not be given again.
    here.ok("neuncut fit --resume --out killed");
    assert_same(here, "whole", "killed");
}

#[test]
fn interrupted_a_run_says_how_to_go_on_and_goes_on_to_the_same_bits() {
    let here = with_data();
    here.ok(&format!("{FIT} --out whole"));
    let line = format!("{FIT} --out stopped --quiet");
    let child = start_until_checkpoint(&here, &line, "stopped");
    interrupt(&child);
    let told = finish(child, &line);
    told.refuses(
        130,
        &[
            "interrupted; stopped in epoch",
            "neuncut fit --resume --out stopped",
        ],
    );
    assert!(!here.list("stopped").iter().any(|name| name.ends_with(".tmp")));

    // Asked again with all its options, even those the data has decided since.
    let told = here.ok(&format!(
        "{FIT} --sigma auto --gamma auto --features auto --out stopped --resume"
    ));
    assert!(told.err.contains("going on in epoch"), "{}", told.err);
    assert_same(&here, "whole", "stopped");

    let line = format!("{SEARCH} --out search");
    kill(start_until_checkpoint(&here, &line, "search"));
    here.ok(&format!(
        "{line} --sigma auto --gamma auto --features auto --graph-features auto --neighbors auto --resume"
    ));
}

#[test]
fn two_runs_cannot_be_at_work_in_one_folder() {
    let here = with_data();
    let line = "neuncut fit x.npy -k 5 --affinity heat --epochs 100000000 --hidden 8 --out run --checkpoint-seconds 0";
    let child = start_until_checkpoint(&here, line, "run");
    for other in [
        "neuncut fit x.npy -k 5 --out run",
        "neuncut fit x.npy -k 5 --out run --overwrite",
        "neuncut fit --resume --out run",
    ] {
        here.run(other).refuses(
            1,
            &["run: another process is at work on the run in this folder; wait"],
        );
    }
    // A kill opens the folder to others again.
    kill(child);
    here.ok("neuncut fit x.npy -k 5 --epochs 1 --hidden 8 --out run --overwrite");
}

#[test]
fn a_long_training_tells_its_progress_in_lines() {
    let here = with_data();
    let line =
        "neuncut fit x.npy -k 5 --affinity heat --epochs 100000000 --hidden 8 --out run --json 2>progress";
    let mut child = here.start(line);
    let told = || fs::read_to_string(here.path("progress")).unwrap_or_default();
    assert!(wait_until(&mut child, || told().contains("training ")));
    interrupt(&child);
    let code = finish(child, line);
    assert_eq!((code.code, &code.out[..]), (130, ""));
    let told = told();
    assert!(
        told.contains(" epochs, ") && told.contains(" s left  epoch "),
        "{told}"
    );
    assert!(!told.contains(['\r', '\x1b']), "terminal codes: {told:?}");
}

#[test]
fn a_finished_run_is_left_alone() {
    let here = with_data();
    let line = "neuncut fit x.npy -k 5 --epochs 2 --hidden 8 --out run --json";
    let first = here.ok(line).json();
    let before = here.tree();
    let told = here.ok(&format!("{line} --resume"));
    assert!(told.err.contains("this run is finished already"), "{}", told.err);
    assert_eq!(told.json(), first);
    assert_eq!(here.tree(), before);
}

#[test]
fn what_a_kill_after_the_training_left_out_is_made_up_for() {
    let here = with_data();
    here.ok("neuncut fit x.npy -k 5 --epochs 3 --hidden 20 --labels x-labels.npy --out whole");
    for missing in [
        &["metrics.json"][..],
        &["metrics.json", "report.html"],
        &["metrics.json", "report.html", "labels.npy"],
        &["metrics.json", "report.html", "labels.npy", "model.safetensors"],
    ] {
        here.ok("rm -rf cut && cp -r whole cut");
        for file in missing {
            fs::remove_file(here.path("cut").join(file)).unwrap();
        }
        here.ok("neuncut fit --resume --out cut");
        assert_same(&here, "whole", "cut");
    }
}

#[test]
fn a_run_goes_on_only_as_it_was_begun() {
    let here = with_data();
    let line = format!("{FIT} --out run");
    kill(start_until_checkpoint(&here, &line, "run"));
    here.put("other.csv", "1,2\n3,4\n");
    let before = here.tree();
    for (option, name) in [
        ("-k 4", "clusters = 5, not 4"),
        ("--seed 1", "seed = 0, not 1"),
        ("--lr 0.01", "lr = 0.005, not 0.01"),
        ("--epochs 61", "epochs = 60, not 61"),
        ("--hidden 64", "hidden = [64, 48], not [64]"),
        ("--gamma 0.125", "gamma = "),
        ("--sigma 0.125", "sigma = "),
        ("--neighbors all", "neighbors = 10, not \"all\""),
        ("--warm-up 7", ", not 7"),
        ("--affinity knn", "affinity = \"heat\", not \"knn\""),
        ("--cut rcut", "cut = \"ncut\", not \"rcut\""),
        ("--labels other.csv", "x-labels.npy\", not \""),
        ("other.csv", "x.npy\", not \""),
    ] {
        let told = here.run(&format!("neuncut fit --resume --out run {option}"));
        told.refuses(
            1,
            &["--resume", "the run in run was begun with", name, "another --out"],
        );
    }
    let told = here.run("neuncut fit --resume --out nowhere");
    told.refuses(1, &["nowhere", "there is no run to go on with", "--out"]);
    let told = here.run("neuncut fit x.npy -k 9 --resume");
    told.refuses(1, &["runs/x-k9-seed0", "there is no run to go on with"]);
    let told = here.run("neuncut fit --resume --overwrite --out run");
    told.refuses(2, &["--resume", "cannot be used with", "--overwrite"]);
    let told = here.run("neuncut predict run x.npy -o y.npy");
    told.refuses(1, &["run: there is no trained run in this folder", "fit"]);
    assert_eq!(here.tree(), before, "a refusal changed something");
}

#[test]
fn a_run_goes_on_only_with_the_data_it_was_begun_with() {
    let here = with_data();
    // Without transforms that are fitted, only the rows themselves can tell, or their graph.
    for (fit, features, changed) in [
        (FIT, "auto", "the training rows have changed"),
        (FIT, "none", "the training rows have changed"),
        (SEARCH, "none", "the graph of the training rows has changed"),
    ] {
        here.ok("neuncut generate subspaces --rows 1403 --seed 11 -o x.npy && rm -rf run");
        let line = format!("{fit} --features {features} --out run");
        kill(start_until_checkpoint(&here, &line, "run"));
        here.ok("cp x.npy whole.npy && neuncut generate subspaces --rows 1403 --seed 12 -o x.npy");
        let before = here.tree();
        let told = here.run("neuncut --quiet fit --resume --out run");
        told.refuses(1, &["--resume: ", changed, "--overwrite"]);
        assert_eq!(here.tree(), before, "a refusal changed something");
        here.ok("mv whole.npy x.npy && neuncut fit --resume --out run");
    }
}

#[test]
fn damage_in_an_unfinished_run_is_named() {
    let here = with_data();
    let line = format!("{FIT} --out run");
    let child = start_until_checkpoint(&here, &line, "run");
    kill(child);
    let checkpoint = here.bytes("run/checkpoint.safetensors");
    let history = here.text("run/history.jsonl");
    let damage = [
        (
            "checkpoint.safetensors",
            checkpoint[..checkpoint.len() - 9].to_vec(),
            "checkpoint.safetensors: ",
        ),
        (
            "checkpoint.safetensors",
            here.bytes("run/features.safetensors"),
            "checkpoint.safetensors: ",
        ),
        (
            "checkpoint.safetensors",
            b"{".to_vec(),
            "checkpoint.safetensors: ",
        ),
        (
            "history.jsonl",
            Vec::new(),
            "history.jsonl: 0 epochs, but the checkpoint is of epoch",
        ),
        (
            "history.jsonl",
            history.replacen('{', "[", 1).into(),
            "history.jsonl: 0 epochs",
        ),
        (
            "config.toml",
            b"clusters = 5\nepochs = = 3\n".to_vec(),
            "config.toml: line 2: ",
        ),
        ("config.toml", b"clusters = 5\n".to_vec(), "config.toml: "),
        ("config.toml", vec![0xff, 0xfe], "config.toml: "),
    ];
    for (file, bytes, fragment) in damage {
        here.ok("rm -rf damaged && cp -r run damaged");
        here.put(&format!("damaged/{file}"), &bytes);
        let before = here.tree();
        let told = here.run("neuncut fit --resume --out damaged --quiet");
        told.refuses(1, &[fragment, "; "]);
        // Features and options are written again, with the bytes they had.
        assert_eq!(here.tree(), before, "{fragment}");
    }
}

#[test]
fn damage_in_a_finished_run_is_named() {
    let here = with_data();
    here.ok("neuncut fit x.npy -k 5 --epochs 2 --hidden 8 --out run");
    for (file, bytes, line, fragment) in [
        (
            "metrics.json",
            "{\"rows\": 3",
            "neuncut fit --resume --out run",
            "run/metrics.json: damaged",
        ),
        (
            "metrics.json",
            "",
            "neuncut fit --resume --out run",
            "run/metrics.json: damaged",
        ),
        (
            "model.safetensors",
            "junk",
            "neuncut predict run x.npy -o y.npy",
            "run/model.safetensors: ",
        ),
        (
            "features.safetensors",
            "junk",
            "neuncut predict run x.npy -o y.npy",
            "run/features.safetensors: ",
        ),
        (
            "config.toml",
            "sigma = wide",
            "neuncut evaluate --predictions x-labels.npy --data x.npy --run run",
            "run/config.toml: line 1",
        ),
    ] {
        let whole = here.bytes(&format!("run/{file}"));
        here.put(&format!("run/{file}"), bytes);
        here.run(line).refuses(1, &[fragment, "; "]);
        here.put(&format!("run/{file}"), whole);
    }
    // A network for other features.
    here.ok("neuncut generate blobs --rows 99 -o blobs.npy");
    here.ok("neuncut fit blobs.npy -k 5 --epochs 1 --hidden 8 --out blobs");
    here.ok("cp blobs/features.safetensors run/");
    let told = here.run("neuncut predict run x.npy -o y.npy");
    told.refuses(1, &["the input of the network is 30 numbers, expected 8"]);
    assert!(!here.path("y.npy").exists());
}

#[test]
fn interrupted_while_rows_are_labelled_nothing_half_written_stays() {
    let here = Sandbox::new();
    // Enough rows to be caught in the act.
    here.ok("neuncut generate blobs --rows 300007 -o x.npy");
    let temporary = |folder: &str| here.list(folder).iter().any(|name| name.ends_with(".tmp"));

    let line = "neuncut fit x.npy -k 5 --train-rows 500 --batch 250 --epochs 2 --out run --threads 1 --quiet";
    let mut child = here.start(line);
    let labelling = || here.path("run/model.safetensors").exists() && temporary("run");
    assert!(wait_until(&mut child, labelling), "{line} was too fast");
    interrupt(&child);
    let told = finish(child, line);
    told.refuses(
        130,
        &[
            "rows were done, nothing was written",
            "neuncut fit --resume --out run",
        ],
    );
    let left = [
        "config.toml",
        "features.safetensors",
        "graph-features.safetensors",
        "graph.npz",
        "history.jsonl",
        "model.safetensors",
        "spectrum.json",
        "training-rows.npy",
    ];
    assert_eq!(here.list("run"), left);
    here.ok("neuncut fit --resume --out run");

    // Before there is a training to go on with, a run leaves nothing.
    let line = "neuncut fit x.npy -k 5 --train-rows 300000 --out early --quiet";
    let mut child = here.start(line);
    assert!(wait_until(&mut child, || here.path("early").exists()));
    interrupt(&child);
    finish(child, line).refuses(130, &["interrupted; training had not begun"]);
    assert_eq!(here.list("."), ["run", "x-labels.npy", "x.npy"]);

    let line = "neuncut generate blobs --rows 10000000 -o y.npz --quiet";
    let mut child = here.start(line);
    assert!(wait_until(&mut child, || temporary(".")), "{line} was too fast");
    interrupt(&child);
    finish(child, line).refuses(130, &["interrupted; nothing was written"]);
    assert_eq!(here.list("."), ["run", "x-labels.npy", "x.npy"]);

    // The labels are those of a run that was never interrupted.
    here.ok("neuncut predict run x.npy -o y.npy");
    assert_eq!(here.bytes("y.npy"), here.bytes("run/labels.npy"));
}

#[test]
fn a_labelling_goes_on_behind_the_rows_that_are_done() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 300000 -o x.npy");
    here.ok("neuncut fit x.npy -k 5 --epochs 1 --train-rows 300 --hidden 512,512 --out run");
    let line = "neuncut predict run x.npy --labels x-labels.npy --threads 1 --json";
    let told = here
        .ok(&format!("{line} -o whole.npy --probabilities whole-p.npy"))
        .json();

    let parts = || -> Vec<String> {
        let names = here.list(".").into_iter();
        names.filter(|name| name.ends_with(".part")).collect()
    };
    // Bytes of the labels that are there, four for each row.
    let written = || {
        let names = parts().into_iter().filter(|name| name.contains("y.npy"));
        let lengths = names.filter_map(|name| Some(here.path(&name).metadata().ok()?.len()));
        lengths.max().unwrap_or(0)
    };
    for rows in [50_000, 100_000, 150_000] {
        let mut child = here.start(&format!("{line} -o y.npy --probabilities p.npy"));
        wait_until(&mut child, || written() > 4 * rows);
        if rows == 150_000 {
            // Ctrl-C leaves what is done, too.
            interrupt(&child);
            let told = finish(child, line);
            assert_eq!(told.code, 130, "{}", told.err);
            let words = "of 300000 rows are done; the same command goes on behind them";
            assert!(told.err.contains(words), "{}", told.err);
        } else {
            kill(child);
        }
        assert_eq!(parts().len(), 2, "{:?}", here.list("."));
        assert!(!here.path("y.npy").exists());
    }
    // The bits do not depend on the number of threads.
    let line = line.replace("--threads 1", "--threads 2");
    let last = here.ok(&format!("{line} -o y.npy --probabilities p.npy"));
    assert!(last.err.contains("going on behind"), "{}", last.err);
    assert!(here.bytes("y.npy") == here.bytes("whole.npy"), "other labels");
    assert!(
        here.bytes("p.npy") == here.bytes("whole-p.npy"),
        "other memberships"
    );
    assert!(parts().is_empty());
    for score in ["acc", "nmi", "ari", "sizes", "rows"] {
        assert_eq!(last.json()[score], told[score], "{score}");
    }

    // Slices, joined again, are the whole.
    for i in 0..3 {
        here.ok(&format!(
            "neuncut predict run x.npy --shard {i}/3 -o s{i}.npy --probabilities s{i}-p.npy"
        ));
    }
    for kind in ["", "-p"] {
        let join = |order: [usize; 3]| {
            let shards = order.map(|i| format!("s{i}{kind}.npy"));
            format!("neuncut merge {} -o joined.npy", shards.join(" "))
        };
        // What lies beside the parts says in which order.
        here.ok(&join([1, 2, 0]));
        assert!(here.bytes("joined.npy") == here.bytes(&format!("whole{kind}.npy")));
        let told = here.run(&join([1, 1, 0]));
        assert_eq!(told.code, 1);
        assert!(told.err.contains("are in another part, too"), "{}", told.err);
        for i in 0..3 {
            std::fs::remove_file(here.path(&format!("s{i}{kind}.npy.slice"))).unwrap();
        }
        let told = here.ok(&join([0, 1, 2]));
        assert!(
            told.err.contains("in the order in which they are given"),
            "{}",
            told.err
        );
        assert!(here.bytes("joined.npy") == here.bytes(&format!("whole{kind}.npy")));
    }
}
