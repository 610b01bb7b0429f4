//! Normalised mutual information.

use super::Contingency;

/// What the mutual information is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// `sqrt(H(clusters) H(classes))`, as in the paper.
    Geometric,
    /// `(H(clusters) + H(classes)) / 2`, scikit-learn's default.
    Arithmetic,
}

/// Mutual information of clusters and classes over a mean of their entropies, from 0 to 1.
///
/// `I = sum_ij n_ij / n ln(n n_ij / (a_i b_j))`, `H = -sum_i a_i / n ln(a_i / n)`, empty cells left out. As in
/// scikit-learn, one cluster and one class (both labellings trivial) score 1, and no shared information scores
/// 0, a single cluster facing several classes included.
pub fn nmi(table: &Contingency, mean: Mean) -> f64 {
    let (a, b) = (entropy(table.cluster_sizes()), entropy(table.class_sizes()));
    if a == 0.0 && b == 0.0 {
        return 1.0;
    }
    let information = mutual_information(table);
    // Independent labellings leave only rounding, of either sign; dividing it by a zero entropy would be worse.
    if information <= f64::EPSILON {
        return 0.0;
    }
    let scale = match mean {
        Mean::Geometric => (a * b).sqrt(),
        Mean::Arithmetic => (a + b) / 2.0,
    };
    (information / scale).min(1.0)
}

/// In nats. Exactly 0 for a single non-empty part.
fn entropy(sizes: &[u64]) -> f64 {
    let rows: u64 = sizes.iter().sum();
    let n = rows as f64;
    sizes
        .iter()
        .filter(|&&size| size > 0)
        .map(|&size| size as f64 / n * (n / size as f64).ln())
        .sum()
}

fn mutual_information(table: &Contingency) -> f64 {
    let n = table.rows() as f64;
    let mut sum = 0.0;
    for (cluster, &a) in table.cluster_sizes().iter().enumerate() {
        for (class, &b) in table.class_sizes().iter().enumerate() {
            let count = table.count(cluster, class);
            if count > 0 {
                let count = count as f64;
                sum += count / n * (n * count / (a as f64 * b as f64)).ln();
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_table() {
        // Classes of 2 and 2; cluster 0 holds 3 rows, cluster 1 holds 1.
        let table = Contingency::new(&[0, 0, 0, 1], 2, &[0, 0, 1, 1], 2).unwrap();
        let information = 0.5 * (4.0f64 / 3.0).ln() + 0.25 * (2.0f64 / 3.0).ln() + 0.25 * 2f64.ln();
        let clusters = 0.75 * (4.0f64 / 3.0).ln() + 0.25 * 4f64.ln();
        let classes = 2f64.ln();
        let geometric = information / (clusters * classes).sqrt();
        let arithmetic = 2.0 * information / (clusters + classes);
        assert!((nmi(&table, Mean::Geometric) - geometric).abs() < 1e-15);
        assert!((nmi(&table, Mean::Arithmetic) - arithmetic).abs() < 1e-15);
    }

    #[test]
    fn trivial_labellings_score_as_in_scikit_learn() {
        for mean in [Mean::Geometric, Mean::Arithmetic] {
            let of = |p: &[u32], t: &[u32]| nmi(&Contingency::new(p, 4, t, 5).unwrap(), mean);
            assert_eq!(of(&[3, 3, 3], &[1, 1, 1]), 1.0, "both trivial");
            assert_eq!(of(&[3, 3, 3], &[1, 2, 1]), 0.0, "one cluster");
            assert_eq!(of(&[0, 2, 1], &[4, 4, 4]), 0.0, "one class");
            assert_eq!(of(&[2], &[4]), 1.0, "one row");
            assert_eq!(of(&[0, 0, 1, 1], &[0, 1, 0, 1]), 0.0, "independent");
        }
    }
}
