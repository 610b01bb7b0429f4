//! Data that is odd but not wrong, and affinities from files: sensible clusters, or a clear message.

use neuncut::data::csr::Csr;
use serde_json::{Map, Value};

use super::sandbox::Sandbox;

/// A short training at the usual settings.
const FIT: &str = "neuncut fit x.csv --labels y.csv --hidden 64 --out run --overwrite --json";

/// Puts rows and their classes where [`FIT`] looks for them.
fn put(here: &Sandbox, rows: &[Vec<f64>], classes: &[usize]) {
    let line = |row: &Vec<f64>| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",") + "\n";
    here.put("x.csv", rows.iter().map(line).collect::<String>());
    here.put(
        "y.csv",
        classes
            .iter()
            .map(|class| format!("{class}\n"))
            .collect::<String>(),
    );
}

/// Clouds of these sizes and deviation 1 in five dimensions, the first axes of which their centres are on, `apart` from the origin.
fn clouds(sizes: &[usize], apart: f64) -> (Vec<Vec<f64>>, Vec<usize>) {
    let classes: Vec<usize> = (0..sizes.len())
        .flat_map(|class| vec![class; sizes[class]])
        .collect();
    let normal = |at: usize| {
        let stream = neuncut::random::Stream::new(7, neuncut::random::Purpose::Synthetic, 90);
        stream.normal(at as u64)[0]
    };
    let row = |(i, &class): (usize, &usize)| -> Vec<f64> {
        let value = |c: usize| normal(5 * i + c) + if c == class { apart } else { 0.0 };
        (0..5).map(value).collect()
    };
    (classes.iter().enumerate().map(row).collect(), classes)
}

fn acc(run: &Map<String, Value>) -> f64 {
    run["acc"].as_f64().unwrap()
}

/// Nothing that is no number, and every row in a cluster.
fn sound(run: &Map<String, Value>, rows: u64) {
    for name in ["ncut", "rcut", "l_lap", "l_orth", "gamma"] {
        assert!(run[name].is_f64(), "{name} is {}", run[name]);
    }
    let sizes: Vec<u64> = serde_json::from_value(run["sizes"].clone()).unwrap();
    assert_eq!(sizes.iter().sum::<u64>(), rows);
}

#[test]
fn clouds_without_any_edge_between_them_are_told_apart() {
    let here = Sandbox::new();
    let (rows, classes) = clouds(&[150, 150, 150], 1000.0);
    put(&here, &rows, &classes);
    for options in ["", "--one-sided 0", "--cut rcut"] {
        let run = here.ok(&format!("{FIT} -k 3 {options}")).json();
        assert_eq!(acc(&run), 1.0, "{options}: {run:?}");
    }
    // As many clusters as there are not: parts are split, or stay together.
    for k in [2, 5] {
        let run = here.ok(&format!("{FIT} -k {k}")).json();
        sound(&run, 450);
        assert!(acc(&run) > 0.6, "{run:?}");
    }
}

#[test]
fn crowds_within_crowds_are_cut_as_little_as_spectral_clustering_cuts_them() {
    let here = Sandbox::new();
    let (rows, classes) = clouds(&[200, 200, 200], 3000.0);
    let plane: Vec<Vec<f64>> = rows.iter().map(|row| row[..2].to_vec()).collect();
    put(&here, &plane, &classes);
    let spectral = here.ok("neuncut baseline spectral x.csv -k 9 --json").json();
    let run = here.ok(&format!("{FIT} -k 9")).json();
    sound(&run, 600);
    let ncut = |run: &Map<String, Value>| run["ncut"].as_f64().unwrap();
    assert!(ncut(&run) <= 1.001 * ncut(&spectral), "{run:?} and {spectral:?}");
    assert_eq!(run["warnings"], serde_json::json!([]));
    let config = here.text("run/config.toml");
    assert!(
        config.contains("features = \"center,scale,quantiles\""),
        "{config}"
    );
    assert!(config.contains("graph-features = \"center,scale\""), "{config}");

    // What was left to the data is a setting now: the same bits, in the run and for rows to come.
    here.ok("neuncut fit --config run/config.toml --out again");
    here.ok("neuncut predict run x.csv -o labels.npy");
    for labels in ["again/labels.npy", "labels.npy"] {
        assert_eq!(here.bytes(labels), here.bytes("run/labels.npy"), "{labels}");
    }

    // Without, the network cannot tell them apart, and says so.
    let told = here.ok(&format!("{FIT} -k 9 --features center,scale --warm-up 50"));
    assert!(told.err.contains("warning: the network learned"), "{}", told.err);
    assert!(ncut(&told.json()) > ncut(&spectral));
}

#[test]
fn a_small_cluster_among_many_rows_is_found() {
    let here = Sandbox::new();
    let (rows, classes) = clouds(&[1980, 20], 30.0);
    put(&here, &rows, &classes);
    let run = here.ok(&format!("{FIT} -k 2")).json();
    // One row in a thousand may be out of place.
    assert!(acc(&run) >= 0.999, "{run:?}");
}

