//! Rows like embeddings of photographs: in the shape of ImageNet's under CLIP, which cannot be had without its pictures.
//!
//! Row i is a pure function of the seed and i. With random unit directions `m` (what all rows share), `g` (a group of 20 classes) and
//! `v` (a class), and normal numbers `e` (what a row has of its own, most of it along few axes; its square is 1 on average), a row of class c is
//!
//! `sqrt(.5) m + sqrt(.12) g + sqrt(.13) (sqrt(1 - t) v_c + sqrt(t) v_o) + sqrt(.25) e`, scaled to norm 1,
//!
//! where o is another class of the same group, and t, uniform in [0, .6), how much of it there is: a row with t above .5 is nearer to
//! o, so that about a sixth of the rows cannot be told from their features. Classes are drawn at random, the last a quarter as often
//! as the first.

use half::f16;
use rayon::prelude::*;

use super::written::Rows;
use crate::error::Result;
use crate::random::{Purpose, Stream};

/// Numbers in a row, and classes of rows: those of ImageNet under CLIP.
pub const DIMS: usize = 768;
/// Classes that rows are drawn from.
pub const CLASSES: usize = 1000;

/// Classes that are alike.
const GROUP: usize = 20;

/// Shares of a row's square that all rows, its group, its class, and it alone have.
const SHARES: [f64; 4] = [0.5, 0.12, 0.13, 0.25];

/// How much of another class a row has at most.
const MIXED: f64 = 0.6;

/// How often the last class is drawn, relative to the first.
const RAREST: f64 = 0.25;

/// Sub-streams of [`Purpose::Synthetic`], behind those of the figures.
const DIRECTIONS: u32 = 100;
const ROWS: u32 = 101;

/// Numbers of a stream that a row takes, in pairs.
const PAIRS: u64 = 2 + DIMS as u64 / 2;

/// The rows that belong to a seed.
pub struct Embeddings {
    rows: Stream,
    /// What all rows share; then, of each group and of each class, its direction.
    shared: Vec<f64>,
    groups: Vec<Vec<f64>>,
    classes: Vec<Vec<f64>>,
    /// The standard deviations of the axes of what a row has of its own.
    spread: Vec<f64>,
    /// The share of the rows that are of a class or of one before.
    up_to: Vec<f64>,
}

impl Embeddings {
    /// Draws what all rows have in common.
    pub fn new(seed: u64) -> Self {
        let stream = Stream::new(seed, Purpose::Synthetic, DIRECTIONS);
        let direction = |which: usize, share: f64| {
            let first = (which * DIMS / 2) as u64;
            let normals = (first..).flat_map(|index| stream.normal(index));
            let mut direction: Vec<f64> = normals.take(DIMS).collect();
            scale_to(&mut direction, share.sqrt());
            direction
        };
        let [of_all, of_group, of_class, of_row] = SHARES;
        let groups = CLASSES / GROUP;
        let mut spread: Vec<f64> = (0..DIMS).map(|axis| (1.0 / (axis + 1) as f64).sqrt()).collect();
        scale_to(&mut spread, of_row.sqrt());
        let weights = (0..CLASSES).map(|class| RAREST.powf(class as f64 / (CLASSES - 1) as f64));
        let mut up_to: Vec<f64> = weights
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let total = up_to[CLASSES - 1];
        up_to.iter_mut().for_each(|sum| *sum /= total);
        Embeddings {
            rows: Stream::new(seed, Purpose::Synthetic, ROWS),
            shared: direction(0, of_all),
            groups: (0..groups).map(|group| direction(1 + group, of_group)).collect(),
            classes: (0..CLASSES)
                .map(|class| direction(1 + groups + class, of_class))
                .collect(),
            spread,
            up_to,
        }
    }

    fn class(&self, row: u64) -> usize {
        let [at, _] = self.rows.uniform_f64(row * PAIRS);
        self.up_to.partition_point(|&sum| sum <= at).min(CLASSES - 1)
    }

