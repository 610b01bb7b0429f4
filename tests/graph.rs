//! The graph of the training rows, its spectrum and its cuts, against plain loops in f64 on small random problems.

mod common;
#[path = "common/training.rs"]
mod training;

use std::cell::Cell;

use common::{filled, planted, random, values};
use neuncut::cpu::{Fast, Reference};
use neuncut::data::csr::Csr;
use neuncut::eigen::eigen;
use neuncut::estimate::whitening_helps;
use neuncut::features::{Pipeline, Reader, parse};
use neuncut::graph::{
    Cuts, GraphRule, Sampler, Width, build, count, cut_matrix, distinct, merge, ranking, refine,
};
use neuncut::ops::{Cut, Ops};
use neuncut::progress::{Progress, Silent, Unheard};
use neuncut::scores::Scores;
use neuncut::spectral::{cluster, embed, kmeans, leading, split_and_merge};
use neuncut::validate::{Random, distance, largest};
use neuncut::{Error, Result};

/// All entries, row-major.
fn dense(graph: &Csr) -> Vec<f64> {
    let n = graph.rows();
    let mut full = vec![0.0; n * n];
    for i in 0..n {
        for (j, value) in graph.row(i) {
            full[i * n + j] = f64::from(value);
        }
    }
    full
}

/// `count` different rows on a grid of eighths: all distances are exact in f32.
fn different_rows(random: &Random, count: usize, d: usize, clouds: usize) -> Vec<f32> {
    let mut rows: Vec<Vec<f32>> = Vec::new();
    while rows.len() < count {
        for row in training::rows(random, count, d, clouds).chunks_exact(d) {
            if rows.len() < count && !rows.iter().any(|other| other == row) {
                rows.push(row.to_vec());
            }
        }
    }
    rows.concat()
}

/// Rows of normal numbers among which no rounding in f32 makes another row a neighbour: the first that is none is clearly further.
fn clear_rows(random: &Random, count: usize, d: usize, neighbors: usize) -> Vec<f32> {
    loop {
        let rows = random.normals(count * d, 1.0);
        let clear = |i: usize| {
            let mut squared: Vec<f64> = (0..count).map(|j| squared_distance(&rows, d, i, j)).collect();
            squared.sort_by(f64::total_cmp);
            squared[neighbors + 1] > squared[neighbors] * (1.0 + 1e-5)
        };
        if (0..count).all(clear) {
            return rows;
        }
    }
}

fn squared_distance(rows: &[f32], d: usize, i: usize, j: usize) -> f64 {
    let (a, b) = (&rows[i * d..][..d], &rows[j * d..][..d]);
    a.iter().zip(b).map(|(&a, &b)| f64::from(a - b).powi(2)).sum()
}

/// The graph that [`build`] is to give different rows, as its documentation says it.
fn plain_graph(rows: &[f32], d: usize, rule: GraphRule) -> Vec<f64> {
    let n = rows.len() / d;
    let s = rule.neighbors.min(n - 1);
    let squared = |i: usize, j: usize| squared_distance(rows, d, i, j);
    let sorted: Vec<Vec<usize>> = (0..n)
        .map(|i| {
            let mut others: Vec<usize> = (0..n).filter(|&j| j != i).collect();
            others.sort_by(|&a, &b| squared(i, a).total_cmp(&squared(i, b)));
            others
        })
        .collect();
    let radius = |i: usize| squared(i, sorted[i][6.min(n - 2)]).sqrt();
    let lists: Vec<&[usize]> = sorted.iter().map(|others| &others[..s]).collect();
    let weight = |i: usize, j: usize| match rule.width {
        Width::SelfTuning => (-squared(i, j) / (radius(i) * radius(j))).exp(),
        Width::Fixed(sigma) => (-squared(i, j) / (2.0 * sigma * sigma)).exp(),
    };
    let mut full = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            let chosen = [lists[i].contains(&j), lists[j].contains(&i)];
            full[i * n + j] = match chosen {
                _ if i == j => 1.0,
                [true, true] => weight(i, j),
                [false, false] => 0.0,
                _ => rule.one_sided * weight(i, j),
            };
        }
    }
    // The parts, largest first; each but the first is joined to those before it, by a thousandth of the mean weight at least.
    let edges = || {
        let others = (0..n * n).filter(|at| at / n != at % n);
        others
            .map(|at| f64::from(full[at] as f32))
            .filter(|&weight| weight > 0.0)
    };
    let least = 1e-3
        * if edges().count() > 0 {
            edges().sum::<f64>() / edges().count() as f64
        } else {
            1.0
        };
    let parts = sparse(&full, n).components();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&i| parts.of_row[i]);
    let mut begin = parts.sizes[0];
    for size in &parts.sizes[1..] {
        let mut nearest: Vec<(f64, usize, usize)> = order[begin..begin + size]
            .iter()
            .map(|&i| {
                let larger = order[..begin].iter();
                let j = larger.min_by(|&&a, &&b| squared(i, a).total_cmp(&squared(i, b)));
                (squared(i, *j.unwrap()), i, *j.unwrap())
            })
            .collect();
        nearest.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for &(_, i, j) in nearest.iter().take(rule.neighbors) {
            full[i * n + j] = weight(i, j).max(least);
            full[j * n + i] = full[i * n + j];
        }
        begin += size;
    }
    full
}

