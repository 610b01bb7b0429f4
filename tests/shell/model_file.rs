//! A run's files as another program meets them: read by the safetensors crate alone, and passed forward in plain loops.

use safetensors::{Dtype, SafeTensors};

use super::sandbox::Sandbox;

/// The numbers of an F32 tensor of this shape.
fn tensor(file: &SafeTensors, name: &str, shape: &[usize]) -> Vec<f64> {
    let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!((view.dtype(), view.shape()), (Dtype::F32, shape), "{name}");
    let (numbers, _) = view.data().as_chunks::<4>();
    numbers
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes).into())
        .collect()
}

#[test]
fn a_plain_forward_pass_over_the_model_file_gives_the_labels() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 1021 --seed 3 -o x.npy");
    here.ok("neuncut fit x.npy -k 5 --features center,rms --epochs 8 --batch 100 --hidden 17,13 --out run");
    let rows = here.numbers("x.npy");
    let cols = rows.len() / 1021;

    let bytes = here.bytes("run/features.safetensors");
    let features = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(features.names(), ["0.mean"]);
    let mean = tensor(&features, "0.mean", &[cols]);

    let bytes = here.bytes("run/model.safetensors");
    let model = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = model.names();
    names.sort_unstable();
    // What nn.Sequential calls linear layers with a ReLU after each but the last.
    let expected = ["0.bias", "0.weight", "2.bias", "2.weight", "4.bias", "4.weight"];
    assert_eq!(names, expected);
    let widths = [cols, 17, 13, 5];
    let layers = [0, 1, 2].map(|i| {
        let (inputs, outputs) = (widths[i], widths[i + 1]);
        let weight = tensor(&model, &format!("{}.weight", 2 * i), &[outputs, inputs]);
        let bias = tensor(&model, &format!("{}.bias", 2 * i), &[outputs]);
        (weight, bias)
    });

    let labels = here.numbers("run/labels.npy");
    assert_eq!(labels.len(), 1021);
    for (row, &label) in rows.chunks_exact(cols).zip(&labels) {
        let mut x: Vec<f64> = row
            .iter()
            .zip(&mean)
            .map(|(&v, mean)| f64::from(v) - mean)
            .collect();
        let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt() + 1e-6;
        x.iter_mut().for_each(|v| *v *= (cols as f64).sqrt() / norm);
        for (i, (weight, bias)) in layers.iter().enumerate() {
            let products = weight.chunks_exact(x.len()).map(|weights| {
                let terms = weights.iter().zip(&x).map(|(w, x)| w * x);
                terms.sum::<f64>()
            });
            x = products.zip(bias).map(|(product, bias)| product + bias).collect();
            if i < 2 {
                x.iter_mut().for_each(|v| *v = v.max(0.0));
            }
        }
        let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let size = x.iter().fold(1.0, |size: f64, v| size.max(v.abs()));
        // A few dozen sums of at most 17 terms, in f32 on the other side, can swap two outputs this close.
        let bound = size * 1000.0 * 2f64.powi(-24);
        assert!(x[label as usize] >= most - bound, "{x:?} labelled {label}");
    }
}
