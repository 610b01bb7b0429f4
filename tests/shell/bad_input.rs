//! Command lines and files that cannot work: one clear line each, and nothing left behind.

use neuncut::data::csr::Csr;
use neuncut::data::npy;
use neuncut::data::npz::{Values, write_arrays};

use super::sandbox::Sandbox;

/// Runs each line and asserts that it is refused with all the fragments and changes no file.
pub fn refuse_all(here: &Sandbox, table: &[(&str, i32, &[&str])]) {
    let before = here.tree();
    for (line, code, fragments) in table {
        here.run(&format!("{line} --quiet")).refuses(*code, fragments);
        let after = here.tree();
        let changed: Vec<_> = after
            .iter()
            .filter(|&(path, bytes)| before.get(path) != Some(bytes))
            .map(|(path, _)| path)
            .collect();
        assert!(changed.is_empty(), "{line} left or changed {changed:?}");
        assert_eq!(before.len(), after.len(), "{line} removed something");
    }
}

#[test]
fn options_of_fit() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 101 -o x.npy");
    // A matrix of all products of these columns has more bytes than machines have.
    let header = npy::header("|u1", &[3, 1 << 20]);
    here.put("wide.npy", [header, vec![0; 3 << 20]].concat());
    let above_0 = &["is not a number above 0; give a number above 0"];
    refuse_all(
        &here,
        &[
            (
                "neuncut fit x.npy",
                1,
                &["--clusters: not given", "as in --clusters 10"],
            ),
            (
                "neuncut fit x.npy -k 0",
                1,
                &["--clusters: 0 is too few; give at least 2"],
            ),
            (
                "neuncut fit x.npy -k 1",
                1,
                &["--clusters: 1 is too few; give at least 2"],
            ),
            ("neuncut fit x.npy -k -3", 2, &["-3", "see --help"]),
            (
                "neuncut fit x.npy -k two",
                2,
                &["'two'", "--clusters", "see --help"],
            ),
            (
                "neuncut fit x.npy -k 102",
                1,
                &["--clusters: 102 clusters of 101 training rows; ask for fewer"],
            ),
            (
                "neuncut fit x.npy -k 40 --train-rows 30",
                1,
                &["40 clusters of 30 training rows"],
            ),
            (
                "neuncut fit x.npy -k 9 --batch 8",
                1,
                &["9 clusters in mini-batches of 8 rows", "raise --batch"],
            ),
            (
                "neuncut fit x.npy -k 2 --batch 102",
                1,
                &["--batch: 102 rows in a mini-batch", "101 training rows"],
            ),
            ("neuncut fit x.npy -k 2 --batch 1", 1, &["--batch: 1 is too few"]),
            ("neuncut fit x.npy -k 2 --batch 0", 1, &["--batch: 0 is too few"]),
            (
                "neuncut fit x.npy -k 2 --train-rows 0",
                1,
                &["--train-rows: 0 is too few; give at least 2"],
            ),
            (
                "neuncut fit x.npy -k 2 --train-rows 1",
                1,
                &["--train-rows: 1 is too few"],
            ),
            (
                "neuncut fit x.npy -k 2 --epochs 0",
                1,
                &["--epochs: 0 is too few; give at least 1"],
            ),
            ("neuncut fit x.npy -k 2 --epochs 1.5", 2, &["'1.5'", "--epochs"]),
            ("neuncut fit x.npy -k 2 --lr 0", 1, above_0),
            ("neuncut fit x.npy -k 2 --lr=-0.1", 1, above_0),
            (
                "neuncut fit x.npy -k 2 --lr nan",
                1,
                &["--lr: NaN is not a number above 0"],
            ),
            (
                "neuncut fit x.npy -k 2 --lr inf",
                1,
                &["--lr: inf is not a number above 0"],
            ),
            (
                "neuncut fit x.npy -k 2 --weight-decay=-1",
                1,
                &["--weight-decay: -1 is not a number from 0 up"],
            ),
            (
                "neuncut fit x.npy -k 2 --sigma 0",
                1,
                &["--sigma: 0 is not a number above 0"],
            ),
            (
                "neuncut fit x.npy -k 2 --sigma=-1",
                1,
                &["--sigma: -1 is not a number above 0"],
            ),
            ("neuncut fit x.npy -k 2 --sigma nan", 1, &["--sigma: NaN"]),
            (
                "neuncut fit x.npy -k 2 --sigma fast",
                2,
                &["'fast'", "--sigma", "neither a number nor \"auto\""],
            ),
            (
                "neuncut fit x.npy -k 2 --gamma=-1",
                1,
                &["--gamma: -1 is not a number from 0 up; give 0 or more"],
            ),
            ("neuncut fit x.npy -k 2 --gamma nan", 1, &["--gamma: NaN"]),
            ("neuncut fit x.npy -k 2 --gamma inf", 1, &["--gamma: inf"]),
            (
                "neuncut fit x.npy -k 2 --neighbors 0",
                1,
                &["--neighbors: 0 is too few"],
            ),
            (
                "neuncut fit x.npy -k 2 --neighbors many",
                2,
                &["'many'", "neither a whole number nor \"all\""],
            ),
            (
                "neuncut fit x.npy -k 2 --hidden 0",
                1,
                &["--hidden: 0 is too few"],
            ),
            (
                "neuncut fit x.npy -k 2 --hidden 512,,",
                2,
                &["'512,,'", "--hidden", "like 512,512, nor \"none\""],
            ),
            ("neuncut fit x.npy -k 2 --hidden abc", 2, &["'abc'", "--hidden"]),
            (
                "neuncut fit x.npy -k 2 --hidden 99999999999",
                1,
                &[
                    "not enough memory for the labelling (most of it for a chunk of rows to be labelled, ",
                    " MiB are available)",
                    "smaller --hidden",
                ],
            ),
            (
                "neuncut graph wide.npy --graph-features whiten -o graph.npz",
                1,
                &[
                    "not enough memory for the features of the graph (most of it for eigenvectors of the columns, ",
                    "--train-rows",
                ],
            ),
            (
                "neuncut spectrum wide.npy --graph-features whiten",
                1,
                &["not enough memory for the features of the graph"],
            ),
            (
                "neuncut baseline nystrom wide.npy -k 2 --features pca=2",
                1,
                &["not enough memory for the features (most of it for eigenvectors of the columns, "],
            ),
            (
                "neuncut compare wide.npy -k 2 --batch 2 --methods kmeans --features whiten --out compared",
                1,
                &["not enough memory for the features"],
            ),
            (
                "neuncut fit x.npy -k 2 --hidden 9999999999,9999999999,9999999999",
                1,
                &["not enough memory"],
            ),
            (
                "neuncut fit x.npy -k 2 --threads 10000000",
                1,
                &["--threads: 10000000 threads are more than 1024"],
            ),
            (
                "neuncut fit x.npy -k 2 --features edges",
                1,
                &[
                    "--features: \"edges\" is no transform",
                    "pixels, center, standardize, scale, unit, rms, quantiles, whiten=0.1",
                ],
            ),
            (
                "neuncut fit x.npy -k 2 --features center,,unit",
                1,
                &["--features: \"\" is no transform"],
            ),
            (
                "neuncut fit x.npy -k 2 --penalty cubic",
                2,
                &["'cubic'", "--penalty", "squared, frobenius"],
            ),
            (
                "neuncut fit x.npy -k 2 --volumes loose",
                2,
                &["'loose'", "--volumes", "through, fixed"],
            ),
            (
                "neuncut fit x.npy -k 2 --cut mincut",
                2,
                &["'mincut'", "--cut", "ncut, rcut"],
            ),
            (
                "neuncut fit x.npy -k 2 --device gpu9",
                2,
                &["'gpu9'", "--device", "cpu"],
            ),
            (
                "neuncut fit x.npy -k 2 --device cuda:first",
                2,
                &["'cuda:first'", "--device", "cuda:1"],
            ),
            (
                "neuncut fit x.npy -k 2 --device cpu --precision bf16",
                1,
                &["--precision: the CPU backend computes in fp32, not in bf16"],
            ),
            ("neuncut fit x.npy -k 2 --seed=-1", 2, &["'-1'", "--seed"]),
            (
                "neuncut fit x.npy -k 2 --checkpoint-seconds=-1",
                1,
                &["--checkpoint-seconds: -1"],
            ),
            (
                "neuncut fit x.npy -k 2 --epoch 4",
                2,
                &["'--epoch'", "tip: a similar argument exists: '--epochs'"],
            ),
            ("neuncut fit x.npy y.npy -k 2", 2, &["'y.npy'", "see --help"]),
            ("neuncut fit x.npy -k 2 --lr", 2, &["'--lr <RATE>'", "see --help"]),
            (
                "neuncut fit x.npy -k 2 --gamma 1e300",
                1,
                &["the loss became inf at epoch 1, batch 1; lower --lr"],
            ),
            ("neuncut fly", 2, &["'fly'", "see --help"]),
        ],
    );
}