fn sparse(full: &[f64], n: usize) -> Csr {
    Csr::from_rows(full.chunks_exact(n).map(|row| {
        let entries = row.iter().enumerate().filter(|(_, value)| **value != 0.0);
        entries.map(|(j, &value)| (j as u32, value as f32)).collect()
    }))
}

fn graph_is_that_of_plain_loops<O: Ops>(ops: &O, random: &Random) {
    for (n, d, neighbors) in [
        (2, 1, 1),
        (7, 5, 3),
        (129, 5, 1),
        (129, 5, 10),
        (64, 40, 5),
        (30, 2, 100),
    ] {
        // Distances of long rows are products to some backends: exact on no grid.
        let rows = match d {
            ..20 => different_rows(random, n, d, 3),
            _ => clear_rows(random, n, d, neighbors),
        };
        let x = filled(ops, n, d, &rows);
        for width in [Width::SelfTuning, Width::Fixed(1.5)] {
            for one_sided in [0.0, 0.1, 1.0] {
                let rule = GraphRule {
                    neighbors,
                    width,
                    one_sided,
                };
                let name = format!("{} {n} x {d}, {rule:?}", ops.name());
                let found = build(ops, &x, rule, &mut Silent).unwrap();
                let expected = plain_graph(&rows, d, rule);
                // A weight w is rounded to f32 once, and -w ln w is below 1: it errs no more than the exponent, which holds three sums
                // of d squares.
                let unit = f64::from(f32::EPSILON);
                let bound =
                    |weight: f64| unit * weight + if d < 20 { 0.0 } else { 2.0 * (d + 2) as f64 * unit };
                let full = dense(&found);
                for (at, (&found, &expected)) in full.iter().zip(&expected).enumerate() {
                    assert!(
                        (found - expected).abs() <= bound(expected),
                        "{name}, ({}, {}): {found}, expected {expected}",
                        at / n,
                        at % n
                    );
                    assert_eq!(found, full[at % n * n + at / n], "{name}: symmetric");
                }
                assert_eq!(found.components().sizes, [n], "{name}: in one piece");
            }
        }
    }
}

#[test]
fn the_neighbour_graph_is_that_of_plain_loops() {
    let random = random("neighbour_graph");
    graph_is_that_of_plain_loops(&Reference::<f64>::new(), &random);
    graph_is_that_of_plain_loops(&Fast::new(2).unwrap(), &random);
}

