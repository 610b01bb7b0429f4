//! The commands around a training: graphs, spectra, baselines, comparisons, the search for gamma, and cuts under a graph.

use std::collections::BTreeSet;

use neuncut::data::csr::Csr;
use serde_json::Value;

use super::bad_input::refuse_all;
use super::sandbox::{Sandbox, finish, interrupt, wait_until};

/// A number of a JSON object.
fn number(object: &Value, name: &str) -> f64 {
    object[name]
        .as_f64()
        .unwrap_or_else(|| panic!("no number {name} in {object}"))
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

#[test]
fn a_graph_is_that_which_a_fit_of_the_same_rows_cuts() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 903 --seed 11 -o x.npz");
    let told =
        here.ok("neuncut graph x.npz -k 5 --train-rows 401 --seed 3 -o g.npz --training-rows r.npy --json");
    let value = Value::Object(told.json());
    here.ok("neuncut fit x.npz -k 5 --train-rows 401 --seed 3 --epochs 1 --warm-up 1 --hidden 8 --out run");
    assert_eq!(here.bytes("g.npz"), here.bytes("run/graph.npz"));
    assert_eq!(here.bytes("r.npy"), here.bytes("run/training-rows.npy"));

    let graph = Csr::open(here.path("g.npz")).unwrap();
    assert_eq!((graph.rows(), number(&value, "rows")), (401, 401.0));
    let others = (0..401)
        .map(|i| graph.row(i).filter(|&(j, _)| j != i).count())
        .sum::<usize>();
    assert_eq!(number(&value, "edges"), (others / 2) as f64);
    assert_eq!(number(&value, "mean_neighbors"), others as f64 / 401.0);
    assert_eq!(
        number(&value, "components"),
        graph.components().sizes.len() as f64
    );
    for field in [
        "graph_features",
        "neighbors",
        "seconds",
        "device",
        "output",
        "data",
    ] {
        assert!(!value[field].is_null(), "{field} in {value}");
    }

    // For people; and a graph from a file is taken as it is.
    let told = here.ok("neuncut graph x.npz --train-rows 401 --affinity g.npz -o again.npz");
    assert_eq!(here.bytes("g.npz"), here.bytes("again.npz"));
    for word in ["edges", "components", "connected", "again.npz"] {
        assert!(told.out.contains(word), "no {word} in {}", told.out);
    }
}

#[test]
fn a_spectrum_suggests_as_many_clusters_as_there_are_blobs() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 1203 --seed 5 -o x.npz");
    here.ok("neuncut graph x.npz -o g.npz");
    let of_data = Value::Object(
        here.ok("neuncut spectrum x.npz --count 12 --json -o s.json")
            .json(),
    );
    assert_eq!(of_data["k"], 5, "{of_data}");
    assert!(number(&of_data, "ratio") > 3.0, "{of_data}");
    let values: Vec<f64> = serde_json::from_value(of_data["eigenvalues"].clone()).unwrap();
    assert_eq!(values.len(), 12);
    assert!(values.is_sorted() && values[0].abs() < 1e-6, "{values:?}");
    for field in ["affinity_eigenvalues", "gaps", "residuals"] {
        assert!(of_data[field].is_array(), "{field} in {of_data}");
    }
    for residual in of_data["residuals"].as_array().unwrap() {
        assert!(residual.as_f64().unwrap() <= 2e-5, "{of_data}");
    }
    assert_eq!(
        serde_json::from_str::<Value>(&here.text("s.json")).unwrap(),
        of_data
    );

    let of_file = Value::Object(here.ok("neuncut spectrum --graph g.npz --count 12 --json").json());
    assert_eq!(of_file["eigenvalues"], of_data["eigenvalues"]);

    for (file, beginning) in [("s.html", "<!DOCTYPE html>"), ("s.svg", "<?xml")] {
        let told = here.ok(&format!("neuncut spectrum --graph g.npz --count 12 -o {file}"));
        assert!(told.out.contains("suggests k = 5"), "{}", told.out);
        let text = here.text(file);
        assert!(text.starts_with(beginning) && text.contains("k = 5"), "{file}");
    }

    // A single round cloud.
    let cloud: Vec<String> = (0..600)
        .map(|i| {
            let (r, a) = (((i as f64 + 0.5) / 600.0).sqrt(), 2.399963 * i as f64);
            format!("{},{}\n", r * a.cos(), r * a.sin())
        })
        .collect();
    here.put("disc.csv", cloud.concat());
    let told = here.ok("neuncut spectrum disc.csv");
    assert!(told.out.contains("No gap stands out"), "{}", told.out);
    assert!(here.ok("neuncut spectrum disc.csv --json").json()["k"].is_null());
}

