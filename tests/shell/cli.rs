//! Sessions in which everything goes well.

use neuncut::cuda::Card;
use neuncut::cuda::kernels::{MODULES, NVRTC};
use neuncut::data::csr::Csr;
use neuncut::graph::Cuts;
use serde_json::Value;

use super::resume::assert_same;
use super::sandbox::Sandbox;

/// What a finished run on a neighbour graph holds, and nothing else.
const RUN: [&str; 11] = [
    "config.toml",
    "features.safetensors",
    "graph-features.safetensors",
    "graph.npz",
    "history.jsonl",
    "labels.npy",
    "metrics.json",
    "model.safetensors",
    "report.html",
    "spectrum.json",
    "training-rows.npy",
];

/// The same of a run without a graph.
fn run_without_graph() -> Vec<&'static str> {
    let of_graph = |name: &&str| name.starts_with("graph") || *name == "spectrum.json";
    RUN.into_iter().filter(|name| !of_graph(name)).collect()
}

/// The history without wall times.
pub fn epochs(text: &str) -> Vec<Value> {
    let without_seconds = |line| {
        let mut epoch: Value = serde_json::from_str(line).unwrap();
        assert!(epoch.as_object_mut().unwrap().remove("seconds").is_some());
        epoch
    };
    text.lines().map(without_seconds).collect()
}

#[test]
fn every_generator_goes_through_fit_predict_and_evaluate() {
    for (name, classes) in [
        ("rings", 2),
        ("double-c", 2),
        ("moons", 2),
        ("blobs", 5),
        ("subspaces", 5),
        ("spirals", 2),
    ] {
        let here = Sandbox::new();
        let made = here
            .ok(&format!(
                "neuncut --json generate {name} --rows 403 --seed 7 -o x.npz"
            ))
            .json();
        assert_eq!(made["rows"], 403);
        assert_eq!(made["classes"], classes);
        let fit = format!("neuncut fit x.npz -k {classes} --epochs 6 --batch 101 --hidden 33 --json");
        let fitted = here.ok(&format!("{fit} --out run")).json();
        assert_eq!(here.list("run"), RUN);
        assert_eq!(here.list("."), ["run", "x.npz"]);

        let predicted = here
            .ok("neuncut predict run x.npz -o labels.npy --probabilities p.npy --json")
            .json();
        assert_eq!(here.bytes("labels.npy"), here.bytes("run/labels.npy"));
        for score in ["acc", "nmi", "ari", "sizes", "rows"] {
            assert_eq!(fitted[score], predicted[score], "{name}: {score}");
        }

        let labels = here.numbers("labels.npy");
        let memberships = here.numbers("p.npy");
        assert_eq!(memberships.len(), 403 * classes);
        // Each of the k quotients is rounded, as are the k - 1 sums before and after the division.
        let bound = 4.0 * classes as f32 * f32::EPSILON;
        for (row, &label) in memberships.chunks_exact(classes).zip(&labels) {
            let sum: f32 = row.iter().sum();
            assert!((sum - 1.0).abs() <= bound, "{name}: {row:?} sums to {sum}");
            let largest = row.iter().copied().fold(0.0, f32::max);
            assert_eq!(row[label as usize], largest, "{name}: {row:?} labelled {label}");
        }

        // All rows were trained on, in order: the cuts are of the same rows.
        let graph = Csr::open(here.path("run/graph.npz")).unwrap();
        let numbers: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
        let cuts = Cuts::of_graph(&graph, &numbers, classes);
        for (score, b) in [("ncut", cuts.ncut), ("rcut", cuts.rcut)] {
            let a = fitted[score].as_f64().unwrap();
            assert!((a - b).abs() <= 1e-12 * a.abs(), "{name}: {score} {a} and {b}");
        }
        let fitted = here
            .ok(&format!("{fit} --affinity heat --overwrite --out run"))
            .json();
        assert_eq!(here.list("run"), run_without_graph());
        here.ok(&format!("neuncut generate {name} --rows 403 --seed 7 -o y.npy"));
        let judged = here
            .ok("neuncut evaluate --predictions run/labels.npy --labels y-labels.npy --data y.npy --run run --json")
            .json();
        for score in ["acc", "nmi", "ari", "nmi_arithmetic", "ncut", "rcut"] {
            let (a, b) = (fitted[score].as_f64().unwrap(), judged[score].as_f64().unwrap());
            assert!((a - b).abs() <= 1e-12 * a.abs(), "{name}: {score} {a} and {b}");
        }
    }
}