#[test]
fn graphs_and_starts_of_fit() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 101 -o x.npy");
    here.ok("neuncut fit x.npy -k 2 --epochs 1 --hidden 8 --out run");
    here.ok("neuncut generate rings --rows 80 -o short.npy");
    here.put("three.csv", "0\n1\n2\n".repeat(33) + "0\n1\n");
    // A path: each row is tied to the next.
    let path = |weights: &[f32]| {
        let n = weights.len() + 1;
        let row = |i: usize| {
            let before = i.checked_sub(1).map(|j| (j as u32, weights[j]));
            let after = weights.get(i).map(|&weight| (i as u32 + 1, weight));
            before.into_iter().chain(after).collect()
        };
        Csr::from_rows((0..n).map(row))
    };
    let save = |name: &str, graph: &Csr| graph.save(here.path(name)).unwrap();
    save("small.npz", &path(&[1.0; 10]));
    save("negative.npz", &path(&[-1.0; 100]));
    save("nan.npz", &path(&[f32::NAN; 100]));
    save("large.npz", &path(&[1e38; 100]));
    save("nothing.npz", &path(&[0.0; 100]));
    let mut one_way = path(&[1.0; 100]);
    one_way.values[0] = 0.5;
    save("one-way.npz", &one_way);
    let whole = here.bytes("run/graph.npz");
    here.put("cut.npz", &whole[..whole.len() / 2]);
    here.ok("cp run/graph.npz graph.npz");
    let together = "there is no graph of all training rows; leave it away, or choose --affinity knn";
    let as_it_is = "an affinity from a file is taken as it is; leave it away, or choose --affinity knn";
    let from_0_to_1 = &["is not a number from 0 to 1; give a number from 0 to 1"];
    let fit = |options: &str| format!("neuncut fit x.npy -k 2 {options}");
    let table: Vec<(String, i32, Vec<&str>)> = [
        (
            "--affinity small.npz",
            1,
            &[
                "small.npz: an affinity of 11 rows for 101 training rows",
                "--train-rows",
            ][..],
        ),
        (
            "--affinity negative.npz",
            1,
            &["negative.npz: the entry (0, 1) is -1"],
        ),
        ("--affinity nan.npz", 1, &["nan.npz: the entry (0, 1) is NaN"]),
        (
            "--affinity large.npz",
            1,
            &[
                "large.npz: an affinity whose sum, 2e40, is too large for f32",
                "divide it",
            ],
        ),
        (
            "--affinity nothing.npz",
            1,
            &["nothing.npz: an affinity without any entry above 0"],
        ),
        (
            "--affinity one-way.npz",
            1,
            &["one-way.npz: not symmetric: the entry (0, 1) is 0.5"],
        ),
        ("--affinity cut.npz", 1, &["cut.npz: not a usable .npz"]),
        ("--affinity x.npy", 1, &["x.npy: "]),
        ("--affinity nowhere.npz", 1, &["nowhere.npz: ", "check the path"]),
        (
            "--affinity nearest",
            2,
            &["'nearest'", "--affinity", "knn, heat, or name a file"],
        ),
        (
            "--affinity graph.npz --train-rows 50",
            1,
            &["an affinity of 101 rows for 50 training rows"],
        ),
        (
            "--affinity run/graph.npz --out run --overwrite",
            1,
            &["run/graph.npz: the run reads this file"],
        ),
        (
            "--affinity graph.npz --neighbors 5",
            1,
            &["--neighbors: ", as_it_is],
        ),
        ("--affinity graph.npz --sigma 1", 1, &["--sigma: ", as_it_is]),
        (
            "--affinity graph.npz --one-sided 1",
            1,
            &["--one-sided: ", as_it_is],
        ),
        (
            "--affinity graph.npz --graph-features unit",
            1,
            &["--graph-features: ", as_it_is],
        ),
        (
            "--affinity heat --graph-features unit",
            1,
            &["--graph-features: ", together],
        ),
        ("--affinity heat --one-sided 0.5", 1, &["--one-sided: ", together]),
        (
            "--affinity heat --start spectral",
            1,
            &["--start spectral: ", together],
        ),
        (
            "--affinity heat --seed-neighbors 2",
            1,
            &["--seed-neighbors: ", together],
        ),
        ("--affinity heat --subgraph dense", 1, &["--subgraph: ", together]),
        ("--affinity heat --restarts 2", 1, &["--restarts: ", together]),
        ("--affinity heat --moves 1", 1, &["--moves: ", together]),
        (
            "--affinity heat --overcluster 2",
            1,
            &["--overcluster: ", together],
        ),
        ("--one-sided 1.5", 1, from_0_to_1),
        ("--one-sided=-0.5", 1, from_0_to_1),
        ("--one-sided nan", 1, from_0_to_1),
        (
            "--overcluster 0.5",
            1,
            &["--overcluster: 0.5 is not a number from 1 up; give 1 or more"],
        ),
        ("--overcluster inf", 1, &["--overcluster: inf is not"]),
        ("--overcluster nan", 1, &["--overcluster: NaN is not"]),
        (
            "--overcluster 80",
            1,
            &["--overcluster: 160 clusters to begin with in mini-batches of 101 rows"],
        ),
        ("--restarts 0", 1, &["--restarts: 0 is too few; give at least 1"]),
        ("--restarts=-1", 2, &["'-1'", "--restarts"]),
        ("--moves=-1", 2, &["'-1'", "--moves"]),
        ("--seed-neighbors=-1", 2, &["'-1'", "--seed-neighbors"]),
        ("--warm-up=-1", 2, &["'-1'", "--warm-up"]),
        (
            "--subgraph thin",
            2,
            &["'thin'", "--subgraph", "auto, sparse, dense"],
        ),
        (
            "--neighbors all",
            1,
            &["--neighbors: all rows are no neighbour graph", "--affinity heat"],
        ),
        (
            "--sigma 1e-30",
            1,
            &["--sigma: too small", "give a larger number"],
        ),
        (
            "--graph-features edges",
            1,
            &["--graph-features: \"edges\" is no transform"],
        ),
        (
            "--graph-features whiten=0",
            1,
            &["--graph-features: \"whiten=0\" is no transform"],
        ),
        (
            "--start nearest",
            2,
            &["'nearest'", "--start", "spectral, kmeans, random, or name a file"],
        ),
        ("--start nowhere.csv", 1, &["nowhere.csv: ", "check the path"]),
        (
            "--start short-labels.npy",
            1,
            &["short-labels.npy: 80 labels for 101 rows, 101 of them trained on"],
        ),
        (
            "--start three.csv",
            1,
            &["three.csv: 3 different labels to begin 2 clusters with"],
        ),
        (
            "--start run/labels.npy --out run --overwrite",
            1,
            &["run/labels.npy: the run reads this file"],
        ),
    ]
    .into_iter()
    .map(|(options, code, fragments)| (fit(options), code, fragments.to_vec()))
    .collect();
    let table: Vec<(&str, i32, &[&str])> = table.iter().map(|(l, c, f)| (&l[..], *c, &f[..])).collect();
    refuse_all(&here, &table);
}

