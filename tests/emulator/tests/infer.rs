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
    for precision in [Precision::Tf32, Precision::Bf16] {
        let ops = Cuda::new(Emulator::new(), precision);
        for (inputs, hidden, launches) in [
            (3, vec![], 1),
            (3, vec![512, 20], 1),
            (3, vec![8; 7], 1),
            (768, vec![8], 1),
            (769, vec![8], 1),
            // A launch for each layer, and one for the labels.
            (3, vec![513], 3),
            (3, vec![20, 513, 20], 5),
            (3, vec![8; 8], 10),
        ] {
            let network = Network::new(&ops, &Model::random(1, inputs, &hidden, 5)).unwrap();
            let x = ops.matrix("rows", 2, inputs).unwrap();
            let mut activations = network.activations(&ops, 2).unwrap();
            let mut labels = ops.labels("labels", 2).unwrap();
            let mut infer = || network.infer(&ops, &x, &mut activations, &mut labels, 0);
            let profile = ops.profile(&mut infer).unwrap();
            assert_eq!(profile.len(), launches, "{precision:?}, {inputs}, {hidden:?}");
            let rounded = profile[0].0.starts_with("infer_rounded");
            let takes = launches == 1 && precision == Precision::Bf16 && inputs <= 768;
            assert_eq!(rounded, takes, "{inputs}, {hidden:?}, {profile:?}");
        }
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