#[test]
fn built_in_digits_need_no_files() {
    let here = Sandbox::new();
    let told =
        here.ok("neuncut fit mnist-t10k -k 10 --train-rows 600 --batch 300 --epochs 2 --hidden 40 --json");
    let result = told.json();
    assert_eq!(here.list("runs"), ["mnist-t10k-k10-seed0"]);
    assert_eq!(here.list("runs/mnist-t10k-k10-seed0"), RUN);
    assert_eq!(result["rows"], 10_000);
    assert_eq!(result["train_rows"], 600);
    for score in ["acc", "nmi", "ari", "ncut", "seconds"] {
        let value = result[score].as_f64().unwrap_or(-1.0);
        assert!(value > 0.0, "{score} is {}", result[score]);
    }
    let sizes: Vec<u64> = serde_json::from_value(result["sizes"].clone()).unwrap();
    assert_eq!((sizes.len(), sizes.iter().sum()), (10, 10_000));
    assert!(told.err.contains("10000 rows of 784 numbers"), "{}", told.err);
    assert!(
        !told.err.contains(['\r', '\x1b']),
        "terminal codes: {:?}",
        told.err
    );
    let report = here.text("runs/mnist-t10k-k10-seed0/report.html");
    assert!(report.contains("data:image/png;base64,"), "no images");
}

#[test]
fn for_people_the_scores_are_a_table_on_standard_output() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 101 -o x.npz");
    let told = here.ok("neuncut fit x.npz -k 5 --epochs 1 --hidden 8 --out run");
    for name in ["ACC", "NMI", "ARI", "Ncut", "seconds", "run/report.html"] {
        assert!(told.out.contains(name), "no {name} in {}", told.out);
    }
    assert!(
        told.err.contains("gamma") && !told.err.contains("ACC"),
        "{}",
        told.err
    );
    // On edges each row has a width of its own.
    assert!(!told.out.contains("sigma"), "{}", told.out);
    let told = here.ok("neuncut fit x.npz -k 5 --affinity heat --epochs 1 --hidden 8 --out heat");
    for text in [&told.out, &told.err] {
        assert!(text.contains("sigma"), "{text}");
    }
}

#[test]
fn quiet_is_quiet() {
    let here = Sandbox::new();
    for line in [
        "neuncut generate rings --rows 99 -o x.npy",
        "neuncut fit x.npy -k 2 --epochs 1 --hidden 8 --labels x-labels.npy --out run --overwrite",
        "neuncut predict run x.npy -o y.npy",
        "neuncut evaluate --predictions y.npy --labels x-labels.npy",
        "neuncut info",
    ] {
        let told = here.ok(&format!("{line} --quiet"));
        assert_eq!((&told.out[..], &told.err[..]), ("", ""), "{line}");
        let told = here.ok(&format!("{line} --quiet --json"));
        assert_eq!(told.err, "", "{line}");
        assert!(!told.json().is_empty());
    }
}

