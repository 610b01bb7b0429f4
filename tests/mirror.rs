//! Every operation of the fast backend against the f64 reference: it may err at most twice as much as the plain f32
//! computation does. The checks are generic over the backend, so that another one is held to the same.

mod common;

use common::{Errors, FLOOR, Random, distance, filled, largest, poisoned, values};
use neuncut::cpu::{Fast, Matrix, Reference};
use neuncut::ops::{
    AdamRule, Cut, HeatKernel, Objective, Ops, Penalty, Shape, StepState, VOLUME_FLOOR, Volumes,
};

/// (m, k, d): each size of each meets small and large sizes of the others.
const SHAPES: [(usize, usize, usize); 14] = [
    (1, 2, 1),
    (1, 1000, 769),
    (1, 3, 500),
    (7, 2, 769),
    (7, 1000, 5),
    (7, 10, 1),
    (129, 3, 5),
    (129, 1000, 500),
    (129, 2, 1),
    (129, 10, 769),
    (1021, 2, 500),
    (1021, 3, 1),
    (1021, 10, 769),
    (1021, 1000, 5),
];

/// Small problems are drawn this often, so that their worst error says something.
fn draws(work: usize) -> usize {
    (1_000_000 / work.max(1)).clamp(1, 20)
}

fn fast() -> Fast {
    Fast::new(0).unwrap()
}

fn plain() -> Reference<f32> {
    Reference::new()
}

fn exact() -> Reference<f64> {
    Reference::new()
}

fn start() -> StepState {
    StepState {
        seed: 1,
        epoch: 0,
        batch: 0,
        step: 0,
        learning_rate: 1e-3,
    }
}

/// Runs `work` on the backend under test, in plain f32 and in f64; what it returns are named arrays.
macro_rules! mirror {
    ($errors:expr, $ops:expr, $work:ident $(, $argument:expr)*) => {
        for ((name, ours), ((_, plain), (_, exact))) in $work($ops $(, $argument)*)
            .into_iter()
            .zip($work(&plain() $(, $argument)*).into_iter().zip($work(&exact() $(, $argument)*)))
        {
            $errors.add(&name, &ours, &plain, &exact);
        }
    };
}

type Arrays = Vec<(String, Vec<f64>)>;

// ---- features -----------------------------------------------------------------------------------------------------------

fn features<O: Ops>(ops: &O, (m, d): (usize, usize), x: &[f32], mean: &[f32]) -> Arrays {
    let named = |name: &str, matrix: &O::Matrix| (format!("{name} {m} x {d}"), values(ops, matrix));
    let mut scaled = filled(ops, m, d, x);
    ops.scale(1.0 / 255.0, &mut scaled).unwrap();
    let mut centred = filled(ops, m, d, x);
    ops.center_rows(&filled(ops, 1, d, mean), &mut centred).unwrap();
    let mut unit = filled(ops, m, d, x);
    ops.normalize_rows(1.0, &mut unit).unwrap();
    let mut rms = filled(ops, m, d, x);
    ops.normalize_rows((d as f64).sqrt(), &mut rms).unwrap();
    vec![
        named("scale", &scaled),
        named("center_rows", &centred),
        named("normalize_rows", &unit),
        named("normalize_rows to sqrt(d)", &rms),
    ]
}

#[test]
fn scaling_centring_and_normalising() {
    let random = Random::new("scaling_centring_and_normalising");
    let mut errors = Errors::default();
    for (m, _, d) in SHAPES {
        for _ in 0..draws(m * d) {
            let mut x = random.normals(m * d, 3.0);
            // A row of zeros must stay one.
            x[..d].fill(0.0);
            let mean = random.normals(d, 1.0);
            mirror!(errors, &fast(), features, (m, d), &x, &mean);
        }
    }
    errors.check();
}

// ---- rows ---------------------------------------------------------------------------------------------------------------

#[test]
fn rows_are_gathered_in_the_epochs_order_and_copied_bit_for_bit() {
    let random = Random::new("rows_are_gathered");
    let ops = fast();
    for (m, _, d) in SHAPES {
        let rows = 2 * m + 5;
        let data = random.normals(rows * d, 1.0);
        let matrix = filled(&ops, rows, d, &data);
        let row = |i: usize| data[i * d..][..d].iter().map(|&v| f64::from(v));
        for batch in 0..2 {
            let value = StepState {
                seed: random.below(1 << 40) as u64,
                epoch: 3,
                batch,
                ..start()
            };
            let mut x = poisoned(&ops, m, d);
            ops.gather_rows(&matrix, &ops.state(value).unwrap(), &mut x)
                .unwrap();
            let order = value.order(rows);
            let expected: Vec<f64> = (0..m)
                .flat_map(|i| row(order.at((batch as usize * m + i) as u64) as usize))
                .collect();
            assert_eq!(values(&ops, &x), expected, "gather_rows {m} x {d}, batch {batch}");
        }
        let mut x = poisoned(&ops, m, d);
        ops.copy_rows(&matrix, m + 5, &mut x).unwrap();
        let expected: Vec<f64> = (0..m).flat_map(|i| row(m + 5 + i)).collect();
        assert_eq!(values(&ops, &x), expected, "copy_rows {m} x {d}");
    }
}