    fn draw(&self, row: u64, to: &mut [f16]) {
        let class = self.class(row);
        let [_, at] = self.rows.uniform_f64(row * PAIRS);
        let [mixed, _] = self.rows.uniform_f64(row * PAIRS + 1);
        let group = class / GROUP;
        // One of the others of the group.
        let step = 1 + (at * (GROUP - 1) as f64) as usize;
        let other = group * GROUP + (class % GROUP + step) % GROUP;
        let (own, others) = ((1.0 - MIXED * mixed).sqrt(), (MIXED * mixed).sqrt());
        let normals = (row * PAIRS + 2..).flat_map(|index| self.rows.normal(index));
        let mut values: Vec<f64> = normals.take(DIMS).collect();
        for (axis, value) in values.iter_mut().enumerate() {
            *value = self.shared[axis]
                + self.groups[group][axis]
                + own * self.classes[class][axis]
                + others * self.classes[other][axis]
                + *value * self.spread[axis];
        }
        scale_to(&mut values, 1.0);
        to.iter_mut()
            .zip(values)
            .for_each(|(to, value)| *to = f16::from_f64(value));
    }
}

impl Rows for Embeddings {
    type Value = f16;

    fn shape(&self) -> Vec<usize> {
        vec![DIMS]
    }

    fn fill(&self, first_row: u64, rows: &mut [f16]) -> Result<()> {
        rows.par_chunks_exact_mut(DIMS)
            .enumerate()
            .for_each(|(i, row)| self.draw(first_row + i as u64, row));
        Ok(())
    }

    fn label(&self, row: u64) -> Option<u32> {
        Some(self.class(row) as u32)
    }
}

/// Scales a vector to this norm.
fn scale_to(vector: &mut [f64], norm: f64) {
    let found = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
    vector.iter_mut().for_each(|v| *v *= norm / found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_norm_1_overlap_and_are_of_the_last_classes_less_often() {
        let seed = rand::random();
        println!("seed {seed}");
        let made = Embeddings::new(seed);
        let n = 4000;
        let mut rows = vec![f16::NAN; n * DIMS];
        made.fill(0, &mut rows).expect("rows");
        let row = |i: usize| rows[i * DIMS..][..DIMS].iter().map(|v| v.to_f64());
        let labels: Vec<usize> = (0..n as u64)
            .map(|i| made.label(i).expect("all have one") as usize)
            .collect();

        // Any slice is made by itself.
        let mut slice = vec![f16::NAN; 3 * DIMS];
        made.fill(2017, &mut slice).expect("rows");
        assert_eq!(slice[..], rows[2017 * DIMS..2020 * DIMS]);

        let mut nearest = 0;
        for (i, &label) in labels.iter().enumerate() {
            // Numbers are rounded by 2^-11 of themselves at most, their squares by twice that.
            assert!(
                (row(i).map(|v| v * v).sum::<f64>() - 1.0).abs() < 2f64.powi(-10) * 1.001,
                "row {i}"
            );
            // The best that features can tell: the class of the group that a row has most of.
            let along = |class: usize| -> f64 { row(i).zip(&made.classes[class]).map(|(x, v)| x * v).sum() };
            let group = label / GROUP * GROUP;
            let most = (group..group + GROUP)
                .max_by(|&a, &b| along(a).total_cmp(&along(b)))
                .expect("a group has classes");
            nearest += usize::from(most == label);
        }
        // t is above .5 for a sixth; what rows have of their own turns some more of those that are close to it, on either side.
        let share = nearest as f64 / n as f64;
        assert!((0.7..0.87).contains(&share), "{share}");

        // Half of the weight lies in the first ln(8/5) / ln(4) of the classes: (1 - .25^p) / (1 - .25) = 1/2.
        let first = (CLASSES as f64 * (8.0f64 / 5.0).ln() / 4.0f64.ln()) as usize;
        let of_first = labels.iter().filter(|&&label| label < first).count() as f64 / n as f64;
        // Six standard errors of a share of a half.
        assert!(
            (of_first - 0.5).abs() < 6.0 * 0.5 / (n as f64).sqrt(),
            "{of_first}"
        );
    }
}
