//! The table of counts that every score is a function of.

use crate::{Error, Result};

/// Most rows a table may count: products of two pair counts then stay below 2^126, so the adjusted Rand
/// index is exact in 128-bit integers.
const MAX_ROWS: u64 = 1 << 32;

/// How many rows fall in each (cluster, class) cell, with the sums along both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contingency {
    counts: Vec<u64>,
    cluster_sizes: Vec<u64>,
    class_sizes: Vec<u64>,
    rows: u64,
}

impl Contingency {
    /// Counts two labellings of the same rows in one pass: time and memory O(rows + clusters * classes).
    ///
    /// Every number of `predicted` is below `clusters`, every number of `truth` below `classes`; either may
    /// leave some of its names unused.
    ///
    /// # Errors
    /// [`Error::Shape`] when the labellings differ in length, are empty, have more than 2^32 rows, or hold a
    /// number out of range; [`Error::Memory`] when the table cannot be had.
    pub fn new(predicted: &[u32], clusters: usize, truth: &[u32], classes: usize) -> Result<Self> {
        let mut tally = Tally::new(clusters, classes)?;
        tally.add(predicted, truth)?;
        tally.finish()
    }

    /// Rows in this cluster that belong to this class.
    pub fn count(&self, cluster: usize, class: usize) -> u64 {
        self.counts[cluster * self.classes() + class]
    }

    /// All counts, row-major `[clusters, classes]`.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Number of clusters, the unused among them included.
    pub fn clusters(&self) -> usize {
        self.cluster_sizes.len()
    }

    /// Number of classes, the unused among them included.
    pub fn classes(&self) -> usize {
        self.class_sizes.len()
    }

    /// Rows in each cluster.
    pub fn cluster_sizes(&self) -> &[u64] {
        &self.cluster_sizes
    }

    /// Rows of each class.
    pub fn class_sizes(&self) -> &[u64] {
        &self.class_sizes
    }

    /// Rows counted, at least 1.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// A [`Contingency`] in the making, for labellings that come in chunks: memory O(clusters * classes).
#[derive(Clone, Debug)]
pub struct Tally {
    counts: Vec<u64>,
    clusters: usize,
    classes: usize,
    rows: u64,
}

impl Tally {
    /// A table without rows.
    ///
    /// # Errors
    /// [`Error::Memory`] when the table cannot be had.
    pub fn new(clusters: usize, classes: usize) -> Result<Self> {
        Ok(Tally {
            counts: table(clusters, classes)?,
            clusters,
            classes,
            rows: 0,
        })
    }

    /// Counts some more rows.
    ///
    /// # Errors
    /// [`Error::Shape`] when the labellings differ in length, make more than 2^32 rows in all, or hold a number out of
    /// range.
    pub fn add(&mut self, predicted: &[u32], truth: &[u32]) -> Result<()> {
        if predicted.len() != truth.len() {
            return Err(shape(
                "the number of true labels",
                truth.len(),
                format!("{}, one for each predicted label", predicted.len()),
            ));
        }
        let rows = self.rows + predicted.len() as u64;
        if rows > MAX_ROWS {
            return Err(wrong_rows(rows));
        }
        let (clusters, classes) = (self.clusters, self.classes);
        for (row, (&p, &t)) in predicted.iter().zip(truth).enumerate() {
            let (cluster, class) = (p as usize, t as usize);
            if cluster >= clusters || class >= classes {
                let (side, found, names, limit) = if cluster >= clusters {
                    ("predicted", p, "clusters", clusters)
                } else {
                    ("true", t, "classes", classes)
                };
                return Err(shape(
                    format!(
                        "the {side} label of row {}, counted from 0,",
                        self.rows + row as u64
                    ),
                    found,
                    format!("a number below {limit}, the number of {names}"),
                ));
            }
            self.counts[cluster * classes + class] += 1;
        }
        self.rows = rows;
        Ok(())
    }

