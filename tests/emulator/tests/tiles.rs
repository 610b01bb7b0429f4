//! Products give the same bits in whatever tiles they are computed, so that the fastest may be taken.

use std::rc::Rc;

use crate::common::{emulator, seed};
use crate::shared_training::bits;
use neuncut::cuda::tiles::{Measured, Tiles, Tiling};
use neuncut::cuda::{Affinity, Cuda, Driver, Matrix};
use neuncut::model::Model;
use neuncut::network::download;
use neuncut::ops::{
    AdamRule, AffinityRule, Cut, HeatKernel, Layer, LayerUpdate, Objective, Ops, Penalty, Precision,
    StepState, TrainedLayer, Volumes,
};
use neuncut::train::{Step, StepRule, StepSize};
use neuncut::validate::{Random, filled};
use neuncut_emulator::{Emulator, MODE, Mode};

const OBJECTIVE: Objective = Objective {
    gamma: 2.0,
    penalty: Penalty::Squared,
    volumes: Volumes::Through,
    cut: Cut::Ncut,
};

/// Numbers drawn from `random`.
fn draw(cuda: &Cuda<Emulator>, random: &Random, rows: usize, cols: usize) -> Matrix<Emulator> {
    filled(cuda, rows, cols, &random.normals(rows * cols, 1.0)).unwrap()
}