#[test]
fn info_shows_devices_and_the_kernels_inside() {
    let here = Sandbox::new();
    let (text, value) = (here.ok("neuncut info").out, here.ok("neuncut info --json").json());
    assert!(value["devices"][0]["name"] == "cpu", "{value:?}");
    let cards = value["devices"].as_array().unwrap().len() - 1;
    match Card::count() {
        Ok(count) => assert_eq!(cards, count),
        Err(reason) => {
            assert_eq!((cards, &value["driver"]), (0, &Value::Null));
            assert!(text.contains(&format!("gpu         none: {reason}")), "{text}");
        }
    }
    let kernels = value["kernels"].as_array().unwrap();
    let inside = MODULES.iter().filter(|module| module.arch.starts_with("sm_"));
    assert_eq!(
        kernels.len(),
        inside.map(|module| module.kernels.len()).sum::<usize>()
    );
    for kernel in kernels {
        let [file, name, arch] = ["file", "name", "arch"].map(|key| kernel[key].as_str().unwrap());
        assert!(
            file.ends_with(".cu") && !name.is_empty() && arch.starts_with("sm_"),
            "{kernel}"
        );
        for key in ["registers", "spill_bytes", "shared_bytes"] {
            assert!(kernel[key].is_u64(), "{key} of {kernel}");
        }
        assert!(
            text.contains(file) && text.contains(arch),
            "{kernel} is not in {text}"
        );
    }
    match NVRTC {
        Some((major, minor)) => assert_eq!(value["nvrtc"], format!("{major}.{minor}")),
        None => assert!(value["nvrtc"].is_null() && kernels.is_empty()),
    }
}

#[test]
fn nobody_needs_to_listen_to_the_progress() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 99 -o x.npy");
    let told = here.ok("neuncut fit x.npy -k 2 --epochs 1 --hidden 8 --out run --json 2>/dev/full");
    assert_eq!(told.json()["rows"], 99);
}

#[test]
fn a_configuration_file_gives_every_option_and_the_command_line_comes_first() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 211 -o x.npy");
    let lines = [
        "data = \"x.npy\"",
        "labels = \"x-labels.npy\"",
        "clusters = 3",
        "train-rows = 150",
        "features = \"center,rms\"",
        "affinity = \"knn\"",
        "graph-features = \"standardize\"",
        "sigma = 0.25",
        "neighbors = 7",
        "one-sided = 0.5",
        "seed-neighbors = 2",
        "subgraph = \"dense\"",
        "start = \"kmeans\"",
        "warm-up = 5",
        "restarts = 2",
        "moves = 1",
        "overcluster = 1.5",
        "gamma = 1.5",
        "penalty = \"frobenius\"",
        "volumes = \"fixed\"",
        "cut = \"rcut\"",
        "hidden = [9, 7]",
        "batch = 50",
        "epochs = 2",
        "lr = 0.002",
        "weight-decay = 0.0",
        "seed = 42",
        "device = \"cpu\"",
        "precision = \"fp32\"",
    ];
    // What does not decide the outcome can be given, and is not stored.
    let more = ["threads = 1", "out = \"run\"", "checkpoint-seconds = 0"];
    here.put("options.toml", [&lines[..], &more].concat().join("\n"));
    here.ok("neuncut fit --config options.toml");
    let folder = here.path("").canonicalize().unwrap();
    let folder = folder.to_str().unwrap();
    assert_eq!(
        here.text("run/config.toml")
            .replace(&format!("{folder}/"), "")
            .lines()
            .collect::<Vec<_>>(),
        lines,
        "the options as given"
    );
    assert!(
        here.text("run/config.toml")
            .contains(&format!("data = \"{folder}/x.npy\"")),
        "the data as it is found from any folder"
    );

    here.ok("neuncut fit --config options.toml --epochs 3 --neighbors 4 --cut ncut -k 2 --hidden none --out changed");
    let changed = here.text("changed/config.toml");
    for line in [
        "epochs = 3",
        "neighbors = 4",
        "cut = \"ncut\"",
        "clusters = 2",
        "hidden = []",
        "seed = 42",
    ] {
        assert!(changed.lines().any(|found| found == line), "{line}: {changed}");
    }

    // Lines may be left out; the defaults then hold.
    here.put("few.toml", "clusters = 2\nepochs = 1\n");
    here.ok("neuncut fit x.npy --config few.toml --out defaults");
    let defaults = here.text("defaults/config.toml");
    for line in [
        "train-rows = 20000",
        "affinity = \"knn\"",
        "graph-features = \"center,scale\"",
        "neighbors = 15",
        "start = \"spectral\"",
        "penalty = \"squared\"",
        "hidden = [512, 512]",
        "batch = 211",
        "lr = 0.001",
    ] {
        assert!(defaults.lines().any(|found| found == line), "{line}: {defaults}");
    }
    here.ok("neuncut fit x.npy --config few.toml --affinity heat --out heat");
    let defaults = here.text("heat/config.toml");
    for line in [
        "affinity = \"heat\"",
        "neighbors = 10",
        "start = \"random\"",
        "lr = 0.005",
    ] {
        assert!(defaults.lines().any(|found| found == line), "{line}: {defaults}");
    }
}

