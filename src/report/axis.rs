//! Axes: a range of values, the place of each in the plot, and round numbers to mark.

use super::number::{grouped, superscript};

/// More marks than this would be unreadable; it also bounds the work on absurd ranges.
const MAX_TICKS: f64 = 12.0;

/// A linear or logarithmic axis.
#[derive(Clone, Debug)]
pub struct Axis {
    lo: f64,
    hi: f64,
    log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The linear axis of round numbers around `lo..=hi`, with about `marks` of them.
    pub fn linear(lo: f64, hi: f64, marks: usize) -> Self {
        let (lo, hi) = widened(lo, hi);
        let step = round_step((hi - lo) / marks as f64);
        let (first, last) = ((lo / step).floor(), (hi / step).ceil());
        Axis {
            lo: first * step,
            hi: last * step,
            log: false,
            ticks: multiples(first, last, step),
        }
    }

    /// The linear axis of exactly `lo..=hi`, marked at round numbers inside.
    pub fn tight(lo: f64, hi: f64, marks: usize) -> Self {
        let (lo, hi) = widened(lo, hi);
        let step = round_step((hi - lo) / marks as f64);
        Axis {
            lo,
            hi,
            log: false,
            ticks: multiples((lo / step).ceil(), (hi / step).floor(), step),
        }
    }

    /// The axis of whole numbers `first..=last` (epochs, ranks), marked at its start and at round numbers.
    pub fn whole(first: f64, last: f64, marks: usize) -> Self {
        if first == last {
            return Axis {
                lo: first - 0.5,
                hi: first + 0.5,
                log: false,
                ticks: vec![(first, grouped(first as u64))],
            };
        }
        let step = round_step((last - first) / marks as f64).max(1.0);
        let mut ticks = multiples((first / step).ceil(), (last / step).floor(), step);
        // The start is worth a mark, where it does not crowd its neighbour.
        if ticks.first().is_none_or(|&(tick, _)| tick - first > step / 3.0) {
            ticks.insert(0, (first, grouped(first as u64)));
        }
        Axis {
            lo: first,
            hi: last,
            log: false,
            ticks,
        }
    }

    /// The axis of the finite values, `None` where there is none: linear, or logarithmic if it `may_be_log` and
    /// the values are all positive and span two decades or more.
    pub fn fitted(values: impl Iterator<Item = f64>, may_be_log: bool, marks: usize) -> Option<Self> {
        let (lo, hi) = values
            .filter(|value| value.is_finite())
            .fold(None, |range: Option<(f64, f64)>, v| {
                Some(range.map_or((v, v), |(lo, hi)| (lo.min(v), hi.max(v))))
            })?;
        Some(if may_be_log && lo > 0.0 && hi / lo >= 100.0 {
            Self::logarithmic(lo, hi)
        } else {
            Self::linear(lo, hi, marks)
        })
    }

    /// The axis of shares 0 to 1, marked in per cent.
    pub fn shares() -> Self {
        let ticks = [0, 25, 50, 75, 100].map(|p| (f64::from(p) / 100.0, format!("{p} %")));
        Axis {
            lo: 0.0,
            hi: 1.0,
            log: false,
            ticks: ticks.to_vec(),
        }
    }

    fn logarithmic(lo: f64, hi: f64) -> Self {
        let (first, last) = (lo.log10().floor() as i32, hi.log10().ceil() as i32);
        let every = ((last - first) as f64 / 6.0).ceil() as i32;
        let ticks = (first..=last)
            .step_by(every.max(1) as usize)
            .map(|exponent| (10f64.powi(exponent), power_of_ten(exponent)))
            .collect();
        Axis {
            lo: 10f64.powi(first),
            hi: 10f64.powi(last),
            log: true,
            ticks,
        }
    }

    /// Whether distances stand for ratios.
    pub fn is_log(&self) -> bool {
        self.log
    }

    /// Where `value` lies between the two ends, 0 to 1; `None` where it has no place.
    pub fn place(&self, value: f64) -> Option<f64> {
        let share = if self.log {
            (value / self.lo).ln() / (self.hi / self.lo).ln()
        } else {
            (value - self.lo) / (self.hi - self.lo)
        };
        share.is_finite().then_some(share)
    }

    /// The marked values and their texts.
    pub fn ticks(&self) -> &[(f64, String)] {
        &self.ticks
    }

    /// Characters in the longest mark.
    pub fn widest_tick(&self) -> usize {
        self.ticks
            .iter()
            .map(|(_, text)| text.chars().count())
            .max()
            .unwrap_or(0)
    }
}

