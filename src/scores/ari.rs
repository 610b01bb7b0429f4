//! The adjusted Rand index (Hubert and Arabie, "Comparing partitions", 1985).

use super::Contingency;

/// Agreement on pairs of rows, corrected for chance: 1 for equal partitions, about 0 for unrelated ones, never
/// below -0.5.
///
/// With `S` pairs together in both labellings, `A` together in a cluster, `B` together in a class and `N` pairs
/// in all, `ARI = 2 (S N - A B) / ((A + B) N - 2 A B)`. Numerator and denominator are exact integers; the only
/// rounding is in their quotient. As in scikit-learn, two labellings that are both one part, or both all single
/// rows, score 1.
pub fn ari(table: &Contingency) -> f64 {
    let together = pairs_within(table.counts());
    let clusters = pairs_within(table.cluster_sizes());
    let classes = pairs_within(table.class_sizes());
    let all = pairs_within(&[table.rows()]);
    // `all` is below 2^63 (see `Contingency`), so each product is below 2^126 and the sums below 2^127.
    let above = together * all - clusters * classes;
    let below = (clusters + classes) * all - 2 * clusters * classes;
    if below == 0 {
        // Only where the two partitions are equal and trivial: A = B = 0, or A = B = N.
        return 1.0;
    }
    2.0 * above as f64 / below as f64
}

/// Unordered pairs of rows that share a part.
fn pairs_within(sizes: &[u64]) -> i128 {
    sizes
        .iter()
        .map(|&size| i128::from(size) * (i128::from(size) - 1) / 2)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::testing::{print_seed, random_labels};

    #[test]
    fn hand_worked_tables() {
        let of = |p: &[u32], t: &[u32]| ari(&Contingency::new(p, 4, t, 4).unwrap());
        // S = 1, A = 3, B = 2, N = 6: 2 (6 - 6) / (30 - 12).
        assert_eq!(of(&[0, 0, 0, 1], &[0, 0, 1, 1]), 0.0);
        // S = 1, A = 1, B = 2, N = 6: 2 (6 - 2) / (18 - 4).
        assert_eq!(of(&[0, 0, 1, 2], &[0, 0, 1, 1]), 8.0 / 14.0);
        // S = 0, A = B = 2, N = 6: the worst there is.
        assert_eq!(of(&[0, 0, 1, 1], &[0, 1, 0, 1]), -0.5);
    }

    #[test]
    fn trivial_labellings_score_as_in_scikit_learn() {
        let of = |p: &[u32], t: &[u32]| ari(&Contingency::new(p, 4, t, 4).unwrap());
        assert_eq!(of(&[3, 3, 3], &[1, 1, 1]), 1.0, "both one part");
        assert_eq!(of(&[3, 0, 1], &[1, 2, 0]), 1.0, "both all single rows");
        assert_eq!(of(&[2], &[0]), 1.0, "one row");
        assert_eq!(of(&[3, 3, 3], &[1, 2, 1]), 0.0, "one cluster");
        assert_eq!(of(&[0, 1, 2], &[1, 1, 1]), 0.0, "one class");
    }

    #[test]
    fn agrees_with_looking_at_every_pair() {
        let mut random = print_seed();
        for rows in [2, 7, 129] {
            for (clusters, classes) in [(2, 2), (3, 5), (10, 4)] {
                let p = random_labels(&mut random, rows, clusters);
                let t = random_labels(&mut random, rows, classes);
                let [mut both, mut in_p, mut in_t, mut neither] = [0i64; 4];
                for i in 0..rows {
                    for j in 0..i {
                        match (p[i] == p[j], t[i] == t[j]) {
                            (true, true) => both += 1,
                            (true, false) => in_p += 1,
                            (false, true) => in_t += 1,
                            (false, false) => neither += 1,
                        }
                    }
                }
                let expected = if in_p == 0 && in_t == 0 {
                    1.0
                } else {
                    2.0 * (both * neither - in_p * in_t) as f64
                        / ((both + in_t) * (in_t + neither) + (both + in_p) * (in_p + neither)) as f64
                };
                let found = ari(&Contingency::new(&p, clusters, &t, classes).unwrap());
                assert_eq!(found, expected, "{rows} rows, {clusters} by {classes}");
            }
        }
    }
}
