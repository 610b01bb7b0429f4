//! What the tests of the numerical core share: random inputs with a printed seed, and matrices that cannot fail.
#![allow(dead_code)] // each test file compiles this module anew and uses its own part of it

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
