//! What the tests of the numerical core share: random inputs with a printed seed, poisoned matrices, and the tolerance
//! rule.
#![allow(dead_code)] // each test file compiles this module anew and uses its own part of it

use std::cell::Cell;
use std::collections::BTreeMap;

use neuncut::ops::{Ops, Real, Shape};
use neuncut::random::{Purpose, Stream};

/// Fresh random numbers. The seed is printed; `NEUNCUT_TEST_SEED` repeats a run.
pub struct Random {
    stream: Stream,
    next: Cell<u64>,
}

impl Random {
    /// A stream of its own for each `test`.
    pub fn new(test: &str) -> Self {
        let seed = match std::env::var("NEUNCUT_TEST_SEED") {
            Ok(text) => text.parse().expect("NEUNCUT_TEST_SEED is a whole number"),
            Err(_) => rand::random::<u32>().into(),
        };
        println!("{test}: NEUNCUT_TEST_SEED={seed}");
        let sub = test
            .bytes()
            .fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        Random {
            stream: Stream::new(seed, Purpose::Synthetic, sub),
            next: Cell::new(0),
        }
    }

    fn index(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// A standard normal number.
    pub fn normal(&self) -> f64 {
        self.stream.normal(self.index())[0]
    }

    /// A number uniform in [0, 1).
    pub fn uniform(&self) -> f64 {
        self.stream.uniform_f64(self.index())[0]
    }

    /// A whole number below `bound`.
    pub fn below(&self, bound: usize) -> usize {
        self.stream.below(self.index(), bound as u64) as usize
    }

    /// `len` normal numbers of this standard deviation.
    pub fn normals(&self, len: usize, deviation: f64) -> Vec<f32> {
        (0..len).map(|_| (deviation * self.normal()) as f32).collect()
    }

    /// The numbers 0 to `len` in random order.
    pub fn order(&self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for i in (1..len).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

/// Rows allocated beyond those in use: no operation may touch them, or count them in.
const SPARE: usize = 3;

/// A matrix of NaN, allocated larger than it is.
pub fn poisoned<O: Ops>(ops: &O, rows: usize, cols: usize) -> O::Matrix {
    let mut matrix = ops.matrix("a test's matrix", rows + SPARE, cols).unwrap();
    let nan = vec![O::Real::of(f64::NAN); (rows + SPARE) * cols];
    ops.upload(&nan, &mut matrix, 0).unwrap();
    matrix.set_rows(rows);
    matrix
}

/// A matrix with these values, NaN beyond them.
pub fn filled<O: Ops, T: Real>(ops: &O, rows: usize, cols: usize, values: &[T]) -> O::Matrix {
    let mut matrix = poisoned(ops, rows, cols);
    let reals: Vec<O::Real> = values.iter().map(|v| O::Real::of(v.to_f64())).collect();
    ops.upload(&reals, &mut matrix, 0).unwrap();
    matrix
}

/// The rows in use, as f64.
pub fn values<O: Ops>(ops: &O, matrix: &O::Matrix) -> Vec<f64> {
    let mut values = vec![O::Real::ZERO; matrix.rows() * matrix.cols()];
    ops.download(matrix, &mut values).unwrap();
    values.into_iter().map(Real::to_f64).collect()
}

/// The largest absolute value.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// The largest difference; infinite where a NaN came out, which `f64::max` would drop.
pub fn distance(found: &[f64], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len());
    found.iter().zip(exact).fold(0.0, |worst, (found, exact)| {
        let error = (found - exact).abs();
        if error.is_nan() {
            f64::INFINITY
        } else {
            worst.max(error)
        }
    })
}

/// The part of the bound that does not come from the plain computation, relative to the scale of the terms: four unit
/// roundings of half an epsilon. One each for an exponential that is good to a unit in the last place (two roundings),
/// a fused multiply-add, and the final rounding, any of which plain loops may by luck not show.
pub const FLOOR: f64 = 2.0 * f32::EPSILON as f64;

/// Worst errors, relative to the scale of their array, over all problems that one test draws: the error of a single
/// small array is luck (a number may come out exact), the worst of many is not.
#[derive(Default)]
pub struct Errors {
    worst: BTreeMap<String, [f64; 2]>,
}

impl Errors {
    /// Adds an array computed by the code under test, by plain loops in f32, and in f64; its scale is its largest entry.
    pub fn add(&mut self, name: &str, ours: &[f64], plain: &[f64], exact: &[f64]) {
        self.add_at(name, largest(exact), ours, plain, exact);
    }

    /// The same with another scale: that of the terms, when they cancel in the result.
    pub fn add_at(&mut self, name: &str, scale: f64, ours: &[f64], plain: &[f64], exact: &[f64]) {
        assert!(
            exact.iter().all(|v| v.is_finite()),
            "{name}: the problem is not finite"
        );
        let relative = |values: &[f64]| match distance(values, exact) {
            0.0 => 0.0,
            error => error / scale,
        };
        let (ours, plain) = (relative(ours), relative(plain));
        assert!(plain.is_finite(), "{name}: plain loops gave no number");
        let worst = self.worst.entry(name.to_string()).or_default();
        *worst = [worst[0].max(ours), worst[1].max(plain)];
    }

    /// The rule: our error is at most twice that of the plain computation, plus [`FLOOR`].
    pub fn check(self) {
        let mut wrong = Vec::new();
        for (name, [ours, plain]) in self.worst {
            println!("{name}: ours {ours:.1e}, plain {plain:.1e}");
            if ours > 2.0 * plain + FLOOR {
                wrong.push(format!(
                    "{name}: relative error {ours:.1e}, plain loops have {plain:.1e}"
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
