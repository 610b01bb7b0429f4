//! Exact normalised and ratio cuts of a hard labelling.

use serde::{Deserialize, Serialize};

use crate::data::csr::Csr;
use crate::ops::{Cut, CutMatrix};

/// `C_ab = sum of A_ij over i in a, j in b` of a graph, in f64.
pub fn cut_matrix(graph: &Csr, labels: &[u32], clusters: usize) -> CutMatrix {
    let mut matrix = vec![0.0; clusters * clusters];
    for (i, &label) in labels.iter().enumerate() {
        let sums = &mut matrix[label as usize * clusters..][..clusters];
        for (j, value) in graph.row(i) {
            sums[labels[j] as usize] += f64::from(value);
        }
    }
    matrix
}

/// Rows with each label.
pub fn count(labels: &[u32], clusters: usize) -> Vec<u64> {
    let mut sizes = vec![0; clusters];
    for &label in labels {
        sizes[label as usize] += 1;
    }
    sizes
}

/// The cuts of a labelling of a graph; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cuts {
    /// `sum_l cut(V_l, rest) / vol(V_l)`. An empty cluster counts 1, as if it were cut off from everything, so that none is emptied to
    /// save its part; one of rows without edges counts 0.
    pub ncut: f64,
    /// `sum_l cut(V_l, rest) / |V_l|`. An empty cluster counts the mean degree.
    pub rcut: f64,
}

impl Cuts {
    /// From the k x k sums of affinities between clusters and the number of rows in each.
    pub fn of(matrix: &CutMatrix, sizes: &[u64]) -> Self {
        let k = sizes.len();
        let (mut ncut, mut rcut) = (0.0, 0.0);
        let mean_degree = matrix.iter().sum::<f64>() / sizes.iter().sum::<u64>().max(1) as f64;
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
            } else {
                ncut += 1.0;
                rcut += mean_degree;
            }
        }
        Cuts { ncut, rcut }
    }

    /// Those of hard labels of a graph.
    pub fn of_graph(graph: &Csr, labels: &[u32], clusters: usize) -> Self {
        Cuts::of(&cut_matrix(graph, labels, clusters), &count(labels, clusters))
    }

    /// The one that is relaxed.
    pub fn of_kind(&self, cut: Cut) -> f64 {
        match cut {
            Cut::Ncut => self.ncut,
            Cut::Rcut => self.rcut,
        }
    }
}

/// The cut by which labellings of one graph are ranked, smaller being better.
pub fn ranking(graph: &Csr, labels: &[u32], clusters: usize, cut: Cut) -> f64 {
    Cuts::of_graph(graph, labels, clusters).of_kind(cut)
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
    fn an_empty_cluster_counts_as_cut_off_from_everything() {
        let cuts = Cuts::of(&vec![6.0, 0.0, 0.0, 0.0], &[3, 0]);
        assert_eq!(cuts, Cuts { ncut: 1.0, rcut: 2.0 });
        let without_edges = Cuts::of(&vec![6.0, 0.0, 0.0, 0.0], &[3, 1]);
        assert_eq!(without_edges, Cuts { ncut: 0.0, rcut: 0.0 });
    }
}
