//! Whole training steps on the CPU: gather, affinity, forward, loss, backward, Adam.
//!
//! `cargo bench --bench step`. The other side of the ratio is `benches/peers/pytorch_step.py`, same shapes.

use criterion::{Criterion, criterion_group, criterion_main};
use neuncut::cpu::Fast;
use neuncut::model::Model;
use neuncut::ops::{AdamRule, AffinityRule, Cut, HeatKernel, Objective, Ops, Penalty, StepState, Volumes};
use neuncut::random::{Purpose, Stream};
use neuncut::train::{Step, StepRule, StepSize};

struct Shape {
    name: &'static str,
    rows: usize,
    dims: usize,
    clusters: usize,
    neighbors: Option<usize>,
}

const SHAPES: [Shape; 4] = [
    Shape {
        name: "mnist m1000 d500 k10 dense",
        rows: 1000,
        dims: 500,
        clusters: 10,
        neighbors: None,
    },
    Shape {
        name: "mnist m1000 d500 k10 neighbors10",
        rows: 1000,
        dims: 500,
        clusters: 10,
        neighbors: Some(10),
    },
    Shape {
        name: "pixels m1000 d784 k10 neighbors10",
        rows: 1000,
        dims: 784,
        clusters: 10,
        neighbors: Some(10),
    },
    Shape {
        name: "imagenet m3000 d768 k1000 dense",
        rows: 3000,
        dims: 768,
        clusters: 1000,
        neighbors: None,
    },
];

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.sample_size(20);
    for threads in [1, 2] {
        let ops = Fast::new(threads).expect("threads");
        for shape in &SHAPES {
            let (mut step, data) = prepare(&ops, shape);
            group.bench_function(format!("{} threads{threads}", shape.name), |bencher| {
                bencher.iter(|| {
                    // Every step takes the same mini-batch slot, so that the run never ends.
                    step.run(&ops, &data, None).expect("a step");
                    step.state.batch = 0;
                });
            });
        }
    }
    group.finish();
}

/// Random rows of unit norm and a fresh network.
fn prepare(ops: &Fast, shape: &Shape) -> (Step<Fast>, <Fast as Ops>::Matrix) {
    let stream = Stream::new(1, Purpose::Synthetic, 0);
    let count = 2 * shape.rows * shape.dims;
    let values: Vec<f32> = (0..count as u64).map(|i| stream.normal(i)[0] as f32).collect();
    let mut data = ops.matrix("rows", 2 * shape.rows, shape.dims).expect("memory");
    ops.upload(&values, &mut data, 0).expect("rows fit");
    ops.normalize_rows(1.0, &mut data).expect("rows");
    let rule = StepRule {
        affinity: AffinityRule::Heat(HeatKernel {
            sigma: 0.7,
            neighbors: shape.neighbors,
        }),
        objective: Objective {
            gamma: 0.3,
            penalty: Penalty::Squared,
            volumes: Volumes::Through,
            cut: Cut::Ncut,
        },
        adam: AdamRule::new(1e-4),
    };
    let model = Model::random(1, shape.dims, &[512, 512], shape.clusters);
    let state = StepState {
        seed: 1,
        epoch: 0,
        batch: 0,
        step: 0,
        learning_rate: 1e-3,
    };
    let size = StepSize {
        rows: shape.rows,
        batches: 1,
        training_rows: 2 * shape.rows,
    };
    (
        Step::new(ops, &model, rule, size, None, state).expect("memory"),
        data,
    )
}

criterion_group!(benches, steps);
criterion_main!(benches);