#[test]
fn rows_that_come_five_times_and_columns_that_never_change_do_no_harm() {
    let here = Sandbox::new();
    let (rows, classes) = clouds(&[60, 60, 60], 12.0);
    let times = |count: usize| -> (Vec<Vec<f64>>, Vec<usize>) {
        let all = 0..count * rows.len();
        all.map(|i| (rows[i % rows.len()].clone(), classes[i % rows.len()]))
            .unzip()
    };
    let (copies, of_copies) = times(5);
    put(&here, &copies, &of_copies);
    let run = here.ok(&format!("{FIT} -k 3")).json();
    assert!(acc(&run) >= 0.99, "{run:?}");

    for value in [0.0, 7.0, 1e6] {
        let wide: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| [&[value], &row[..], &[value, -value]].concat())
            .collect();
        put(&here, &wide, &classes);
        let run = here.ok(&format!("{FIT} -k 3")).json();
        assert!(acc(&run) >= 0.99, "columns of {value}: {run:?}");
    }
}

#[test]
fn very_few_rows_are_clustered() {
    let here = Sandbox::new();
    for (rows, k) in [(2, 2), (3, 2), (4, 3), (7, 7), (12, 5)] {
        let (rows, classes) = clouds(&[rows - rows / 2, rows / 2], 9.0);
        put(&here, &rows, &classes);
        let run = here.ok(&format!("{FIT} -k {k}")).json();
        sound(&run, rows.len() as u64);
    }
    // One column, and fewer different rows than neighbours are asked for.
    here.put("x.csv", "1\n1\n1\n2\n2\n2\n9\n9\n");
    here.put("y.csv", "0\n0\n0\n0\n0\n0\n1\n1\n");
    let run = here.ok(&format!("{FIT} -k 2 --neighbors 50")).json();
    assert_eq!(acc(&run), 1.0, "{run:?}");
}

#[test]
fn as_many_neighbours_as_there_are_rows_are_all_of_them() {
    let here = Sandbox::new();
    let (rows, classes) = clouds(&[40, 40], 12.0);
    put(&here, &rows, &classes);
    for neighbors in [79, 80, 1000] {
        let run = here.ok(&format!("{FIT} -k 2 --neighbors {neighbors}")).json();
        assert_eq!(acc(&run), 1.0, "{run:?}");
        let graph = Csr::open(here.path("run/graph.npz")).unwrap();
        assert_eq!(graph.entries(), 80 * 80);
    }
}

#[test]
fn an_affinity_from_a_file_is_what_is_cut() {
    let here = Sandbox::new();
    let (rows, classes) = clouds(&[60, 60, 60], 12.0);
    put(&here, &rows, &classes);
    here.ok(&format!("{FIT} -k 3"));
    here.ok("mv run/graph.npz graph.npz");
    let run = here.ok(&format!("{FIT} -k 3 --affinity graph.npz")).json();
    assert!(acc(&run) >= 0.99, "{run:?}");
    let stored = Csr::open(here.path("run/graph.npz")).unwrap();
    assert_eq!(stored, Csr::open(here.path("graph.npz")).unwrap());

    // Without a diagonal, in three parts, and with rows that no other is tied to.
    let tied =
        |i: usize, j: usize| i != j && i / 60 == j / 60 && !i.is_multiple_of(10) && !j.is_multiple_of(10);
    let of_row = |i: usize| {
        (0..180)
            .filter(|&j| tied(i, j))
            .map(|j| (j as u32, 0.5))
            .collect()
    };
    let parts = Csr::from_rows((0..180).map(of_row));
    parts.save(here.path("parts.npz")).unwrap();
    for k in [2, 3, 5] {
        let run = here.ok(&format!("{FIT} -k {k} --affinity parts.npz")).json();
        sound(&run, 180);
        assert!(k != 3 || acc(&run) >= 0.99, "{run:?}");
    }

    // The file is found from any folder, and must not change while the run is not finished.
    here.ok("mkdir elsewhere && rm run/metrics.json run/model.safetensors");
    here.ok("cd elsewhere && neuncut fit --resume --out ../run --quiet");
    here.ok("rm run/metrics.json run/model.safetensors && cp graph.npz parts.npz");
    let told = here.run("neuncut fit --resume --out run --quiet");
    told.refuses(1, &["--resume: the graph of the training rows has changed"]);
}

#[test]
fn labels_from_a_file_are_what_training_begins_with() {
    let here = Sandbox::new();
    let (rows, classes) = clouds(&[60, 60, 60], 12.0);
    put(&here, &rows, &classes);
    for affinity in ["knn", "heat"] {
        let line = format!("{FIT} -k 3 --start y.csv --affinity {affinity} --epochs 1 --lr 1e-9");
        let run = here.ok(&line).json();
        assert!(acc(&run) >= 0.99, "{affinity}: {run:?}");
    }
    here.ok("mkdir elsewhere && rm run/metrics.json run/model.safetensors");
    here.ok("cd elsewhere && neuncut fit --resume --out ../run --quiet");
}
