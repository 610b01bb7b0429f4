//! Scattering coefficients and principal components, as files and within a training, and codes of auto-encoders.

use neuncut::data::npy::header;
use neuncut::data::{Dataset, LabelStream, Labels};
use serde_json::Value;

use super::bad_input::refuse_all;
use super::sandbox::Sandbox;

/// The built-in digits from `first` on as an array of bytes, and their labels.
pub fn digits(here: &Sandbox, name: &str, first: usize, count: usize) {
    let data = Dataset::open("mnist-t10k").unwrap();
    let mut rows = vec![0.0; count * data.cols()];
    data.read_rows(first, &mut rows).unwrap();
    let mut file = header("|u1", &[count, 28, 28]);
    file.extend(rows.iter().map(|&pixel| pixel as u8));
    here.put(&format!("{name}.npy"), file);
    let labels = data.labels().unwrap();
    let lines = labels.index[first..first + count]
        .iter()
        .map(|label| format!("{label}\n"));
    here.put(&format!("{name}-labels.csv"), lines.collect::<String>());
}

#[test]
fn a_run_on_scattering_features_labels_more_pictures_as_it_labelled_these() {
    let here = Sandbox::new();
    digits(&here, "few", 0, 1500);
    digits(&here, "others", 1000, 700);
    let told = here.ok(
        "neuncut fit few.npy -k 10 --labels few-labels.csv --features scatnet=3:8:2,pca=100,center,unit --train-rows 1200 --out run --json",
    );
    let fitted = told.json();
    // Spectral clustering of these pixels is right for some 6 of 10.
    let acc = fitted["acc"].as_f64().unwrap();
    assert!(acc > 0.8, "ACC {acc}");
    assert!(
        here.text("run/config.toml")
            .contains("scatnet=3:8:2,pca=100,center,unit")
    );

    here.ok("neuncut predict run others.npy -o labels.npy");
    let labels = |name: &str| here.numbers(name);
    assert_eq!(labels("labels.npy")[..500], labels("run/labels.npy")[1000..]);
    here.ok("neuncut evaluate --predictions run/labels.npy --data few.npy --run run");
    here.ok("neuncut fit --config run/config.toml --out again");
    for file in [
        "features.safetensors",
        "graph-features.safetensors",
        "model.safetensors",
        "labels.npy",
    ] {
        assert!(
            here.bytes(&format!("run/{file}")) == here.bytes(&format!("again/{file}")),
            "{file}"
        );
    }

    // The same bytes without a shape.
    let pixels = here
        .bytes("others.npy")
        .split_off(header("|u1", &[700, 28, 28]).len());
    here.put("flat.npy", [header("|u1", &[700, 784]), pixels].concat());
    here.ok("neuncut predict run flat.npy -o flat-labels.npy");
    assert!(here.bytes("flat-labels.npy") == here.bytes("labels.npy"));

    // Pictures of another shape, and rows that are no pictures.
    here.put(
        "wide.npy",
        [header("|u1", &[2, 14, 56]), vec![7; 2 * 784]].concat(),
    );
    here.put(
        "turned.npy",
        [header("|u1", &[2, 2, 14, 28]), vec![7; 2 * 784]].concat(),
    );
    here.put(
        "numbers.npy",
        [header("<f4", &[2, 784]), vec![0; 8 * 784]].concat(),
    );
    refuse_all(
        &here,
        &[
            (
                "neuncut predict run wide.npy -o l.npy",
                1,
                &[
                    "a row of wide is 14 x 56 x 1",
                    "expected 28 x 28 x 1 8-bit pixels",
                ],
            ),
            (
                "neuncut predict run turned.npy -o l.npy",
                1,
                &["a row of turned is no picture of 8-bit pixels", "28 x 28 x 1"],
            ),
            (
                "neuncut predict run numbers.npy -o l.npy",
                1,
                &["a row of numbers is no picture of 8-bit pixels", "28 x 28 x 1"],
            ),
            (
                "neuncut fit few.npy -k 10 --features scatnet=2:4:1,pca=100 --train-rows 50 --out r",
                1,
                &[
                    "the number of principal components is 100, expected at most 50, as there are training rows",
                ],
            ),
        ],
    );
}

