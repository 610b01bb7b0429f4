//! Exact normalised and ratio cuts of a hard labelling, from its cut matrix.

use serde::{Deserialize, Serialize};

use crate::ops::CutMatrix;

/// The cuts of a labelling of a graph; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cuts {
    /// `sum_l cut(V_l, rest) / vol(V_l)`; clusters of no volume count 0.
    pub ncut: f64,
    /// `sum_l cut(V_l, rest) / |V_l|`; empty clusters count 0.
    pub rcut: f64,
}

impl Cuts {
    /// From the k x k sums of affinities between clusters and the number of rows in each.
    pub fn of(matrix: &CutMatrix, sizes: &[u64]) -> Self {
        let k = sizes.len();
        let (mut ncut, mut rcut) = (0.0, 0.0);
        for (l, &size) in sizes.iter().enumerate() {
            let row = &matrix[l * k..][..k];
            let volume: f64 = row.iter().sum();
            // Summed without the diagonal, which dwarfs the rest: a difference would lose the small cuts.
            let cut: f64 = row
                .iter()
                .enumerate()
                .filter(|&(other, _)| other != l)
                .map(|(_, v)| v)
                .sum();
            if volume > 0.0 {
                ncut += cut / volume;
            }
            if size > 0 {
                rcut += cut / size as f64;
            }
        }
        Cuts { ncut, rcut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_of_a_small_graph_by_hand() {
        // Two clusters of 2 and 1 rows: inside 10 and 4, between 2.
        let cuts = Cuts::of(&vec![10.0, 2.0, 2.0, 4.0], &[2, 1]);
        assert!((cuts.ncut - (2.0 / 12.0 + 2.0 / 6.0)).abs() < 1e-15);
        assert!((cuts.rcut - (2.0 / 2.0 + 2.0 / 1.0)).abs() < 1e-15);
    }

    #[test]
    fn an_empty_cluster_counts_nothing() {
        let cuts = Cuts::of(&vec![5.0, 0.0, 0.0, 0.0], &[3, 0]);
        assert_eq!(cuts, Cuts { ncut: 0.0, rcut: 0.0 });
    }
}