    /// The table of all rows counted.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are none.
    pub fn finish(self) -> Result<Contingency> {
        if self.rows == 0 {
            return Err(wrong_rows(0));
        }
        let mut cluster_sizes = vec![0; self.clusters];
        let mut class_sizes = vec![0; self.classes];
        for (row, cluster_size) in self.counts.chunks_exact(self.classes).zip(&mut cluster_sizes) {
            for (&count, class_size) in row.iter().zip(&mut class_sizes) {
                *cluster_size += count;
                *class_size += count;
            }
        }
        Ok(Contingency {
            counts: self.counts,
            cluster_sizes,
            class_sizes,
            rows: self.rows,
        })
    }
}

fn wrong_rows(rows: u64) -> Error {
    shape("the number of labelled rows", rows, format!("1 to {MAX_ROWS}"))
}

/// A zeroed table, or an error where a plain `vec!` would end the process.
fn table(clusters: usize, classes: usize) -> Result<Vec<u64>> {
    let cells = clusters.saturating_mul(classes);
    let mut counts = Vec::new();
    counts.try_reserve_exact(cells).map_err(|_| Error::Memory {
        what: format!("the table of {clusters} clusters by {classes} classes"),
        mib: (cells as u64).div_ceil((1 << 20) / size_of::<u64>() as u64),
        advice: "check that the labels are class numbers, not measurements",
    })?;
    counts.resize(cells, 0);
    Ok(counts)
}

fn shape(what: impl Into<String>, found: impl ToString, expected: String) -> Error {
    Error::Shape {
        what: what.into(),
        found: found.to_string(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{print_seed, random_labels};
    use super::*;

    #[test]
    fn counts_a_hand_worked_table() {
        let t = Contingency::new(&[0, 0, 2, 2, 2, 0], 3, &[1, 1, 0, 1, 0, 0], 2).unwrap();
        assert_eq!(t.counts(), [1, 2, 0, 0, 2, 1]);
        assert_eq!(t.cluster_sizes(), [3, 0, 3]);
        assert_eq!(t.class_sizes(), [3, 3]);
        assert_eq!((t.clusters(), t.classes(), t.rows()), (3, 2, 6));
        assert_eq!(t.count(2, 0), 2);
    }

    #[test]
    fn chunks_of_any_length_make_the_same_table() {
        let mut random = print_seed();
        let predicted = random_labels(&mut random, 1021, 7);
        let truth = random_labels(&mut random, 1021, 3);
        let whole = Contingency::new(&predicted, 7, &truth, 3).unwrap();
        for length in [1, 33, 1020, 1021] {
            let mut tally = Tally::new(7, 3).unwrap();
            for (p, t) in predicted.chunks(length).zip(truth.chunks(length)) {
                tally.add(p, t).unwrap();
            }
            assert_eq!(tally.finish().unwrap(), whole, "chunks of {length}");
        }
        let mut tally = Tally::new(2, 2).unwrap();
        tally.add(&[0, 1, 1], &[0, 0, 0]).unwrap();
        let message = tally.add(&[0, 2], &[0, 0]).unwrap_err().to_string();
        assert!(message.contains("row 4, counted from 0, is 2"), "{message}");
    }

    #[test]
    fn bad_labellings_are_named_in_one_line() {
        let message = |p: &[u32], k, t: &[u32], c| Contingency::new(p, k, t, c).unwrap_err().to_string();
        assert_eq!(
            message(&[0, 1], 2, &[0], 2),
            "the number of true labels is 1, expected 2, one for each predicted label"
        );
        assert_eq!(
            message(&[], 2, &[], 2),
            "the number of labelled rows is 0, expected 1 to 4294967296"
        );
        assert_eq!(
            message(&[0, 1, 5], 3, &[0, 0, 9], 2),
            "the predicted label of row 2, counted from 0, is 5, expected a number below 3, the number of clusters"
        );
        assert_eq!(
            message(&[0, 1], 2, &[0, 2], 2),
            "the true label of row 1, counted from 0, is 2, expected a number below 2, the number of classes"
        );
        assert!(message(&[0], usize::MAX, &[0], 3).starts_with("not enough memory for the table"));
        assert!(message(&[0], 0, &[0], 0).contains("expected a number below 0"));
    }
}