#[test]
fn places_that_a_run_cannot_have() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 101 -o x.npy");
    here.ok("neuncut fit x.npy -k 2 --epochs 1 --hidden 8 --out run");
    here.put("plain", "not a folder");
    refuse_all(
        &here,
        &[
            (
                "neuncut fit x.npy -k 2 --out plain",
                1,
                &["plain: there is a file of this name; choose another --out"],
            ),
            (
                "neuncut fit x.npy -k 2 --out plain/run",
                1,
                &[
                    "plain/run: cannot make the run's folder",
                    "is a file, not a folder",
                ],
            ),
            (
                "neuncut fit x.npy -k 2 --out /proc/nowhere/run",
                1,
                &["/proc/nowhere/run: cannot make the run's folder"],
            ),
            ("neuncut fit x.npy -k 2 --out ''", 2, &["--out <RUN>"]),
            (
                "neuncut fit x.npy -k 2 --out run",
                1,
                &[
                    "run: there is a run in this folder already",
                    "--resume",
                    "--overwrite",
                ],
            ),
            // New folders in new folders go again, all of them.
            ("neuncut fit x.npy -k 102 --out a/b/c", 1, &["102 clusters"]),
        ],
    );
}

#[test]
fn a_run_replaces_no_file_of_the_user() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 101 -o x.npy");
    here.ok("neuncut fit x.npy -k 2 --epochs 1 --hidden 8 --out run");
    here.ok("mkdir inputs notes && cp x.npy inputs/labels.npy && cp x-labels.npy inputs/y.npy");
    here.ok("cp run/labels.npy labels.npy && ln -s run/labels.npy link.npy");
    here.ok("neuncut generate rings --rows 101 -o features.safetensors");
    here.put("notes/report.html", "my own report");
    here.put("notes/few.toml", "clusters = 2\n");
    here.ok("mkdir own && cp notes/few.toml own/config.toml");
    let foreign = "this file is not of a run, and a run would replace it; choose another --out, or move";
    let input = "the run reads this file, and would replace it by its own of that name; choose another --out";
    refuse_all(
        &here,
        &[
            (
                "neuncut fit x.npy -k 2 --labels labels.npy --out .",
                1,
                &["labels.npy: ", input],
            ),
            (
                "neuncut fit features.safetensors -k 2 --out . --overwrite",
                1,
                &["features.safetensors: ", input],
            ),
            (
                "cd inputs && neuncut fit labels.npy -k 2 --labels y.npy --out ../inputs",
                1,
                &["labels.npy: ", input],
            ),
            (
                "neuncut fit x.npy -k 2 --labels link.npy --out run --overwrite",
                1,
                &["run/labels.npy: ", input],
            ),
            (
                "neuncut fit --config run/config.toml --out run --overwrite",
                1,
                &["run/config.toml: ", input],
            ),
            (
                "neuncut fit x.npy -k 2 --out notes",
                1,
                &["notes/report.html: ", foreign],
            ),
            (
                "neuncut fit x.npy -k 2 --out notes --overwrite",
                1,
                &["notes/report.html: ", foreign],
            ),
            (
                "neuncut fit x.npy -k 2 --out own --overwrite",
                1,
                &["own/config.toml: ", foreign],
            ),
        ],
    );
}

