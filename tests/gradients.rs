//! The gradients of whole steps against finite differences, in f64, and their manners where the formulas divide by nothing.

mod common;

use common::{filled, poisoned, random, values};
use neuncut::cpu::{Fast, Matrix, Reference};
use neuncut::features::{AutoencoderRule, AutoencoderStep};
use neuncut::model::Model;
use neuncut::ops::{
    AdamRule, AffinityRule, Cut, HeatKernel, Objective, Ops, Penalty, Shape, StepState, VOLUME_FLOOR, Volumes,
};
use neuncut::train::{Step, StepRule, StepSize};
use neuncut::validate::{Random, distance, largest};

/// Where truncation, h^2 times the third derivative, and rounding, an epsilon of the loss over h, are equally small.
fn step_width() -> f64 {
    f64::EPSILON.cbrt()
}

/// Both are of the order of h^2. Third derivatives of a soft-max over layers of a few units stay below a thousand.
fn bound(loss: f64) -> f64 {
    1e3 * step_width().powi(2) * (1.0 + loss.abs())
}

/// The learning rate is 0, so that parameters stay.
fn still() -> StepState {
    StepState {
        seed: 1,
        epoch: 0,
        batch: 0,
        step: 0,
        learning_rate: 0.0,
    }
}

/// All rows are the only mini-batch.
fn one_batch(rows: usize) -> StepSize {
    StepSize {
        rows,
        batches: 1,
        training_rows: rows,
    }
}

fn objectives(gamma: f64) -> Vec<Objective> {
    let mut all = Vec::new();
    for cut in [Cut::Ncut, Cut::Rcut] {
        for penalty in [Penalty::Squared, Penalty::Frobenius] {
            for volumes in [Volumes::Through, Volumes::Fixed] {
                all.push(Objective {
                    gamma,
                    penalty,
                    volumes,
                    cut,
                });
            }
        }
    }
    all
}

/// The loss of logits `z` (m x k) on the graph `a` (m x m), from its definition: traces of k x k matrices, the Laplacian as a
/// sum over edges. Returns it with the volumes; `frozen` volumes take the place of its own.
fn loss(z: &[f64], a: &[f64], k: usize, objective: Objective, frozen: Option<&[f64]>) -> (f64, Vec<f64>) {
    let m = z.len() / k;
    let mut y = Vec::with_capacity(m * k);
    for z in z.chunks_exact(k) {
        let total: f64 = z.iter().map(|z| z.exp()).sum();
        y.extend(z.iter().map(|z| z.exp() / total));
    }
    let weight = |i: usize| match objective.cut {
        Cut::Ncut => a[i * m..][..m].iter().sum(),
        Cut::Rcut => 1.0,
    };
    let weights: Vec<f64> = (0..m).map(weight).collect();
    let own: Vec<f64> = (0..k)
        .map(|l| (0..m).map(|i| weights[i] * y[i * k + l]).sum::<f64>() + VOLUME_FLOOR)
        .collect();
    let v = frozen.unwrap_or(&own);
    let mut l_lap = 0.0;
    for l in 0..k {
        for i in 0..m {
            for j in 0..m {
                l_lap += a[i * m + j] * (y[i * k + l] - y[j * k + l]).powi(2) / (2.0 * v[l]);
            }
        }
    }
    let mut squares = 0.0;
    for b in 0..k {
        for c in 0..k {
            let overlap: f64 = (0..m).map(|i| weights[i] * y[i * k + b] * y[i * k + c]).sum();
            let identity = if b == c { 1.0 } else { 0.0 };
            squares += (overlap / (v[b] * v[c]).sqrt() - identity).powi(2);
        }
    }
    let l_orth = match objective.penalty {
        Penalty::Squared => squares,
        Penalty::Frobenius => squares.sqrt() / k as f64,
    };
    (l_lap + objective.gamma / 2.0 * l_orth, own)
}

/// Runs the loss of the backend on given memberships, contraction and degrees: (L_lap, L_orth, loss) and `d_logits`.
fn ncut<O: Ops>(
    ops: &O,
    y: &O::Matrix,
    s: &O::Matrix,
    degrees: &O::Matrix,
    objective: Objective,
) -> [Vec<f64>; 2] {
    let (m, k) = (y.rows(), y.cols());
    let (mut volumes, mut d_logits, mut losses) =
        (poisoned(ops, 1, k), poisoned(ops, m, k), poisoned(ops, 1, 3));
    let state = ops.state(still()).unwrap();
    ops.ncut(
        y,
        s,
        degrees,
        objective,
        &state,
        &mut ops.workspace(m, k).unwrap(),
        &mut volumes,
        &mut d_logits,
        &mut losses,
    )
    .unwrap();
    [values(ops, &losses), values(ops, &d_logits)]
}

