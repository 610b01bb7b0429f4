//! Rows on their way in, widened from the type that they are stored as, and results on their way out, bit for bit.

use half::{bf16, f16};

use super::bench::Bench;
use super::matrices::{filled, mistakes, outcome, poisoned};
use crate::data::raw::Raw;
use crate::error::Result;
use crate::ops::{Ops, Real};

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, _, d) in bench.shapes(|(m, _, d)| m * d) {
        let count = m * d;
        // Of 16 bits any but infinities and NaN, numbers too small for a leading 1 among them.
        let bits: Vec<u16> = (0..count).map(|_| bench.random.below(1 << 16) as u16).collect();
        let bytes: Vec<u8> = bits.iter().map(|&bits| bits as u8).collect();
        let halves: Vec<f16> = bits.iter().map(|&bits| f16::from_bits(bits & !0x0400)).collect();
        let brains: Vec<bf16> = bits.iter().map(|&bits| bf16::from_bits(bits & !0x0080)).collect();
        let normals = bench.random.normals(count, 1.0);
        let kinds = [
            ("u8", Raw::U8(&bytes)),
            ("f16", Raw::F16(&halves)),
            ("bf16", Raw::BF16(&brains)),
            ("f32", Raw::F32(&normals)),
        ];
        let exact = |rows: Raw| -> Vec<f64> { rows.to_f32().iter().map(|&v| v.into()).collect() };
        let mut tallies = bench.tallies();
        for (&(ops, _), tally) in bench.backends.iter().zip(&mut tallies) {
            // Through the same two places again and again.
            let mut inbox = ops.inbox("rows on their way", count)?;
            for (kind, rows) in kinds {
                let mut x = poisoned(ops, m, d)?;
                ops.widen(rows, &mut inbox, &mut x)?;
                let wrong = mistakes(&outcome(ops, &mut x)?, &exact(rows));
                tally.errors.count("widen", kind, wrong);
            }
            let mut x = filled(ops, m, d, &normals)?;
            tally
                .clock
                .time("widen", ops, || ops.widen(kinds[0].1, &mut inbox, &mut x))?;

            // All of them under way at once, from a place where others come.
            let mut coming = Vec::new();
            for (_, rows) in kinds {
                ops.widen(rows, &mut inbox, &mut x)?;
                coming.push(ops.post(&x)?);
            }
            let mut labels = ops.labels("labels", m)?;
            let order = |first: usize| -> Vec<u32> { (first..first + m).map(|label| label as u32).collect() };
            ops.upload_labels(&order(1), &mut labels)?;
            let posted = ops.post_labels(&labels, m - m / 3)?;
            ops.upload_labels(&order(2), &mut labels)?;
            for ((kind, rows), coming) in kinds.into_iter().zip(coming) {
                let found: Vec<f64> = ops.collect(coming)?.into_iter().map(Real::to_f64).collect();
                tally.errors.count("post", kind, mistakes(&found, &exact(rows)));
            }
            let wrong = usize::from(ops.collect(posted)? != order(1)[..m - m / 3]);
            tally.errors.count("post_labels", "", wrong);
        }
        bench.report(&format!("m {m} d {d}"), tallies);
    }
    Ok(())
}