#[test]
fn data_and_labels_of_fit() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 101 -o x.npy");
    here.ok("neuncut generate rings --rows 100 -o shorter.npy");
    here.put("fractional.csv", "0\n1\n".repeat(50) + "0.5\n");
    here.put("nan.csv", "1,2\n3,nan\n5,6\n7,8\n");
    here.put("constant.csv", "1,2\n".repeat(101));
    // Of each row there are nine.
    here.put(
        "copies.csv",
        (0..99).map(|i| format!("{},1\n", i / 9)).collect::<String>(),
    );
    here.put("ragged.csv", "1,2\n3\n");
    here.put("empty.csv", "");
    here.put("empty.npy", "");
    here.put("words.csv", "1,2\n3,four\n");
    here.put("data.doc", "1,2\n");
    here.ok("mkdir folder");
    let mut values = vec![0.5f32; 4 * 5];
    values[2 * 5 + 3] = f32::NEG_INFINITY;
    let x: &[(&str, &[usize], Values)] = &[("x", &[4, 5], Values::F32(&values))];
    write_arrays(here.path("inf.npz"), x).unwrap();
    values[2 * 5 + 3] = f32::NAN;
    let x: &[(&str, &[usize], Values)] = &[("x", &[4, 5], Values::F32(&values))];
    write_arrays(here.path("nan.npz"), x).unwrap();
    refuse_all(
        &here,
        &[
            (
                "neuncut fit nowhere.npy -k 2",
                1,
                &["nowhere.npy: no such file or folder", "built in: mnist-t10k"],
            ),
            (
                "neuncut fit mnist -k 2",
                1,
                &["mnist: no such file or folder", "built in: mnist-t10k"],
            ),
            (
                "neuncut fit data.doc -k 2",
                1,
                &["data.doc: unknown kind of file", ".npy"],
            ),
            (
                "neuncut fit folder -k 2",
                1,
                &["folder: no MNIST-style files", "train-images-idx3-ubyte"],
            ),
            ("neuncut fit empty.csv -k 2", 1, &["empty.csv: no rows"]),
            ("neuncut fit empty.npy -k 2", 1, &["empty.npy: "]),
            (
                "neuncut fit ragged.csv -k 2",
                1,
                &["ragged.csv: line 2 has 1 columns, line 1 has 2"],
            ),
            (
                "neuncut fit words.csv -k 2",
                1,
                &["words.csv: line 2, column 2: \"four\" is not a number"],
            ),
            ("neuncut fit nan.csv -k 2", 1, &["nan.csv: line 2, column 2"]),
            ("neuncut fit nan.npz -k 2", 1, &["nan.npz", "row 2", "column 3"]),
            (
                "neuncut fit inf.npz -k 2",
                1,
                &["inf.npz", "row 2", "column 3", "inf"],
            ),
            (
                "neuncut fit inf.npz -k 2 --sigma 1 --gamma 1",
                1,
                &["inf.npz", "row 2", "column 3"],
            ),
            (
                "neuncut fit constant.csv -k 2",
                1,
                &["--clusters: 2 clusters of 1 different rows", "ask for fewer"],
            ),
            (
                "neuncut fit copies.csv -k 12",
                1,
                &["--clusters: 12 clusters of 11 different rows", "ask for fewer"],
            ),
            (
                "neuncut fit constant.csv -k 2 --affinity heat",
                1,
                &["--sigma: auto fails", "duplicates", "give a number"],
            ),
            (
                "neuncut fit constant.csv -k 2 --features center,unit --affinity heat",
                1,
                &["--sigma: auto fails"],
            ),
            (
                "neuncut fit copies.csv -k 2 --affinity heat",
                1,
                &["--sigma: auto fails", "duplicate"],
            ),
            (
                "neuncut fit x.npy -k 2 --labels nowhere.csv",
                1,
                &["nowhere.csv: ", "check the path"],
            ),
            (
                "neuncut fit x.npy -k 2 --labels shorter-labels.npy",
                1,
                &["shorter-labels.npy: 100 labels for the 101 rows of x; there must be one"],
            ),
            (
                "neuncut fit x.npy -k 2 --labels fractional.csv",
                1,
                &["fractional.csv: line 101: label \"0.5\" is not a whole number"],
            ),
            (
                "neuncut fit x.npy -k 2 --labels x.npy",
                1,
                &["x.npy: labels of shape", "one whole number per row"],
            ),
            ("neuncut fit x.npy -k 2 --labels folder", 1, &["folder: "]),
        ],
    );
    // With a width given, rows that are all the same are poor data, but no error, and nothing becomes NaN.
    for data in ["constant.csv", "copies.csv"] {
        let fitted = here
            .ok(&format!(
                "neuncut fit {data} -k 2 --affinity heat --sigma 1 --epochs 2 --hidden 8 --out run --overwrite --json"
            ))
            .json();
        for name in ["ncut", "rcut", "l_lap", "l_orth", "gamma"] {
            assert!(fitted[name].is_f64(), "{data}: {name} is {}", fitted[name]);
        }
    }
}

