//! Every operation of the fast backend against the f64 reference: it may err at most twice as much as the plain f32
//! computation does. The checks are those of [`neuncut::validate`], to which every backend is held.

mod common;
#[macro_use]
#[path = "common/operations.rs"]
mod operations;

use common::{filled, poisoned, random, seed, values};
use neuncut::cpu::{Fast, Reference};
use neuncut::ops::{HeatKernel, Ops, Precision, Shape};
use neuncut::validate::{Operation, Row, Settings, Sizes, distance, run_operation};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

fn passes(operation: Operation) {
    let settings = Settings::new(seed(&format!("{operation:?}")));
    let fast = Fast::new(0).unwrap();
    operations::check(operation, &[(&fast, Precision::Fp32)], &settings);
}
test_operations!(passes);

/// What references are found out to do wrong that round as the first precision of each pair says, by the checks of the second.
fn failures(operation: Operation, pairs: &[(Precision, Precision)]) -> Vec<Row> {
    let settings = Settings {
        sizes: Sizes::Small,
        draws: 3,
        ..Settings::new(seed(&format!("{operation:?}, rounding and claiming {pairs:?}")))
    };
    let ops: Vec<Reference<f32>> = pairs.iter().map(|pair| Reference::rounding(pair.0)).collect();
    let claims = pairs.iter().map(|pair| pair.1);
    let backends: Vec<_> = ops.iter().zip(claims).collect();
    let rows = run_operation(operation, &backends, &settings, &mut |_| ()).unwrap();
    rows.into_iter().filter(|row| !row.passed()).collect()
}

/// The checks can fail: whoever rounds more than he says is found out, wherever operands are rounded.
#[test]
fn a_precision_that_is_not_kept_fails() {
    for (operation, kernels) in [
        (Operation::Affinity, vec!["pairwise"]),
        (Operation::Contraction, vec!["contract"]),
        (
            Operation::Layers,
            vec!["linear", "linear_backward_data", "linear_backward_weights"],
        ),
        (Operation::Optimiser, vec!["update_layers"]),
        (Operation::Inference, vec!["infer"]),
    ] {
        for (rounds, claims) in [
            (Precision::Tf32, Precision::Fp32),
            (Precision::Tf32, Precision::Tf32x3),
            (Precision::Bf16, Precision::Tf32),
        ] {
            // Both store affinities as f16; and a label, which two logits decide, may be wrong by four times an error.
            let coarse = [Operation::Contraction, Operation::Inference];
            if claims == Precision::Tf32 && coarse.contains(&operation) {
                continue;
            }
            let found = failures(operation, &[(rounds, claims)]);
            for kernel in &kernels {
                let seen = found.iter().any(|row| row.kernel == *kernel);
                assert!(seen, "{kernel} in {rounds:?} passes as {claims:?}");
            }
        }
    }
}

/// What is computed as plainly as the rule supposes passes at its own precision.
#[test]
fn every_precision_that_is_kept_passes() {
    let kept = Precision::ALL.map(|precision| (precision, precision));
    Operation::ALL.par_iter().for_each(|&operation| {
        let found = failures(operation, &kept);
        assert!(found.is_empty(), "{operation:?}: {found:?}");
    });
}

/// The reference itself, against a formula that is written anew here.
#[test]
fn the_reference_kernel_is_its_formula() {
    let random = random("the_reference_kernel");
    for (m, d) in [(1, 1), (7, 500), (129, 5)] {
        let rows = random.normals(m * d, 1.0);
        let kernel = HeatKernel {
            sigma: (d as f64).sqrt(),
            neighbors: None,
        };
        let ops = Reference::<f64>::new();
        let (found, degrees) = affinity_matrix(&ops, &filled(&ops, m, d, &rows), kernel);
        let mut formula = Vec::with_capacity(m * m);
        for a in rows.chunks_exact(d) {
            for b in rows.chunks_exact(d) {
                let differences = a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b));
                let squared: f64 = differences.map(|v| v * v).sum();
                formula.push((-squared / (2.0 * d as f64)).exp());
            }
        }
        // At most d + 3 roundings in the exponent, which is below ten.
        let bound = 10.0 * (d + 3) as f64 * f64::EPSILON;
        assert!(distance(&found, &formula) < bound);
        let sums: Vec<f64> = formula.chunks_exact(m).map(|row| row.iter().sum()).collect();
        assert!(distance(&degrees, &sums) < m as f64 * bound);
    }
}

/// The whole affinity, by contraction with the identity, and the degrees.
fn affinity_matrix<O: Ops>(ops: &O, x: &O::Matrix, kernel: HeatKernel) -> (Vec<f64>, Vec<f64>) {
    let m = x.rows();
    let mut identity = vec![0f32; m * m];
    identity.iter_mut().step_by(m + 1).for_each(|v| *v = 1.0);
    let mut affinity = ops.affinity(m, x.cols(), m, kernel).unwrap();
    ops.pairwise(x, &mut affinity).unwrap();
    let (mut product, mut degrees) = (poisoned(ops, m, m), poisoned(ops, 1, m));
    let identity = filled(ops, m, m, &identity);
    ops.contract(x, &affinity, &identity, &mut product, &mut degrees)
        .unwrap();
    (values(ops, &product), values(ops, &degrees))
}