/// From logits and a graph to the loss and its gradient.
fn loss_of_logits<O: Ops>(
    ops: &O,
    z: &[f64],
    graph: (&O::Matrix, HeatKernel),
    k: usize,
    objective: Objective,
) -> [Vec<f64>; 2] {
    let (x, kernel) = graph;
    let m = x.rows();
    let mut affinity = ops.affinity(m, x.cols(), k, kernel).unwrap();
    ops.pairwise(x, &mut affinity).unwrap();
    let mut y = poisoned(ops, m, k);
    ops.softmax(&filled(ops, m, k, z), &mut y).unwrap();
    let (mut s, mut degrees) = (poisoned(ops, m, k), poisoned(ops, 1, m));
    ops.contract(x, &affinity, &y, &mut s, &mut degrees).unwrap();
    ncut(ops, &y, &s, &degrees, objective)
}

fn kernels() -> [HeatKernel; 2] {
    [None, Some(3)].map(|neighbors| HeatKernel {
        sigma: 1.0,
        neighbors,
    })
}

/// The reference's affinity is a full matrix.
fn graph_of(x: &Matrix<f64>, kernel: HeatKernel) -> Vec<f64> {
    let ops = Reference::<f64>::new();
    let mut affinity = ops.affinity(x.rows(), x.cols(), 0, kernel).unwrap();
    ops.pairwise(x, &mut affinity).unwrap();
    affinity.to_vec()
}

#[test]
fn gradients_of_the_loss_with_respect_to_the_logits() {
    let random = random("gradients_of_logits");
    let ops = Reference::<f64>::new();
    let h = step_width();
    for (m, k) in [(1, 2), (7, 2), (13, 3), (9, 10)] {
        let x = filled(&ops, m, 2, &random.normals(2 * m, 1.0));
        for kernel in kernels() {
            let a = graph_of(&x, kernel);
            let z: Vec<f64> = (0..m * k).map(|_| random.normal()).collect();
            for objective in objectives(3.0) {
                let name = format!("{m} x {k}, {objective:?}, {:?} neighbours", kernel.neighbors);
                let [losses, gradient] = loss_of_logits(&ops, &z, (&x, kernel), k, objective);
                let (value, volumes) = loss(&z, &a, k, objective, None);
                assert!(
                    (losses[2] - value).abs() <= 1e-12 * (1.0 + value.abs()),
                    "{name}: {} and {value}",
                    losses[2]
                );
                let frozen = (objective.volumes == Volumes::Fixed).then_some(&volumes[..]);
                let differences: Vec<f64> = (0..m * k)
                    .map(|at| {
                        let moved = |by: f64| {
                            let mut z = z.clone();
                            z[at] += by;
                            loss(&z, &a, k, objective, frozen).0
                        };
                        (moved(h) - moved(-h)) / (2.0 * h)
                    })
                    .collect();
                let error = distance(&gradient, &differences);
                assert!(error <= bound(value), "{name}: gradient off by {error:.1e}");
                assert!(
                    m == 1 || largest(&gradient) > 100.0 * bound(value),
                    "{name}: too flat to test"
                );
            }
        }
    }
}

/// A model whose units are all clear of the kink of the ReLU on these rows, so that a small step crosses none.
fn clear_of_kinks(random: &Random, x: &[f64], inputs: usize, hidden: &[usize], k: usize) -> Model {
    loop {
        let mut model = Model::random(random.below(1 << 30) as u64, inputs, hidden, k);
        for layer in &mut model.layers {
            layer.bias = random.normals(layer.outputs, 0.3);
        }
        let mut nearest = f64::INFINITY;
        for row in x.chunks_exact(inputs) {
            let mut row = row.to_vec();
            for layer in &model.layers[..hidden.len()] {
                let unit = |(w, b): (&[f32], &f32)| {
                    f64::from(*b) + w.iter().zip(&row).map(|(&w, x)| f64::from(w) * x).sum::<f64>()
                };
                let next: Vec<f64> = layer
                    .weight
                    .chunks_exact(layer.inputs)
                    .zip(&layer.bias)
                    .map(unit)
                    .collect();
                nearest = next.iter().fold(nearest, |nearest, z| nearest.min(z.abs()));
                row = next.into_iter().map(|z| z.max(0.0)).collect();
            }
        }
        // A thousand steps away, whatever the weights multiply them by.
        if nearest > 1e3 * step_width() * 0.1 {
            return model;
        }
    }
}