#[test]
fn configurations() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 101 -o x.npy");
    for (name, text) in [
        ("unknown", "clusters = 2\n\nepoch = 3\n"),
        ("twice", "clusters = 2\nclusters = 3\n"),
        ("word", "clusters = 2\npenalty = \"cubic\"\n"),
        ("type", "clusters = 2\nhidden = \"512\"\n"),
        ("flag", "clusters = 2\nsigma = true\n"),
        ("negative", "clusters = -2\n"),
        ("syntax", "clusters = 2\nepochs 3\n"),
        ("value", "clusters = 2\nlr = -0.5\n"),
        ("place", "clusters = 2\nout = \"\"\n"),
        ("never", "clusters = 2\ncheckpoint-seconds = -1.0\n"),
    ] {
        here.put(&format!("{name}.toml"), text);
    }
    here.put("binary.toml", [0xff, 0x00, 0xfe]);
    refuse_all(
        &here,
        &[
            (
                "neuncut fit x.npy --config unknown.toml",
                1,
                &[
                    "unknown.toml: line 3: unknown field `epoch`",
                    "`epochs`",
                    "fit --help",
                ],
            ),
            (
                "neuncut fit x.npy --config twice.toml",
                1,
                &["twice.toml: line 2: duplicate key"],
            ),
            (
                "neuncut fit x.npy --config word.toml",
                1,
                &["word.toml: line 2: ", "`cubic`", "`squared` or `frobenius`"],
            ),
            (
                "neuncut fit x.npy --config type.toml",
                1,
                &["type.toml: line 2: "],
            ),
            (
                "neuncut fit x.npy --config flag.toml",
                1,
                &["flag.toml: line 2: neither a number nor a word in quotes"],
            ),
            (
                "neuncut fit x.npy --config negative.toml",
                1,
                &["negative.toml: line 1: ", "-2"],
            ),
            (
                "neuncut fit x.npy --config syntax.toml",
                1,
                &["syntax.toml: line 2: "],
            ),
            (
                "neuncut fit x.npy --config value.toml",
                1,
                &["--lr: -0.5 is not a number above 0"],
            ),
            (
                "neuncut fit x.npy --config place.toml",
                1,
                &["--out: an empty path; name a folder"],
            ),
            (
                "neuncut fit x.npy --config never.toml",
                1,
                &["--checkpoint-seconds: -1 is not a number from 0 up"],
            ),
            (
                "neuncut fit x.npy --config binary.toml",
                1,
                &["binary.toml: cannot read the options"],
            ),
            (
                "neuncut fit x.npy --config nowhere.toml",
                1,
                &["nowhere.toml: cannot read the options", "check the path"],
            ),
            (
                "neuncut fit x.npy --config .",
                1,
                &[".: cannot read the options", "name a file, not a folder"],
            ),
        ],
    );
}

