//! Clusters merged, two at a time, until there are few enough.

use crate::ops::{Cut, CutMatrix};

/// The clusters that the `clusters` ones of a cut matrix become when, again and again, the two are merged whose union raises the
/// cut least, until `wanted` are left: for each old cluster a number below `wanted`. `sizes` are the rows of each. Clusters without
/// rows cost nothing to merge and go first.
pub fn merge(matrix: &CutMatrix, sizes: &[u64], wanted: usize, cut: Cut) -> Vec<u32> {
    let k = sizes.len();
    let mut sums = matrix.clone();
    let mut weights: Vec<f64> = match cut {
        Cut::Ncut => sums.chunks_exact(k).map(|row| row.iter().sum()).collect(),
        Cut::Rcut => sizes.iter().map(|&size| size as f64).collect(),
    };
    let mut into: Vec<usize> = (0..k).collect();
    let mut left: Vec<usize> = (0..k).collect();
    while left.len() > wanted.max(1) {
        let part = |sums: &[f64], l: usize| -> f64 {
            left.iter().filter(|&&b| b != l).map(|&b| sums[l * k + b]).sum()
        };
        let cost = |weight: f64, cut: f64| if weight > 0.0 { cut / weight } else { 0.0 };
        let cuts: Vec<f64> = (0..k).map(|l| part(&sums, l)).collect();
        let mut best = (f64::INFINITY, 0, 0);
        for (at, &a) in left.iter().enumerate() {
            for &b in &left[at + 1..] {
                let union = cuts[a] + cuts[b] - 2.0 * sums[a * k + b];
                let rise = match weights[a] > 0.0 && weights[b] > 0.0 {
                    true => {
                        cost(weights[a] + weights[b], union)
                            - cost(weights[a], cuts[a])
                            - cost(weights[b], cuts[b])
                    }
                    // The union of any two others lowers the cut, so that nothing would be left for last.
                    false => f64::NEG_INFINITY,
                };
                if rise < best.0 {
                    best = (rise, a, b);
                }
            }
        }
        let (_, a, b) = best;
        for l in 0..k {
            sums[a * k + l] += sums[b * k + l];
        }
        for l in 0..k {
            sums[l * k + a] += sums[l * k + b];
        }
        weights[a] += weights[b];
        into.iter_mut().filter(|l| **l == b).for_each(|l| *l = a);
        left.retain(|&l| l != b);
    }
    let place = |l: usize| left.iter().position(|&other| other == l).unwrap_or(0) as u32;
    into.into_iter().map(place).collect()
}
