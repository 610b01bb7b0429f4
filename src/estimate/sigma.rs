//! The width of the heat kernel from the distances to near neighbours.

use super::sample;
use crate::cpu::fast::Points;
use crate::error::Result;
use crate::network::to_host;
use crate::ops::{Ops, Shape};

/// The neighbour whose distance sets the scale (Zelnik-Manor and Perona, "Self-tuning spectral clustering", 2004).
const NEIGHBOR: usize = 7;

/// Rows sampled at most.
const ROWS: usize = 4096;

/// Rows whose distances are taken at a time.
const BLOCK: usize = 64;

/// `sigma = median of r_i / sqrt(2)` over a mini-batch of the training rows, `r_i` being the distance from row i to its 7th
/// nearest other row in that mini-batch: the self-tuning kernel `exp(-d^2 / (r_i r_j))` with one width for all rows. `None`
/// when that distance is 0 for half of the rows or there are fewer than two rows.
pub fn sigma<O: Ops>(ops: &O, data: &O::Matrix, batch: usize, seed: u64) -> Result<Option<f64>> {
    let cols = data.cols();
    let values = to_host(ops, &sample(ops, data, seed, 0, batch.min(ROWS))?)?;
    let m = values.len() / cols;
    if m < 2 {
        return Ok(None);
    }
    let mut points = Points::new(m);
    points.set(&values, cols);
    let mut distances = vec![0.0; BLOCK.min(m) * m];
    let mut others: Vec<usize> = (0..m).collect();
    let mut radii = Vec::with_capacity(m);
    for first in (0..m).step_by(BLOCK) {
        let rows = first..m.min(first + BLOCK);
        points.squared_distances(rows.clone(), 0..m, &mut distances, m);
        for (i, distances) in rows.zip(distances.chunks_exact_mut(m)) {
            // The row itself comes first, at distance 0.
            distances[i] = -1.0;
            let nearer = |a: &usize, b: &usize| distances[*a].total_cmp(&distances[*b]);
            let j = *others.select_nth_unstable_by(NEIGHBOR.min(m - 1), nearer).1;
            // Taken anew by differences: from products, equal rows come out a rounding error apart instead of 0.
            let (a, b) = (&values[i * cols..][..cols], &values[j * cols..][..cols]);
            radii.push(
                a.iter()
                    .zip(b)
                    .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
                    .sum::<f64>(),
            );
        }
    }
    let median = *radii.select_nth_unstable_by(m / 2, f64::total_cmp).1;
    Ok((median > 0.0).then(|| (median / 2.0).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Matrix, Reference};
    use crate::random::{Purpose, Stream};

    fn found(rows: Vec<f32>, cols: usize, batch: usize) -> Option<f64> {
        let data = Matrix::from_rows(rows.len() / cols, cols, rows);
        sigma(&Fast::new(2).expect("two threads"), &data, batch, 3).expect("memory for a few rows")
    }

    #[test]
    fn sigma_of_equally_spaced_points_is_four_steps_over_the_root_of_two() {
        // Both neighbours at 1, 2 and 3 steps, then the 7th at 4; only the ends of the line reach further.
        for (count, step) in [(17, 1.0), (100, 0.25), (1021, 3.0)] {
            let line = (0..count).map(|i| step * i as f32).collect();
            // 4 h / sqrt(2), written so that nothing but the root is rounded.
            let expected = (8.0 * f64::from(step).powi(2)).sqrt();
            assert_eq!(found(line, 1, count), Some(expected));
        }
        // In all precisions, as the rows are whole numbers.
        let line = Matrix::from_rows(100, 1, (0..100).map(f64::from).collect());
        let sigma = sigma(&Reference::<f64>::new(), &line, 100, 3).expect("memory for a few rows");
        assert_eq!(sigma, Some(8f64.sqrt()));
    }

    #[test]
    fn sigma_scales_with_the_rows_and_ignores_where_they_lie() {
        let stream = Stream::new(rand::random(), Purpose::Synthetic, 80);
        for cols in [2, 40] {
            let rows: Vec<f32> = (0..300 * cols)
                .map(|i| stream.normal(i as u64)[0] as f32)
                .collect();
            let own = found(rows.clone(), cols, 300).expect("distinct rows");
            let fourfold = found(rows.iter().map(|v| 4.0 * v).collect(), cols, 300).expect("distinct rows");
            assert!(
                (fourfold - 4.0 * own).abs() < 1e-6 * own,
                "{fourfold} and 4 x {own}"
            );
            let moved = found(rows.iter().map(|v| v + 8.0).collect(), cols, 300).expect("distinct rows");
            // Adding 8 rounds each number by up to 2^-22.
            assert!((moved - own).abs() < 1e-5 * own, "{moved} and {own}");
        }
    }

    /// Whatever the number of columns, that is, also where distances come from products, which leave rounding errors.
    #[test]
    fn rows_with_seven_duplicates_have_no_sigma() {
        let stream = Stream::new(rand::random(), Purpose::Synthetic, 81);
        for cols in [1, 5, 40, 500] {
            let value = |i: usize| stream.normal(i as u64)[0] as f32;
            let copies = |count: usize| -> Vec<f32> {
                (0..240)
                    .flat_map(|i| (0..cols).map(move |c| value(i / count * cols + c)))
                    .collect()
            };
            assert_eq!(found(copies(8), cols, 240), None, "{cols} columns");
            assert!(
                found(copies(7), cols, 240).is_some(),
                "six duplicates, {cols} columns"
            );
        }
        assert_eq!(found(vec![1.0, 2.0], 2, 10), None, "a single row");
    }
}