#[test]
fn equal_rows_share_the_edges_of_one_and_are_tied_to_one_another() {
    let random = random("equal_rows");
    let ops = Fast::new(2).unwrap();
    for (different, d, neighbors, most) in [(40, 5, 6, 6), (129, 2, 10, 3), (2, 3, 5, 50), (1, 4, 3, 9)] {
        let once = different_rows(&random, different, d, 3);
        let times: Vec<usize> = (0..different).map(|_| 1 + random.below(most)).collect();
        let mut of_row: Vec<usize> = (0..different).flat_map(|i| vec![i; times[i]]).collect();
        let n = of_row.len();
        of_row = random.order(n).into_iter().map(|i| of_row[i]).collect();
        let rows: Vec<f32> = of_row.iter().flat_map(|&i| once[i * d..][..d].to_vec()).collect();
        let x = filled(&ops, n, d, &rows);
        assert_eq!(distinct(&ops, &x, &Silent).unwrap(), different);
        let rule = GraphRule {
            neighbors,
            width: Width::SelfTuning,
            one_sided: 0.1,
        };
        let graph = build(&ops, &x, rule, &mut Silent).unwrap();
        // Among equal distances the row that comes first counts as the nearest.
        let mut first: Vec<usize> = (0..different).collect();
        first.sort_by_key(|i| of_row.iter().position(|other| other == i));
        let place = |i: usize| first.iter().position(|&other| other == i).unwrap();
        of_row = of_row.into_iter().map(place).collect();
        let times: Vec<usize> = first.iter().map(|&i| times[i]).collect();
        let once: Vec<f32> = first.iter().flat_map(|&i| once[i * d..][..d].to_vec()).collect();
        let of_different = match different {
            1 => vec![1.0],
            _ => plain_graph(&once, d, rule),
        };
        let full = dense(&graph);
        for i in 0..n {
            let (a, row) = (of_row[i], &full[i * n..][..n]);
            assert_eq!(row[i], 1.0);
            let mut tied = vec![false; different];
            for (j, &value) in row
                .iter()
                .enumerate()
                .filter(|&(j, &value)| j != i && value != 0.0)
            {
                let b = of_row[j];
                let expected = of_different[a * different + b];
                assert!(
                    (value - expected).abs() <= f64::from(f32::EPSILON) * expected,
                    "rows {i} and {j}: {value}, expected {expected}"
                );
                assert_eq!(value, full[j * n + i], "symmetric");
                tied[b] = true;
            }
            for b in 0..different {
                let alone = a == b && times[a] == 1;
                let expected = of_different[a * different + b] > 0.0 && !alone;
                assert_eq!(tied[b], expected, "row {i} of {a} and the rows of {b}");
            }
        }
        assert_eq!(graph.components().sizes, [n], "in one piece");
    }
}

/// `D^-1/2 A D^-1/2`, or `I - L / max D`.
fn iterated(graph: &Csr, cut: Cut) -> Vec<f64> {
    let (n, degrees) = (graph.rows(), graph.degrees());
    let most = degrees.iter().copied().fold(0.0, f64::max);
    let mut full = dense(graph);
    for i in 0..n {
        for j in 0..n {
            let entry = &mut full[i * n + j];
            match cut {
                Cut::Ncut => *entry /= (degrees[i] * degrees[j]).sqrt(),
                Cut::Rcut if i == j => *entry = 1.0 - (degrees[i] - *entry) / most,
                Cut::Rcut => *entry /= most,
            }
        }
    }
    full
}

/// Asserts that the columns of `vectors` are orthonormal eigenvectors of `full` to these eigenvalues, its largest.
fn are_leading(name: &str, full: &[f64], n: usize, eigenvalues: &[f64], vectors: &[f64], tolerance: f64) {
    let p = eigenvalues.len();
    let (exact, _) = eigen(full, n);
    for (i, &value) in eigenvalues.iter().enumerate() {
        let expected = exact[n - 1 - i];
        // An eigenvalue is as near as its residual is small.
        assert!(
            (value - expected).abs() <= tolerance,
            "{name}: eigenvalue {i} is {value}, expected {expected}"
        );
    }
    let column = |i: usize| -> Vec<f64> { vectors.iter().skip(i).step_by(p).copied().collect() };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (i, value) in eigenvalues.iter().enumerate() {
        let u = column(i);
        let residual: Vec<f64> = full
            .chunks_exact(n)
            .zip(&u)
            .map(|(row, own)| dot(row, &u) - value * own)
            .collect();
        let residual = dot(&residual, &residual).sqrt();
        assert!(residual <= tolerance, "{name}: residual {i} is {residual:.1e}");
        for j in 0..=i {
            let expected = if i == j { 1.0 } else { 0.0 };
            let product = dot(&u, &column(j));
            assert!(
                (product - expected).abs() <= tolerance,
                "{name}: vectors {i} and {j}: {product}"
            );
        }
    }
}