// ---- affinity -----------------------------------------------------------------------------------------------------------

/// Up to this many columns plain f32 takes distances by differences, as the reference does; beyond, by products.
const BY_DIFFERENCES: usize = 16;

fn exact_distances(x: &[f32], d: usize) -> Vec<f64> {
    let mut distances = Vec::with_capacity((x.len() / d).pow(2));
    for a in x.chunks_exact(d) {
        for b in x.chunks_exact(d) {
            let differences = a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b));
            distances.push(differences.map(|v| v * v).sum());
        }
    }
    distances
}

/// The same in f32 by plain loops: differences for short rows, `|a|^2 + |b|^2 - 2 a.b` on centred rows for long ones.
fn plain_distances(x: &[f32], d: usize) -> Vec<f32> {
    let m = x.len() / d;
    let mut distances = Vec::with_capacity(m * m);
    if d <= BY_DIFFERENCES {
        for a in x.chunks_exact(d) {
            for b in x.chunks_exact(d) {
                distances.push(a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum());
            }
        }
        return distances;
    }
    let mean: Vec<f32> = (0..d)
        .map(|c| x.iter().skip(c).step_by(d).sum::<f32>() / m as f32)
        .collect();
    let centred: Vec<f32> = x.iter().enumerate().map(|(at, v)| v - mean[at % d]).collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let norms: Vec<f32> = centred.chunks_exact(d).map(|a| dot(a, a)).collect();
    for (a, norm_a) in centred.chunks_exact(d).zip(&norms) {
        for (b, norm_b) in centred.chunks_exact(d).zip(&norms) {
            distances.push((norm_a + norm_b - 2.0 * dot(a, b)).max(0.0));
        }
    }
    distances
}

/// The whole affinity of a backend, by contraction with the identity.
fn affinity_matrix<O: Ops>(ops: &O, x: &O::Matrix, kernel: HeatKernel) -> (Vec<f64>, Vec<f64>) {
    let m = x.rows();
    let mut identity = vec![0f32; m * m];
    identity.iter_mut().step_by(m + 1).for_each(|v| *v = 1.0);
    // Used before with other rows and more of them: nothing of that may remain.
    let mut affinity = ops.affinity(m + 2, x.cols(), kernel).unwrap();
    let other = filled(ops, m + 2, x.cols(), &vec![0.5f32; (m + 2) * x.cols()]);
    ops.pairwise(&other, &mut affinity).unwrap();
    ops.pairwise(x, &mut affinity).unwrap();
    let (mut product, mut degrees) = (poisoned(ops, m, m), poisoned(ops, 1, m));
    let identity = filled(ops, m, m, &identity);
    ops.contract(x, &affinity, &identity, &mut product, &mut degrees)
        .unwrap();
    (values(ops, &product), values(ops, &degrees))
}

/// How wrong a squared distance may be.
#[derive(Clone, Copy)]
struct Slack {
    absolute: f64,
    relative: f64,
}

/// For each pair (i, j) whether j is among the `neighbors` nearest of i: `Some` when the squared distances decide it even if
/// all are wrong by the slack, `None` when rounding may.
fn decided(distances: &[f64], m: usize, neighbors: usize, slack: Slack) -> Vec<Option<bool>> {
    let below = |v: f64| v * (1.0 - slack.relative) - slack.absolute;
    let above = |v: f64| v * (1.0 + slack.relative) + slack.absolute;
    let mut decisions = Vec::with_capacity(m * m);
    for (i, row) in distances.chunks_exact(m).enumerate() {
        let mut others: Vec<f64> = (0..m).filter(|&j| j != i).map(|j| row[j]).collect();
        others.sort_by(f64::total_cmp);
        // The last distance that is in and the first that is out.
        let inside = neighbors.checked_sub(1).map_or(f64::NEG_INFINITY, |last| {
            others.get(last).copied().unwrap_or(f64::INFINITY)
        });
        let outside = others.get(neighbors).copied().unwrap_or(f64::INFINITY);
        decisions.extend(row.iter().enumerate().map(|(j, &distance)| {
            if i == j || above(distance) < below(outside) {
                Some(true)
            } else if below(distance) > above(inside) {
                Some(false)
            } else {
                None
            }
        }));
    }
    decisions
}

/// Rows of two clouds this far apart, each of deviation 1.
fn clouds(random: &Random, m: usize, d: usize, apart: f64) -> Vec<f32> {
    let mut x = random.normals(m * d, 1.0);
    for row in x.chunks_exact_mut(d) {
        let shift = apart * random.below(2) as f64;
        row.iter_mut().for_each(|v| *v = (f64::from(*v) + shift) as f32);
    }
    x
}

#[test]
fn the_affinity_of_all_rows_and_of_nearest_neighbours() {
    let random = Random::new("the_affinity");
    let mut errors = Errors::default();
    for (m, d) in [
        (1, 1),
        (1, 769),
        (7, 5),
        (7, 16),
        (7, 17),
        (7, 500),
        (129, 1),
        (129, 5),
        (129, 769),
        (1021, 1),
        (1021, 5),
        (1021, 500),
    ] {
        // Differences are exact however far the clouds are apart; products lose what the distance between them drowns.
        let far = if d <= BY_DIFFERENCES { 1000.0 } else { 10.0 };
        for apart in [0.0, far] {
            for _ in 0..draws(m * m * d) {
                affinity(&fast(), &clouds(&random, m, d, apart), (m, d), &mut errors);
            }
        }
    }
    errors.check();
}

