//! The paper's experiments: that a row is that of the command it names, and what is refused before the long work.

use super::bad_input::refuse_all;
use super::sandbox::Sandbox;

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
fn experiments_that_cannot_be() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 101 -o x.npy");
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
                &["--rows: 0 rows; give at least one"],
            ),
            (
                "neuncut reproduce imagenet-shape --rows 9 --from x.npy",
                1,
                &["--from: embeddings is made of nothing"],
            ),
            (
                "neuncut reproduce imagenet-shape --rows 9 --out x.npy",
                1,
                &["x.npy: there is a file of this name", "--out"],
            ),
            (
                "neuncut reproduce imagenet-shape --rows 9 --out x",
                1,
                &[
                    "x.npy: there is a file of this name",
                    "--data x.npy --labels x-labels.npy",
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