#[test]
fn gradients_of_the_loss_with_respect_to_every_parameter() {
    let random = random("gradients_of_parameters");
    let ops = Reference::<f64>::new();
    let h = step_width();
    let (m, d, k) = (11, 3, 3);
    for hidden in [vec![], vec![5], vec![5, 4]] {
        for kernel in kernels() {
            let x = filled(&ops, m, d, &random.normals(m * d, 1.0));
            let a = graph_of(&x, kernel);
            let model = clear_of_kinks(&random, &x, d, &hidden, k);
            for objective in objectives(3.0) {
                let rule = StepRule {
                    affinity: AffinityRule::Heat(kernel),
                    objective,
                    adam: AdamRule::new(0.0),
                };
                let mut step = Step::new(&ops, &model, rule, one_batch(m), None, still()).unwrap();
                step.x = x.clone();
                step.run_on_batch(&ops).unwrap();
                let name = format!("{hidden:?}, {objective:?}, {:?} neighbours", kernel.neighbors);
                let (value, volumes) = loss(step.learner.activations.logits(), &a, k, objective, None);
                assert!(
                    (step.losses[2] - value).abs() <= 1e-12 * (1.0 + value.abs()),
                    "{name}"
                );
                let frozen = (objective.volumes == Volumes::Fixed).then_some(&volumes[..]);

                for layer in 0..model.layers.len() {
                    let gradients = &step.learner.gradients.layers[layer];
                    let analytic = [gradients.weight.to_vec(), gradients.bias.to_vec()];
                    for (part, analytic) in analytic.iter().enumerate() {
                        let mut differences = Vec::with_capacity(analytic.len());
                        for at in 0..analytic.len() {
                            let mut moved = |by: f64| {
                                let parameters = &mut step.learner.network.layers[layer];
                                let parameter = match part {
                                    0 => &mut parameters.weight[at],
                                    _ => &mut parameters.bias[at],
                                };
                                let before = std::mem::replace(parameter, *parameter + by);
                                step.learner.forward(&ops, &step.x).unwrap();
                                let parameters = &mut step.learner.network.layers[layer];
                                match part {
                                    0 => parameters.weight[at] = before,
                                    _ => parameters.bias[at] = before,
                                }
                                loss(step.learner.activations.logits(), &a, k, objective, frozen).0
                            };
                            differences.push((moved(h) - moved(-h)) / (2.0 * h));
                        }
                        let error = distance(analytic, &differences);
                        assert!(
                            error <= bound(value),
                            "{name}, layer {layer}, {}: off by {error:.1e}",
                            ["weight", "bias"][part]
                        );
                    }
                }
            }
        }
    }
}

/// The outputs of a network for one row, from its definition; `clipped` takes those of each layer before its ReLU.
fn outputs(model: &Model<f64>, row: &[f64], clipped: &mut Vec<Vec<f64>>) -> Vec<f64> {
    let mut row = row.to_vec();
    for (i, layer) in model.layers.iter().enumerate() {
        let unit = |(w, b): (&[f64], &f64)| b + w.iter().zip(&row).map(|(w, x)| w * x).sum::<f64>();
        let next = layer.weight.chunks_exact(layer.inputs).zip(&layer.bias).map(unit);
        row = next.collect();
        if i + 1 < model.layers.len() {
            clipped.push(row.clone());
            row.iter_mut().for_each(|z| *z = z.max(0.0));
        }
    }
    row
}

/// The mean squared error of rows made again from their codes, and what every ReLU clipped.
fn made_again([encoder, decoder]: &[Model<f64>; 2], x: &[f64]) -> (f64, Vec<Vec<f64>>) {
    let (mut sum, mut clipped) = (0.0, Vec::new());
    for row in x.chunks_exact(encoder.inputs()) {
        let code = outputs(encoder, row, &mut clipped);
        let again = outputs(decoder, &code, &mut clipped);
        sum += again.iter().zip(row).map(|(z, x)| (z - x).powi(2)).sum::<f64>();
    }
    (sum / x.len() as f64, clipped)
}