/// What is asked of eigenvectors, and twice that for what rounding in f32 adds.
const TOLERANCE: f64 = 1e-5;

/// One piece and several, whose eigenvalue 1 is as often there; fewer rows than the basis has columns, and more: rows, clusters,
/// edges between these, and how many eigenpairs are wanted.
const PIECES: [(usize, usize, f64, usize); 5] = [
    (7, 2, 0.1, 3),
    (60, 3, 0.05, 5),
    (129, 5, 0.0, 5),
    (400, 4, 0.0, 6),
    (500, 4, 0.01, 12),
];

fn leading_eigenpairs<O: Ops>(ops: &O, random: &Random, problems: &[(usize, usize, f64, usize)]) {
    for &(n, clusters, across, wanted) in problems {
        let (graph, _) = planted(random, n, clusters, 0.4, across);
        for cut in [Cut::Ncut, Cut::Rcut] {
            let full = iterated(&graph, cut);
            let name = format!("{} {n} rows, {clusters} clusters, {across}, {cut:?}", ops.name());
            let matrix = ops.graph("a graph", &sparse(&full, n)).unwrap();
            let found = leading(
                ops,
                &matrix,
                n,
                wanted,
                TOLERANCE,
                random.below(1000) as u64,
                &mut Silent,
            )
            .unwrap();
            let vectors = values(ops, &found.vectors);
            are_leading(&name, &full, n, &found.values, &vectors, 2.0 * TOLERANCE);
            assert!(found.values.is_sorted_by(|a, b| a >= b), "{name}");
            assert!(largest(&found.residuals) <= 2.0 * TOLERANCE, "{name}");
            assert!(found.products >= wanted, "{name}");
        }
    }
    // A single eigenvalue that is not 0.
    let n = 50;
    let full = vec![1.0 / n as f64; n * n];
    let matrix = ops.graph("a graph", &sparse(&full, n)).unwrap();
    let found = leading(ops, &matrix, n, 4, TOLERANCE, 1, &mut Silent).unwrap();
    let vectors = values(ops, &found.vectors);
    are_leading("all alike", &full, n, &found.values, &vectors, 2.0 * TOLERANCE);
}

#[test]
fn leading_eigenpairs_are_those_of_the_dense_matrix() {
    let random = random("eigenpairs");
    leading_eigenpairs(&Reference::<f64>::new(), &random, &PIECES);
    let fast = Fast::new(2).unwrap();
    leading_eigenpairs(&fast, &random, &PIECES);
    // More than the columns of a block, in fewer rows than the basis has columns, and in more.
    leading_eigenpairs(&fast, &random, &[(601, 150, 0.002, 150), (1021, 131, 0.002, 131)]);
}

#[test]
fn embeddings_are_eigenvectors_of_few_and_of_many_rows() {
    let random = random("embeddings");
    let ops = Fast::new(2).unwrap();
    // The whole spectrum of few rows is computed.
    for (n, within) in [(150, 0.3), (901, 0.05)] {
        let (graph, _) = planted(&random, n, 4, within, 0.002);
        for cut in [Cut::Ncut, Cut::Rcut] {
            let found = embed(&ops, &graph, 6, cut, 3, &mut Silent).unwrap();
            let values: Vec<f64> = found.eigenvalues.iter().map(|value| 1.0 - value).collect();
            let vectors = common::values(&ops, &found.vectors);
            are_leading(
                &format!("{n} rows, {cut:?}"),
                &iterated(&graph, cut),
                n,
                &values,
                &vectors,
                2.0 * TOLERANCE,
            );
            assert!(found.eigenvalues[0].abs() <= TOLERANCE, "{:?}", found.eigenvalues);
            assert!(
                largest(&found.residuals) <= 2.0 * TOLERANCE,
                "{:?}",
                found.residuals
            );
        }
    }
}