#[test]
fn a_run_repeats_itself_from_its_own_configuration_on_any_number_of_threads() {
    let here = Sandbox::new();
    here.ok("neuncut generate subspaces --rows 1021 -o x.npy");
    let fit = "neuncut fit x.npy -k 5 --batch 129 --epochs 3 --hidden 65,33 --seed 3 --threads 1";
    // More rows than a whole spectrum is computed of; all that a search may do; the kernel within mini-batches.
    for (run, options) in [
        ("graph", "--train-rows 900 --warm-up 9"),
        (
            "search",
            "--train-rows 300 --warm-up 9 --restarts 2 --moves 1 --overcluster 1.5",
        ),
        ("heat", "--train-rows 700 --affinity heat"),
    ] {
        here.ok(&format!("{fit} {options} --out {run}"));
        for (out, threads) in [("again", 1), ("two", 2), ("three", 3)] {
            here.ok(&format!(
                "neuncut fit --config {run}/config.toml --threads {threads} --out {run}-{out}"
            ));
            assert_same(&here, run, &format!("{run}-{out}"));
        }
    }
}

#[test]
fn a_run_goes_on_and_repeats_itself_from_any_folder() {
    let here = Sandbox::new();
    here.ok("mkdir data elsewhere");
    here.ok("neuncut generate blobs --rows 301 -o data/x.npy");
    let fit = "neuncut fit x.npy --labels x-labels.npy -k 5 --epochs 2 --hidden 8 --out ../run";
    here.ok(&format!("cd data && {fit}"));
    here.ok("cd elsewhere && neuncut fit --config ../run/config.toml --out again");
    assert_eq!(
        here.bytes("run/labels.npy"),
        here.bytes("elsewhere/again/labels.npy")
    );
    here.ok("rm run/metrics.json run/labels.npy");
    here.ok("cd elsewhere && neuncut fit --resume --out ../run");
    assert_eq!(
        here.bytes("run/labels.npy"),
        here.bytes("elsewhere/again/labels.npy")
    );
    here.ok("neuncut fit -k 10 --train-rows 100 --epochs 1 --hidden 8 --out digits");
    assert!(
        here.text("digits/config.toml")
            .contains("data = \"mnist-t10k\"\n")
    );
}

#[test]
fn a_run_can_be_overwritten_when_asked_for() {
    let here = Sandbox::new();
    here.ok("neuncut generate moons --rows 99 -o x.npy");
    let fit = "neuncut fit x.npy -k 2 --epochs 1 --hidden 8 --out run";
    here.ok(fit);
    let old = here.tree();
    here.run(fit)
        .refuses(1, &["run: there is a run in this folder already", "--overwrite"]);
    assert_eq!(here.tree(), old, "the refused run changed something");
    here.ok(&format!("{fit} --seed 1 --overwrite"));
    assert!(here.text("run/config.toml").contains("seed = 1\n"));
    assert_eq!(here.list("run"), RUN);

    // The old run goes only when the new one has its data together.
    let old = here.tree();
    here.put("bad.csv", "1,2\n3,4\nnan,6\n");
    let told = here.run("neuncut -q fit bad.csv -k 2 --batch 3 --out run --overwrite");
    told.refuses(1, &["bad.csv: line 3, column 1"]);
    std::fs::remove_file(here.path("bad.csv")).unwrap();
    assert_eq!(here.tree(), old, "the failed run changed something");
}