#[test]
fn gradients_of_the_squared_error_with_respect_to_every_parameter_of_an_auto_encoder() {
    let random = random("gradients_of_an_auto_encoder");
    let ops = Reference::<f64>::new();
    let h = step_width();
    let (m, d) = (9, 4);
    for widths in [vec![2], vec![5, 2], vec![5, 4, 3]] {
        let rule = AutoencoderRule { widths, epochs: 1 };
        let name = rule.describe();
        let x: Vec<f64> = (0..m * d).map(|_| random.normal()).collect();
        // As in `clear_of_kinks`, a small step crosses none; and no layer cuts a row off from those before it.
        let models = loop {
            let seeds = [0; 2].map(|_| random.below(1 << 30) as u64);
            let mut models = rule.random_models(d, seeds).map(|model| model.cast::<f64>());
            for layer in models.iter_mut().flat_map(|model| &mut model.layers) {
                layer.bias.fill_with(|| 0.3 * random.normal());
            }
            let (_, clipped) = made_again(&models, &x);
            let clear = |z: &f64| z.abs() > 1e3 * step_width() * 0.1;
            let alive = |layer: &Vec<f64>| layer.iter().any(|&z| z > 0.0);
            if clipped.iter().flatten().all(clear) && clipped.iter().all(alive) {
                break models;
            }
        };
        let [encoder, decoder] = &models;
        let mut step = AutoencoderStep::new(&ops, [encoder, decoder], m, 1, still()).unwrap();
        step.x = filled(&ops, m, d, &x);
        step.run_on_batch(&ops).unwrap();
        let (value, _) = made_again(&models, &x);
        assert!((step.losses[0] - value).abs() <= 1e-12 * (1.0 + value), "{name}");

        for (side, learner) in [&step.encoder, &step.decoder].into_iter().enumerate() {
            let gradients = learner.gradients.to_model(&ops).unwrap();
            for (layer, gradients) in gradients.layers.iter().enumerate() {
                for (part, analytic) in [&gradients.weight, &gradients.bias].into_iter().enumerate() {
                    let moved = |at: usize, by: f64| {
                        let mut models = models.clone();
                        let layer = &mut models[side].layers[layer];
                        match part {
                            0 => layer.weight[at] += by,
                            _ => layer.bias[at] += by,
                        }
                        made_again(&models, &x).0
                    };
                    let differences: Vec<f64> = (0..analytic.len())
                        .map(|at| (moved(at, h) - moved(at, -h)) / (2.0 * h))
                        .collect();
                    let place = format!(
                        "{name}, {} {layer}, {}",
                        ["encoder", "decoder"][side],
                        ["weight", "bias"][part]
                    );
                    let error = distance(analytic, &differences);
                    assert!(error <= bound(value), "{place}: off by {error:.1e}");
                    assert!(
                        largest(&differences) > 100.0 * bound(value),
                        "{place}: too flat to test"
                    );
                }
            }
        }
    }
}

/// Checks that one degenerate problem has finite losses and a finite gradient for every form of the loss, and returns
/// the largest entry of the gradients.
fn finite<O: Ops>(ops: &O, name: &str, y: &O::Matrix, s: &O::Matrix, degrees: &O::Matrix) -> f64 {
    let mut most = 0f64;
    for objective in objectives(10.0) {
        let [losses, gradient] = ncut(ops, y, s, degrees, objective);
        let all_finite = losses.iter().chain(&gradient).all(|v| v.is_finite());
        assert!(
            all_finite,
            "{} {name} {objective:?}: losses {losses:?}, gradient {gradient:?}",
            ops.name()
        );
        most = most.max(largest(&gradient));
    }
    most
}

/// The contraction of memberships `y` with the graph of all rows equal, or of rows that know only themselves.
fn on_graph<O: Ops>(ops: &O, name: &str, y: &[f64], k: usize, isolated: bool) -> f64 {
    let m = y.len() / k;
    let column = |l: usize| y.iter().skip(l).step_by(k).sum::<f64>();
    let s: Vec<f64> = match isolated {
        true => y.to_vec(),
        false => (0..m * k).map(|at| column(at % k)).collect(),
    };
    let degree = if isolated { 1.0 } else { m as f64 };
    let (y, s) = (filled(ops, m, k, y), filled(ops, m, k, &s));
    finite(ops, name, &y, &s, &filled(ops, 1, m, &vec![degree; m]))
}

