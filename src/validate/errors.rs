//! The tolerance rule: an error against f64 may be at most twice that of the plain computation at the same precision, plus
//! [`FLOOR`].

use std::collections::BTreeMap;

/// The part of the bound that does not come from the plain computation, relative to the scale of the terms: four unit
/// roundings of half an epsilon. One each for an exponential that is good to a unit in the last place (two roundings),
/// a fused multiply-add, and the final rounding, any of which plain loops may by luck not show.
pub const FLOOR: f64 = 2.0 * f32::EPSILON as f64;

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

/// Worst errors of each kernel's cases, relative to the scale of their array, over all problems that are drawn: the error of
/// a single small array is luck (a number may come out exact), the worst of many is not.
#[derive(Default)]
pub(super) struct Errors(BTreeMap<&'static str, BTreeMap<String, Case>>);

/// One array that a kernel writes, in one of its modes.
#[derive(Clone, Copy, Default)]
pub(super) struct Case {
    /// Of the backend under test.
    pub error: f64,
    /// Of the plain computation.
    pub plain: f64,
    /// What is allowed beyond twice that.
    pub floor: f64,
}

impl Case {
    /// The largest error that passes.
    pub fn allowed(&self) -> f64 {
        2.0 * self.plain + self.floor
    }

    /// How much of what is allowed the error takes.
    fn share(&self) -> f64 {
        if self.error == 0.0 {
            0.0
        } else {
            self.error / self.allowed()
        }
    }
}

impl Errors {
    /// Adds an array computed by the backend under test, by plain loops at its precision, and in f64. `scale` is that of the
    /// terms, which may be larger than the result where they cancel.
    pub fn add(&mut self, kernel: &'static str, case: &str, scale: f64, [ours, plain, exact]: [&[f64]; 3]) {
        assert!(
            exact.iter().all(|v| v.is_finite()),
            "{kernel}, {case}: the problem is not finite"
        );
        let relative = |values: &[f64]| match distance(values, exact) {
            0.0 => 0.0,
            error => error / scale,
        };
        let (ours, plain) = (relative(ours), relative(plain));
        assert!(plain.is_finite(), "{kernel}, {case}: plain loops gave no number");
        self.worst(kernel, case, ours, plain, FLOOR);
    }

    /// Adds a count of mistakes, of which none is allowed.
    pub fn count(&mut self, kernel: &'static str, case: &str, mistakes: usize) {
        self.worst(kernel, case, mistakes as f64, 0.0, 0.0);
    }

    /// Adds an error with that of the plain computation and what is allowed beyond.
    pub fn worst(&mut self, kernel: &'static str, case: &str, error: f64, plain: f64, floor: f64) {
        let cases = self.0.entry(kernel).or_default();
        let worst = cases.entry(case.to_string()).or_default();
        *worst = Case {
            error: worst.error.max(error),
            plain: worst.plain.max(plain),
            floor,
        };
    }

    /// Of each kernel, the case that is nearest to what is allowed, or furthest beyond it.
    pub fn tightest(&self) -> impl Iterator<Item = (&'static str, &str, Case)> {
        self.0.iter().map(|(&kernel, cases)| {
            let tightest = cases.iter().max_by(|a, b| a.1.share().total_cmp(&b.1.share()));
            let (case, errors) = tightest.expect("a kernel is entered with its first case");
            (kernel, case.as_str(), *errors)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_takes_twice_the_plain_error_and_no_more() {
        let tightest = |ours: f64, plain: f64| {
            let mut errors = Errors::default();
            errors.add("kernel", "well", 1.0, [&[2.0], &[2.0], &[2.0]]);
            errors.add("kernel", "worse", 2.0, [&[2.0 + ours], &[2.0 + plain], &[2.0]]);
            let (kernel, case, errors) = errors.tightest().next().unwrap();
            assert_eq!((kernel, case), ("kernel", "worse"));
            errors.error <= errors.allowed()
        };
        assert!(tightest(2e-3, 1e-3));
        assert!(!tightest(2.01e-3, 1e-3));
        assert!(tightest(1.9 * FLOOR, 0.0));
        assert!(!tightest(2.1 * FLOOR, 0.0));
        assert!(!tightest(f64::NAN, 1e-3));
    }

    #[test]
    fn no_mistake_is_allowed_where_they_are_counted() {
        let mut errors = Errors::default();
        errors.count("kernel", "right", 0);
        errors.count("kernel", "wrong", 1);
        let (_, case, errors) = errors.tightest().next().unwrap();
        assert_eq!(case, "wrong");
        assert!(errors.error > errors.allowed());
    }
}
