//! Agreement of two labellings.

mod ari;
mod assignment;
mod contingency;
mod nmi;

pub use ari::ari;
pub use assignment::{acc, best_map};
pub use contingency::{Contingency, Tally};
pub use nmi::{Mean, nmi};

use serde::{Deserialize, Serialize};

use crate::Result;

/// How well clusters agree with classes; 1 is perfect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Accuracy under the best one-to-one map of clusters to classes.
    pub acc: f64,
    /// Normalised mutual information, geometric mean of the entropies.
    pub nmi: f64,
    /// Adjusted Rand index.
    pub ari: f64,
}

impl Scores {
    /// The three scores of `predicted` (numbers below `clusters`) against `truth` (numbers below `classes`).
    ///
    /// # Errors
    /// Those of [`Contingency::new`]: different lengths, no rows, a number out of range.
    pub fn of(predicted: &[u32], clusters: usize, truth: &[u32], classes: usize) -> Result<Self> {
        Ok(Self::from(&Contingency::new(
            predicted, clusters, truth, classes,
        )?))
    }
}

impl From<&Contingency> for Scores {
    fn from(table: &Contingency) -> Self {
        Scores {
            acc: acc(table),
            nmi: nmi(table, Mean::Geometric),
            ari: ari(table),
        }
    }
}

#[cfg(test)]
mod testing {
    //! Random labellings for the tests of this folder.

    use rand::rngs::SmallRng;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};

    /// A generator with a fresh seed, printed so that a failure can be repeated.
    pub fn print_seed() -> SmallRng {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        SmallRng::seed_from_u64(seed)
    }

    /// `rows` uniform labels below `names`.
    pub fn random_labels(random: &mut SmallRng, rows: usize, names: usize) -> Vec<u32> {
        (0..rows).map(|_| random.random_range(0..names as u32)).collect()
    }

    /// The same partition under other names, chosen out of `names`.
    pub fn relabelled(random: &mut SmallRng, labels: &[u32], names: usize) -> Vec<u32> {
        let mut new: Vec<u32> = (0..names as u32).collect();
        new.shuffle(random);
        labels.iter().map(|&label| new[label as usize]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{print_seed, random_labels, relabelled};
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        name: String,
        predicted: Vec<u32>,
        clusters: usize,
        truth: Vec<u32>,
        classes: usize,
        acc: f64,
        nmi_geometric: f64,
        nmi_arithmetic: f64,
        ari: f64,
    }

    #[test]
    fn agrees_with_scikit_learn_and_scipy() {
        let cases: Vec<Golden> =
            serde_json::from_str(include_str!("../../tests/golden/scores.json")).unwrap();
        assert!(cases.len() > 10);
        for case in cases {
            let table = Contingency::new(&case.predicted, case.clusters, &case.truth, case.classes).unwrap();
            let scores = Scores::from(&table);
            // A few hundred terms of size below 1, each rounded: far below 1e-12 on either side.
            for (what, found, expected) in [
                ("acc", scores.acc, case.acc),
                ("nmi", scores.nmi, case.nmi_geometric),
                (
                    "arithmetic nmi",
                    nmi(&table, Mean::Arithmetic),
                    case.nmi_arithmetic,
                ),
                ("ari", scores.ari, case.ari),
            ] {
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{}: {what} is {found}, scikit-learn has {expected}",
                    case.name
                );
            }
        }
    }

    #[test]
    fn names_do_not_matter() {
        let mut random = print_seed();
        for (rows, clusters, classes) in [(7, 2, 3), (129, 3, 3), (1021, 10, 7)] {
            let predicted = random_labels(&mut random, rows, clusters);
            let truth = random_labels(&mut random, rows, classes);
            let one = Scores::of(&predicted, clusters, &truth, classes).unwrap();
            let renamed = relabelled(&mut random, &predicted, clusters + 2);
            let truth_renamed = relabelled(&mut random, &truth, classes);
            let other = Scores::of(&renamed, clusters + 2, &truth_renamed, classes).unwrap();
            assert_eq!(one.acc, other.acc);
            assert_eq!(one.ari, other.ari);
            // The terms are summed in another order.
            assert!((one.nmi - other.nmi).abs() < 1e-13);
            // And neither does the side a labelling stands on.
            let swapped = Scores::of(&truth, classes, &predicted, clusters).unwrap();
            assert_eq!((one.acc, one.ari), (swapped.acc, swapped.ari));
            assert!((one.nmi - swapped.nmi).abs() < 1e-13);
        }
    }

    #[test]
    fn equal_partitions_are_perfect() {
        let mut random = print_seed();
        let truth = random_labels(&mut random, 1021, 10);
        let renamed = relabelled(&mut random, &truth, 10);
        let scores = Scores::of(&renamed, 10, &truth, 10).unwrap();
        assert_eq!((scores.acc, scores.ari), (1.0, 1.0));
        assert!((1.0 - scores.nmi) < 1e-14);
    }

    #[test]
    fn ten_million_rows_are_exact() {
        // 10 classes of 10^6 rows; every 1000th row of class c goes to cluster c + 1 instead of c.
        let truth: Vec<u32> = (0..10_000_000u32).map(|i| i / 1_000_000).collect();
        let predicted: Vec<u32> = (0..10_000_000u32)
            .map(|i| {
                if i % 1000 == 0 {
                    (truth[i as usize] + 1) % 10
                } else {
                    truth[i as usize]
                }
            })
            .collect();
        let scores = Scores::of(&predicted, 10, &truth, 10).unwrap();
        assert_eq!(scores.acc, 0.999);
        let pairs = |n: i128| n * (n - 1) / 2;
        let (together, side, all) = (
            10 * (pairs(999_000) + pairs(1000)),
            10 * pairs(1_000_000),
            pairs(10_000_000),
        );
        let ari = (together * all - side * side) as f64 / (side * all - side * side) as f64;
        assert_eq!(scores.ari, ari);
        let information = 10f64.ln() + 0.999 * 0.999f64.ln() + 0.001 * 0.001f64.ln();
        assert!((scores.nmi - information / 10f64.ln()).abs() < 1e-14);
    }
}
