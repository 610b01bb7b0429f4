//! How much a labelling tells about where a walk on the graph goes.

use super::cut::cut_matrix;
use crate::data::csr::Csr;

/// Steps of the walk. One step alone tells clusters apart by what holds them together most; a few more of them tell nearly the same.
const STEPS: usize = 3;

/// The mutual information, in nats, between the cluster that a walk on the graph is in and the one that it is in three steps later:
/// `sum_ab T_ab ln(T_ab / (v_a v_b))`, where `v` are the clusters' shares of the volume, `T = diag(v) (diag(v)^-1 C)^3`, and C is the cut
/// matrix of sum 1, without the ties of rows to themselves. At most `ln k`: for k clusters of equal volume between which there is nothing.
///
/// Unlike the cut it falls where a small cluster is split off and two large ones are one instead. (With one step it is the likelihood of
/// the degree-corrected block model, Karrer and Newman, "Stochastic blockmodels and community structure in networks", 2011; for walks as
/// a measure of clusters see Delvenne, Yaliraki and Barahona, "Stability of graph communities across time scales", 2010.)
pub fn information(graph: &Csr, labels: &[u32], clusters: usize) -> f64 {
    let k = clusters;
    let mut sums = cut_matrix(graph, labels, k);
    for (i, &label) in labels.iter().enumerate() {
        let own = graph.row(i).find(|&(j, _)| j == i);
        sums[label as usize * (k + 1)] -= own.map_or(0.0, |(_, value)| f64::from(value));
    }
    let total: f64 = sums.iter().sum();
    let shares: Vec<f64> = sums
        .chunks_exact(k)
        .map(|row| row.iter().sum::<f64>() / total)
        .collect();
    let step: Vec<f64> = (0..k * k)
        .map(|at| {
            if shares[at / k] > 0.0 {
                sums[at] / total / shares[at / k]
            } else {
                0.0
            }
        })
        .collect();
    let mut joint: Vec<f64> = sums.iter().map(|sum| sum / total).collect();
    for _ in 1..STEPS {
        joint = product(&joint, &step, k);
    }
    let terms = joint.iter().enumerate().map(|(at, &together)| {
        let apart = shares[at / k] * shares[at % k];
        if together > 0.0 && apart > 0.0 {
            together * (together / apart).ln()
        } else {
            0.0
        }
    });
    terms.sum()
}

/// The product of two k x k matrices.
fn product(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    let mut to = vec![0.0; k * k];
    for (row, to) in a.chunks_exact(k).zip(to.chunks_exact_mut(k)) {
        for (&factor, b) in row.iter().zip(b.chunks_exact(k)) {
            for (to, &b) in to.iter_mut().zip(b) {
                *to += factor * b;
            }
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of so many rows, all of a group tied to each other with weight 1, rows of different groups with `between`; rows have ties
    /// to themselves of weight `own`.
    fn groups(sizes: &[usize], between: f32, own: f32) -> (Csr, Vec<u32>) {
        let labels: Vec<u32> = sizes
            .iter()
            .enumerate()
            .flat_map(|(label, &size)| vec![label as u32; size])
            .collect();
        let weight = |i: usize, j: usize| match (i == j, labels[i] == labels[j]) {
            (true, _) => own,
            (_, true) => 1.0,
            (_, false) => between,
        };
        let n = labels.len();
        let rows = (0..n).map(|i| (0..n).map(|j| (j as u32, weight(i, j))).collect());
        (Csr::from_rows(rows), labels)
    }

    #[test]
    fn clusters_apart_tell_all_and_clusters_of_one_graph_nothing() {
        for k in [1, 2, 5] {
            let (graph, labels) = groups(&vec![4; k], 0.0, 1.0);
            let found = information(&graph, &labels, k);
            assert!((found - (k as f64).ln()).abs() < 1e-12, "{k}: {found}");
        }
        // Of two shares p and 1 - p with nothing between, -sum p ln p: of 2 and 6 ties one way, a quarter.
        let (graph, labels) = groups(&[2, 3], 0.0, 1.0);
        let entropy = -(0.25f64 * 0.25f64.ln() + 0.75 * 0.75f64.ln());
        assert!((information(&graph, &labels, 2) - entropy).abs() < 1e-12);
        // An empty cluster changes nothing.
        assert!((information(&graph, &labels, 3) - entropy).abs() < 1e-12);
    }

    #[test]
    fn three_steps_between_two_clusters_by_hand() {
        // Two groups of 2: a row is tied to one other inside, with 1, and to two outside, with 1/4 each: it stays with 2/3.
        let (graph, labels) = groups(&[2, 2], 0.25, 7.0);
        let (stay, leave) = (2.0 / 3.0, 1.0 / 3.0);
        let stays: f64 = stay * stay * stay + 3.0 * stay * leave * leave;
        let expected = stays * (2.0 * stays).ln() + (1.0 - stays) * (2.0 * (1.0 - stays)).ln();
        let found = information(&graph, &labels, 2);
        assert!((found - expected).abs() < 1e-12, "{found}, by hand {expected}");
    }

    #[test]
    fn even_clusters_tell_more_than_one_split_off() {
        // Three groups that are worth telling apart, into two clusters: two together are better than a part of one.
        let (graph, _) = groups(&[8, 8, 2], 0.05, 1.0);
        let even: Vec<u32> = (0..18).map(|i| u32::from(i >= 8)).collect();
        let split: Vec<u32> = (0..18).map(|i| u32::from(i >= 16)).collect();
        assert!(information(&graph, &even, 2) > information(&graph, &split, 2));
    }
}