#[test]
fn spectral_clustering_finds_planted_groups() {
    let random = random("spectral");
    let ops = Fast::new(2).unwrap();
    for (n, clusters, within, across) in [(150, 3, 0.4, 0.02), (901, 5, 0.15, 0.005)] {
        let (graph, truth) = planted(&random, n, clusters, within, across);
        for cut in [Cut::Ncut, Cut::Rcut] {
            let seed = random.below(1000) as u64;
            let labels = cluster(&ops, &graph, clusters, cut, seed, &mut Silent).unwrap();
            let scores = Scores::of(&labels, clusters, &truth, clusters).unwrap();
            // For the ratio cut a row of few edges may be better off elsewhere.
            let least = if cut == Cut::Ncut { 1.0 } else { 0.98 };
            assert!(scores.acc >= least, "{n} rows, {cut:?}: {}", scores.acc);
        }
    }
}

#[test]
fn kmeans_ends_at_means_of_their_nearest_rows() {
    let random = random("kmeans");
    let ops = Fast::new(2).unwrap();
    for (n, d, clusters) in [(7, 1, 7), (129, 5, 3), (5003, 2, 10)] {
        let rows = random.normals(n * d, 1.0);
        let x = filled(&ops, n, d, &rows);
        let found = kmeans(&ops, &x, clusters, 3, 5, &mut Silent).unwrap();
        assert_eq!(found, kmeans(&ops, &x, clusters, 3, 5, &mut Silent).unwrap());
        let sizes = count(&found.labels, clusters);
        assert!(sizes.iter().all(|&size| size > 0), "{sizes:?}");
        let mut means = vec![0.0; clusters * d];
        for (row, &label) in rows.chunks_exact(d).zip(&found.labels) {
            for (c, &value) in row.iter().enumerate() {
                means[label as usize * d + c] += f64::from(value) / sizes[label as usize] as f64;
            }
        }
        let squared = |row: &[f32], l: usize| -> f64 {
            let mean = &means[l * d..][..d];
            row.iter()
                .zip(mean)
                .map(|(&v, m)| (f64::from(v) - m).powi(2))
                .sum()
        };
        let inertia: f64 = rows
            .chunks_exact(d)
            .zip(&found.labels)
            .map(|(row, &label)| squared(row, label as usize))
            .sum();
        // Squares of all rows less those of all means.
        let size: f64 = rows.iter().map(|&v| f64::from(v).powi(2)).sum();
        assert!(
            (found.inertia - inertia).abs() <= 1e-6 * size,
            "{} and {inertia}",
            found.inertia
        );
        assert!(distance(&found.centers, &means) <= 1e-5);
        // Centres may still move by a hundredth of the rows' deviation when a start ends.
        for (row, &label) in rows.chunks_exact(d).zip(&found.labels) {
            let own = squared(row, label as usize).sqrt();
            let nearest = (0..clusters)
                .map(|l| squared(row, l))
                .fold(f64::INFINITY, f64::min)
                .sqrt();
            assert!(
                own <= nearest + 0.05,
                "{own} from its mean, {nearest} from another"
            );
        }
    }
}

#[test]
fn cuts_are_sums_over_all_pairs() {
    let random = random("cuts");
    for (n, clusters) in [(1, 2), (7, 3), (129, 10)] {
        let (graph, _) = planted(&random, n, 2, 0.5, 0.2);
        let full = dense(&graph);
        // The last cluster stays empty.
        let labels: Vec<u32> = (0..n).map(|_| random.below(clusters - 1) as u32).collect();
        let sum = |a: usize, b: usize| -> f64 {
            let pairs = (0..n * n).filter(|at| labels[at / n] as usize == a && labels[at % n] as usize == b);
            pairs.map(|at| full[at]).sum()
        };
        let matrix = cut_matrix(&graph, &labels, clusters);
        let plain: Vec<f64> = (0..clusters * clusters)
            .map(|at| sum(at / clusters, at % clusters))
            .collect();
        assert!(distance(&matrix, &plain) <= 1e-12 * largest(&plain));
        let (mut ncut, mut rcut) = (0.0, 0.0);
        let mean = full.iter().sum::<f64>() / n as f64;
        for l in 0..clusters {
            let size = labels.iter().filter(|&&label| label as usize == l).count();
            let volume: f64 = (0..clusters).map(|b| sum(l, b)).sum();
            let cut = volume - sum(l, l);
            // An empty cluster counts as one that is cut off from everything.
            ncut += if size > 0 { cut / volume } else { 1.0 };
            rcut += if size > 0 { cut / size as f64 } else { mean };
        }
        let found = Cuts::of_graph(&graph, &labels, clusters);
        assert!((found.ncut - ncut).abs() <= 1e-12 * clusters as f64);
        assert!((found.rcut - rcut).abs() <= 1e-12 * n as f64);
        for (cut, expected) in [(Cut::Ncut, found.ncut), (Cut::Rcut, found.rcut)] {
            assert_eq!(ranking(&graph, &labels, clusters, cut), expected, "{cut:?}");
        }
    }
}

