//! From rows to a graph, its spectrum and the labels of spectral clustering through the kernels: as on the CPU, with the same bits in any
//! order of threads and wherever the rows are.

use crate::common::{emulator, seed};
use neuncut::cpu::Fast;
use neuncut::cuda::Cuda;
use neuncut::data::csr::Csr;
use neuncut::graph::{GraphRule, Width, build};
use neuncut::ops::{Cut, Ops, Precision};
use neuncut::progress::Silent;
use neuncut::spectral::{cluster, embed, kmeans};
use neuncut::validate::Random;
use neuncut_emulator::{Emulator, MODE, Mode};

/// More than spectra of small graphs, which the host computes.
const ROWS: usize = 710;
const CLUSTERS: usize = 4;
const COLUMNS: usize = 20;

fn graph<O: Ops<Real = f32>>(ops: &O, rows: &[f32]) -> Csr {
    let mut x = ops.training_rows(rows.len() / COLUMNS, COLUMNS).unwrap();
    ops.upload(rows, &mut x, 0).unwrap();
    let rule = GraphRule {
        neighbors: 9,
        width: Width::SelfTuning,
        one_sided: 0.1,
    };
    build(ops, &x, rule, &mut Silent).unwrap()
}

fn rows() -> Vec<f32> {
    // Four clouds, no two distances alike.
    let random = Random::new(seed("the rows"), 0);
    let centre = |at: usize| match at / COLUMNS % CLUSTERS == at % COLUMNS {
        true => 4.0,
        false => 0.0,
    };
    (0..ROWS * COLUMNS)
        .map(|at| (centre(at) + random.normal()) as f32)
        .collect()
}

#[test]
fn the_graph_is_that_of_the_cpu_wherever_the_rows_are_and_in_whatever_order_threads_run() {
    let rows = rows();
    let expected = graph(&Fast::new(1).unwrap(), &rows);
    let schedule = seed("the second schedule").max(1);
    let backend = |schedule, precision| Cuda::new(Emulator::new().with_seed(schedule), precision);
    let first = graph(&backend(0, Precision::Tf32x3), &rows);
    assert_eq!(
        first,
        graph(&backend(schedule, Precision::Tf32x3), &rows),
        "another order of threads"
    );
    // Neighbours are chosen in nearly f32, and told by differences in f32: in whatever precision products are.
    let fed = backend(0, Precision::Fp32).feeding_rows().searching_at_most(300);
    let fed = graph(&fed, &rows);
    for (what, found) in [("in tf32x3", &first), ("in fp32, from rows on the host", &fed)] {
        // A tie within rounding may go the other way: a few of the rows.
        let changed = (0..ROWS)
            .filter(|&i| {
                let columns = |graph: &Csr| graph.row(i).map(|entry| entry.0).collect::<Vec<_>>();
                columns(found) != columns(&expected)
            })
            .count();
        assert!(
            changed * 100 <= ROWS,
            "{what}: {changed} rows have other neighbours"
        );
        let volume = |graph: &Csr| graph.degrees().iter().sum::<f64>();
        let apart = (volume(found) / volume(&expected) - 1.0).abs();
        assert!(apart < 1e-3, "{what}: the volume is {apart:e} apart");
    }
}

#[test]
fn the_spectrum_and_the_labels_are_those_of_the_cpu() {
    if MODE != Mode::Plain {
        // Hundreds of products, whose kernels are watched in the checks of each operation.
        return;
    }
    let rows = rows();
    let cpu = Fast::new(1).unwrap();
    let edges = graph(&cpu, &rows);
    let cuda = Cuda::new(Emulator::new().with_seed(seed("the schedule")), Precision::Tf32x3);
    let expected = embed(&cpu, &edges, CLUSTERS + 2, Cut::Ncut, 3, &mut Silent).unwrap();
    let found = embed(&cuda, &edges, CLUSTERS + 2, Cut::Ncut, 3, &mut Silent).unwrap();
    assert!(
        found.residuals.iter().all(|&residual| residual < 1e-4),
        "residuals {:?}",
        found.residuals
    );
    for (found, expected) in found.eigenvalues.iter().zip(&expected.eigenvalues) {
        // An eigenvalue of a symmetric matrix errs by no more than the residual; of clusters of them each may stop early.
        assert!(
            (found - expected).abs() < 1e-4,
            "eigenvalue {found} for {expected}"
        );
    }
    let there = cluster(&cpu, &edges, CLUSTERS, Cut::Ncut, 3, &mut Silent).unwrap();
    let here = cluster(&cuda, &edges, CLUSTERS, Cut::Ncut, 3, &mut Silent).unwrap();
    // The same partition, whatever its labels are called.
    let mut pairs: Vec<(u32, u32)> = here.iter().copied().zip(there.iter().copied()).collect();
    pairs.sort_unstable();
    let agreed: usize = pairs
        .chunk_by(|a, b| a.0 == b.0)
        .map(|same| {
            same.chunk_by(|a, b| a.1 == b.1)
                .map(<[_]>::len)
                .max()
                .unwrap_or(0)
        })
        .sum();
    assert!(agreed * 100 >= ROWS * 99, "{agreed} of {ROWS} rows agree");
}

#[test]
fn k_means_finds_clouds_of_rows_of_any_width_in_every_precision() {
    let random = Random::new(seed("the clouds"), 0);
    // Rows of few numbers are worked on by the host, of more by the device.
    for columns in [3, 70] {
        let rows: Vec<f32> = (0..60 * columns)
            .map(|at| {
                let (row, column) = (at / columns, at % columns);
                let centre = if column % 3 == row % 3 { 10.0 } else { 0.0 };
                (centre + random.normal()) as f32
            })
            .collect();
        for precision in Precision::ALL {
            let cuda = Cuda::new(emulator(), precision);
            let mut x = cuda.matrix("the clouds", 60, columns).unwrap();
            cuda.upload(&rows, &mut x, 0).unwrap();
            let found = kmeans(&cuda, &x, 3, 3, 0, &mut Silent).unwrap();
            for (i, label) in found.labels.iter().enumerate() {
                assert_eq!(
                    *label,
                    found.labels[i % 3],
                    "row {i}, {columns} columns, {precision:?}"
                );
            }
            let mut sizes = [0; 3];
            found.labels.iter().for_each(|&label| sizes[label as usize] += 1);
            assert_eq!(sizes, [20; 3]);
            for (label, center) in found.centers.chunks_exact(columns).enumerate() {
                let class = found.labels.iter().position(|&l| l as usize == label).unwrap() % 3;
                for (column, value) in center.iter().enumerate() {
                    let expected = if column % 3 == class { 10.0 } else { 0.0 };
                    // A mean of 20 normal numbers, six times its deviation.
                    assert!(
                        (value - expected).abs() < 6.0 / 20f64.sqrt(),
                        "{value} is not {expected}"
                    );
                }
            }
        }
    }
}