#[test]
fn predict() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 101 -o x.npy");
    here.ok("neuncut generate blobs --rows 101 -o wide.npz");
    here.ok("neuncut fit x.npy -k 2 --epochs 1 --hidden 8 --out run");
    here.ok("mkdir folder folder.npy && ln -s x.npy link.npy");
    here.put("short.csv", "0\n1\n");
    here.put("bad.csv", "1,2\n3,4\n".repeat(3000) + "inf,6\n");
    let mut values = vec![0.5f32; 5000 * 2];
    values[4800 * 2 + 1] = f32::NAN;
    let x: &[(&str, &[usize], Values)] = &[("x", &[5000, 2], Values::F32(&values))];
    write_arrays(here.path("late.npz"), x).unwrap();
    refuse_all(
        &here,
        &[
            (
                "neuncut predict nowhere x.npy -o y.npy",
                1,
                &[
                    "nowhere: there is no trained run in this folder",
                    "check the path",
                ],
            ),
            (
                "neuncut predict folder x.npy -o y.npy",
                1,
                &["folder: there is no trained run in this folder"],
            ),
            (
                "neuncut predict x.npy x.npy -o y.npy",
                1,
                &["x.npy: there is no trained run"],
            ),
            (
                "neuncut predict run nowhere.npy -o y.npy",
                1,
                &["nowhere.npy: no such file or folder"],
            ),
            (
                "neuncut predict run wide.npz -o y.npy",
                1,
                &["a row of wide is 8 numbers, expected 2, as in training"],
            ),
            (
                "neuncut predict run mnist-t10k -o y.npy",
                1,
                &["a row of mnist-t10k is 784 numbers, expected 2"],
            ),
            (
                "neuncut predict run bad.csv -o y.npy",
                1,
                &["bad.csv: line 6001, column 1"],
            ),
            (
                "neuncut predict run late.npz -o y.npy --probabilities p.npy",
                1,
                &["late.npz", "row 4800", "column 1"],
            ),
            (
                "neuncut predict run x.npy -o missing/y.npy",
                1,
                &["missing/y.npy: the folder missing does not exist; create it first"],
            ),
            ("neuncut predict run x.npy -o x.npy/y.npy", 1, &["x.npy/y.npy: "]),
            (
                "neuncut predict run x.npy -o folder",
                1,
                &["folder: only .npy can be written here; choose a name that ends in .npy"],
            ),
            (
                "neuncut predict run x.npy -o y.csv",
                1,
                &["y.csv: only .npy can be written here"],
            ),
            (
                "neuncut predict run x.npy -o folder.npy",
                1,
                &["folder.npy: ", "name a file, not a folder"],
            ),
            (
                "neuncut predict run x.npy -o /proc/y.npy",
                1,
                &["/proc/y.npy: cannot create the file"],
            ),
            (
                "neuncut predict run x.npy -o x.npy",
                1,
                &[
                    "x.npy: the same file is read, or written, for something else",
                    "choose another name",
                ],
            ),
            (
                "neuncut predict run x.npy -o ./folder/../x.npy",
                1,
                &["x.npy: the same file is read"],
            ),
            (
                "neuncut predict run x.npy -o link.npy",
                1,
                &["link.npy: the same file is read"],
            ),
            (
                "neuncut predict run x.npy -o y.npy --probabilities ./y.npy",
                1,
                &["./y.npy: the same file is"],
            ),
            (
                "neuncut predict run x.npy -o y.npy --probabilities p.csv",
                1,
                &["p.csv: only .npy"],
            ),
            (
                "neuncut predict run x.npy -o y.npy --probabilities missing/p.npy",
                1,
                &["missing/p.npy: the folder missing does not exist"],
            ),
            (
                "neuncut predict run x.npy -o y.npy --labels short.csv",
                1,
                &["short.csv: 2 labels for the 101 rows of x"],
            ),
            (
                "neuncut predict run x.npy -o y.npy --device tpu",
                2,
                &["'tpu'", "--device"],
            ),
            ("neuncut predict run x.npy", 2, &["--output <LABELS.npy>"]),
            (
                "neuncut predict run x.npy -o y.npy --shard 2/2",
                2,
                &["'2/2'", "i from 0 to N - 1"],
            ),
            (
                "neuncut predict run x.npy -o y.npy --shard 0/2",
                1,
                &["--shard: no rows in slice 0 of 2: 101 rows in chunks of 4096; use fewer slices"],
            ),
        ],
    );
}

#[test]
fn evaluate_and_generate() {
    let here = Sandbox::new();
    here.ok("mkdir q-labels.npy");
    here.put("five.csv", "0\n1\n1\n0\n1\n");
    here.put("six.csv", "0\n1\n1\n0\n1\n2\n");
    here.put("half.csv", "0\n1\n1\n0.5\n1\n");
    here.put("points.csv", "0,0\n0,1\n1,0\n1,1\n2,2\n");
    refuse_all(
        &here,
        &[
            ("neuncut evaluate", 2, &["--predictions <FILE>"]),
            (
                "neuncut evaluate --predictions five.csv",
                2,
                &["required", "--labels <FILE>"],
            ),
            (
                "neuncut evaluate --predictions five.csv --labels six.csv",
                1,
                &["six.csv: 6 labels for 5 predictions", "the same rows"],
            ),
            (
                "neuncut evaluate --predictions half.csv --labels five.csv",
                1,
                &["half.csv: line 4: label \"0.5\" is not a whole number"],
            ),
            (
                "neuncut evaluate --predictions five.csv --labels no.npy",
                1,
                &["no.npy: ", "check the path"],
            ),
            (
                "neuncut evaluate --predictions six.csv --data points.csv --sigma 1",
                1,
                &["six.csv: 6 predictions for the 5 rows of points"],
            ),
            (
                "neuncut evaluate --predictions five.csv --data points.csv",
                1,
                &["--sigma: not given", "--run"],
            ),
            (
                "neuncut evaluate --predictions five.csv --data points.csv --sigma 1 --neighbors 0",
                1,
                &["--neighbors: 0 is too few"],
            ),
            (
                "neuncut evaluate --predictions five.csv --data points.csv --sigma 0",
                1,
                &["--sigma: 0 is not"],
            ),
            (
                "neuncut evaluate --predictions five.csv --data points.csv --run nowhere",
                1,
                &["nowhere/config.toml: cannot read", "check the path"],
            ),
            (
                "neuncut evaluate --predictions five.csv --labels five.csv --sigma 1",
                2,
                &["--data <DATA>"],
            ),
            (
                "neuncut generate rings --rows 0 -o y.npy",
                1,
                &["--rows: 0 rows; give at least one"],
            ),
            ("neuncut generate rings --rows -5 -o y.npy", 2, &["'-5'"]),
            (
                "neuncut generate rings --rows 18446744073709551615 -o y.npz",
                1,
                &["--rows: 18446744073709551615 rows", "than a disk can hold"],
            ),
            (
                "neuncut generate circles --rows 9 -o y.npy",
                1,
                &[
                    "unknown figure \"circles\"",
                    "rings, double-c, moons, blobs, subspaces",
                ],
            ),
            (
                "neuncut generate rings --rows 9 -o y.xyz",
                1,
                &["y.xyz: this kind of file cannot be written", ".npz"],
            ),
            (
                "neuncut generate rings --rows 9 -o y",
                1,
                &["y: this kind of file cannot be written"],
            ),
            (
                "neuncut generate rings --rows 9 -o missing/y.csv",
                1,
                &["missing/y.csv: the folder missing does not exist"],
            ),
            ("neuncut generate rings --rows 9", 2, &["--output <FILE>"]),
            (
                "neuncut generate rings --rows 9 -o q.npy",
                1,
                &["q-labels.npy: cannot write the file", "is a directory"],
            ),
            (
                "neuncut generate rings --rows 9 --from . -o y.npy",
                1,
                &["--from: rings is made of nothing", "mnist8m"],
            ),
            (
                "neuncut generate mnist8m --rows 9 --from points.csv -o y.npy",
                1,
                &["--from: points is no set of grey 8-bit images"],
            ),
            (
                "neuncut generate rings --rows 9 --device reference -o y.npy",
                1,
                &["--device: rings is made on the CPU", "leave it away"],
            ),
            (
                "neuncut generate mnist8m --rows 9 -o y.csv",
                1,
                &["y.csv: only .npy or .npz or .safetensors"],
            ),
        ],
    );
}