#[test]
fn refining_never_raises_the_cut_and_leaves_no_move_that_lowers_it() {
    let random = random("refine");
    for (n, clusters) in [(7, 3), (60, 4), (129, 2)] {
        for cut in [Cut::Ncut, Cut::Rcut] {
            let (graph, _) = planted(&random, n, clusters, 0.3, 0.1);
            let value = |labels: &[u32]| Cuts::of_graph(&graph, labels, clusters).of_kind(cut);
            let mut labels: Vec<u32> = (0..n)
                .map(|i| if i < clusters { i } else { random.below(clusters) } as u32)
                .collect();
            let before = value(&labels);
            let moves = refine(
                &graph,
                &mut labels,
                clusters,
                cut,
                random.below(100) as u64,
                &Silent,
            )
            .unwrap();
            let after = value(&labels);
            assert!(after <= before + 1e-12, "{before} rose to {after}");
            assert_eq!(
                moves == 0,
                after == before,
                "{moves} moves from {before} to {after}"
            );
            let sizes = count(&labels, clusters);
            assert!(sizes.iter().all(|&size| size > 0), "{sizes:?}");
            for i in (0..n).filter(|&i| sizes[labels[i] as usize] > 1) {
                for to in 0..clusters as u32 {
                    let mut moved = labels.clone();
                    moved[i] = to;
                    let tied = graph.row(i).any(|(j, _)| j != i && labels[j] == to);
                    assert!(
                        !tied || value(&moved) >= after - 1e-9,
                        "row {i} should go to {to}"
                    );
                }
            }
            let again = refine(&graph, &mut labels, clusters, cut, 7, &Silent).unwrap();
            assert_eq!(again, 0, "once is enough");
        }
    }
}

#[test]
fn merging_unites_the_parts_of_planted_groups() {
    let random = random("merge");
    let (graph, truth) = planted(&random, 240, 4, 0.4, 0.02);
    // Each group in three parts at random, and three labels that no row has.
    let (many, wanted) = (15, 4);
    let parts: Vec<u32> = truth
        .iter()
        .map(|&group| 3 * group + random.below(3) as u32)
        .collect();
    let sizes = count(&parts, many);
    for cut in [Cut::Ncut, Cut::Rcut] {
        let into = merge(&cut_matrix(&graph, &parts, many), &sizes, wanted, cut);
        let merged: Vec<u32> = parts.iter().map(|&part| into[part as usize]).collect();
        let scores = Scores::of(&merged, wanted, &truth, 4).unwrap();
        assert_eq!(scores.acc, 1.0, "{cut:?}: {into:?}");

        // One cluster less: the best of all pairs.
        let labels: Vec<u32> = (0..240).map(|_| random.below(6) as u32).collect();
        let into = merge(&cut_matrix(&graph, &labels, 6), &count(&labels, 6), 5, cut);
        let value = |rename: &dyn Fn(u32) -> u32| {
            let renamed: Vec<u32> = labels.iter().map(|&label| rename(label)).collect();
            Cuts::of_graph(&graph, &renamed, 6).of_kind(cut)
        };
        let found = value(&|label| into[label as usize]);
        for a in 0..6 {
            for b in 0..a {
                let other = value(&|label| if label == a { b } else { label });
                assert!(
                    found <= other + 1e-12,
                    "{cut:?}: {a} and {b} give {other}, not {found}"
                );
            }
        }
    }
}