fn degenerate<O: Ops>(ops: &O, random: &Random) {
    for (m, k) in [(1, 2), (1, 10), (6, 2), (40, 3), (129, 10)] {
        let one_hot: Vec<f64> = (0..m)
            .flat_map(|i| (0..k).map(move |l| f64::from(u8::from(l == i % k))))
            .collect();
        let uniform = vec![1.0 / k as f64; m * k];
        // A cluster without any member: exactly, and with so little that squares underflow in f32.
        let deserted = |rest: f64| -> Vec<f64> {
            (0..m * k)
                .map(|at| {
                    if at % k == 0 {
                        rest
                    } else {
                        (1.0 - rest) / (k - 1) as f64
                    }
                })
                .collect()
        };
        for isolated in [false, true] {
            let name = |what: &str| format!("{what}, {m} x {k}, isolated {isolated}");
            // The soft-max is saturated: y (g - g y) is exactly nothing.
            assert_eq!(
                on_graph(ops, &name("one-hot memberships"), &one_hot, k, isolated),
                0.0
            );
            // By symmetry no cluster gains: what remains is the rounding of terms of order gamma.
            let noise = on_graph(ops, &name("uniform memberships"), &uniform, k, isolated);
            assert!(noise < 1e-4, "{}: gradient {noise}", name("uniform memberships"));
            on_graph(ops, &name("an empty cluster"), &deserted(0.0), k, isolated);
            on_graph(
                ops,
                &name("a cluster of denormals"),
                &deserted(1e-40),
                k,
                isolated,
            );
            on_graph(
                ops,
                &name("a nearly empty cluster"),
                &deserted(1e-20),
                k,
                isolated,
            );
            let random: Vec<f64> = (0..m)
                .flat_map(|_| {
                    let u = random.uniform();
                    (0..k).map(move |l| if l == 0 { u } else { (1.0 - u) / (k - 1) as f64 })
                })
                .collect();
            on_graph(ops, &name("random memberships"), &random, k, isolated);
        }
        // Volumes beside which 1e-6 is lost: with m >= k, M is exactly 0, and so is the penalty.
        if m >= k {
            let degree = (60f64).exp2();
            let degrees = filled(ops, 1, m, &vec![degree; m]);
            let s: Vec<f64> = one_hot.iter().map(|y| degree * y).collect();
            let (y, s) = (filled(ops, m, k, &one_hot), filled(ops, m, k, &s));
            let most = finite(ops, "M = 0", &y, &s, &degrees);
            assert_eq!(most, 0.0);
            let ncut_objective = objectives(10.0)[2];
            assert_eq!(
                (ncut_objective.cut, ncut_objective.penalty),
                (Cut::Ncut, Penalty::Frobenius)
            );
            let [losses, _] = ncut(ops, &y, &s, &degrees, ncut_objective);
            // P_aa = n / (sqrt(n) sqrt(n)) may round to one beside 1.
            assert!(losses[1] < 1e-6, "{}: L_orth {}", ops.name(), losses[1]);
        }
    }
}

#[test]
fn degenerate_memberships_have_finite_gradients() {
    let random = random("degenerate");
    degenerate(&Reference::<f64>::new(), &random);
    degenerate(&Reference::<f32>::new(), &random);
    degenerate(&Fast::new(2).unwrap(), &random);
}

/// Whole steps, from rows to updated parameters, where there is little to learn from.
fn steps<O: Ops>(ops: &O, random: &Random) {
    let model = Model::random(random.below(1000) as u64, 3, &[5], 2);
    let apart: Vec<f32> = random.normals(7 * 3, 1e3);
    let rows = [
        ("one row", random.normals(3, 1.0)),
        ("equal rows", [1.0, -2.0, 0.5].repeat(7)),
        ("rows of zeros", vec![0.0; 21]),
        ("isolated rows", apart),
        ("tiny rows", random.normals(21, 1e-30)),
    ];
    for (name, rows) in rows {
        for neighbors in [None, Some(0), Some(3), Some(100)] {
            for objective in objectives(1e6) {
                let rule = StepRule {
                    affinity: AffinityRule::Heat(HeatKernel {
                        sigma: 1e-3,
                        neighbors,
                    }),
                    objective,
                    adam: AdamRule::new(1e-4),
                };
                let state = StepState {
                    learning_rate: 0.1,
                    ..still()
                };
                let m = rows.len() / 3;
                let mut step = Step::new(ops, &model, rule, one_batch(m), None, state).unwrap();
                step.x = filled(ops, m, 3, &rows);
                for _ in 0..3 {
                    step.run_on_batch(ops).unwrap();
                }
                let losses = values(ops, &step.losses);
                let name = format!("{} {name}, {objective:?}, {neighbors:?} neighbours", ops.name());
                assert!(losses.iter().all(|v| v.is_finite()), "{name}: {losses:?}");
                assert!(step.learner.network.to_model(ops).unwrap().is_finite(), "{name}");
                assert!(
                    step.learner.gradients.to_model(ops).unwrap().is_finite(),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn steps_on_degenerate_rows_stay_finite() {
    let random = random("degenerate_steps");
    steps(&Reference::<f64>::new(), &random);
    steps(&Reference::<f32>::new(), &random);
    steps(&Fast::new(2).unwrap(), &random);
}
