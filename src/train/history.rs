//! What is recorded of every epoch: one line of `history.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scores::Scores;

/// One epoch of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The attempt that it belongs to, counted from 1.
    pub attempt: usize,
    /// Of the attempt, through all its stages, counted from 1.
    pub epoch: usize,
    /// Mean over the epoch's mini-batches of `L_lap = trace(H' L H)`.
    pub l_lap: f64,
    /// Mean of the orthogonality penalty `L_orth`, without its factor gamma / 2.
    pub l_orth: f64,
    /// Mean of `L_lap + gamma / 2 * L_orth`.
    pub loss: f64,
    /// Learning rate of this epoch.
    pub learning_rate: f64,
    /// Training rows in each cluster by arg-max after the epoch, k numbers.
    pub sizes: Vec<u64>,
    /// Exact cut of the training graph by the hard labels after the epoch, when there is one; an empty cluster counts 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<f64>,
    /// Whether the network is the best of its attempt up to now, by that cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// Share of the training rows that have the labels they should get, in a stage that pursues labels; its loss is the
    /// cross-entropy, and it has no L_lap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Exact cut of the training graph by these labels, in such a stage, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_of_targets: Option<f64>,
    /// Wall seconds since the attempt began, up to the end of this epoch (resumed parts add up).
    pub seconds: f64,
    /// Agreement with the labels on the training rows, when there are labels.
    #[serde(flatten)]
    pub scores: Option<Scores>,
}

/// Brings the records of attempts that ran side by side into the order in which they would have come one after the other.
pub fn in_order(history: &mut [EpochRecord]) {
    history.sort_by_key(|record| (record.attempt, record.epoch));
}

/// The attempt, counted from 1, whose network a search returns: that of the smallest exact cut, the first among equals; the first of
/// all where nothing tells them apart. `history` is in order.
pub fn winner(history: &[EpochRecord]) -> Option<usize> {
    let mut best = BTreeMap::new();
    for record in history {
        let cut = best.entry(record.attempt).or_insert(f64::INFINITY);
        if let (true, Some(kept)) = (record.kept, record.cut) {
            *cut = kept;
        }
    }
    let smallest = best.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
    smallest.map(|(attempt, _)| attempt)
}

/// Share of the rows that have the labels they should get, after a training that learned them, and how many times as much as these a
/// network may cut.
const LEARNED: f64 = 0.9;
const MORE: f64 = 1.1;

/// Says, when the network of `attempt` never gave most training rows the labels that it was fitted to last, and cuts more than these do,
/// what to change: what it was to begin with is beyond it.
pub fn unlearned(attempt: &[EpochRecord]) -> Option<String> {
    let of_targets = attempt.iter().rev().find_map(|record| record.cut_of_targets)?;
    let fitted = attempt
        .iter()
        .filter(|record| record.cut_of_targets == Some(of_targets));
    let most = fitted.filter_map(|record| record.agreement).reduce(f64::max)?;
    let cut = attempt.iter().rev().find(|record| record.kept)?.cut?;
    (most < LEARNED && cut > MORE * of_targets).then(|| {
        format!(
            "the network learned the labels that training begins with for {:.0} % of the rows only: give it more --warm-up, wider --hidden \
             layers, or other --features (quantiles tells apart what is close together), and compare neuncut baseline spectral",
            100.0 * most
        )
    })
}

/// A cluster with fewer than this share of the rows counts as collapsed, and, of many clusters, with fewer than this part of an even
/// share.
const COLLAPSED_SHARE: f64 = 1e-3;
const COLLAPSED_PART: f64 = 1e-2;