fn affinity<O: Ops>(ops: &O, rows: &[f32], (m, d): (usize, usize), errors: &mut Errors) {
    let x = filled(ops, m, d, rows);
    let sigma = (d as f64).sqrt();
    let factor = -0.5 / (sigma * sigma);
    let exact_squares = exact_distances(rows, d);
    let plain_squares = plain_distances(rows, d);
    let exact: Vec<f64> = exact_squares.iter().map(|v| (factor * v).exp()).collect();
    let mut plain: Vec<f64> = plain_squares
        .iter()
        .map(|v| f64::from((factor as f32 * v).exp()))
        .collect();
    plain.iter_mut().step_by(m + 1).for_each(|v| *v = 1.0);
    let plain_squares: Vec<f64> = plain_squares.into_iter().map(f64::from).collect();
    let slack = if d <= BY_DIFFERENCES {
        // Twice one rounding of half an epsilon per difference, which its square doubles, per square, and per addition.
        Slack {
            absolute: 0.0,
            relative: (d + 2) as f64 * f64::from(f32::EPSILON),
        }
    } else {
        let absolute = 2.0 * distance(&plain_squares, &exact_squares) + FLOOR * largest(&exact_squares);
        Slack {
            absolute,
            relative: 0.0,
        }
    };

    for neighbors in [None, Some(0), Some(1), Some(3), Some(10), Some(m + 5)] {
        let name = format!("affinity of {neighbors:?} neighbours, {m} x {d}");
        let (found, degrees) = affinity_matrix(ops, &x, HeatKernel { sigma, neighbors });
        let rows = || found.chunks_exact(m);
        let exact_sums: Vec<f64> = rows().map(|row| row.iter().sum()).collect();
        let plain_sums: Vec<f64> = rows()
            .map(|row| row.iter().map(|&v| v as f32).sum::<f32>().into())
            .collect();
        errors.add(&format!("degrees, {name}"), &degrees, &plain_sums, &exact_sums);

        let inside = decided(&exact_squares, m, neighbors.unwrap_or(m), slack);
        let (mut ours, mut ours_plain, mut ours_exact) = (vec![], vec![], vec![]);
        for (at, &value) in found.iter().enumerate() {
            if let (Some(out), Some(back)) = (inside[at], inside[at % m * m + at / m]) {
                let share = (f64::from(u8::from(out)) + f64::from(u8::from(back))) / 2.0;
                ours.push(value);
                ours_plain.push(share * plain[at]);
                ours_exact.push(share * exact[at]);
            } else {
                assert!((0.0..=1.0).contains(&value), "{name}: {value} at {at}");
            }
        }
        assert!(
            ours.len() * 4 >= m * m * 3,
            "{name}: rounding decides too much to test"
        );
        errors.add(&name, &ours, &ours_plain, &ours_exact);
    }
}

/// Whole numbers whose columns add up to 0: centring changes nothing and every f32 distance is exact, so that the choice
/// among the many equal ones must be the reference's, whatever the form of the computation.
fn grid(random: &Random, m: usize, d: usize) -> Vec<f32> {
    let mut x = vec![0.0; m * d];
    let order = random.order(m);
    for pair in order.chunks_exact(2) {
        for c in 0..d {
            let value = random.below(5) as f32 - 2.0;
            x[pair[0] * d + c] = value;
            x[pair[1] * d + c] = -value;
        }
    }
    x
}

/// Every row four times over.
fn fourfold(random: &Random, m: usize, d: usize) -> Vec<f32> {
    let distinct = random.normals(m.div_ceil(4) * d, 1.0);
    let order = random.order(m);
    order
        .iter()
        .flat_map(|i| distinct[i / 4 * d..][..d].to_vec())
        .collect()
}

#[test]
fn equal_distances_choose_the_references_neighbours() {
    let random = Random::new("equal_distances");
    let ops = fast();
    for (m, d) in [
        (1, 5),
        (7, 1),
        (7, 500),
        (129, 2),
        (129, 769),
        (1021, 1),
        (1021, 3),
        (1021, 20),
        // One column more than a tile holds.
        (1025, 17),
        (1025, 24),
        (1025, 33),
        (1025, 64),
    ] {
        for neighbors in [0, 1, 2, 3, 10, m + 1] {
            let kernel = HeatKernel {
                sigma: (d as f64).sqrt(),
                neighbors: Some(neighbors),
            };
            let compare = |kind: &str, rows: Vec<f32>| {
                let (found, _) = affinity_matrix(&ops, &filled(&ops, m, d, &rows), kernel);
                let exact = exact();
                let mut expected = exact.affinity(m, d, kernel).unwrap();
                exact
                    .pairwise(&filled(&exact, m, d, &rows), &mut expected)
                    .unwrap();
                let expected = exact.download_affinity(&expected).unwrap();
                for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    // A wrong choice is wrong by half an affinity.
                    assert!(
                        (found - expected).abs() <= 1e-3 * expected,
                        "{kind} {m} x {d}, {neighbors} neighbours, row {}, column {}: {found}, expected {expected}",
                        at / m,
                        at % m
                    );
                }
            };
            compare("grid", grid(&random, m, d));
            if neighbors <= 2 || d <= BY_DIFFERENCES {
                // More neighbours than there are copies: the rest is chosen by distances that rounding may swap.
                compare("copies", fourfold(&random, m, d));
            }
        }
    }
}

