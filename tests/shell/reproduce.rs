//! The paper's experiments: that a row is that of the command it names, that one that was stopped goes on, and what is refused before
//! the long work.

use std::fs;

use neuncut::data::npy::header;

use super::bad_input::refuse_all;
use super::sandbox::{Sandbox, wait_until};

#[test]
fn an_experiment_is_the_run_that_it_says() {
    let here = Sandbox::new();
    let small = "--train-rows 401 --epochs 1 --warm-up 1 --hidden 8";
    for (experiment, more, rows, acc, generate) in [
        ("mnist8m", "--features pixels,center,unit", 601, 0.968, "mnist8m"),
        (
            "imagenet-shape",
            "--clusters 7 --batch 100",
            603,
            0.624,
            "embeddings",
        ),
    ] {
        let told = here.ok(&format!(
            "neuncut reproduce {experiment} --rows {rows} --seed 3 --out {experiment} --json -- {small} {more}"
        ));
        let row = told.json();
        assert_eq!(row["experiment"], experiment);
        assert_eq!(row["rows"], rows);
        assert_eq!(row["train_rows"], 401);
        assert_eq!(row["paper"]["acc"], acc);
        assert!(row["acc"].as_f64().is_some_and(|acc| acc > 0.0));
        let phases: Vec<&str> = row["phases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|phase| phase[0].as_str().unwrap())
            .collect();
        assert_eq!(phases[..2], ["generating", "features and graph"]);
        assert_eq!(phases.len(), 8, "{phases:?}");

        // Step by step it is the same.
        let made = format!("{experiment}.npy");
        here.ok(&format!(
            "neuncut generate {generate} --rows {rows} --seed 3 -o again.npy"
        ));
        assert_eq!(here.bytes("again.npy"), here.bytes(&made));
        let labels = format!("{experiment}-labels.npy");
        assert_eq!(here.bytes("again-labels.npy"), here.bytes(&labels));
        let command = row["command"].as_str().unwrap();
        let by_hand = command.replace(
            &format!("--out {experiment}"),
            &format!("--out by-hand-{experiment}"),
        );
        here.ok(&by_hand);
        let of_run = here.bytes(&format!("{experiment}/labels.npy"));
        assert_eq!(here.bytes(&format!("by-hand-{experiment}/labels.npy")), of_run);

        // And so it is from the rows that are there already.
        here.ok(&format!(
            "neuncut reproduce {experiment} --data {made} --labels {labels} --seed 3 --out again-{experiment} -- {small} {more}"
        ));
        assert_eq!(here.bytes(&format!("again-{experiment}/labels.npy")), of_run);
    }

    // A slash at the end, as shells complete it, and no labels.
    let told = here.ok(&format!(
        "neuncut reproduce imagenet-shape --data imagenet-shape.npy --out bare/ -- {small} -k 7 --batch 100"
    ));
    assert!(told.out.contains(" - "), "{}", told.out);

    // What is printed can be given to a shell again.
    let told = here.ok(&format!(
        "neuncut reproduce imagenet-shape --data imagenet-shape.npy --out 'a b' --json -- {small} -k 7 --batch 100"
    ));
    let row = told.json();
    let command = row["command"].as_str().unwrap();
    assert!(command.contains("--out 'a b'"), "{command}");
    here.ok(&format!("{command} --overwrite"));

    let told = here.ok(&format!(
        "neuncut reproduce mnist --from mnist-t10k --out digits -- {small} --features pixels,center,unit"
    ));
    for word in [
        "ACC",
        "minutes",
        "neuncut ",
        "the paper",
        "0.982",
        "training",
        "digits/report.html",
    ] {
        assert!(told.out.contains(word), "no {word} in {}", told.out);
    }
}

#[test]
fn an_experiment_that_was_killed_goes_on() {
    let here = Sandbox::new();
    let small = "--clusters 7 --batch 100 --train-rows 1001 --epochs 300 --warm-up 5 --hidden 64 --checkpoint-seconds 0";
    let line = |out: &str| {
        format!("neuncut reproduce imagenet-shape --rows 1203 --seed 3 --out {out} --json -- {small}")
    };
    let whole = here.ok(&line("whole")).json();
    assert_eq!(whole["phases"][0][0], "generating");

    // All but the names of the rows' files.
    let as_whole = || {
        assert_eq!(here.list("killed"), here.list("whole"));
        for file in ["labels.npy", "model.safetensors", "graph.npz"] {
            let same = here.bytes(&format!("killed/{file}")) == here.bytes(&format!("whole/{file}"));
            assert!(same, "killed/{file} has other bytes");
        }
    };

    let mut child = here.start(&line("killed"));
    let checkpoint = here.path("killed/checkpoint.safetensors");
    assert!(wait_until(&mut child, || checkpoint.exists()));
    child.kill().unwrap();
    child.wait().unwrap();
    let rows = here.bytes("killed.npy");
    // Not with what it was not begun with.
    for other in [
        line("killed") + " --cut rcut",
        line("killed").replace("--hidden 64 ", ""),
    ] {
        here.run(&other).refuses(
            1,
            &[
                "--out: the run in killed was begun with ",
                ", not ",
                "--overwrite",
            ],
        );
    }
    let told = here.ok(&line("killed"));
    let row = told.json();
    assert!(row["command"].as_str().unwrap().contains("--resume"), "{row:?}");
    assert!(
        told.err.contains("killed.npy: the rows are there already"),
        "{}",
        told.err
    );
    assert_eq!(row["phases"][0][0], "generating the rest");
    as_whole();

    // Without its run, and without one of the two files.
    fs::remove_dir_all(here.path("killed")).unwrap();
    fs::remove_file(here.path("killed-labels.npy")).unwrap();
    here.ok(&line("killed"));
    as_whole();
    assert_eq!(here.bytes("killed-labels.npy"), here.bytes("whole-labels.npy"));

    // Other rows, and other labels, are left alone: of another seed, of another number, cut short, with a last number or label changed.
    fs::remove_dir_all(here.path("killed")).unwrap();
    let refused = |file: &str, line: &str| {
        here.run(line)
            .refuses(1, &[file, "not of these rows", "--overwrite", "--data"]);
    };
    refused("killed.npy", &line("killed").replace("--seed 3", "--seed 4"));
    refused("killed.npy", &line("killed").replace("1203", "1202"));
    for (file, of_bytes) in [
        ("killed.npy", &rows),
        ("killed-labels.npy", &here.bytes("killed-labels.npy")),
    ] {
        let mut other = of_bytes.clone();
        let last = other.len() - 2;
        other[last] ^= 1;
        for bytes in [&other[..], &of_bytes[..last], &[]] {
            here.put(file, bytes);
            refused(file, &line("killed"));
            assert_eq!(here.bytes(file), bytes);
        }
        here.put(file, of_bytes);
    }
    let replaced = line("killed").replace("--json", "--overwrite --json");
    here.ok(&replaced.replace("--seed 3", "--seed 4"));
    assert_ne!(here.bytes("killed.npy"), rows);
}

#[test]
fn experiments_that_cannot_be() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 101 -o x.npy");
    here.put(
        "pixels.npy",
        [header("|u1", &[2, 28, 28]), vec![7; 2 * 784]].concat(),
    );
    refuse_all(
        &here,
        &[
            (
                "neuncut reproduce mnist",
                1,
                &["--from: mnist is not built in", "train-images-idx3-ubyte.gz"],
            ),
            (
                "neuncut reproduce fmnist --from x.npy --rows 5",
                1,
                &["--rows: fmnist is not made", "--train-rows"],
            ),
            ("neuncut reproduce cifar", 2, &["'cifar'", "imagenet-shape"]),
            (
                "neuncut reproduce mnist8m --rows 0",
                1,
                &["--rows: 0 is too few; give at least 1"],
            ),
            (
                "neuncut reproduce imagenet-shape --rows 2000",
                1,
                &["--batch: 3000 rows in a mini-batch, but there are 2000 training rows"],
            ),
            (
                "neuncut reproduce mnist8m --rows 2000 --from pixels.npy",
                1,
                &["--from: pixels.npy has no labels", "MNIST's layout"],
            ),
            (
                "neuncut reproduce mnist8m --rows 9 --from nowhere",
                1,
                &["--clusters: 10 clusters of 9 training rows"],
            ),
            (
                "neuncut reproduce imagenet-shape --from x.npy",
                1,
                &["--from: embeddings is made of nothing"],
            ),
            (
                "neuncut reproduce imagenet-shape --out x.npy",
                1,
                &["x.npy: there is a file of this name", "--out"],
            ),
            (
                "neuncut reproduce imagenet-shape --out x",
                1,
                &[
                    "x.npy: a file of this name is there, and not of these rows",
                    "--data",
                ],
            ),
            (
                "neuncut reproduce imagenet-shape --rows 9 --out ..",
                1,
                &["--out: .. has no name", "name a folder"],
            ),
            (
                "neuncut reproduce imagenet-shape --rows 9 -- --out y",
                1,
                &["--out is for reproduce to say", "before the --"],
            ),
            (
                "neuncut reproduce imagenet-shape --labels x.npy",
                2,
                &["required", "--data <FILE>"],
            ),
            (
                "neuncut reproduce imagenet-shape --rows 9 -- --epoch 3",
                1,
                &["options of fit: ", "'--epoch'", "neuncut fit takes"],
            ),
            (
                "neuncut reproduce imagenet-shape --data nowhere.npy",
                1,
                &["nowhere.npy: ", "check the path"],
            ),
        ],
    );
}
