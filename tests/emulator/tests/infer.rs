//! Which networks are gone through in one launch, and that labels are the same either way.

use neuncut::cuda::Cuda;
use neuncut::features::{Pipeline, Reader};
use neuncut::model::Model;
use neuncut::network::Network;
use neuncut::ops::{Ops, Precision};
use neuncut::predict::Predictor;
use neuncut_emulator::Emulator;

#[test]
fn a_network_that_fits_is_one_launch_and_others_go_layer_by_layer() {
    let ops = Cuda::new(Emulator::new(), Precision::Tf32);
    for (hidden, launches) in [
        (vec![], 1),
        (vec![512, 20], 1),
        (vec![8; 7], 1),
        // A launch for each layer, and one for the labels.
        (vec![513], 3),
        (vec![20, 513, 20], 5),
        (vec![8; 8], 10),
    ] {
        let network = Network::new(&ops, &Model::random(1, 3, &hidden, 5)).unwrap();
        let x = ops.matrix("rows", 2, 3).unwrap();
        let mut activations = network.activations(&ops, 2).unwrap();
        let mut labels = ops.labels("labels", 2).unwrap();
        let before = ops.driver().counts().launches;
        network.infer(&ops, &x, &mut activations, &mut labels, 0).unwrap();
        assert_eq!(ops.driver().counts().launches - before, launches, "{hidden:?}");
    }
}

#[test]
fn labels_do_not_depend_on_whether_memberships_are_asked_for() {
    let (d, k, m) = (20, 6, 45);
    let mut model = Model::random(3, d, &[33, 17], k);
    // Every second logit is so near the one before that the last bits decide.
    for pair in model.layers[2].weight.chunks_exact_mut(2 * 17) {
        let (first, second) = pair.split_at_mut(17);
        for (at, (second, &first)) in second.iter_mut().zip(&*first).enumerate() {
            *second = if at % 2 == 0 {
                first.next_up()
            } else {
                first.next_down()
            };
        }
    }
    let rows: Vec<f32> = (0..m * d)
        .map(|at| ((at * 37 % 101) as f32 - 50.0) / 20.0)
        .collect();
    for precision in Precision::ALL {
        let ops = Cuda::new(Emulator::new(), precision);
        let mut predictor = Predictor::new(&ops, &model, &Pipeline::new(Reader::plain(d))).unwrap();
        let (mut alone, mut beside) = (vec![0; m], vec![0; m]);
        predictor.label(&rows, &mut alone, None).unwrap();
        predictor
            .label(&rows, &mut beside, Some(&mut Vec::new()))
            .unwrap();
        assert_eq!(alone, beside, "{precision:?}");
        assert!(alone.iter().any(|&label| label != alone[0]), "{alone:?}");
    }
}
