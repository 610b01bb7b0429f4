//! What the tests of the numerical core share: random inputs with a printed seed, and matrices that cannot fail.
#![allow(dead_code)] // each test file compiles this module anew and uses its own part of it

use neuncut::data::csr::Csr;
use neuncut::ops::{Ops, Real};
use neuncut::validate;
use neuncut::validate::Random;

/// A fresh seed. It is printed; `NEUNCUT_TEST_SEED` repeats a run.
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var("NEUNCUT_TEST_SEED") {
        Ok(text) => text.parse().expect("NEUNCUT_TEST_SEED is a whole number"),
        Err(_) => rand::random::<u32>().into(),
    };
    println!("{test}: NEUNCUT_TEST_SEED={seed}");
    seed
}

/// Random numbers: a stream of its own for each `test`.
pub fn random(test: &str) -> Random {
    let stream = test
        .bytes()
        .fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    Random::new(seed(test), stream)
}

/// [`validate::poisoned`].
pub fn poisoned<O: Ops>(ops: &O, rows: usize, cols: usize) -> O::Matrix {
    validate::poisoned(ops, rows, cols).unwrap()
}

/// [`validate::filled`].
pub fn filled<O: Ops, T: Real>(ops: &O, rows: usize, cols: usize, values: &[T]) -> O::Matrix {
    validate::filled(ops, rows, cols, values).unwrap()
}

/// [`validate::values`].
pub fn values<O: Ops>(ops: &O, matrix: &O::Matrix) -> Vec<f64> {
    validate::values(ops, matrix).unwrap()
}

/// A graph of `n` rows in `clusters` groups of unlike sizes, and the group of each: two rows of a group are tied with probability
/// `within`, two others with probability `across`, by random weights.
pub fn planted(random: &Random, n: usize, clusters: usize, within: f64, across: f64) -> (Csr, Vec<u32>) {
    let mut labels: Vec<u32> = (0..n)
        .map(|i| match i % (clusters + 1) {
            // The last group is as large as two others.
            at if at == clusters => at as u32 - 1,
            at => at as u32,
        })
        .collect();
    let order = random.order(n);
    labels = order.into_iter().map(|i| labels[i]).collect();
    let mut rows: Vec<Vec<(u32, f32)>> = (0..n).map(|i| vec![(i as u32, 1.0)]).collect();
    for i in 0..n {
        for j in 0..i {
            let probability = if labels[i] == labels[j] { within } else { across };
            if random.uniform() < probability {
                let weight = (0.5 + 0.5 * random.uniform()) as f32;
                rows[i].push((j as u32, weight));
                rows[j].push((i as u32, weight));
            }
        }
    }
    (Csr::from_rows(rows), labels)
}