#[test]
fn the_reference_kernel_is_its_formula() {
    let random = Random::new("the_reference_kernel");
    for (m, d) in [(1, 1), (7, 500), (129, 5)] {
        let rows = random.normals(m * d, 1.0);
        let kernel = HeatKernel {
            sigma: (d as f64).sqrt(),
            neighbors: None,
        };
        let ops = exact();
        let (found, degrees) = affinity_matrix(&ops, &filled(&ops, m, d, &rows), kernel);
        let formula: Vec<f64> = exact_distances(&rows, d)
            .iter()
            .map(|v| (-v / (2.0 * d as f64)).exp())
            .collect();
        // At most d + 3 roundings in the exponent, which is below ten.
        let bound = 10.0 * (d + 3) as f64 * f64::EPSILON;
        assert!(distance(&found, &formula) < bound);
        let sums: Vec<f64> = formula.chunks_exact(m).map(|row| row.iter().sum()).collect();
        assert!(distance(&degrees, &sums) < m as f64 * bound);
    }
}

/// More rows than the affinity stores: its tiles are formed anew in each contraction.
#[test]
fn an_affinity_too_large_to_store_is_contracted_tile_by_tile() {
    let random = Random::new("an_affinity_too_large");
    let ops = fast();
    let mut errors = Errors::default();
    let (m, k) = (9001, 3);
    for d in [3, 20] {
        let rows = random.normals(m * d, 1.0);
        let y: Vec<f32> = (0..m * k).map(|_| random.uniform() as f32).collect();
        let x = filled(&ops, m, d, &rows);
        let kernel = HeatKernel {
            sigma: (d as f64).sqrt(),
            neighbors: None,
        };
        let mut affinity = ops.affinity(m, d, kernel).unwrap();
        let (mut contraction, mut degrees) = (poisoned(&ops, m, k), poisoned(&ops, 1, m));
        ops.pairwise(&x, &mut affinity).unwrap();
        let membership = filled(&ops, m, k, &y);
        ops.contract(&x, &affinity, &membership, &mut contraction, &mut degrees)
            .unwrap();
        let (contraction, degrees) = (values(&ops, &contraction), values(&ops, &degrees));
        assert!(contraction.iter().chain(&degrees).all(|v| v.is_finite()));

        // Rows of every block of 128, and the last.
        let mean: Vec<f32> = (0..d)
            .map(|c| (rows.iter().skip(c).step_by(d).map(|&v| f64::from(v)).sum::<f64>() / m as f64) as f32)
            .collect();
        let centred: Vec<f32> = rows.iter().enumerate().map(|(at, v)| v - mean[at % d]).collect();
        let (mut ours, mut plain, mut exact) = (vec![], vec![], vec![]);
        for i in (0..m).step_by(127).chain([m - 1]) {
            let (mut sum, mut sum_exact) = ([0f32; 4], [0f64; 4]);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            for j in 0..m {
                let (a, b) = (&rows[i * d..][..d], &rows[j * d..][..d]);
                let (ca, cb) = (&centred[i * d..][..d], &centred[j * d..][..d]);
                let square: f64 = a
                    .iter()
                    .zip(b)
                    .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
                    .sum();
                let square_plain = if d <= BY_DIFFERENCES {
                    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
                } else {
                    (dot(ca, ca) + dot(cb, cb) - 2.0 * dot(ca, cb)).max(0.0)
                };
                let value = (-square / (2.0 * d as f64)).exp();
                let value_plain = if i == j {
                    1.0
                } else {
                    (-square_plain / (2.0 * d as f32)).exp()
                };
                for l in 0..k {
                    sum[l] += value_plain * y[j * k + l];
                    sum_exact[l] += value * f64::from(y[j * k + l]);
                }
                sum[k] += value_plain;
                sum_exact[k] += value;
            }
            ours.extend_from_slice(&contraction[i * k..][..k]);
            ours.push(degrees[i]);
            plain.extend(sum.map(f64::from));
            exact.extend(sum_exact);
        }
        errors.add(&format!("[S | D] of {m} x {d}"), &ours, &plain, &exact);
    }
    errors.check();
}