/// A range with room inside: a single value gets half its size on each side.
fn widened(lo: f64, hi: f64) -> (f64, f64) {
    // Below this the values differ by rounding only, and no round step could tell them apart.
    if hi - lo > 1e-12 * lo.abs().max(hi.abs()) {
        return (lo, hi);
    }
    let room = if lo == 0.0 { 1.0 } else { lo.abs() / 2.0 };
    (lo - room, hi + room)
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|&round| round >= step * (1.0 - 1e-9))
        .unwrap_or(step)
}

fn multiples(first: f64, last: f64, step: f64) -> Vec<(f64, String)> {
    let count = (last - first).min(MAX_TICKS) as usize;
    (0..=count)
        .map(|i| (first + i as f64) * step)
        .map(|value| (value, mark(value, step)))
        .collect()
}

/// `value`, a multiple of `step`, with the digits that `step` needs.
fn mark(value: f64, step: f64) -> String {
    let exponent = step.log10().floor() as i32;
    if value == 0.0 {
        "0".to_string()
    } else if exponent < -4 || value.abs() >= 1e12 {
        let power = value.abs().log10().floor() as i32;
        let digits = power.saturating_sub(exponent).clamp(0, 4) as usize;
        format!(
            "{:.*}×10{}",
            digits,
            value / 10f64.powi(power),
            superscript(power)
        )
    } else if exponent < 0 {
        format!("{value:.*}", -exponent as usize)
    } else {
        let sign = if value < 0.0 { "-" } else { "" };
        format!("{sign}{}", compact(value.abs().round() as u64))
    }
}

fn compact(value: u64) -> String {
    match value {
        1_000_000.. if value.is_multiple_of(100_000) => format!("{} M", value as f64 / 1e6),
        10_000.. if value.is_multiple_of(100) => format!("{} k", value as f64 / 1e3),
        _ => grouped(value),
    }
}

fn power_of_ten(exponent: i32) -> String {
    match exponent {
        -3..0 => format!("{:.*}", -exponent as usize, 10f64.powi(exponent)),
        0..=4 => grouped(10u64.pow(exponent as u32)),
        _ => format!("10{}", superscript(exponent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks().iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn marks_are_round_and_cover_the_values() {
        assert_eq!(
            texts(&Axis::linear(0.13, 0.87, 4)),
            ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            texts(&Axis::linear(0.0, 7000.0, 4)),
            ["0", "2,000", "4,000", "6,000", "8,000"]
        );
        assert_eq!(
            texts(&Axis::linear(-40_000.0, 60_000.0, 4)),
            ["-50 k", "0", "50 k", "100 k"]
        );
        assert_eq!(texts(&Axis::tight(-1.3, 1.2, 4)), ["-1", "0", "1"]);
        assert_eq!(texts(&Axis::linear(0.0, 2e-6, 2)), ["0", "1×10⁻⁶", "2×10⁻⁶"]);
    }

    #[test]
    fn epochs_have_whole_marks() {
        assert_eq!(texts(&Axis::whole(1.0, 1.0, 5)), ["1"]);
        assert_eq!(texts(&Axis::whole(1.0, 3.0, 5)), ["1", "2", "3"]);
        assert_eq!(
            texts(&Axis::whole(1.0, 100.0, 5)),
            ["1", "20", "40", "60", "80", "100"]
        );
    }

    #[test]
    fn decades_make_an_axis_logarithmic() {
        let log = Axis::fitted([0.002, f64::NAN, 3.0].into_iter(), true, 4).unwrap();
        assert!(log.is_log());
        assert_eq!(texts(&log), ["0.001", "0.01", "0.1", "1", "10"]);
        assert!((log.place(0.1).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(log.place(-1.0), None);
        assert!(!Axis::fitted([0.0, 3.0].into_iter(), true, 4).unwrap().is_log());
        assert!(!Axis::fitted([0.002, 3.0].into_iter(), false, 4).unwrap().is_log());
        assert!(!Axis::fitted([0.1, 3.0].into_iter(), true, 4).unwrap().is_log());
        assert!(Axis::fitted([f64::NAN, f64::INFINITY].into_iter(), true, 4).is_none());
    }

    #[test]
    fn absurd_ranges_stay_finite_and_short() {
        for (lo, hi) in [
            (0.0, 0.0),
            (5.0, 5.0),
            (1e16, 1e16 + 2.0),
            (-1e300, 1e300),
            (0.0, 5e-324),
            (1e-300, 1e300),
            (-f64::MAX, f64::MAX),
        ] {
            for axis in [
                Some(Axis::linear(lo, hi, 4)),
                Axis::fitted([lo, hi].into_iter(), true, 4),
            ] {
                assert!(axis.unwrap().ticks().len() <= 14, "{lo} to {hi}");
            }
        }
    }
}
