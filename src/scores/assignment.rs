//! The best one-to-one map of clusters to classes, and the accuracy under it.

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

use super::Contingency;

/// The class of each cluster under the one-to-one map that keeps most rows (linear assignment).
///
/// The weights are the counts themselves, so the optimum is exact; among equally good maps one is chosen, the
/// same in every run. `None` for a cluster that gets no class: there are more clusters than classes, or the
/// class left for it shares no row with it. Time O(min(k, c)^2 max(k, c)).
pub fn best_map(table: &Contingency) -> Vec<Option<usize>> {
    let (clusters, classes) = (table.clusters(), table.classes());
    // The algorithm wants at least as many columns as rows. Counts are at most 2^32: they fit an i64.
    let mut map = vec![None; clusters];
    if clusters <= classes {
        let weights = Matrix::from_fn(clusters, classes, |(i, j)| table.count(i, j) as i64);
        for (cluster, class) in kuhn_munkres(&weights).1.into_iter().enumerate() {
            map[cluster] = Some(class);
        }
    } else {
        let weights = Matrix::from_fn(classes, clusters, |(j, i)| table.count(i, j) as i64);
        for (class, cluster) in kuhn_munkres(&weights).1.into_iter().enumerate() {
            map[cluster] = Some(class);
        }
    }
    for (cluster, class) in map.iter_mut().enumerate() {
        *class = class.filter(|&j| table.count(cluster, j) > 0);
    }
    map
}

/// Accuracy: the share of rows whose cluster is mapped to their class by [`best_map`]. 0 < acc <= 1.
pub fn acc(table: &Contingency) -> f64 {
    let kept: u64 = best_map(table)
        .into_iter()
        .enumerate()
        .filter_map(|(cluster, class)| Some(table.count(cluster, class?)))
        .sum();
    kept as f64 / table.rows() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::testing::{print_seed, random_labels, relabelled};

    fn kept(table: &Contingency, map: &[Option<usize>]) -> u64 {
        let mut taken = vec![false; table.classes()];
        let mut sum = 0;
        for (cluster, class) in map.iter().enumerate() {
            if let Some(class) = *class {
                assert!(!taken[class], "class {class} is given twice");
                taken[class] = true;
                sum += table.count(cluster, class);
            }
        }
        sum
    }

    /// The most rows any map keeps, by trying them all.
    fn best_by_search(table: &Contingency, cluster: usize, free: &mut Vec<bool>) -> u64 {
        if cluster == table.clusters() {
            return 0;
        }
        let mut best = best_by_search(table, cluster + 1, free);
        for class in 0..table.classes() {
            if free[class] {
                free[class] = false;
                best = best.max(table.count(cluster, class) + best_by_search(table, cluster + 1, free));
                free[class] = true;
            }
        }
        best
    }

    #[test]
    fn greedy_choice_would_lose_this_table() {
        // Cluster 0 prefers class 0 (5 rows), but giving it class 1 (4 rows) frees class 0 for cluster 1.
        let predicted = [vec![0; 9], vec![1; 4]].concat();
        let truth = [vec![0; 5], vec![1; 4], vec![0; 4]].concat();
        let table = Contingency::new(&predicted, 2, &truth, 2).unwrap();
        assert_eq!(best_map(&table), [Some(1), Some(0)]);
        assert_eq!(acc(&table), 8.0 / 13.0);
    }

    #[test]
    fn a_cluster_without_a_class_is_none() {
        let more_clusters = Contingency::new(&[0, 1, 1, 2, 2, 2], 3, &[0, 0, 0, 1, 1, 1], 2).unwrap();
        assert_eq!(best_map(&more_clusters), [None, Some(0), Some(1)]);
        let more_classes = Contingency::new(&[1, 1, 1], 2, &[2, 2, 0], 4).unwrap();
        assert_eq!(best_map(&more_classes), [None, Some(2)]);
    }

    #[test]
    fn agrees_with_trying_every_map() {
        let mut random = print_seed();
        for clusters in 1..=6 {
            for classes in 1..=6 {
                for rows in [1, 7, 60] {
                    let predicted = random_labels(&mut random, rows, clusters);
                    let truth = random_labels(&mut random, rows, classes);
                    let table = Contingency::new(&predicted, clusters, &truth, classes).unwrap();
                    let best = best_by_search(&table, 0, &mut vec![true; classes]);
                    assert_eq!(
                        kept(&table, &best_map(&table)),
                        best,
                        "{clusters} by {classes}, {rows} rows"
                    );
                    assert_eq!(acc(&table), best as f64 / rows as f64);
                }
            }
        }
    }

    #[test]
    fn finds_a_planted_map_of_1000_clusters_to_1200_classes_and_back() {
        let mut random = print_seed();
        let rows = 50_021;
        let fine = random_labels(&mut random, rows, 1000);
        let renamed = relabelled(&mut random, &fine, 1200);
        for (predicted, clusters, truth, classes) in
            [(&fine, 1000, &renamed, 1200), (&renamed, 1200, &fine, 1000)]
        {
            let table = Contingency::new(predicted, clusters, truth, classes).unwrap();
            let map = best_map(&table);
            for (&p, &t) in predicted.iter().zip(truth) {
                assert_eq!(map[p as usize], Some(t as usize));
            }
        }
        // Pure noise has no easy optimum: here the algorithm does its full work.
        let noise = random_labels(&mut random, rows, 1200);
        let table = Contingency::new(&fine, 1000, &noise, 1200).unwrap();
        let flipped = Contingency::new(&noise, 1200, &fine, 1000).unwrap();
        assert_eq!(
            kept(&table, &best_map(&table)),
            kept(&flipped, &best_map(&flipped))
        );
    }
}