fn contracted<O: Ops>(
    ops: &O,
    (m, k, d): (usize, usize, usize),
    x: &[f32],
    y: &[f32],
    kernel: HeatKernel,
) -> Arrays {
    let x = filled(ops, m, d, x);
    let mut affinity = ops.affinity(m, d, kernel).unwrap();
    ops.pairwise(&x, &mut affinity).unwrap();
    let (mut contraction, mut degrees) = (poisoned(ops, m, k), poisoned(ops, 1, m));
    ops.contract(
        &x,
        &affinity,
        &filled(ops, m, k, y),
        &mut contraction,
        &mut degrees,
    )
    .unwrap();
    let name = |what: &str| format!("{what}, m {m}, k {k}, {:?} neighbours", kernel.neighbors);
    vec![
        (name("contraction"), values(ops, &contraction)),
        (name("degrees"), values(ops, &degrees)),
    ]
}

/// On a grid, where the affinities themselves carry the rounding of one exponential only.
#[test]
fn the_contraction_with_memberships() {
    let random = Random::new("the_contraction");
    let mut errors = Errors::default();
    for (m, k, d) in SHAPES {
        for neighbors in [None, Some(1), Some(10), Some(m + 1)] {
            // One product of 1021 x 1021 x 1000 in plain loops is enough.
            if m * k > 1_000_000 && neighbors.is_some_and(|n| n != 10) {
                continue;
            }
            let kernel = HeatKernel {
                sigma: (d as f64).sqrt(),
                neighbors,
            };
            for _ in 0..draws(m * m * (k + d)) {
                let x = grid(&random, m, d);
                let y = memberships(&random, m, k, 1.0);
                mirror!(errors, &fast(), contracted, (m, k, d), &x, &y, kernel);
            }
        }
    }
    errors.check();
}

// ---- network ------------------------------------------------------------------------------------------------------------

fn layer<O: Ops>(
    ops: &O,
    (m, k, d): (usize, usize, usize),
    x: &[f32],
    w: &[f32],
    b: &[f32],
    g: &[f32],
) -> Arrays {
    let named = |name: &str, matrix: &O::Matrix| (format!("{name}, m {m}, {d} -> {k}"), values(ops, matrix));
    let (x, w, b, g) = (
        filled(ops, m, d, x),
        filled(ops, k, d, w),
        filled(ops, 1, k, b),
        filled(ops, m, k, g),
    );
    let (mut z, mut clipped) = (poisoned(ops, m, k), poisoned(ops, m, k));
    ops.linear(&x, &w, &b, false, &mut z).unwrap();
    ops.linear(&x, &w, &b, true, &mut clipped).unwrap();
    let (mut d_x, mut d_w, mut d_b) = (poisoned(ops, m, d), poisoned(ops, k, d), poisoned(ops, 1, k));
    ops.linear_backward_data(&g, &w, &x, &mut d_x).unwrap();
    ops.linear_backward_weights(&g, &x, &mut d_w, &mut d_b).unwrap();
    vec![
        named("linear", &z),
        named("linear with ReLU", &clipped),
        named("linear_backward_data", &d_x),
        named("weight of linear_backward_weights", &d_w),
        named("bias of linear_backward_weights", &d_b),
    ]
}

#[test]
fn linear_layers_forward_and_backward() {
    let random = Random::new("linear_layers");
    let mut errors = Errors::default();
    for (m, k, d) in SHAPES {
        for _ in 0..draws(m * k * d) {
            // Inputs are outputs of a ReLU, zeros among them.
            let mut x = random.normals(m * d, 1.0);
            x.iter_mut().for_each(|v| *v = v.max(0.0));
            let w = random.normals(k * d, (2.0 / d as f64).sqrt());
            let (b, g) = (random.normals(k, 1.0), random.normals(m * k, 1.0));
            mirror!(errors, &fast(), layer, (m, k, d), &x, &w, &b, &g);
        }
    }
    errors.check();
}

fn softmax<O: Ops>(ops: &O, (m, k): (usize, usize), z: &[f32], spread: f64) -> Arrays {
    let mut y = poisoned(ops, m, k);
    ops.softmax(&filled(ops, m, k, z), &mut y).unwrap();
    vec![(format!("softmax {m} x {k}, spread {spread}"), values(ops, &y))]
}

#[test]
fn the_softmax_of_near_and_far_logits() {
    let random = Random::new("the_softmax");
    let mut errors = Errors::default();
    for (m, k, _) in SHAPES {
        // 1e3: saturated, and beyond the exponential's range. 1e38: nearly beyond that of f32.
        for spread in [0.0, 1.0, 30.0, 1e3, 5e37] {
            for _ in 0..draws(m * k) {
                let z = random.normals(m * k, spread);
                mirror!(errors, &fast(), softmax, (m, k), &z, spread);
            }
        }
    }
    errors.check();
}

// ---- loss ---------------------------------------------------------------------------------------------------------------

/// Random memberships, rounded to f32; the larger the spread, the harder.
fn memberships(random: &Random, m: usize, k: usize, spread: f64) -> Vec<f32> {
    let ops = exact();
    let mut y = poisoned(&ops, m, k);
    ops.softmax(&filled(&ops, m, k, &random.normals(m * k, spread)), &mut y)
        .unwrap();
    y.iter().map(|&v| v as f32).collect()
}

struct Problem {
    y: Vec<f32>,
    s: Vec<f32>,
    degrees: Vec<f32>,
}