#[test]
fn a_run_on_the_codes_of_an_auto_encoder_is_repeated_and_replayed_bit_for_bit() {
    let here = Sandbox::new();
    digits(&here, "x", 0, 700);
    let line = "neuncut fit x.npy -k 3 --features pixels,autoencoder=40-5:20,center,unit --epochs 1 --warm-up 1 --hidden 8";
    let told = here.ok(&format!("{line} --batch 300 --threads 1 --out a"));
    assert!(
        told.err.contains("autoencoder=40-5:20: 0.")
            && told.err.contains("of the mean square of 700 rows is lost"),
        "{}",
        told.err
    );
    assert!(
        here.text("a/config.toml")
            .contains("pixels,autoencoder=40-5:20,center,unit")
    );
    here.ok("neuncut fit --config a/config.toml --threads 2 --out b");
    for file in [
        "features.safetensors",
        "graph-features.safetensors",
        "graph.npz",
        "model.safetensors",
        "labels.npy",
    ] {
        assert!(
            here.bytes(&format!("a/{file}")) == here.bytes(&format!("b/{file}")),
            "{file}"
        );
    }
    here.ok("neuncut predict a x.npy -o labels.npy");
    assert_eq!(here.bytes("labels.npy"), here.bytes("a/labels.npy"));
    here.ok("neuncut evaluate --predictions labels.npy --data x.npy --run a");
    here.ok("neuncut baseline kmeans x.npy -k 3 --features pixels,autoencoder=5:1");
    here.ok("neuncut fit x.npy -k 3 --graph-features autoencoder=5:1,unit --epochs 1 --warm-up 1 --hidden 8 --out c");
    refuse_all(
        &here,
        &[
            (
                "neuncut fit x.npy -k 2 --features autoencoder=500-0",
                1,
                &[
                    "--features: \"autoencoder=500-0\" is no transform",
                    "up to 8 widths of 1 to 10000 and 1 to 10000 epochs",
                ],
            ),
            (
                "neuncut fit x.npy -k 2 --graph-features autoencoder=",
                1,
                &["--graph-features: \"autoencoder=\" is no transform"],
            ),
            (
                "neuncut evaluate --predictions labels.npy --data x.npy --sigma 1 --features autoencoder=5",
                1,
                &["autoencoder: it is trained on rows in memory, but these are streamed"],
            ),
        ],
    );
}

#[test]
fn a_file_of_features_is_what_a_run_makes_of_the_same_rows() {
    let here = Sandbox::new();
    digits(&here, "x", 0, 300);
    let told = here.ok("neuncut features scatnet x.npy --angles 4 -o s.npy --json --threads 1");
    let told = Value::Object(told.json());
    // 1 + 3 4 + 3 4^2 paths of 4 x 4.
    assert_eq!(
        (told["rows"].as_u64(), told["cols"].as_u64()),
        (Some(300), Some(976))
    );
    assert_eq!(told["features"], "scatnet=3:4:2");
    here.ok("neuncut features scatnet x.npy --angles 4 -o t.npy --threads 2 --quiet");
    assert!(
        here.bytes("s.npy") == here.bytes("t.npy"),
        "the number of threads shows"
    );

    here.ok("neuncut features pca s.npy --dims 20 --center -o p.safetensors");
    here.ok("neuncut fit x.npy -k 2 --features scatnet=3:4:2,center,pca=20 --epochs 1 --warm-up 1 --hidden 8 --out a");
    here.ok("neuncut fit p.safetensors -k 2 --features none --epochs 1 --warm-up 1 --hidden 8 --out b");
    assert!(here.bytes("a/labels.npy") == here.bytes("b/labels.npy"));
    assert!(here.bytes("a/model.safetensors") == here.bytes("b/model.safetensors"));
}

#[test]
fn labels_go_along() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 205 -o x.npz");
    for output in ["f.npy", "f.safetensors"] {
        let told = here
            .ok(&format!("neuncut features pca x.npz --dims 2 -o {output} --json"))
            .json();
        assert_eq!(told["labels"], true);
        let energy = told["energy"].as_f64().unwrap();
        assert!(energy > 0.0 && energy < 1.0, "{energy}");
    }
    let truth = Dataset::open(here.path("x.npz").to_str().unwrap()).unwrap();
    let found = Dataset::open(here.path("f.safetensors").to_str().unwrap()).unwrap();
    assert_eq!((found.rows(), found.cols()), (205, 2));
    assert_eq!(found.labels(), truth.labels());
    assert_eq!(
        Some(&Labels::open(here.path("f-labels.npy")).unwrap()),
        truth.labels()
    );
    let beside = Dataset::open(here.path("f.npy").to_str().unwrap()).unwrap();
    assert_eq!(
        LabelStream::open(here.path("f-labels.npy"), &beside)
            .unwrap()
            .len(),
        205
    );
    assert_eq!(here.numbers("f.npy"), here.numbers("f.safetensors"));
}