#[test]
fn every_baseline_prints_what_fit_prints_and_writes_its_labels() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 1203 --seed 7 -o x.npz");
    here.ok("neuncut graph x.npz -k 5 --train-rows 701 -o g.npz --training-rows r.npy");
    let fitted = here
        .ok("neuncut fit x.npz -k 5 --train-rows 701 --epochs 1 --warm-up 5 --hidden 16 --out run --json")
        .json();
    let chosen = here.numbers("r.npy");
    for method in ["kmeans", "spectral", "nystrom", "landmark"] {
        let line =
            format!("neuncut baseline {method} x.npz -k 5 --train-rows 701 --landmarks 200 -o labels.npy");
        let found = Value::Object(here.ok(&format!("{line} --json")).json());
        for field in [
            "acc",
            "nmi",
            "ari",
            "nmi_arithmetic",
            "ncut",
            "rcut",
            "cut_rows",
            "rows",
            "train_rows",
            "sizes",
            "seconds",
            "stages",
            "device",
            "data",
            "warnings",
        ] {
            assert!(fitted.contains_key(field), "fit has no {field}");
            assert!(!found[field].is_null(), "{method}: no {field} in {found}");
        }
        assert_eq!(found["method"], method);
        // The clouds are 10 deviations apart.
        assert!(number(&found, "acc") > 0.99, "{method}: {found}");

        let labels = here.numbers("labels.npy");
        assert_eq!(labels.len(), 1203);
        assert_eq!(
            labels
                .iter()
                .map(|label| *label as u32)
                .collect::<BTreeSet<_>>()
                .len(),
            5
        );
        // The cut is that of the training rows' labels under the same graph.
        let of_training: Vec<String> = chosen
            .iter()
            .map(|&row| format!("{}\n", labels[row as usize]))
            .collect();
        here.put("training.csv", of_training.concat());
        let judged = Value::Object(
            here.ok("neuncut evaluate --predictions training.csv --graph g.npz --json")
                .json(),
        );
        let of_run = Value::Object(
            here.ok("neuncut evaluate --predictions labels.npy --run run --json")
                .json(),
        );
        for cut in ["ncut", "rcut"] {
            assert!(
                same(number(&found, cut), number(&judged, cut)),
                "{method}: {found} and {judged}"
            );
            assert!(
                same(number(&found, cut), number(&of_run, cut)),
                "{method}: {found} and {of_run}"
            );
        }

        let again = here.bytes("labels.npy");
        let told = here.ok(&format!("{line} --threads 1"));
        assert_eq!(
            here.bytes("labels.npy"),
            again,
            "{method} on another number of threads"
        );
        for word in ["ACC", "NMI", "ARI", "Ncut", "seconds", method] {
            assert!(told.out.contains(word), "no {word} in {}", told.out);
        }
    }
}

#[test]
fn the_cut_of_a_run_is_that_of_its_labels_under_its_graph() {
    let here = Sandbox::new();
    here.ok("neuncut generate moons --rows 903 -o x.npz");
    for cut in ["ncut", "rcut"] {
        let fitted = Value::Object(
            here.ok(&format!(
                "neuncut fit x.npz -k 2 --train-rows 501 --cut {cut} --epochs 3 --hidden 32 --out {cut} --json"
            ))
            .json(),
        );
        let judged = Value::Object(
            here.ok(&format!(
                "neuncut evaluate --predictions {cut}/labels.npy --run {cut} --json"
            ))
            .json(),
        );
        for field in ["ncut", "rcut"] {
            assert!(
                same(number(&fitted, field), number(&judged, field)),
                "{fitted} and {judged}"
            );
        }
        // The spectrum lies beside the graph, and is drawn.
        let spectrum: Value = serde_json::from_str(&here.text(&format!("{cut}/spectrum.json"))).unwrap();
        assert!(
            spectrum["eigenvalues"].as_array().unwrap().len() >= 15,
            "{spectrum}"
        );
        assert_eq!(spectrum["gap"]["clusters"], 2, "{spectrum}");
        let page = here.text(&format!("{cut}/report.html"));
        for heading in ["Spectrum of the training graph", "Exact cut", "Warm-up", "Loss"] {
            assert!(page.contains(&format!(">{heading}<")), "{heading}");
        }
    }
}

