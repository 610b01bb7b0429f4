//! Copies in bfloat16 beside the operands of products: whoever writes the one writes the other.

use crate::common::{emulator, seed};
use half::bf16;
use neuncut::cuda::tiles::{Tiles, Tiling};
use neuncut::cuda::{Cuda, Driver, Matrix};
use neuncut::network::download;
use neuncut::ops::{
    AdamRule, Cut, Layer, LayerUpdate, Objective, Ops, Penalty, Precision, Shape, StepState, TrainedLayer,
    Volumes,
};
use neuncut::validate::{Random, filled};
use neuncut_emulator::Emulator;

type Operand = Matrix<Emulator>;

/// The copy holds the numbers of the rows in use, rounded.
fn check(cuda: &Cuda<Emulator>, what: &str, matrix: &Operand) {
    let copy = matrix.rounded().expect("an operand has a copy");
    let (m, n) = (matrix.rows(), matrix.cols());
    let mut found = vec![0u16; m * n];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut found);
    let pitch = n.next_multiple_of(8) * 2;
    cuda.driver().read(copy.address(), pitch, n * 2, bytes).unwrap();
    let expected = download(cuda, matrix).unwrap();
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let expected = bf16::from_f32(expected).to_bits();
        assert_eq!(*found, expected, "{what}: row {}, column {}", at / n, at % n);
    }
}

#[test]
fn operations_that_make_operands_leave_rounded_copies() {
    let random = Random::new(seed("the operands"), 0);
    for tiles in Tiles::ALL {
        for k in [5, 20, 70] {
            let cuda = Cuda::new(emulator(), Precision::Bf16).tiling(Tiling::Always(tiles));
            let (m, d) = (67, 21);
            let random_matrix = |rows: usize, cols: usize| {
                filled(&cuda, rows, cols, &random.normals(rows * cols, 1.0)).unwrap()
            };
            let check = |what: &str, matrix: &Operand| check(&cuda, &format!("{what}, {k} clusters"), matrix);
            let data = random_matrix(2 * m, d);
            check("upload", &data);
            let mut order = cuda.labels("an order", 2 * m).unwrap();
            let labels: Vec<u32> = (0..2 * m as u32).rev().collect();
            cuda.upload_labels(&labels, &mut order).unwrap();
            let state = cuda
                .state(StepState {
                    batch: 1,
                    learning_rate: 0.1,
                    ..StepState::default()
                })
                .unwrap();
            let mut x = random_matrix(m, d);
            cuda.gather_rows(&data, &order, &state, &mut x).unwrap();
            check("gather_rows", &x);
            cuda.copy_rows(&data, 3, &mut x).unwrap();
            check("copy_rows", &x);
            cuda.scale(0.3, &mut x).unwrap();
            check("scale", &x);
            cuda.center_rows(&random_matrix(1, d), &mut x).unwrap();
            check("center_rows", &x);
            cuda.scale_columns(&random_matrix(1, d), &mut x).unwrap();
            check("scale_columns", &x);
            cuda.normalize_rows(1.0, &mut x).unwrap();
            check("normalize_rows", &x);

            let (mut weight, mut bias) = (random_matrix(k, d), random_matrix(1, k));
            let mut logits = random_matrix(m, k);
            cuda.linear(&x, &weight, &bias, true, &mut logits).unwrap();
            check("linear", &logits);
            let mut y = random_matrix(m, k);
            cuda.softmax(&logits, &mut y).unwrap();
            check("softmax", &y);
            let mut d_z = random_matrix(m, k);
            let mut losses = random_matrix(2, 3);
            let mut targets = cuda.labels("targets", 2 * m).unwrap();
            let classes: Vec<u32> = (0..2 * m).map(|i| (i % k) as u32).collect();
            cuda.upload_labels(&classes, &mut targets).unwrap();
            cuda.cross_entropy(&y, &targets, &order, &state, &mut d_z, &mut losses)
                .unwrap();
            check("cross_entropy", &d_z);
            let mut errors = random_matrix(1, m);
            cuda.squared_error(&logits, &y, &state, &mut errors, &mut d_z, &mut losses)
                .unwrap();
            check("squared_error", &d_z);
            let mut volumes = random_matrix(1, k);
            let degrees = filled(&cuda, 1, m, &vec![1f32; m]).unwrap();
            let objective = Objective {
                gamma: 1.0,
                penalty: Penalty::Squared,
                volumes: Volumes::Through,
                cut: Cut::Ncut,
            };
            let mut workspace = cuda.workspace(m, k).unwrap();
            cuda.ncut(
                &y,
                &random_matrix(m, k),
                &degrees,
                objective,
                &state,
                &mut workspace,
                &mut volumes,
                &mut d_z,
                &mut losses,
            )
            .unwrap();
            check("ncut", &d_z);
            let mut d_x = random_matrix(m, d);
            cuda.linear_backward_data(&d_z, &weight, &x, &mut d_x).unwrap();
            check("linear_backward_data", &d_x);
            cuda.combine(&d_z, &weight, 0.5, &mut d_x).unwrap();
            check("combine", &d_x);
            let mut gradients = random_matrix(k, d);
            cuda.linear_backward_weights(&d_z, &x, &mut gradients, &mut random_matrix(1, k))
                .unwrap();
            let (mut first, mut second) = (
                random_matrix(k, d),
                filled(&cuda, k, d, &vec![1f32; k * d]).unwrap(),
            );
            let rule = AdamRule::new(0.0);
            cuda.adam(&gradients, rule, &state, &mut weight, &mut first, &mut second)
                .unwrap();
            check("adam", &weight);
            let layer = |weight, bias| Layer { weight, bias };
            let mut parameters = layer(weight, bias);
            let (mut first, mut second) = (
                layer(first, random_matrix(1, k)),
                layer(second, random_matrix(1, k)),
            );
            cuda.upload(&vec![1.0; k], &mut second.bias, 0).unwrap();
            let mut update = [LayerUpdate {
                d_z: &d_z,
                x: &x,
                gradients: &mut layer(gradients, random_matrix(1, k)),
                training: TrainedLayer {
                    parameters: &mut parameters,
                    first_moments: &mut first,
                    second_moments: &mut second,
                },
            }];
            cuda.update_layers(rule, &state, &mut update).unwrap();
            bias = parameters.bias;
            assert!(download(&cuda, &bias).unwrap().iter().all(|v| v.is_finite()));
            check("update_layers", &parameters.weight);
        }
    }
}