#[test]
fn killed_at_any_moment_a_file_of_features_is_gone_on_with_to_the_same_bits() {
    let here = Sandbox::new();
    // Five chunks of 4096 rows, the last one shorter.
    let (rows, columns) = (20_000, 5 * 49);
    let pixels = (0..rows * 784u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8);
    here.put(
        "x.npy",
        header("|u1", &[rows as usize, 28, 28])
            .into_iter()
            .chain(pixels)
            .collect::<Vec<u8>>(),
    );
    let line = "neuncut features scatnet x.npy --scales 2 --angles 2 --order 1 --threads 1 -o";
    here.ok(&format!("{line} whole.safetensors"));
    let line = format!("{line} f.safetensors");
    let there = here.killed_and_gone_on_with(&line, "f.safetensors", rows.into(), 4096 * 4 * columns);
    assert!(there >= 2 * 4096 && there.is_multiple_of(4096), "{there}");
    assert!(here.bytes("f.safetensors") == here.bytes("whole.safetensors"));
    assert_eq!(here.list("."), ["f.safetensors", "whole.safetensors", "x.npy"]);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 101 -o x.npz");
    here.ok("neuncut generate blobs --rows 5 -o five.npz");
    here.put(
        "small.npy",
        [header("|u1", &[3, 7, 28]), vec![7; 3 * 196]].concat(),
    );
    here.put(
        "odd.npy",
        [header("|u1", &[3, 28, 28, 2]), vec![7; 6 * 784]].concat(),
    );
    here.put("tiny.npy", [header("|u1", &[3, 8, 8]), vec![7; 3 * 64]].concat());
    here.put("nan.csv", "1,2\n3,nan\n");
    refuse_all(
        &here,
        &[
            (
                "neuncut features scatnet x.npz -o f.npy",
                1,
                &[
                    "features scatnet: x does not hold pictures of 8-bit pixels",
                    "n x height x width",
                ],
            ),
            (
                "neuncut fit x.npz -k 2 --features scatnet,pca=5",
                1,
                &["--features: x does not hold pictures of 8-bit pixels"],
            ),
            (
                "neuncut fit x.npz -k 2 --graph-features scatnet",
                1,
                &["--graph-features: x does not hold pictures of 8-bit pixels"],
            ),
            (
                "neuncut fit x.npz -k 2 --features center,scatnet",
                1,
                &[
                    "--features: scatnet reads the pixels themselves",
                    "scatnet,pca=500,center,unit",
                ],
            ),
            (
                "neuncut fit x.npz -k 2 --features scatnet=7",
                1,
                &["--features: \"scatnet=7\" is no transform", "J 1 to 4, L 1 to 16"],
            ),
            (
                "neuncut features scatnet small.npy --scales 5 -o f.npy",
                2,
                &["'5'", "--scales"],
            ),
            (
                "neuncut features scatnet small.npy -o f.npy",
                1,
                &["needs pictures of at least 8 x 8 pixels, these have 7 x 28"],
            ),
            (
                "neuncut features scatnet tiny.npy -o f.npy",
                1,
                &["scatnet with 3 scales leaves one number of each path of a picture of 8 x 8"],
            ),
            (
                "neuncut features pca five.npz --dims 6 -o f.npy",
                1,
                &["--dims: 6 principal components of 5 rows of 8 numbers; ask for at most 5"],
            ),
            (
                "neuncut features scatnet odd.npy -o f.npy",
                1,
                &["odd does not hold pictures", "1, 3 or 4 channels"],
            ),
            (
                "neuncut features pca x.npz --dims 4000 -o f.npy",
                1,
                &[
                    "--dims: 4000 principal components of 101 rows of",
                    "ask for at most",
                ],
            ),
            (
                "neuncut features pca x.npz --dims 0 -o f.npy",
                1,
                &["--dims: 0 is too few"],
            ),
            (
                "neuncut fit x.npz -k 2 --features pca=4000",
                1,
                &["--features: 4000 principal components"],
            ),
            (
                "neuncut features pca x.npz --dims 1 -o f.csv",
                1,
                &["f.csv: only .safetensors or .npy can be written here"],
            ),
            (
                "neuncut features pca x.npz --dims 1 -o no/f.npy",
                1,
                &["the folder no does not exist"],
            ),
            ("neuncut features pca nan.csv --dims 1 -o f.npy", 1, &["nan"]),
            (
                "neuncut features pca small.npy --dims 1 -o small.npy",
                1,
                &["the same file is read"],
            ),
        ],
    );
}