#[test]
fn a_cluster_without_rows_raises_the_cut_when_it_was_asked_for() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 301 -o x.npy");
    here.ok("neuncut graph x.npy -o g.npz");
    let line = "neuncut evaluate --predictions x-labels.npy --graph g.npz --json";
    let two = Value::Object(here.ok(line).json());
    let three = Value::Object(here.ok(&format!("{line} -k 3")).json());
    assert_eq!((&two["clusters"], &three["clusters"]), (&2.into(), &3.into()));
    assert!(
        same(number(&three, "ncut"), number(&two, "ncut") + 1.0),
        "{two} and {three}"
    );
    assert!(number(&three, "rcut") > number(&two, "rcut"), "{two} and {three}");
}

#[test]
fn a_comparison_has_a_table_a_picture_and_every_run() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 703 --seed 2 -o x.npz");
    let line = "neuncut compare x.npz -k 5 --train-rows 401 --epochs 1 --warm-up 5 --hidden 16 --methods kmeans,neuncut,spectral --out c";
    let value = Value::Object(here.ok(&format!("{line} --seeds 2 --json")).json());
    let runs = value["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 6);
    let methods: Vec<&str> = runs.iter().map(|run| run["method"].as_str().unwrap()).collect();
    assert_eq!(
        methods,
        ["kmeans", "kmeans", "neuncut", "neuncut", "spectral", "spectral"]
    );
    for method in value["methods"].as_array().unwrap() {
        for field in ["acc", "nmi", "ari", "ncut", "rcut", "seconds"] {
            let [mean, low, high] = ["mean", "min", "max"].map(|of| number(&method[field], of));
            assert!(
                low <= mean && mean <= high && number(&method[field], "std") >= 0.0,
                "{method}"
            );
        }
    }
    for file in [
        "comparison.html",
        "comparison.json",
        "comparison.svg",
        "runs.jsonl",
        "neuncut-seed0",
        "neuncut-seed1",
    ] {
        assert!(here.path("c").join(file).exists(), "{file}");
    }
    assert_eq!(here.text("c/runs.jsonl").lines().count(), 6);
    // Neuncut is what fit makes of the same options.
    here.ok("neuncut fit x.npz -k 5 --train-rows 401 --epochs 1 --warm-up 5 --hidden 16 --seed 1 --out run");
    assert_eq!(
        here.bytes("run/labels.npy"),
        here.bytes("c/neuncut-seed1/labels.npy")
    );

    // Landmarks stand for the normalised cut only.
    let line_of_rcut = line
        .replace("--methods kmeans,neuncut,spectral --out c", "--out r")
        .replace("compare", "compare --cut rcut");
    let value = Value::Object(here.ok(&format!("{line_of_rcut} --seeds 1 --json")).json());
    let methods: Vec<&Value> = value["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["method"])
        .collect();
    assert_eq!(methods, ["neuncut", "kmeans", "spectral"]);
    here.run(&format!("{line_of_rcut} --methods landmark"))
        .refuses(1, &["--cut: landmark stands for the normalised cut only"]);

    here.run(&format!("{line} --seeds 3")).refuses(
        1,
        &[
            "c: there is a comparison in this folder already",
            "--resume",
            "--overwrite",
        ],
    );
    here.run(&format!("{line} --seeds 3 --resume --lr 0.5"))
        .refuses(1, &["--resume: the comparison in c was begun with other options"]);
    // A line that a kill cut short is of a run that is made again.
    let lines = here.text("c/runs.jsonl");
    here.put("c/runs.jsonl", &lines[..lines.len() - 20]);
    let told = here.ok(&format!("{line} --seeds 3 --resume"));
    assert_eq!(here.text("c/runs.jsonl").lines().count(), 9);
    assert_eq!(
        told.err.lines().filter(|line| line.contains(" seed ")).count(),
        4,
        "{}",
        told.err
    );
    for word in [
        "method",
        "ACC",
        "Ncut",
        "Rcut",
        "seconds",
        "±",
        "spectral",
        "c/comparison.html",
    ] {
        assert!(told.out.contains(word), "no {word} in {}", told.out);
    }
}

#[test]
fn an_interrupted_comparison_keeps_its_runs_and_goes_on() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 2003 -o x.npz");
    let line = "neuncut compare x.npz -k 5 --methods kmeans,neuncut --seeds 2 --out c --quiet";
    let mut child = here.start(line);
    let begun = || std::fs::read_to_string(here.path("c/runs.jsonl")).is_ok_and(|text| !text.is_empty());
    assert!(wait_until(&mut child, begun), "{line} was too fast");
    interrupt(&child);
    finish(child, line).refuses(
        130,
        &["interrupted; finished runs are in c/runs.jsonl", "--resume"],
    );
    let done = here.text("c/runs.jsonl");
    here.ok(&format!("{line} --resume"));
    let all = here.text("c/runs.jsonl");
    assert!(
        all.starts_with(&done) && all.lines().count() == 4,
        "{done} and {all}"
    );
}