#[test]
fn moves_undo_a_merged_pair_and_a_split_group() {
    let random = random("moves");
    let ops = Fast::new(2).unwrap();
    // So few edges between groups that no row moves by itself.
    let (graph, truth) = planted(&random, 240, 4, 0.4, 0.003);
    for cut in [Cut::Ncut, Cut::Rcut] {
        // Groups 0 and 1 are one cluster, group 3 is two.
        let mut labels: Vec<u32> = truth
            .iter()
            .map(|&group| match group {
                0 | 1 => 0,
                3 if random.below(2) == 0 => 1,
                other => other,
            })
            .collect();
        let made = split_and_merge(&ops, &graph, &mut labels, 4, cut, 3, &mut Silent).unwrap();
        let scores = Scores::of(&labels, 4, &truth, 4).unwrap();
        assert_eq!(scores.acc, 1.0, "{cut:?}");
        // The ratio cut lets rows go over one by one, since a cluster of one costs little.
        assert!(made == 1 || cut == Cut::Rcut, "{made} moves");
        let again = split_and_merge(&ops, &graph, &mut labels, 4, cut, 3, &mut Silent).unwrap();
        assert_eq!(again, 0);
    }
}

/// The mini-batches of an epoch; each holds no row twice.
fn batches(sampler: &Sampler, batch: usize, seed: u64, epoch: u32) -> Vec<Vec<u32>> {
    let rows = sampler.epoch(seed, epoch);
    assert_eq!(rows.len(), batch * sampler.batches(), "{sampler:?}");
    assert_eq!(rows, sampler.epoch(seed, epoch), "the same again");
    let sorted = |rows: &[u32]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), batch, "a row twice in {batch}");
        rows
    };
    rows.chunks_exact(batch).map(sorted).collect()
}

#[test]
fn no_mini_batch_holds_a_row_twice_and_every_row_is_drawn() {
    let random = random("sampler");
    for (n, batch) in [(1, 1), (7, 3), (129, 40), (300, 300), (1021, 100)] {
        let (graph, _) = planted(&random, n, 2, 8.0 / n as f64, 2.0 / n as f64);
        let seed = random.below(1000) as u64;
        let shuffle = Sampler::Shuffle { rows: n, batch };
        assert_eq!(shuffle.batches(), n / batch);
        let mut once = batches(&shuffle, batch, seed, 3).concat();
        once.sort_unstable();
        once.dedup();
        assert_eq!(
            once.len(),
            n / batch * batch,
            "{n} rows in mini-batches of {batch}"
        );
        assert!(once.iter().all(|&row| (row as usize) < n));
        for per_seed in [0, 1, 4, usize::MAX] {
            let sampler = Sampler::Neighbors {
                graph: &graph,
                batch,
                per_seed,
            };
            let drawn = batches(&sampler, batch, seed, 3);
            if n > 100 && batch < n {
                assert_ne!(drawn, batches(&sampler, batch, seed, 4), "another epoch");
                assert_ne!(drawn, batches(&sampler, batch, seed + 1, 3), "another seed");
            }
            let seeds = match per_seed {
                _ if batch == n => n,
                most => (batch / most.saturating_add(1)).max(1),
            };
            assert_eq!(sampler.batches(), n / seeds);
            let mut once = drawn.concat();
            once.sort_unstable();
            once.dedup();
            assert!(
                once.len() >= n / seeds * seeds,
                "{} of {n} rows are drawn, {seeds} seeds in each mini-batch",
                once.len()
            );
        }
    }
}

/// What makes sub-graphs worth cutting: a row brings its neighbours along.
#[test]
fn mini_batches_of_neighbours_hold_more_edges_than_random_ones() {
    let random = random("neighbours");
    let (graph, _) = planted(&random, 1021, 10, 0.08, 0.0);
    let edges = |batches: Vec<Vec<u32>>| -> f64 {
        let inside = |rows: &Vec<u32>| -> usize {
            let tied = |&row: &u32| {
                graph
                    .row(row as usize)
                    .filter(|&(j, _)| rows.contains(&(j as u32)))
                    .count()
                    - 1
            };
            rows.iter().map(tied).sum()
        };
        batches.iter().map(inside).sum::<usize>() as f64 / batches.len() as f64
    };
    let batch = 100;
    let neighbours = Sampler::Neighbors {
        graph: &graph,
        batch,
        per_seed: 4,
    };
    let shuffled = Sampler::Shuffle { rows: 1021, batch };
    let (near, far) = (
        edges(batches(&neighbours, batch, 1, 0)),
        edges(batches(&shuffled, batch, 1, 0)),
    );
    // 20 seeds with 4 of their 8 neighbours: 80 edges, both ways, beside those that random rows have.
    assert!(near >= far + 100.0, "{near} and {far} edges");
}