/// Says, when clusters have collapsed, which and what to change: a cluster with less than 0.1 % of the rows (of more than ten clusters,
/// with less than a hundredth of an even share), or all rows in one cluster.
pub fn collapse(sizes: &[u64]) -> Option<String> {
    let rows: u64 = sizes.iter().sum();
    let share = COLLAPSED_SHARE.min(COLLAPSED_PART / sizes.len().max(1) as f64);
    let fewest = share * rows as f64;
    let small: Vec<usize> = (0..sizes.len()).filter(|&l| (sizes[l] as f64) < fewest).collect();
    if sizes.len() > 1 && sizes.contains(&rows) {
        return Some(format!(
            "collapsed: all {rows} rows are in one of {} clusters; raise --gamma (it must lie above the graph's \
             {}-th eigenvalue), or give a smaller --sigma or --neighbors so that the graph has something to cut",
            sizes.len(),
            sizes.len()
        ));
    }
    let [first, rest @ ..] = &small[..] else {
        return None;
    };
    let others = if rest.is_empty() {
        String::new()
    } else {
        format!(" and {} more", rest.len())
    };
    Some(format!(
        "collapsed: cluster {first}{others} of {} holds fewer than {} of {rows} rows; raise --gamma, ask for fewer \
         --clusters, or try another --seed",
        sizes.len(),
        fewest.ceil()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(attempt: usize, epoch: usize, cut: Option<f64>, kept: bool) -> EpochRecord {
        EpochRecord {
            attempt,
            epoch,
            l_lap: 0.0,
            l_orth: 0.0,
            loss: 0.0,
            learning_rate: 0.0,
            sizes: Vec::new(),
            cut,
            kept,
            agreement: None,
            cut_of_targets: None,
            seconds: 0.0,
            scores: None,
        }
    }

    #[test]
    fn the_winner_is_the_attempt_that_kept_the_smallest_cut() {
        let mut history = [
            // Kept first though smaller: while fitted to labels, both were good enough, or it had other clusters.
            record(1, 1, Some(0.5), true),
            record(2, 1, Some(0.3), false),
            record(1, 2, Some(0.6), false),
            record(2, 2, Some(0.45), true),
            record(2, 3, Some(0.46), false),
            record(3, 1, Some(0.45), true),
        ];
        in_order(&mut history);
        let places: Vec<_> = history.iter().map(|r| (r.attempt, r.epoch)).collect();
        assert_eq!(places, [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 1)]);
        assert_eq!(winner(&history), Some(2));
        assert_eq!(
            winner(&[record(1, 1, None, false), record(2, 1, None, false)]),
            Some(1)
        );
        assert_eq!(winner(&[]), None);
    }

    #[test]
    fn labels_that_were_not_learned_are_told() {
        let fitted = |agreement, cut, of_targets| EpochRecord {
            agreement: Some(agreement),
            cut_of_targets: of_targets,
            ..record(1, 1, Some(cut), true)
        };
        let cut = |cut| record(1, 1, Some(cut), true);
        // Many clusters were learned before, but these not.
        let mut history = vec![fitted(1.0, 0.7, Some(0.7)), cut(0.6)];
        history.extend([0.3, 0.614, 0.5].map(|agreement| fitted(agreement, 0.9, Some(0.5))));
        history.push(cut(0.56));
        let told = unlearned(&history).expect("most were not learned");
        assert!(
            told.contains("for 61 % of the rows only") && told.contains("--warm-up"),
            "{told}"
        );
        // The cut went nearly as low as theirs all the same.
        history.push(cut(0.54));
        assert_eq!(unlearned(&history), None);
        assert_eq!(unlearned(&[fitted(0.9, 0.9, Some(0.5))]), None);
        assert_eq!(unlearned(&[fitted(0.3, 0.9, None), cut(0.9)]), None);
        assert_eq!(unlearned(&[cut(0.9)]), None);
    }

    #[test]
    fn healthy_sizes_have_not_collapsed() {
        assert_eq!(collapse(&[500, 480, 20]), None);
        // Exactly 0.1 %.
        assert_eq!(collapse(&[999, 1]), None);
        // Most clusters of a thousand hold less than 0.1 %.
        let uneven: Vec<u64> = (1..=1000).collect();
        assert_eq!(collapse(&uneven[9..]), None);
        assert_eq!(collapse(&[7]), None, "one cluster holds everything by nature");
        assert_eq!(collapse(&[]), None);
    }

    #[test]
    fn all_rows_in_one_cluster_is_a_collapse() {
        let message = collapse(&[0, 1000, 0]).expect("two clusters are empty");
        assert!(
            message.contains("all 1000 rows are in one of 3 clusters"),
            "{message}"
        );
    }

    #[test]
    fn small_clusters_are_named() {
        let one = collapse(&[5000, 4, 5000]).expect("4 of 10004 rows");
        assert!(
            one.contains("cluster 1 of 3 holds fewer than 11 of 10004 rows"),
            "{one}"
        );
        let two = collapse(&[0, 5000, 0, 5000]).expect("two clusters are empty");
        assert!(two.contains("cluster 0 and 1 more of 4"), "{two}");
        let mut many = vec![1000; 200];
        many[7] = 8;
        let of_many = collapse(&many).expect("8 rows, of 995 in an even share");
        assert!(
            of_many.contains("cluster 7 of 200 holds fewer than 10 of 199008 rows"),
            "{of_many}"
        );
    }
}