/// A limit on the size of files stands for a disk that is full: the write fails in the same way, with another word for it.
#[test]
fn a_disk_without_room_leaves_the_old_file_whole() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 60001 -o x.npy");
    here.ok("neuncut fit x.npy -k 5 --epochs 1 --train-rows 100 --hidden 8 --out run");
    here.put("y.npy", "old");
    let full = |blocks: u32, line: &str| format!("trap '' XFSZ; ulimit -f {blocks}; {line}");
    let lines = [
        (
            full(100, "neuncut generate moons --rows 1000000000000 -o y.npy"),
            "y.npy: cannot write the file",
        ),
        (
            full(100, "neuncut generate moons --rows 1000000000000 -o z.npz"),
            "z.npz: cannot write the file",
        ),
        (
            full(100, "neuncut generate moons --rows 1000000000000 -o z.csv"),
            "z.csv: cannot write the file",
        ),
        // Not even a chunk: what is more would be kept for the same command to go on with.
        (
            full(10, "neuncut predict run x.npy -o y.npy"),
            "y.npy: cannot write the file",
        ),
        (
            full(50, "neuncut predict run x.npy -o y.npy --probabilities p.npy"),
            "p.npy: cannot write the file",
        ),
        (
            full(
                100,
                "neuncut fit x.npy -k 5 --train-rows 100 --epochs 1 --out new",
            ),
            "new/model.safetensors: cannot write the file",
        ),
    ];
    let table: Vec<(&str, i32, [&str; 2])> = lines
        .iter()
        .map(|(line, fragment)| (&line[..], 1, [*fragment, "check the disk"]))
        .collect();
    let table: Vec<(&str, i32, &[&str])> = table.iter().map(|(l, c, f)| (*l, *c, &f[..])).collect();
    refuse_all(&here, &table);
}

#[test]
fn merge() {
    let here = Sandbox::new();
    here.ok("neuncut generate rings --rows 101 -o a.npy");
    here.ok("neuncut generate blobs --rows 10 -o b.npy");
    here.put("c.csv", "1\n");
    refuse_all(
        &here,
        &[
            ("neuncut merge -o y.npy", 2, &["<PART.npy>"]),
            ("neuncut merge a.npy", 2, &["--output <FILE.npy>"]),
            ("neuncut merge a.npy nowhere.npy -o y.npy", 1, &["nowhere.npy: "]),
            (
                "neuncut merge a.npy c.csv -o y.npy",
                1,
                &["c.csv: not a .npy file"],
            ),
            (
                "neuncut merge a.npy b.npy -o a.npy",
                1,
                &["a.npy: the same file is read"],
            ),
            (
                "neuncut merge a.npy b.npy -o y.npy",
                1,
                &["b.npy: shape (10, 8) of f32, but the first part has (101, 2) of f32"],
            ),
            (
                "neuncut merge a.npy a-labels.npy -o y.npy",
                1,
                &["a-labels.npy: shape (101,) of u32"],
            ),
        ],
    );
}

/// Name, shape and values.
type Array<'a> = (&'a str, &'a [usize], &'a [f64]);

#[test]
fn shapes_of_bench() {
    refuse_all(
        &Sandbox::new(),
        &[
            (
                "neuncut bench --shape cifar",
                2,
                &["'cifar'", "mnist, imagenet, custom"],
            ),
            (
                "neuncut bench --shape custom -d 5 -k 2",
                1,
                &["--batch: not given"],
            ),
            (
                "neuncut bench --shape custom -m 9 -d 5 -k 1",
                1,
                &["--clusters: 1 is too few; give at least 2"],
            ),
            (
                "neuncut bench -m 9",
                1,
                &["--batch: the shape mnist has its own; leave it away"],
            ),
            ("neuncut bench --shape imagenet --hidden 9", 1, &["--hidden: "]),
            (
                "neuncut bench --work training",
                2,
                &["'training'", "step, inference, predict"],
            ),
            (
                "neuncut bench --work inference -d 9",
                1,
                &["--dims: the shape mnist has its own"],
            ),
            (
                "neuncut bench --work predict -m 0",
                1,
                &["--batch: 0 is too few; give at least 1"],
            ),
            ("neuncut bench --iterations 0", 1, &["--iterations: 0 is too few"]),
            (
                "neuncut bench --device cpu --tiles wide",
                1,
                &["--tiles: cpu has no tiles to choose from", "leave it away"],
            ),
            (
                "neuncut bench --tiles round",
                2,
                &["invalid value 'round' for '--tiles", "square"],
            ),
            (
                "neuncut bench --device cpu --precision bf16",
                1,
                &["--precision: "],
            ),
        ],
    );
}