/// What operations make, by their names.
type Made = Vec<(&'static str, Vec<u32>)>;

/// What operations with a choice of tiles make, and the kernels that they launch.
fn products(
    cuda: Cuda<Emulator>,
    random: &Random,
    [m, n, d]: [usize; 3],
    tiles: Tiles,
) -> (Made, Vec<String>) {
    let x = draw(&cuda, random, m, d);
    let kernel = HeatKernel {
        sigma: (2.0 * d as f64).sqrt(),
        neighbors: None,
    };
    let mut affinity = cuda.affinity(m, d, n, kernel).unwrap();
    cuda.pairwise(&x, &mut affinity).unwrap();
    let cuda = cuda.tiling(Tiling::Always(tiles));
    let mut made = Vec::new();
    let mut calls = || {
        made = operations(&cuda, random, [m, n, d], &x, &affinity);
        Ok(())
    };
    let profile = cuda.profile(&mut calls).unwrap();
    (made, profile.into_iter().map(|(kernel, _)| kernel).collect())
}

fn operations(
    cuda: &Cuda<Emulator>,
    random: &Random,
    [m, n, d]: [usize; 3],
    x: &Matrix<Emulator>,
    affinity: &Affinity<Emulator>,
) -> Made {
    let draw = |rows, cols| draw(cuda, random, rows, cols);
    let mut made = Vec::new();
    let mut keep = |what, matrix: &Matrix<Emulator>| {
        let numbers = download(cuda, matrix).unwrap();
        assert!(numbers.iter().all(|v| v.is_finite()), "{what}");
        made.push((what, numbers.into_iter().map(f32::to_bits).collect()));
    };
    let y = draw(m, n);
    let state = StepState {
        learning_rate: 0.1,
        ..StepState::default()
    };
    let state = cuda.state(state).unwrap();
    let (mut contraction, mut degrees) = (draw(m, n), draw(1, m));
    cuda.contract(x, affinity, &y, &mut contraction, &mut degrees)
        .unwrap();
    keep("contract", &contraction);
    keep("degrees", &degrees);

    let mut membership = draw(m, n);
    cuda.softmax(&y, &mut membership).unwrap();
    let (mut volumes, mut d_z, mut losses) = (draw(1, n), draw(m, n), draw(1, 3));
    let mut workspace = cuda.workspace(m, n).unwrap();
    cuda.ncut(
        &membership,
        &contraction,
        &degrees,
        OBJECTIVE,
        &state,
        &mut workspace,
        &mut volumes,
        &mut d_z,
        &mut losses,
    )
    .unwrap();
    keep("ncut", &d_z);

    let layer = |rows, cols| Layer {
        weight: draw(rows, cols),
        bias: draw(1, rows),
    };
    let (mut parameters, mut gradients, mut first) = (layer(n, d), layer(n, d), layer(n, d));
    cuda.linear(x, &parameters.weight, &parameters.bias, true, &mut contraction)
        .unwrap();
    keep("linear", &contraction);
    let mut d_x = draw(m, d);
    cuda.linear_backward_data(&d_z, &parameters.weight, x, &mut d_x)
        .unwrap();
    keep("linear_backward_data", &d_x);
    cuda.linear_backward_weights(&d_z, x, &mut gradients.weight, &mut gradients.bias)
        .unwrap();
    keep("gradient of weights", &gradients.weight);
    keep("gradient of biases", &gradients.bias);
    let mut second = layer(n, d);
    cuda.upload(&vec![1.0; n * d], &mut second.weight, 0).unwrap();
    cuda.upload(&vec![1.0; n], &mut second.bias, 0).unwrap();
    let training = TrainedLayer {
        parameters: &mut parameters,
        first_moments: &mut first,
        second_moments: &mut second,
    };
    let mut update = [LayerUpdate {
        d_z: &d_z,
        x,
        gradients: &mut gradients,
        training,
    }];
    cuda.update_layers(AdamRule::new(0.01), &state, &mut update)
        .unwrap();
    keep("updated weights", &parameters.weight);
    keep("updated biases", &parameters.bias);
    made
}

#[test]
fn tiles_of_all_sizes_give_the_same_bits() {
    let seed = seed("the operands");
    // Beyond a tile in all directions and of many clusters, of a depth that is no whole number of stages, and less than one tile.
    for size in [[141, 260, 83], [37, 50, 200]] {
        for precision in Precision::ALL {
            let of = |tiles| {
                let cuda = Cuda::new(emulator(), precision);
                products(cuda, &Random::new(seed, 0), size, tiles)
            };
            let (square, _) = of(Tiles::Square);
            for tiles in [Tiles::Short, Tiles::Wide] {
                let (found, kernels) = of(tiles);
                for ((what, expected), (_, found)) in square.iter().zip(found) {
                    assert_eq!(*expected, found, "{what}, {precision:?}, {size:?}, {tiles:?}");
                }
                // Layers, forward and backward, gradients, the update; the contraction of many clusters, and the product with the pull.
                let turned = usize::from(size[1] >= 256);
                let expected = match (precision, tiles) {
                    (Precision::Bf16, Tiles::Short) => 4,
                    (Precision::Bf16, _) => 5 + turned,
                    (_, Tiles::Short) => 2,
                    (Precision::Tf32, _) => turned,
                    _ => 0,
                };
                let in_tiles = |kernel: &&String| kernel.contains(&format!("{}_", tiles.suffix()));
                let count = kernels.iter().filter(in_tiles).count();
                assert_eq!(count, expected, "{precision:?}, {size:?}, {tiles:?}, {kernels:?}");
            }
        }
    }
}

#[test]
fn a_training_that_measures_its_tiles_gives_the_bits_of_one_that_does_not() {
    // The watched modes watch the same kernels elsewhere; here they would run hundreds of times.
    if MODE != Mode::Plain {
        return;
    }
    let (m, d, batches) = (130, 40, 2);
    let random = Random::new(seed("the rows"), 0);
    let rows = random.normals(m * batches * d, 1.0);
    let model = Model::random(1, d, &[72, 136], 260);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiles.json");
    let trained = |emulator: Emulator, precision, tiling| {
        let cuda = Cuda::new(emulator, precision).tiling(tiling);
        let mut data = cuda.training_rows(m * batches, d).unwrap();
        cuda.upload(&rows, &mut data, 0).unwrap();
        let state = StepState {
            learning_rate: 1e-3,
            ..StepState::default()
        };
        let rule = StepRule {
            affinity: AffinityRule::Heat(HeatKernel {
                sigma: 4.0,
                neighbors: None,
            }),
            objective: OBJECTIVE,
            adam: AdamRule::new(1e-4),
        };
        let size = StepSize {
            rows: m,
            batches,
            training_rows: m * batches,
        };
        let mut step = Step::new(&cuda, &model, rule, size, None, state).unwrap();
        for batch in 0..2 * batches {
            let state = StepState {
                batch: (batch % batches) as u32,
                step: batch as u64,
                ..state
            };
            cuda.set_state(state, &mut step.state).unwrap();
            step.run(&cuda, &data, None).unwrap();
        }
        let free = cuda.driver().free_memory().unwrap();
        (bits(&step.learner.network.to_model(&cuda).unwrap()), free)
    };
    const MEMORY: u64 = 1 << 30;
    for (precision, products) in [(Precision::Tf32x3, 1), (Precision::Bf16, 8)] {
        let kept = || Measured::kept_in(file.clone(), format!("{precision:?}"), "k1".into());
        let fastest = |measured| Tiling::Fastest(Rc::new(measured));
        let (expected, free) = trained(emulator().with_memory(MEMORY), precision, Tiling::Rule);
        let again = |memory, measured| trained(emulator().with_memory(memory), precision, fastest(measured));
        assert_eq!(again(MEMORY, kept()).0, expected, "{precision:?}");
        // Those of the file, which are all that there are.
        let written = std::fs::read_to_string(&file).unwrap();
        assert_eq!(again(MEMORY, kept()).0, expected, "{precision:?}, once more");
        assert_eq!(written, std::fs::read_to_string(&file).unwrap());
        let written: serde_json::Value = serde_json::from_str(&written).unwrap();
        let found = written[format!("{precision:?}")]["tiles"].as_object().unwrap();
        assert_eq!(found.len(), products, "{written}");
        // Room for the training and no more: what cannot be rehearsed is done by the rule.
        let (found, free) = again(MEMORY - free, Measured::new());
        assert_eq!((found, free), (expected, 0), "{precision:?}, without room");
    }
}
