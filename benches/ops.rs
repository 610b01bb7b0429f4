//! The operations of a training step one by one, on the CPU, at m 1000, d 500, 512-512, k 10.
//!
//! `cargo bench --bench ops`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use neuncut::cpu::{Fast, Matrix};
use neuncut::graph::Sampler;
use neuncut::ops::{AdamRule, Cut, HeatKernel, Layer, Objective, Ops, Penalty, StepState, Volumes};
use neuncut::random::{Purpose, Stream};

const M: usize = 1000;
const D: usize = 500;
const H: usize = 512;
const K: usize = 10;

fn random(rows: usize, cols: usize, sub: u32) -> Matrix<f32> {
    let stream = Stream::new(2, Purpose::Synthetic, sub);
    let values = (0..(rows * cols) as u64)
        .map(|i| stream.normal(i)[0] as f32)
        .collect();
    Matrix::from_rows(rows, cols, values)
}

fn operations(criterion: &mut Criterion) {
    let ops = Fast::new(0).expect("threads");
    let mut group = criterion.benchmark_group("ops");
    let state = StepState {
        seed: 1,
        epoch: 0,
        batch: 0,
        step: 0,
        learning_rate: 1e-3,
    };
    let data = random(10 * M, D, 0);
    let mut x = random(M, D, 1);
    ops.normalize_rows(1.0, &mut x).expect("rows");
    let (w, b) = (random(H, D, 2), random(1, H, 3));
    let mut hidden = random(M, H, 4);
    let d_hidden = random(M, H, 5);
    let square = random(H, H, 6);
    let logits = random(M, K, 7);
    let mut y = random(M, K, 8);
    ops.softmax(&logits, &mut y).expect("softmax");

    let mut batch = random(M, D, 9);
    let order = Sampler::Shuffle {
        rows: 10 * M,
        batch: M,
    }
    .epoch(state.seed, state.epoch);
    group.bench_function("gather_rows", |b| {
        b.iter(|| ops.gather_rows(&data, &order, &state, &mut batch))
    });
    group.bench_function("normalize_rows", |b| {
        b.iter(|| ops.normalize_rows(1.0, &mut batch))
    });

    let mut s = random(M, K, 10);
    let mut degrees = random(1, M, 11);
    for (name, neighbors) in [("dense", None), ("neighbors10", Some(10))] {
        let kernel = HeatKernel {
            sigma: 0.7,
            neighbors,
        };
        let mut affinity = ops.affinity(M, D, K, kernel).expect("memory");
        group.bench_function(format!("pairwise {name}"), |b| {
            b.iter(|| ops.pairwise(&x, &mut affinity))
        });
        group.bench_function(format!("contract {name}"), |b| {
            b.iter(|| ops.contract(&x, &affinity, &y, &mut s, &mut degrees));
        });
    }

    group.throughput(Throughput::Elements((2 * M * D * H) as u64));
    group.bench_function("linear (elements are FLOP)", |bench| {
        bench.iter(|| ops.linear(&x, &w, &b, true, &mut hidden));
    });
    let mut d_input = random(M, H, 12);
    group.throughput(Throughput::Elements((2 * M * H * H) as u64));
    group.bench_function("linear_backward_data (elements are FLOP)", |b| {
        b.iter(|| ops.linear_backward_data(&d_hidden, &square, &hidden, &mut d_input));
    });
    let (mut dw, mut db) = (random(H, D, 13), random(1, H, 14));
    group.throughput(Throughput::Elements((2 * M * D * H) as u64));
    group.bench_function("linear_backward_weights (elements are FLOP)", |b| {
        b.iter(|| ops.linear_backward_weights(&d_hidden, &x, &mut dw, &mut db));
    });
    group.throughput(Throughput::Elements((H * D) as u64));
    let (mut p, mut m1, mut m2) = (random(H, D, 15), random(H, D, 16), random(H, D, 17));
    m2.iter_mut().for_each(|v| *v = v.abs());
    group.bench_function("adam", |b| {
        b.iter(|| ops.adam(&dw, AdamRule::new(1e-4), &state, &mut p, &mut m1, &mut m2));
    });
    group.throughput(Throughput::Elements((M * K) as u64));
    group.bench_function("softmax", |b| b.iter(|| ops.softmax(&logits, &mut y)));
    let (mut volumes, mut d_logits, mut losses) = (random(1, K, 18), random(M, K, 19), random(1, 3, 20));
    let objective = Objective {
        gamma: 0.3,
        penalty: Penalty::Squared,
        volumes: Volumes::Through,
        cut: Cut::Ncut,
    };
    let mut workspace = ops.workspace(M, K).expect("memory");
    group.bench_function("ncut", |b| {
        b.iter(|| {
            ops.ncut(
                &y,
                &s,
                &degrees,
                objective,
                &state,
                &mut workspace,
                &mut volumes,
                &mut d_logits,
                &mut losses,
            )
        });
    });
    let mut labels = vec![0; M];
    group.bench_function("argmax", |b| b.iter(|| ops.argmax(&logits, &mut labels, 0)));
    let layer = |inputs, outputs, sub| Layer {
        weight: random(outputs, inputs, sub),
        bias: random(1, outputs, sub + 1),
    };
    let layers = [layer(D, H, 21), layer(H, H, 23), layer(H, K, 25)];
    let mut outputs = [random(M, H, 27), random(M, H, 28), random(M, K, 29)];
    group.throughput(Throughput::Elements((2 * M * (D * H + H * H + H * K)) as u64));
    group.bench_function("infer (elements are FLOP)", |b| {
        b.iter(|| ops.infer(&x, &layers, &mut outputs, &mut labels, 0));
    });
    group.bench_function("forward and argmax (elements are FLOP)", |b| {
        b.iter(|| {
            ops.forward(&x, &layers, &mut outputs)?;
            ops.argmax(&outputs[2], &mut labels, 0)
        });
    });
    group.finish();
}

criterion_group!(benches, operations);
criterion_main!(benches);