#[test]
fn the_same_rows_in_any_format_get_the_same_labels() {
    let here = Sandbox::new();
    for file in ["x.npy", "x.npz", "x.csv", "x.safetensors"] {
        here.ok(&format!("neuncut generate blobs --rows 517 --seed 5 -o {file}"));
    }
    here.ok("neuncut fit x.csv -k 5 --epochs 4 --batch 100 --hidden 16 --out run");
    for file in ["x.npy", "x.npz", "x.csv", "x.safetensors"] {
        here.ok(&format!("neuncut predict run {file} -o labels.npy"));
        assert_eq!(here.bytes("labels.npy"), here.bytes("run/labels.npy"), "{file}");
    }
}

#[test]
fn the_reference_labels_as_the_processor_does() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 2003 -o x.npy");
    here.ok("neuncut fit x.npy -k 5 --epochs 10 --batch 200 --hidden 16,16 --out run");
    here.ok("neuncut predict run x.npy -o cpu.npy --probabilities cpu-p.npy --device cpu");
    here.ok("neuncut predict run x.npy -o exact.npy --probabilities exact-p.npy --device reference");
    let (cpu, exact) = (here.numbers("cpu-p.npy"), here.numbers("exact-p.npy"));
    // Logits below 2^5 in size, sums of at most 17 terms in each of three layers and in the two transforms, each rounded to 2^-24.
    let bound = 32.0 * 5.0 * 17.0 * 2f32.powi(-24);
    for (a, b) in cpu.iter().zip(&exact) {
        assert!((a - b).abs() <= bound, "memberships {a} and {b}");
    }
    // So a row can only change its label when two clusters were that close.
    let labels = here.numbers("cpu.npy").into_iter().zip(here.numbers("exact.npy"));
    for ((a, b), row) in labels.zip(exact.chunks_exact(5)) {
        let gap = (row[a as usize] - row[b as usize]).abs();
        assert!(gap <= 2.0 * bound, "labels {a} and {b} of {row:?}");
    }

    // Rounding grows from step to step; over six steps it moves the border between two clusters by a few rows at most.
    let fit = "neuncut fit x.npy -k 5 --train-rows 300 --batch 150 --epochs 3 --hidden 16";
    here.ok(&format!("{fit} --affinity heat --device cpu --out cpu"));
    here.ok(&format!("{fit} --affinity heat --device reference --out exact"));
    let (cpu, exact) = (here.numbers("cpu/labels.npy"), here.numbers("exact/labels.npy"));
    let other = cpu.iter().zip(&exact).filter(|(a, b)| a != b).count();
    assert!(other <= 2003 / 100, "{other} of 2003 rows have other labels");

    // From a spectral start the clusters may come in another order, since rows of any other cluster are equally good as second
    // centres, and then it is another training, which finds the same clouds.
    let fit = format!("{fit} --overwrite");
    here.ok(&format!("{fit} --device cpu --out cpu"));
    here.ok(&format!("{fit} --device reference --out exact"));
    let judged = here
        .ok("neuncut evaluate --predictions cpu/labels.npy --labels exact/labels.npy --json")
        .json();
    assert!(judged["acc"].as_f64().unwrap() >= 0.95, "{judged:?}");
}

