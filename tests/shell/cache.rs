//! Features that are kept from one command to the next change nothing but the time that it takes.

use std::fs;

use super::bad_input::refuse_all;
use super::features::digits;
use super::sandbox::{Sandbox, Told};

/// Files found and made, as the object and the log say.
fn counts(told: &Told) -> [u64; 2] {
    let cache = &told.json()["cache"];
    let [found, made] = ["found", "made"].map(|name| cache[name].as_u64().unwrap());
    let line = format!(
        "cache {}: {found} files found, {made} made",
        cache["folder"].as_str().unwrap()
    );
    assert!(
        told.err.lines().any(|told| told == line),
        "{line:?} in {}",
        told.err
    );
    [found, made]
}

/// What decides the graph is given, so that nothing else is fitted.
const FEATURES: &str =
    "--features scatnet=2:2:1,pca=9,center,unit --graph-features scatnet=2:2:1,pca=9,center,unit";
const QUICK: &str = "--train-rows 500 --epochs 1 --warm-up 1 --hidden 8";

fn assert_same_run(here: &Sandbox, a: &str, b: &str) {
    for file in [
        "config.toml",
        "features.safetensors",
        "graph-features.safetensors",
        "graph.npz",
        "model.safetensors",
        "labels.npy",
    ] {
        let same = here.bytes(&format!("{a}/{file}")) == here.bytes(&format!("{b}/{file}"));
        assert!(same, "{file} of {a} and {b}");
    }
}

#[test]
fn a_run_has_the_same_bits_without_a_cache_with_an_empty_one_and_with_a_full_one() {
    let here = Sandbox::new();
    digits(&here, "x", 0, 5000);
    let fit = format!("neuncut fit x.npy -k 10 {FEATURES} {QUICK} --json");
    assert!(!here.ok(&format!("{fit} --out a")).json().contains_key("cache"));
    // Coefficients of the training rows, the fit, these rows by it; two chunks of all rows, and those that are shown.
    assert_eq!(
        counts(&here.ok(&format!("{fit} --out b --cache c --threads 1"))),
        [0, 6]
    );
    assert_eq!(here.list("c").len(), 6);
    assert_eq!(
        counts(&here.ok(&format!("{fit} --out d --cache c --threads 2"))),
        [5, 0]
    );
    for run in ["b", "d"] {
        assert_same_run(&here, "a", run);
    }
    let other = format!("neuncut fit x.npy -k 7 {FEATURES} {QUICK} --gamma 1 --cut rcut --start kmeans");
    assert_eq!(
        counts(&here.ok(&format!("{other} --json --out e --cache c"))),
        [5, 0]
    );

    // The run's own options say nothing of a cache, but a file may.
    assert!(!here.text("b/config.toml").contains("cache"));
    here.put("f.toml", format!("{}cache = \"c\"\n", here.text("a/config.toml")));
    assert_eq!(
        counts(&here.ok("neuncut fit --config f.toml --out f --json")),
        [5, 0]
    );
    assert_same_run(&here, "a", "f");

    let predict = "neuncut predict a x.npy --json";
    here.ok(&format!("{predict} -o a.npy --probabilities pa.npy"));
    assert_eq!(
        counts(&here.ok(&format!("{predict} -o b.npy --probabilities pb.npy --cache c"))),
        [2, 0]
    );
    assert!(here.bytes("a.npy") == here.bytes("b.npy") && here.bytes("pa.npy") == here.bytes("pb.npy"));
    // Rows that no run has seen, in slices.
    digits(&here, "y", 4000, 4500);
    for (slice, made) in [("0/2", 1), ("1/2", 1)] {
        let line = format!("neuncut predict a y.npy --shard {slice} -o s.npy --cache c --json");
        assert_eq!(counts(&here.ok(&line)), [0, made]);
    }
    assert_eq!(
        counts(&here.ok("neuncut predict a y.npy -o t.npy --cache c --json")),
        [2, 0]
    );
    here.ok("neuncut predict a y.npy -o u.npy");
    assert!(here.bytes("t.npy") == here.bytes("u.npy"));
}

