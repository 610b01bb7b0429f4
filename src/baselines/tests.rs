//! Planted clusters are found by every method, among rows that were not trained on too.

use super::*;
use crate::cpu::Fast;
use crate::data::Labels;
use crate::data::npy::MatrixWriter;
use crate::options::{Affinity, Neighbors, Preparation};
use crate::prepare::prepare;
use crate::progress::Silent;
use crate::random::{Purpose, Stream};

/// Clouds of deviation 1 around the corners of a simplex, corners 20 apart, in `cols` dimensions.
fn clouds(count: usize, rows: usize, cols: usize, seed: u64) -> Dataset {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("x.npy");
    let stream = Stream::new(seed, Purpose::Synthetic, 60);
    let value = |i: usize, c: usize| {
        let corner = if i % count == c { 20.0 / 2f64.sqrt() } else { 0.0 };
        (corner + stream.normal((i * cols + c) as u64)[0]) as f32
    };
    let values: Vec<f32> = (0..rows * cols).map(|at| value(at / cols, at % cols)).collect();
    let mut writer = MatrixWriter::create(&path, rows, cols).expect("a writable folder");
    writer.write(&values).expect("a writable folder");
    writer.commit().expect("a writable folder");
    let data = Dataset::open(path.to_str().expect("a path in UTF-8")).expect("what was written");
    data.with_labels(Labels::from_integers((0..rows).map(|i| (i % count) as i64)))
        .expect("one label per row")
}

fn outcome(method: Method, data: &Dataset, clusters: usize, train_rows: usize, seed: u64) -> Outcome {
    let ops = Fast::new(2).expect("two threads");
    let mut preparation = Preparation {
        train_rows,
        clusters: Some(clusters),
        features: "center".into(),
        affinity: Affinity::Knn,
        graph_features: "center".into(),
        sigma: Auto::Auto,
        neighbors: Neighbors::Auto,
        one_sided: 0.1,
        seed,
    };
    let prepared = prepare(&ops, &mut preparation, data, &mut Silent).expect("rows that can be read");
    let task = Task {
        clusters,
        cut: Cut::Ncut,
        landmarks: 150,
        sigma: Auto::Auto,
        seed,
    };
    run(&ops, method, &task, &prepared, data, &mut Silent).expect("clusters far apart")
}

#[test]
fn every_method_finds_clouds_far_apart() {
    let seed = u64::from(rand::random::<u32>());
    println!("seed {seed}");
    for (count, cols) in [(2, 3), (5, 7)] {
        let data = clouds(count, 1503, cols, seed);
        for method in Method::ALL {
            for train_rows in [1503, 701] {
                let found = outcome(method, &data, count, train_rows, seed);
                let name = format!(
                    "{} of {count} clouds, {train_rows} rows: {:?}",
                    method.name(),
                    found.cuts
                );
                // 20 deviations apart. A row at an end of the few edges that join the clouds may cross; more where far from all landmarks.
                let acc = found.scores.map_or(0.0, |scores| scores.acc);
                assert!(acc > 0.97, "{name}");
                assert!(acc == 1.0 || method != Method::Kmeans, "{name}");
                assert!(acc > 0.998 || method != Method::Spectral, "{name}");
                assert_eq!((found.rows, found.train_rows), (1503, train_rows), "{name}");
                assert_eq!(found.sizes.iter().sum::<u64>(), 1503, "{name}");
                // Clouds are joined by a few edges that the graph needs to be in one piece.
                assert!(found.cuts.ncut < 0.05, "{name}");
                assert!(
                    found.seconds > 0.0 && found.stages.contains_key("clustering"),
                    "{name}"
                );
            }
        }
    }
}

/// Two more eigenvectors than clusters tell a part of one of these clouds.
#[test]
fn spectral_clustering_takes_no_part_of_a_cloud_for_a_cluster() {
    let seed = 1_463_210_119;
    let found = outcome(Method::Spectral, &clouds(2, 1503, 3, seed), 2, 701, seed);
    assert!(
        found.scores.is_some_and(|scores| scores.acc > 0.998),
        "{:?}",
        found.cuts
    );
}

#[test]
fn landmarks_refuse_the_ratio_cut() {
    let data = clouds(2, 200, 3, 1);
    let ops = Fast::new(1).expect("a thread");
    let mut preparation = Preparation {
        train_rows: 200,
        clusters: Some(2),
        features: "none".into(),
        affinity: Affinity::Knn,
        graph_features: "none".into(),
        sigma: Auto::Auto,
        neighbors: Neighbors::Auto,
        one_sided: 0.1,
        seed: 1,
    };
    let prepared = prepare(&ops, &mut preparation, &data, &mut Silent).expect("rows that can be read");
    let task = Task {
        clusters: 2,
        cut: Cut::Rcut,
        landmarks: 50,
        sigma: Auto::Auto,
        seed: 1,
    };
    for method in [Method::Nystrom, Method::Landmark] {
        let message = run(&ops, method, &task, &prepared, &data, &mut Silent)
            .expect_err("no ratio cut")
            .to_string();
        assert!(message.starts_with("--cut: "), "{message}");
    }
    let found = run(&ops, Method::Spectral, &task, &prepared, &data, &mut Silent).expect("the ratio cut");
    assert!(
        found.scores.is_some_and(|scores| scores.acc > 0.97),
        "{:?}",
        found.scores
    );
}