/// Asserts that `work` asks whether to stop, `least` times or more, and ends at once at whichever question the answer is yes.
fn ends_when_asked_to(name: &str, least: usize, work: impl Fn(&mut dyn Progress) -> Result<()>) {
    let run = |patience: usize| {
        let asked = Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > patience
        };
        let ended = work(&mut Unheard(&stop));
        (ended, asked.get())
    };
    let (finished, questions) = run(usize::MAX);
    finished.unwrap();
    assert!(questions >= least, "{name}: {questions} questions");
    for patience in 0..questions {
        let (ended, asked) = run(patience);
        assert!(
            matches!(ended, Err(Error::Interrupted(_))),
            "{name}: not stopped at question {patience} of {questions}: {ended:?}"
        );
        assert_eq!(asked, patience + 1, "{name}: asked again");
    }
}

#[test]
fn all_that_comes_before_training_ends_when_asked_to() {
    let random = random("interrupted");
    let ops = Fast::new(2).unwrap();
    let (n, d) = (90, 6);
    // Three clouds so far apart that each is a part of its own; one of the rows is there twice.
    let mut rows = random.normals(n * d, 1.0);
    for (at, value) in rows.iter_mut().enumerate() {
        *value += 1e3 * (at / d % 3) as f32;
    }
    rows.copy_within(0..d, 3 * d);
    let x = filled(&ops, n, d, &rows);
    let rule = GraphRule {
        neighbors: 4,
        width: Width::SelfTuning,
        one_sided: 0.1,
    };
    // Equal rows, neighbours, and two parts that are joined to the first.
    ends_when_asked_to("a graph", 4, |progress| build(&ops, &x, rule, progress).map(drop));
    ends_when_asked_to("equal rows", 1, |progress| distinct(&ops, &x, progress).map(drop));

    // Two copies of the rows, their transforms, and of each: another copy, its mean, an eigenproblem, and six searches.
    ends_when_asked_to("whitening or not", 2 + 2 * 9, |progress| {
        whitening_helps(&ops, &x, 3, progress).map(drop)
    });
    // A pass over the rows, and their change, for each; before and after an eigenproblem.
    for (chain, least) in [("center", 2), ("whiten=0.1", 4), ("pca=3", 4)] {
        let transforms = parse("--features", chain).unwrap();
        ends_when_asked_to(chain, least, |progress| {
            let x = filled(&ops, n, d, &rows);
            Pipeline::fit(&ops, Reader::plain(d), &transforms, x, 0, progress).map(drop)
        });
    }

    let (graph, truth) = planted(&random, n, 3, 0.4, 0.1);
    ends_when_asked_to("a spectrum", 2, |progress| {
        embed(&ops, &graph, 5, Cut::Ncut, 0, progress).map(drop)
    });
    let mixed: Vec<u32> = (0..n).map(|_| random.below(3) as u32).collect();
    ends_when_asked_to("labels that settle", 1, |progress| {
        refine(&graph, &mut mixed.clone(), 3, Cut::Ncut, 0, progress).map(drop)
    });
    // Rows settle; each of three clusters is split, by a spectrum.
    let mut settled = truth.clone();
    refine(&graph, &mut settled, 3, Cut::Ncut, 0, &Silent).unwrap();
    ends_when_asked_to("moves", 1 + 3 * 3, |progress| {
        split_and_merge(&ops, &graph, &mut settled.clone(), 3, Cut::Ncut, 0, progress).map(drop)
    });
    ends_when_asked_to("k-means", 2, |progress| {
        kmeans(&ops, &x, 3, 2, 0, progress).map(drop)
    });
}