#[test]
fn a_search_for_gamma_draws_its_curves() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 603 --seed 4 -o x.npz");
    let line = "neuncut gamma-search x.npz -k 5 --epochs 3 --warm-up 3 --hidden 16 --batch 200";
    let value = Value::Object(
        here.ok(&format!("{line} --gammas 1,1e6,0.01 -o g.svg --json"))
            .json(),
    );
    let rungs = value["rungs"].as_array().unwrap();
    let gammas: Vec<f64> = rungs.iter().map(|rung| number(rung, "gamma")).collect();
    assert_eq!(gammas, [1e6, 1.0, 0.01], "from the largest downwards");
    assert_eq!(number(&value, "floor"), number(&rungs[0], "l_orth"));
    let taken = rungs
        .iter()
        .find(|rung| rung["gamma"] == value["gamma"])
        .expect("one of those tried");
    assert!(
        number(taken, "l_orth") <= 1.1 * number(&value, "floor") + 1e-6,
        "{value}"
    );
    for rung in rungs {
        for field in ["l_lap", "cut", "acc", "seconds"] {
            assert!(number(rung, field).is_finite(), "{value}");
        }
    }
    let picture = here.text("g.svg");
    for heading in ["Penalty", "Relaxed cut", "Exact cut"] {
        assert!(picture.contains(&format!(">{heading}<")), "{heading}");
    }
    let told = here.ok(&format!("{line} --gammas 1e6,1"));
    assert!(
        told.out.contains("L_orth") && told.out.contains("gamma "),
        "{}",
        told.out
    );
}