#[test]
fn all_commands_share_a_cache() {
    let here = Sandbox::new();
    digits(&here, "x", 0, 600);
    let given = format!("x.npy {FEATURES} --train-rows 500 --cache c --json");
    let cold = [
        // Coefficients, the fit, training rows.
        (format!("neuncut graph {given} -o g.npz"), [0, 3]),
        (format!("neuncut spectrum {given} --count 4"), [2, 0]),
        // All rows.
        (format!("neuncut baseline kmeans -k 3 {given}"), [2, 1]),
        // Training rows twice: when the graph is built, and when the others ask them.
        (format!("neuncut baseline spectral -k 3 {given}"), [4, 0]),
        (
            format!("neuncut gamma-search -k 3 {given} --gammas 1,3 --epochs 1 --warm-up 1 --hidden 8"),
            [2, 0],
        ),
    ];
    for (line, expected) in cold {
        assert_eq!(counts(&here.ok(&line)), expected, "{line}");
    }
    // Rows that the report shows are new.
    let compare = format!(
        "neuncut compare -k 3 {given} --seeds 1 --epochs 1 --warm-up 1 --hidden 8 --methods neuncut,kmeans"
    );
    assert_eq!(counts(&here.ok(&format!("{compare} --out m"))), [6, 1]);
    let evaluate = "neuncut evaluate --predictions m/neuncut-seed0/labels.npy --data x.npy";
    assert_eq!(
        counts(&here.ok(&format!("{evaluate} --run m/neuncut-seed0 --cache c --json"))),
        [1, 0]
    );
    // Whether rows are whitened for the graph is found out once; and, if so, how.
    let line = "neuncut graph x.npy --train-rows 500 --cache d --json -o g.npz";
    let [found, made] = counts(&here.ok(line));
    assert!(found == 0 && [1, 3].contains(&made), "{made}");
    assert_eq!(counts(&here.ok(line)), [made, 0]);
    // Nothing that takes long is in its features.
    let reproduce = "neuncut reproduce imagenet-shape --rows 300 --out r --cache c --json";
    let told = here.ok(&format!(
        "{reproduce} -- -k 3 --graph-features center,unit --batch 100 --epochs 1 --warm-up 1 --hidden 8"
    ));
    assert_eq!(counts(&told), [0, 0]);
}

#[test]
fn what_is_wrong_with_a_cache_is_told_and_does_no_harm() {
    let here = Sandbox::new();
    digits(&here, "x", 0, 600);
    let fit = format!("neuncut fit x.npy -k 3 {FEATURES} {QUICK} --json");
    here.ok(&format!("{fit} --out a --cache c"));
    // Cut short, as by a full disk, or with a bit turned.
    let names = here.list("c");
    for (i, name) in names.iter().enumerate() {
        let path = format!("c/{name}");
        let mut bytes = here.bytes(&path);
        match i % 2 {
            0 => bytes.truncate(bytes.len() - 4),
            _ => bytes[100] ^= 4,
        }
        here.put(&path, bytes);
    }
    let told = here.ok(&format!("{fit} --out b --cache c"));
    assert_eq!(counts(&told), [0, names.len() as u64]);
    // The training rows come with the fit; what was there of them is not looked at.
    let wrong = |name: &&String| {
        let line = format!("warning: c/{name}: truncated or damaged; what should be there is computed anew");
        told.err.lines().any(|told| told == line)
    };
    assert_eq!(
        names.iter().filter(wrong).count(),
        names.len() - 1,
        "{}",
        told.err
    );
    assert_same_run(&here, "a", "b");

    // A folder that takes no files.
    let told = here.ok(&format!("{fit} --out d --cache /proc/self"));
    assert_eq!(counts(&told), [0, 0]);
    let warnings: Vec<&str> = told
        .err
        .lines()
        .filter(|line| line.starts_with("warning: /proc/self"))
        .collect();
    assert!(
        matches!(warnings[..], [one] if one.contains("cannot create the file") && one.ends_with("what is computed from here on is not kept")),
        "{warnings:?}"
    );
    assert_same_run(&here, "a", "d");

    fs::remove_dir_all(here.path("c")).unwrap();
    refuse_all(
        &here,
        &[
            (
                "neuncut fit x.npy -k 3 --out e --cache x.npy",
                1,
                &["--cache: cannot make the folder x.npy", "name a folder"],
            ),
            (
                "neuncut predict a x.npy -o l.npy --cache x.npy/c",
                1,
                &["--cache: cannot make the folder x.npy/c"],
            ),
            (
                "neuncut reproduce mnist --from x -- --cache c",
                1,
                &["--cache is for reproduce to say", "before the --"],
            ),
        ],
    );
}
