//! The width of the heat kernel from the distances to near neighbours.

use super::sample;
use crate::cpu::fast::Points;
use crate::error::Result;
use crate::ops::{Ops, Shape};

/// The neighbour whose distance sets the scale (Zelnik-Manor and Perona, "Self-tuning spectral clustering", 2004).
const NEIGHBOR: usize = 7;

/// Rows sampled at most.
const ROWS: usize = 4096;

/// `sigma = median of r_i / sqrt(2)` over a mini-batch of the training rows, `r_i` being the distance from row i to its 7th
/// nearest other row in that mini-batch: the self-tuning kernel `exp(-d^2 / (r_i r_j))` with one width for all rows. `None`
/// when that distance is 0 for half of the rows or there are fewer than two rows.
pub fn sigma<O: Ops>(ops: &O, data: &O::Matrix, batch: usize, seed: u64) -> Result<Option<f64>> {
    let cols = data.cols();
    let values = sample(ops, data, seed, 0, batch.min(ROWS))?;
    let m = values.len() / cols;
    if m < 2 {
        return Ok(None);
    }
    let mut points = Points::new(m);
    points.set(&values, cols);
    let mut row = vec![0.0; m];
    let mut radii: Vec<f32> = (0..m)
        .map(|i| {
            points.squared_distances(i..i + 1, 0..m, &mut row, m);
            // The row itself comes first, at distance 0.
            row[i] = -1.0;
            *row.select_nth_unstable_by(NEIGHBOR.min(m - 1), f32::total_cmp).1
        })
        .collect();
    let median = *radii.select_nth_unstable_by(m / 2, f32::total_cmp).1;
    Ok((median > 0.0).then(|| (f64::from(median) / 2.0).sqrt()))
}