#[test]
fn what_cannot_be_done_is_told_in_one_line() {
    let here = Sandbox::new();
    here.ok("neuncut -q generate rings --rows 101 -o x.npy");
    here.ok("neuncut -q graph x.npy -o g.npz");
    here.ok("neuncut -q fit x.npy -k 2 --affinity heat --epochs 1 --hidden 8 --out heat");
    here.put("ten.csv", "0\n1\n".repeat(5));
    here.put("no.npz", "nothing");
    refuse_all(
        &here,
        &[
            ("neuncut graph x.npy", 2, &["--output <GRAPH.npz>"]),
            (
                "neuncut graph x.npy -o g.npy",
                1,
                &["g.npy: only .npz can be written here"],
            ),
            (
                "neuncut graph nowhere.npy -o h.npz",
                1,
                &["nowhere.npy: no such file"],
            ),
            (
                "neuncut graph x.npy -o h.npz --affinity heat",
                1,
                &["--affinity: ", "choose knn"],
            ),
            (
                "neuncut graph x.npy -o h.npz --neighbors 0",
                1,
                &["--neighbors: 0 is too few"],
            ),
            (
                "neuncut graph x.npy -o h.npz --neighbors all",
                1,
                &["--neighbors: "],
            ),
            (
                "neuncut graph x.npy -o h.npz --train-rows 1",
                1,
                &["--train-rows: 1 is too few"],
            ),
            (
                "neuncut graph x.npy -o h.npz --graph-features edges",
                1,
                &["--graph-features: \"edges\" is no transform"],
            ),
            (
                "neuncut graph x.npy -o h.npz --training-rows r.csv",
                1,
                &["r.csv: only .npy can be written here"],
            ),
            (
                "neuncut graph x.npy -o no/h.npz",
                1,
                &["no/h.npz: the folder no does not exist"],
            ),
            (
                "neuncut spectrum x.npy --count 3",
                1,
                &["--count: 3 is too few; give at least 4"],
            ),
            (
                "neuncut spectrum x.npy -o s.png",
                1,
                &["s.png: only .html or .svg or .json can be written here"],
            ),
            ("neuncut spectrum --graph no.npz", 1, &["no.npz: "]),
            ("neuncut spectrum --graph nowhere.npz", 1, &["nowhere.npz: "]),
            (
                "neuncut spectrum x.npy --graph g.npz",
                2,
                &["--graph <GRAPH.npz>", "[DATA]"],
            ),
            (
                "neuncut baseline median x.npy -k 2",
                2,
                &["'median'", "choose from kmeans, spectral, nystrom, landmark"],
            ),
            ("neuncut baseline kmeans x.npy", 1, &["--clusters: not given"]),
            (
                "neuncut baseline kmeans x.npy -k 1",
                1,
                &["--clusters: 1 is too few"],
            ),
            (
                "neuncut baseline kmeans x.npy -k 102",
                1,
                &["--clusters: 102 clusters of 101"],
            ),
            (
                "neuncut baseline spectral x.npy -k 2 --affinity heat",
                1,
                &["--affinity: "],
            ),
            (
                "neuncut baseline nystrom x.npy -k 2 --cut rcut",
                1,
                &["--cut: nystrom stands for the normalised cut only"],
            ),
            (
                "neuncut baseline landmark x.npy -k 2 --landmarks 1",
                1,
                &["--landmarks: 1 is too few"],
            ),
            (
                "neuncut baseline kmeans x.npy -k 2 -o l.csv",
                1,
                &["l.csv: only .npy can be written here"],
            ),
            (
                "neuncut baseline kmeans x.npy -k 2 -o x.npy",
                1,
                &["x.npy: the same file is read"],
            ),
            (
                "neuncut baseline kmeans x.npy -k 2 --labels ten.csv",
                1,
                &["ten.csv: 10 labels for the 101 rows"],
            ),
            (
                "neuncut compare x.npy -k 2 --methods kmeans,median",
                2,
                &["'median'", "choose from neuncut, kmeans"],
            ),
            (
                "neuncut compare x.npy -k 2 --seeds 0",
                1,
                &["--seeds: 0 is too few"],
            ),
            (
                "neuncut compare x.npy -k 2 --resume --out nowhere",
                1,
                &["nowhere/settings.json: cannot read the comparison"],
            ),
            ("neuncut compare x.npy -k 2 --affinity heat", 1, &["--affinity: "]),
            (
                "neuncut gamma-search x.npy -k 2 --gamma 1",
                1,
                &["--gamma: it is what is searched for"],
            ),
            (
                "neuncut gamma-search x.npy -k 2 --gammas 1,0",
                1,
                &["--gammas: 0 is not a number above 0"],
            ),
            (
                "neuncut gamma-search x.npy -k 2 --gammas 1,x",
                2,
                &["'x'", "--gammas"],
            ),
            (
                "neuncut evaluate --predictions ten.csv --graph g.npz",
                1,
                &["ten.csv: 10 predictions for the 101 rows of the graph in g.npz"],
            ),
            (
                "neuncut evaluate --predictions ten.csv --graph g.npz --run heat",
                2,
                &["--graph <GRAPH.npz>"],
            ),
            (
                "neuncut evaluate --predictions heat/labels.npy --run heat",
                1,
                &["heat: this run has no graph", "--data"],
            ),
            (
                "neuncut evaluate --predictions ten.csv --run nowhere",
                1,
                &["nowhere/config.toml: cannot read"],
            ),
            (
                "neuncut evaluate --predictions ten.csv --labels ten.csv -k 1",
                1,
                &["--clusters: 1 is too few; give at least 2"],
            ),
            ("neuncut evaluate --predictions ten.csv", 2, &["--labels <FILE>"]),
        ],
    );
}