fn ncut<O: Ops>(ops: &O, (m, k): (usize, usize), problem: &Problem, objective: Objective) -> [Vec<f64>; 3] {
    let (mut volumes, mut d_logits, mut losses) =
        (poisoned(ops, 1, k), poisoned(ops, m, k), poisoned(ops, 3, 3));
    let state = StepState { batch: 1, ..start() };
    ops.ncut(
        &filled(ops, m, k, &problem.y),
        &filled(ops, m, k, &problem.s),
        &filled(ops, 1, m, &problem.degrees),
        objective,
        &ops.state(state).unwrap(),
        &mut ops.workspace(m, k).unwrap(),
        &mut volumes,
        &mut d_logits,
        &mut losses,
    )
    .unwrap();
    let losses = values(ops, &losses);
    assert!(
        losses[..3].iter().chain(&losses[6..]).all(|v| v.is_nan()),
        "only row 1 is written"
    );
    [
        values(ops, &volumes),
        values(ops, &d_logits),
        losses[3..6].to_vec(),
    ]
}

/// The scales of the terms that cancel in the loss and its gradient: the formulas of `Ops::ncut` with every minus turned into
/// a plus. Returns those of `d_logits`, `L_lap` and `L_orth`.
fn scales((m, k): (usize, usize), problem: &Problem, objective: Objective) -> (f64, f64, f64) {
    let y = |i: usize| {
        problem.y[i * k..][..k]
            .iter()
            .map(|&v| f64::from(v))
            .collect::<Vec<_>>()
    };
    let d = |i: usize| f64::from(problem.degrees[i]);
    let w = |i: usize| if objective.cut == Cut::Ncut { d(i) } else { 1.0 };
    let (mut v, mut q, mut p) = (vec![VOLUME_FLOOR; k], vec![0.0; k], vec![0.0; k * k]);
    let mut laplacian = vec![0.0; m * k];
    for i in 0..m {
        let y = y(i);
        for l in 0..k {
            laplacian[i * k + l] = d(i) * y[l] + f64::from(problem.s[i * k + l]);
            v[l] += w(i) * y[l];
            q[l] += y[l] * laplacian[i * k + l];
            for b in 0..k {
                p[l * k + b] += w(i) * y[l] * y[b];
            }
        }
    }
    for a in 0..k {
        for b in 0..k {
            p[a * k + b] /= (v[a] * v[b]).sqrt();
        }
    }
    let entry = |a: usize, b: usize| p[a * k + b] + f64::from(u8::from(a == b));
    let squares: f64 = (0..k * k).map(|at| entry(at / k, at % k).powi(2)).sum();
    let norm: f64 = (0..k * k)
        .map(|at| (p[at] - f64::from(u8::from(at / k == at % k))).powi(2))
        .sum::<f64>()
        .sqrt();
    let (l_orth, slope) = match objective.penalty {
        Penalty::Squared => (squares, objective.gamma),
        // The derivative of the root magnifies what is lost below it.
        Penalty::Frobenius => (
            squares / norm / k as f64,
            objective.gamma / (2.0 * k as f64 * norm),
        ),
    };
    let d_volume: Vec<f64> = (0..k)
        .map(|l| match objective.volumes {
            Volumes::Fixed => 0.0,
            Volumes::Through => {
                let overlap: f64 = (0..k).map(|b| entry(l, b) * p[l * k + b]).sum();
                q[l] / (v[l] * v[l]) + slope / v[l] * overlap
            }
        })
        .collect();
    let mut largest = 0f64;
    for i in 0..m {
        let y = y(i);
        let scaled: Vec<f64> = y.iter().zip(&v).map(|(y, v)| y / v.sqrt()).collect();
        let mut pull = vec![0.0; k];
        for (a, scaled) in scaled.iter().enumerate() {
            for (l, pull) in pull.iter_mut().enumerate() {
                *pull += scaled * entry(a, l);
            }
        }
        let gradient: Vec<f64> = (0..k)
            .map(|l| {
                2.0 / v[l] * laplacian[i * k + l] + w(i) * (2.0 * slope * pull[l] / v[l].sqrt() + d_volume[l])
            })
            .collect();
        let inner: f64 = gradient.iter().zip(&y).map(|(g, y)| g * y).sum();
        largest = gradient
            .iter()
            .zip(&y)
            .fold(largest, |most, (g, y)| most.max(y * (g + inner)));
    }
    (largest, q.iter().zip(&v).map(|(q, v)| q / v).sum(), l_orth)
}