#[test]
fn evaluate_scores_labellings_made_by_hand() {
    let here = Sandbox::new();
    here.put("a.csv", "0\n0\n1\n1\n2\n2\n");
    here.put("b.txt", "7\n7\n-3\n-3\n4\n-3\n");
    here.put("halves.csv", "1\n1\n1\n0\n0\n0\n");
    let score = |a: &str, b: &str| {
        here.ok(&format!("neuncut evaluate --predictions {a} --labels {b} --json"))
            .json()
    };
    let same = score("a.csv", "a.csv");
    for name in ["acc", "nmi", "nmi_arithmetic", "ari"] {
        assert_eq!(same[name], 1.0, "{name}");
    }
    let close = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
    };
    // Five of six agree. Pairs together in both: 2; in a: 3; in b: 1 + 3; of 15. So ARI = (2 - 12/15) / (7/2 - 12/15).
    let one_off = score("a.csv", "b.txt");
    close(&one_off["acc"], 5.0 / 6.0);
    close(&one_off["ari"], 1.2 / 2.7);
    // Three clusters on two classes: 2 + 2 of six; pairs 2, 3, 6. The information is (2/3) ln 2, the entropies ln 3 and ln 2.
    let halves = score("a.csv", "halves.csv");
    close(&halves["acc"], 4.0 / 6.0);
    close(&halves["ari"], (2.0 - 1.2) / (4.5 - 1.2));
    let shared = 2.0 / 3.0 * 2f64.ln();
    close(&halves["nmi"], shared / (3f64.ln() * 2f64.ln()).sqrt());
    close(&halves["nmi_arithmetic"], 2.0 * shared / (3f64.ln() + 2f64.ln()));

    // Two pairs of points: within a pair the affinity is e^(-1/2), across it is all but 0; the third labelling cuts both pairs.
    here.put("points.csv", "0,0\n0,1\n90,0\n90,1\n");
    here.put("pairs.csv", "0\n0\n1\n1\n");
    here.put("across.csv", "0\n1\n0\n1\n");
    let cut = |labels: &str| {
        here.ok(&format!(
            "neuncut evaluate --predictions {labels} --data points.csv --features none --sigma 1 --json"
        ))
        .json()
    };
    let whole = cut("pairs.csv");
    assert_eq!((&whole["ncut"], &whole["rcut"]), (&0.0.into(), &0.0.into()));
    let (a, cut) = ((-0.5f64).exp(), cut("across.csv"));
    let near = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap();
        let bound = 8.0 * f64::from(f32::EPSILON) * expected;
        assert!((found - expected).abs() <= bound, "{found}, not {expected}");
    };
    near(&cut["rcut"], 2.0 * a);
    near(&cut["ncut"], 2.0 * a / (1.0 + a));
}

#[test]
fn bench_counts_and_times_a_step() {
    let here = Sandbox::new();
    let line = "neuncut bench --shape custom -m 129 -d 33 -k 7 --hidden 17,5 --iterations 11 --device cpu";
    let result = here.ok(&format!("{line} --threads 1 --json")).json();
    for (name, expected) in [("m", 129), ("d", 33), ("k", 7), ("samples", 11)] {
        assert_eq!(result[name], expected, "{name}");
    }
    assert_eq!(result["hidden"], serde_json::json!([17, 5]));
    assert_eq!(
        (&result["shape"], &result["precision"]),
        (&"custom".into(), &"fp32".into())
    );
    let number = |name: &str| {
        let value = result[name].as_f64();
        value.unwrap_or_else(|| panic!("{name} is {}", result[name]))
    };
    let times = ["min_us", "p10_us", "median_us", "p90_us"].map(number);
    assert!(times[0] > 0.0 && times.is_sorted(), "{times:?}");
    let seconds = number("median_us") / 1e6;
    for (name, expected) in [
        ("rows_per_second", 129.0 / seconds),
        ("gflops", number("flop") / seconds / 1e9),
        ("gbytes_per_second", number("bytes") / seconds / 1e9),
    ] {
        assert!((number(name) / expected - 1.0).abs() < 1e-9, "{name}");
    }
    // So small a step is far from the ceilings, which a processor reaches only with large matrices.
    let ceiling = result["ceilings"]["matrix_gflops"].as_f64().unwrap();
    let percent = 100.0 * number("gflops") / ceiling;
    assert!((number("percent_of_matrix") / percent - 1.0).abs() < 1e-9);
    assert!(percent < 100.0, "{percent} % of {ceiling} GFLOP/s");
    assert!(number("percent_of_copy") > 0.0);
    assert!(result["launches"].is_null() && result["kernels"] == Value::Array(Vec::new()));

    let told = here.ok(line);
    for word in [
        "step",
        "us",
        "rows/s",
        "GFLOP/s",
        "custom: m 129, d 33, hidden 17,5, k 7",
    ] {
        assert!(told.out.contains(word), "no {word:?} in {}", told.out);
    }
    let exact = here.ok(&format!("{line} --iterations 1 --device reference --json")
        .replace(" --iterations 11 --device cpu", ""));
    assert!(
        exact.json()["ceilings"].is_null(),
        "nobody measures the reference"
    );
}

