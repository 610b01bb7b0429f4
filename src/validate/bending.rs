//! Images bent and moved, bit for bit.

use super::bench::Bench;
use super::matrices::{filled, mistakes, outcome, poisoned};
use crate::bending::Bending;
use crate::cpu::Reference;
use crate::error::Result;
use crate::ops::Ops;

/// Rows and columns of images.
const IMAGES: [[usize; 2]; 6] = [[28, 28], [1, 1], [1, 64], [37, 5], [64, 64], [32, 32]];

/// Images that there are, and that are made.
const ORIGINALS: usize = 5;
const MADE: usize = 11;

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    // Each pixel of two fields is a mean of the noise around it.
    let work = |[h, w]: [usize; 2]| MADE * 2 * h * w * 625;
    for image in IMAGES {
        if !bench.fits(work(image)) {
            continue;
        }
        let pixels = image[0] * image[1];
        let values: Vec<f32> = (0..ORIGINALS * pixels)
            .map(|_| bench.random.below(256) as f32)
            .collect();
        let bending = Bending::new(bench.random.below(1 << 32) as u64, image);
        let mut tallies = bench.tallies();
        // Images as they are and the first ones made of them; and far from there, beyond 32 bits.
        for first in [3, (1 << 33) + bench.random.below(1 << 32) as u64] {
            let exact = bent(&Reference::<f64>::new(), &bending, &values, first)?;
            for (&(ops, _), tally) in bench.backends.iter().zip(&mut tallies) {
                if !ops.bends(image) {
                    continue;
                }
                let wrong = mistakes(&bent(ops, &bending, &values, first)?, &exact);
                tally.errors.count("bend", "", wrong);
                let images = filled(ops, ORIGINALS, pixels, &values)?;
                let mut to = poisoned(ops, MADE, pixels)?;
                tally
                    .clock
                    .time("bend", ops, || ops.bend(&bending, &images, first, &mut to))?;
            }
        }
        bench.report(&format!("{MADE} of {} x {}", image[0], image[1]), tallies);
    }
    Ok(())
}

fn bent<O: Ops>(ops: &O, bending: &Bending, values: &[f32], first: u64) -> Result<Vec<f64>> {
    let pixels = bending.image[0] * bending.image[1];
    let images = filled(ops, ORIGINALS, pixels, values)?;
    let mut to = poisoned(ops, MADE, pixels)?;
    ops.bend(bending, &images, first, &mut to)?;
    outcome(ops, &mut to)
}