#[test]
fn problems_of_step() {
    let here = Sandbox::new();
    let x = [0.5, -1.0, 0.25, 2.0, 1.0, 0.0];
    let (w0, b0) = ([0.1; 8], [0.0; 4]);
    let (w1, b1) = ([0.2; 8], [0.0; 2]);
    let x_: Array = ("x", &[3, 2], &x);
    let w0_: Array = ("w0", &[4, 2], &w0);
    let b0_: Array = ("b0", &[4], &b0);
    let w1_: Array = ("w1", &[2, 4], &w1);
    let b1_: Array = ("b1", &[2], &b1);
    let mut infinite = x;
    infinite[4] = f64::INFINITY;
    let problems: [(&str, &[Array]); 13] = [
        ("good", &[x_, w0_, b0_, w1_, b1_]),
        ("no-x", &[w0_, b0_, w1_, b1_]),
        ("no-w0", &[x_, b0_, w1_, b1_]),
        ("no-b0", &[x_, w0_, w1_, b1_]),
        ("no-b1", &[x_, w0_, b0_, w1_]),
        ("flat-x", &[("x", &[6], &x), w0_, b0_, w1_, b1_]),
        ("turned-w1", &[x_, w0_, b0_, ("w1", &[4, 2], &w1), b1_]),
        ("long-b1", &[x_, w0_, b0_, w1_, ("b1", &[4], &b0)]),
        (
            "one-cluster",
            &[x_, ("w0", &[1, 2], &w0[..2]), ("b0", &[1], &b0[..1])],
        ),
        ("infinite", &[("x", &[3, 2], &infinite), w0_, b0_, w1_, b1_]),
        ("moment-shape", &[x_, w0_, b0_, w1_, b1_, ("m_w0", &[2, 4], &w0)]),
        (
            "negative-moment",
            &[x_, w0_, b0_, w1_, b1_, ("v_b1", &[2], &[0.1, -0.1])],
        ),
        ("no-rows", &[("x", &[0, 2], &[]), w0_, b0_, w1_, b1_]),
    ];
    for (name, arrays) in problems {
        let arrays: Vec<_> = arrays.iter().map(|&(n, s, v)| (n, s, Values::F64(v))).collect();
        write_arrays(here.path(&format!("{name}.npz")), &arrays).unwrap();
    }
    here.put("broken.npz", "PK");
    let advice = "a problem holds x [m, d], w0 [h, d]";
    refuse_all(
        &here,
        &[
            (
                "neuncut step --problem no-x.npz -o y.npz",
                1,
                &["no-x.npz: there is no array x", advice],
            ),
            (
                "neuncut step --problem no-w0.npz -o y.npz",
                1,
                &["no-w0.npz: there is no array w0", advice],
            ),
            (
                "neuncut step --problem no-b0.npz -o y.npz",
                1,
                &["no-b0.npz: there is w0 but no b0"],
            ),
            (
                "neuncut step --problem no-b1.npz -o y.npz",
                1,
                &["no-b1.npz: there is w1 but no b1"],
            ),
            (
                "neuncut step --problem flat-x.npz -o y.npz",
                1,
                &["flat-x.npz: x has 1 axes, not 2"],
            ),
            (
                "neuncut step --problem turned-w1.npz -o y.npz",
                1,
                &["turned-w1.npz: w1 is [4, 2]", "after 4 columns"],
            ),
            (
                "neuncut step --problem long-b1.npz -o y.npz",
                1,
                &["long-b1.npz: w1 is [2, 4] and b1 is [4]"],
            ),
            (
                "neuncut step --problem one-cluster.npz -o y.npz",
                1,
                &["one-cluster.npz: the last layer gives 1 cluster"],
            ),
            (
                "neuncut step --problem infinite.npz -o y.npz",
                1,
                &["infinite.npz: x holds a value that is not finite"],
            ),
            (
                "neuncut step --problem moment-shape.npz -o y.npz",
                1,
                &["moment-shape.npz: m_w0 is [2, 4], w0 [4, 2]"],
            ),
            (
                "neuncut step --problem negative-moment.npz -o y.npz",
                1,
                &["negative-moment.npz: v_b1, a mean of squares, is negative"],
            ),
            (
                "neuncut step --problem no-rows.npz -o y.npz",
                1,
                &["no-rows.npz: x is 0 x 2"],
            ),
            ("neuncut step --problem broken.npz -o y.npz", 1, &["broken.npz: "]),
            (
                "neuncut step --problem nowhere.npz -o y.npz",
                1,
                &["nowhere.npz: ", "check the path"],
            ),
            (
                "neuncut step --problem good.npz -o good.npz",
                1,
                &["good.npz: the same file is read"],
            ),
            (
                "neuncut step --problem good.npz -o y.npy",
                1,
                &["y.npy: only .npz can be written here"],
            ),
            (
                "neuncut step --problem good.npz -o missing/y.npz",
                1,
                &["the folder missing does not exist"],
            ),
            (
                "neuncut step --problem good.npz -o y.npz --step 0",
                1,
                &["--step: 0 is too few; give at least 1"],
            ),
            (
                "neuncut step --problem good.npz -o y.npz --sigma 0",
                1,
                &["--sigma: 0 is not a number above 0"],
            ),
            (
                "neuncut step --problem good.npz -o y.npz --lr inf",
                1,
                &["--lr: inf"],
            ),
            (
                "neuncut step --problem good.npz -o y.npz --gamma=-2",
                1,
                &["--gamma: -2"],
            ),
            (
                "neuncut step --problem good.npz -o y.npz --neighbors 0",
                1,
                &["--neighbors: 0 is too few"],
            ),
            (
                "neuncut step --problem good.npz -o y.npz --device cpu --precision f64",
                1,
                &["--precision: the CPU backend computes in fp32; use --device reference"],
            ),
            (
                "neuncut step --problem good.npz -o y.npz --device cpu --precision tf32",
                1,
                &["--precision: the CPU backend computes in fp32, not in tf32; leave --precision away"],
            ),
            (
                "neuncut step --problem good.npz -o y.npz --device cuda --precision f64",
                1,
                &["--precision: a GPU computes in fp32, tf32x3, tf32 or bf16; use --device reference"],
            ),
            (
                "neuncut step --problem good.npz -o y.npz --device cuda:99",
                1,
                &["cuda"],
            ),
            (
                "neuncut step --problem good.npz -o y.npz --precision f16",
                2,
                &["'f16'", "f64, fp32"],
            ),
        ],
    );
    let told = here.ok("neuncut step --problem good.npz -o y.npz --json").json();
    assert!(told["loss"].is_f64() && here.path("y.npz").exists());
}