#[test]
fn bench_counts_and_times_labels() {
    let here = Sandbox::new();
    for (work, bytes) in [
        // Rows, labels, weights and biases.
        ("inference", 4 * (129 * 33 + 129 + 34 * 17 + 18 * 7)),
        ("predict", 4 * 129 * 33),
    ] {
        let line = format!(
            "neuncut bench --work {work} --shape custom -m 129 -d 33 -k 7 --hidden 17 --iterations 3 --device cpu"
        );
        let result = here.ok(&format!("{line} --threads 1 --json")).json();
        assert_eq!(result["work"], work);
        assert_eq!(result["samples"], 3);
        assert_eq!(result["flop"], f64::from(2 * 129 * (33 * 17 + 17 * 7)));
        assert_eq!(result["bytes"], f64::from(bytes));
        let seconds = result["median_us"].as_f64().unwrap() / 1e6;
        let rows = result["rows_per_second"].as_f64().unwrap();
        assert!((rows * seconds / 129.0 - 1.0).abs() < 1e-9, "{result:?}");
        // Rows that are labelled do not travel on a CPU, nor are those of a file copied in the memory of a device.
        assert!(result["percent_of_host_to_device"].is_null(), "{result:?}");
        assert_eq!(
            result["percent_of_copy"].is_null(),
            work == "predict",
            "{result:?}"
        );
        assert!(result["percent_of_matrix"].as_f64().unwrap() > 0.0);
        let told = here.ok(&line).out;
        assert!(
            told.contains(work) && told.contains("custom: m 129, d 33, hidden 17, k 7"),
            "{told}"
        );
    }
    let told = here
        .ok("neuncut bench --work inference -m 257 --iterations 1 --device cpu --json")
        .json();
    assert_eq!(
        [&told["m"], &told["d"], &told["k"]],
        [257, 500, 10],
        "named shapes take any number of rows"
    );
}

#[test]
fn help_tells_every_option_with_its_default_and_unit() {
    let here = Sandbox::new();
    // Required, or without a default because nothing happens when they are not given.
    let bare = [
        "--clusters",
        "--labels",
        "--config",
        "--output",
        "--rows",
        "--predictions",
        "--data",
        "--graph",
        "--run",
        "--training-rows",
        "--problem",
        "--probabilities",
    ];
    for command in [
        "fit",
        "predict",
        "evaluate",
        "graph",
        "spectrum",
        "baseline",
        "compare",
        "gamma-search",
        "generate",
        "info",
        "step",
        "bench",
    ] {
        let help = here.ok(&format!("neuncut {command} --help")).out;
        let mut options: Vec<String> = Vec::new();
        for line in help.lines().skip_while(|line| *line != "Options:").skip(1) {
            // Explanations stand further to the right, whatever they begin with.
            if ["  -", "      --"].iter().any(|start| line.starts_with(start)) {
                options.push(String::new());
            }
            if let Some(option) = options.last_mut() {
                *option += line.trim();
                option.push(' ');
            }
        }
        assert!(options.len() >= 3, "{command}: {help}");
        for option in options {
            let long = option.split_whitespace().find(|word| word.starts_with("--"));
            let long = long.unwrap_or_else(|| panic!("{command}: no long name in {option}"));
            let words = option.split_whitespace().count();
            assert!(words >= 4, "{command} {long} is not explained: {option}");
            if option.contains('<') && !bare.contains(&long) {
                assert!(
                    option.contains("[default: "),
                    "{command} {long}: no default in {option}"
                );
            }
        }
    }
    let help = here.ok("neuncut fit --help").out;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for unit in [
        "--checkpoint-seconds <SECONDS> Least seconds",
        "in the unit of the features",
        "Passes over the training rows",
        "Rows per mini-batch",
    ] {
        assert!(help.contains(unit), "no {unit:?} in {help}");
    }
    assert_eq!(
        here.ok("neuncut --version").out.trim(),
        concat!("neuncut ", env!("CARGO_PKG_VERSION"))
    );
    let told = here.run("neuncut");
    assert_eq!(told.code, 2);
    assert!(told.err.contains("Usage: neuncut"), "{}", told.err);
}