#[test]
fn the_loss_and_its_gradient() {
    let random = Random::new("the_loss");
    let mut errors = Errors::default();
    for (m, k, _) in SHAPES {
        for (cut, penalty, volumes) in objectives() {
            // Of large problems, one in plain loops is enough.
            let large = m * k > 100_000;
            if large && (cut, penalty, volumes) != (Cut::Ncut, Penalty::Squared, Volumes::Through) {
                continue;
            }
            for spread in [0.1, 3.0].into_iter().skip(usize::from(large)) {
                for _ in 0..draws(10 * m * k * k) {
                    let objective = Objective {
                        gamma: (2.0 * random.normal()).exp(),
                        penalty,
                        volumes,
                        cut,
                    };
                    let problem = graph(&random, m, k, spread);
                    let size = (m, k);
                    let [ours, plain, exact] = [
                        ncut(&fast(), size, &problem, objective),
                        ncut(&plain(), size, &problem, objective),
                        ncut(&exact(), size, &problem, objective),
                    ];
                    let (of_gradient, of_lap, of_orth) = scales(size, &problem, objective);
                    let of_loss = of_lap + objective.gamma / 2.0 * of_orth;
                    let name = |what: &str| {
                        format!("{what}, m {m}, k {k}, {cut:?} {penalty:?} {volumes:?} {spread}")
                    };
                    errors.add(&name("volumes"), &ours[0], &plain[0], &exact[0]);
                    errors.add_at(&name("d_logits"), of_gradient, &ours[1], &plain[1], &exact[1]);
                    for (at, (what, scale)) in [("L_lap", of_lap), ("L_orth", of_orth), ("loss", of_loss)]
                        .into_iter()
                        .enumerate()
                    {
                        let one = at..at + 1;
                        errors.add_at(
                            &name(what),
                            scale,
                            &ours[2][one.clone()],
                            &plain[2][one.clone()],
                            &exact[2][one],
                        );
                    }
                }
            }
        }
    }
    errors.check();
}

fn objectives() -> impl Iterator<Item = (Cut, Penalty, Volumes)> {
    [Cut::Ncut, Cut::Rcut].into_iter().flat_map(|cut| {
        [Penalty::Squared, Penalty::Frobenius]
            .into_iter()
            .flat_map(move |penalty| {
                [Volumes::Through, Volumes::Fixed].map(|volumes| (cut, penalty, volumes))
            })
    })
}

/// Memberships with the contraction and degrees of a random graph, rounded to f32.
fn graph(random: &Random, m: usize, k: usize, spread: f64) -> Problem {
    let y = memberships(random, m, k, spread);
    let x: Vec<f64> = (0..2 * m).map(|_| random.normal()).collect();
    let (mut s, mut degrees) = (vec![0.0; m * k], vec![0.0; m]);
    for i in 0..m {
        for j in 0..m {
            let square = (x[2 * i] - x[2 * j]).powi(2) + (x[2 * i + 1] - x[2 * j + 1]).powi(2);
            let affinity = (-2.0 * square).exp();
            degrees[i] += affinity;
            for l in 0..k {
                s[i * k + l] += affinity * f64::from(y[j * k + l]);
            }
        }
    }
    let round = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
    Problem {
        y,
        s: round(s),
        degrees: round(degrees),
    }
}

// ---- optimiser ----------------------------------------------------------------------------------------------------------

/// Five steps, so that the bias corrections are seen to change.
fn adam<O: Ops>(
    ops: &O,
    len: usize,
    gradients: &[f32],
    w: &[f32],
    rule: AdamRule,
    first_step: u64,
) -> Arrays {
    let mut w = filled(ops, 1, len, w);
    let (mut first, mut second) = (
        filled(ops, 1, len, &vec![0f32; len]),
        filled(ops, 1, len, &vec![0f32; len]),
    );
    let mut state = ops
        .state(StepState {
            step: first_step,
            ..start()
        })
        .unwrap();
    for gradient in gradients.chunks_exact(len) {
        let gradient = filled(ops, 1, len, gradient);
        ops.adam(&gradient, rule, &state, &mut w, &mut first, &mut second)
            .unwrap();
        ops.advance(&mut state).unwrap();
    }
    let named =
        |name: &str, m: &O::Matrix| (format!("{name} of {len} after step {first_step}"), values(ops, m));
    vec![
        named("parameter", &w),
        named("first moment", &first),
        named("second moment", &second),
    ]
}

#[test]
fn adam_over_five_steps() {
    let random = Random::new("adam");
    let mut errors = Errors::default();
    for len in [1, 7, 1021, 20_000] {
        for first_step in [0, 999, 1_000_000] {
            for _ in 0..draws(len) {
                // Gradients of all magnitudes, down to those whose squares are no f32 numbers.
                let gradients: Vec<f32> = (0..5 * len)
                    .map(|_| (random.normal() * 10f64.powi(-(random.below(30) as i32))) as f32)
                    .collect();
                let w = random.normals(len, 0.1);
                for decay in [0.0, 1e-4] {
                    mirror!(
                        errors,
                        &fast(),
                        adam,
                        len,
                        &gradients,
                        &w,
                        AdamRule::new(decay),
                        first_step
                    );
                }
            }
        }
    }
    errors.check();
}

// ---- labels -------------------------------------------------------------------------------------------------------------

#[test]
fn argmax_takes_the_first_of_the_largest() {
    let random = Random::new("argmax");
    let ops = fast();
    for (m, k, _) in SHAPES {
        // Few distinct values: ties in nearly every row.
        let z: Vec<f32> = (0..m * k).map(|_| random.below(3) as f32 - 1.0).collect();
        let mut labels = ops.labels("labels", m + 3).unwrap();
        ops.argmax(&filled(&ops, m, k, &z), &mut labels, 0).unwrap();
        let mut found = vec![u32::MAX; m];
        ops.download_labels(&labels, &mut found).unwrap();
        for (row, &label) in z.chunks_exact(k).zip(&found) {
            let first = (0..k).find(|&l| row.iter().all(|&z| z <= row[l]));
            assert_eq!(Some(label as usize), first, "{m} x {k}");
        }
    }
}

fn cuts<O: Ops>(
    ops: &O,
    (m, k, d): (usize, usize, usize),
    x: &[f32],
    labels: &[u32],
    kernel: HeatKernel,
) -> Arrays {
    let cut = ops.cut_matrix(&filled(ops, m, d, x), labels, k, kernel).unwrap();
    vec![(
        format!(
            "cut matrix, m {m}, k {k}, d {d}, {:?} neighbours",
            kernel.neighbors
        ),
        cut,
    )]
}

/// On a grid, where neighbours are certain and affinities carry the rounding of one exponential only.
#[test]
fn the_cut_matrix_of_hard_labels() {
    let random = Random::new("the_cut_matrix");
    let mut errors = Errors::default();
    for (m, k, d) in SHAPES {
        for neighbors in [None, Some(0), Some(1), Some(3), Some(10), Some(m + 1)] {
            // Of large problems, one of each form in plain loops is enough.
            if m * d > 100_000 && neighbors.is_some_and(|n| n != 10) {
                continue;
            }
            let kernel = HeatKernel {
                sigma: (d as f64).sqrt(),
                neighbors,
            };
            for _ in 0..draws(m * m * d) {
                let x = grid(&random, m, d);
                // The last cluster stays empty.
                let labels: Vec<u32> = (0..m).map(|_| random.below(k - 1) as u32).collect();
                mirror!(errors, &fast(), cuts, (m, k, d), &x, &labels, kernel);
            }
        }
    }
    errors.check();
}

/// With each row a cluster of its own, the cut matrix is the affinity.
#[test]
fn the_cut_matrix_of_single_rows_is_the_affinity() {
    let random = Random::new("the_cut_matrix_of_single_rows");
    let ops = fast();
    for (m, d) in [(129, 5), (129, 500)] {
        let x = filled(&ops, m, d, &random.normals(m * d, 1.0));
        let labels: Vec<u32> = random.order(m).into_iter().map(|l| l as u32).collect();
        for neighbors in [None, Some(3)] {
            let kernel = HeatKernel {
                sigma: (d as f64).sqrt(),
                neighbors,
            };
            let cut = ops.cut_matrix(&x, &labels, m, kernel).unwrap();
            let (affinity, _) = affinity_matrix(&ops, &x, kernel);
            for (at, value) in affinity.iter().enumerate() {
                let found = cut[labels[at / m] as usize * m + labels[at % m] as usize];
                // Rows in another order meet in other tiles, so the last bits may differ: some d roundings of terms near 2.
                assert!(
                    (found - value).abs() <= d as f64 * f64::from(f32::EPSILON),
                    "{found} and {value} at {at}"
                );
            }
        }
    }
}

// ---- what is no number --------------------------------------------------------------------------------------------------

/// One NaN among the rows must reach the loss: training ends with a message, not with a silent model.
#[test]
fn nan_never_vanishes_on_the_way_to_the_loss() {
    let random = Random::new("nan");
    let ops = fast();
    let (m, k) = (200, 3);
    for d in [2, 40] {
        for neighbors in [None, Some(3)] {
            let mut rows = random.normals(m * d, 1.0);
            rows[random.below(m * d)] = f32::NAN;
            let kernel = HeatKernel {
                sigma: 1.0,
                neighbors,
            };
            let y = memberships(&random, m, k, 1.0);
            let [(_, s), (_, degrees)] = &contracted(&ops, (m, k, d), &rows, &y, kernel)[..] else {
                panic!("two arrays");
            };
            let problem = Problem {
                y,
                s: s.iter().map(|&v| v as f32).collect(),
                degrees: degrees.iter().map(|&v| v as f32).collect(),
            };
            for (cut, penalty, volumes) in objectives() {
                let objective = Objective {
                    gamma: 1.0,
                    penalty,
                    volumes,
                    cut,
                };
                let [_, _, losses] = ncut(&ops, (m, k), &problem, objective);
                assert!(
                    losses[2].is_nan(),
                    "d {d}, {neighbors:?} neighbours: loss {}",
                    losses[2]
                );
            }
        }
    }
    // In the network: one NaN logit spoils its whole row of memberships.
    for at in 0..k {
        let mut z = random.normals(k, 1.0);
        z[at] = f32::NAN;
        let [(_, y)] = &softmax(&ops, (1, k), &z, 1.0)[..] else {
            panic!("one array");
        };
        assert!(y.iter().all(|v| v.is_nan()), "{y:?}");
    }
    let mut z = poisoned(&ops, 1, k);
    let x = Matrix::from_rows(1, 2, vec![1.0, f32::NAN]);
    ops.linear(
        &x,
        &filled(&ops, k, 2, &[1f32; 6]),
        &filled(&ops, 1, k, &[0f32; 3]),
        true,
        &mut z,
    )
    .unwrap();
    assert!(z.iter().all(|v| v.is_nan()), "a ReLU swallowed NaN: {:?}", &z[..]);
}
