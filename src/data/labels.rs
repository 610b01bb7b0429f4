//! Class labels: one whole number per row, stored as an index into the distinct ones.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::matrix::{Matrix, Number, ShapeText};
use crate::error::Result;

/// The labels of some rows. Any whole numbers will do as classes, negative ones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The distinct labels, ascending.
    pub classes: Vec<i64>,
    /// For each row, where its label is in [`classes`](Self::classes).
    pub index: Vec<u32>,
}

impl Labels {
    /// Labels given as numbers.
    ///
    /// # Panics
    /// With more than 2^32 distinct labels.
    pub fn from_integers(values: impl IntoIterator<Item = i64>) -> Self {
        let mut builder = Builder::default();
        values.into_iter().for_each(|value| builder.push(value));
        builder.finish()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The labels in some arrays, one after the other.
    pub(super) fn from_matrices(parts: &[Matrix]) -> Result<Self> {
        let mut builder = Builder::default();
        for part in parts {
            let rows = rows(part)?;
            builder.index.reserve(rows);
            each(part, 0..rows, |label| {
                builder.push(label);
                Ok(())
            })?;
        }
        Ok(builder.finish())
    }
}

/// Labels left where they are, mapped mostly: only their classes are in memory.
#[derive(Clone, Debug)]
pub struct LabelStream {
    classes: Vec<i64>,
    parts: Vec<Matrix>,
}

impl LabelStream {
    /// Reads all labels once, to check them and to know the classes.
    pub(super) fn new(parts: Vec<Matrix>) -> Result<Self> {
        let mut classes = BTreeSet::new();
        let mut last = None;
        for part in &parts {
            each(part, 0..rows(part)?, |label| {
                if last.replace(label) != Some(label) {
                    classes.insert(label);
                }
                Ok(())
            })?;
        }
        Ok(LabelStream {
            classes: classes.into_iter().collect(),
            parts,
        })
    }

    /// The distinct labels, ascending.
    pub fn classes(&self) -> &[i64] {
        &self.classes
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Matrix::rows).sum()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the labels of the rows `first..` are in [`classes`](Self::classes), as many as fit in `out`.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn read(&self, first: usize, out: &mut [u32]) -> Result<()> {
        assert!(
            first + out.len() <= self.len(),
            "labels {first}.. of {}",
            self.len()
        );
        let (end, mut begin) = (first + out.len(), 0);
        let mut out = out.iter_mut();
        for part in &self.parts {
            let clamp = |row: usize| row.clamp(begin, begin + part.rows()) - begin;
            each(part, clamp(first)..clamp(end), |label| {
                let index = self.classes.binary_search(&label).map_err(|_| {
                    let problem = format!("label {label} was not there when the file was first read");
                    part.origin()
                        .error(problem, "do not change the file while it is in use")
                })?;
                if let Some(out) = out.next() {
                    *out = index as u32;
                }
                Ok(())
            })?;
            begin += part.rows();
        }
        Ok(())
    }
}

/// Where labels go that have no place in the file of the rows: `NAME-labels.npy` for `NAME.npy`.
pub fn labels_beside(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-labels.{extension}"))
}

const ADVICE: &str = "labels must be one whole number per row";

/// Number of labels in an array, which must have one axis, or one column.
fn rows(matrix: &Matrix) -> Result<usize> {
    if matrix.cols() != 1 || matrix.rows() == 0 {
        let problem = format!("labels of shape {}", ShapeText(matrix.shape()));
        return Err(matrix.origin().error(problem, ADVICE));
    }
    Ok(matrix.rows())
}

/// Hands on the labels of some rows, one by one.
fn each(matrix: &Matrix, rows: Range<usize>, mut sink: impl FnMut(i64) -> Result<()>) -> Result<()> {
    let mut row = rows.start;
    matrix.numbers(rows, |value| {
        let label = whole(value).ok_or_else(|| {
            let problem = format!("label {value} of row {row} (counted from 0) is not a whole 64-bit number");
            matrix.origin().error(problem, ADVICE)
        })?;
        row += 1;
        sink(label)
    })
}

/// Collects labels one by one: 4 bytes a row, whatever the source.
#[derive(Debug, Default)]
struct Builder {
    /// Number of each class, in order of first appearance.
    seen: HashMap<i64, u32>,
    index: Vec<u32>,
    last: Option<(i64, u32)>,
}

impl Builder {
    fn push(&mut self, label: i64) {
        let index = match self.last {
            Some((last, index)) if last == label => index,
            _ => {
                let next = u32::try_from(self.seen.len()).expect("fewer than 2^32 classes");
                *self.seen.entry(label).or_insert(next)
            }
        };
        self.last = Some((label, index));
        self.index.push(index);
    }

    /// Sorts the classes and renumbers the rows.
    fn finish(mut self) -> Labels {
        let mut order: Vec<(i64, u32)> = self.seen.into_iter().collect();
        order.sort_unstable();
        let mut rank = vec![0; order.len()];
        for (new, &(_, old)) in order.iter().enumerate() {
            rank[old as usize] = new as u32;
        }
        self.index
            .iter_mut()
            .for_each(|index| *index = rank[*index as usize]);
        self.index.shrink_to_fit();
        Labels {
            classes: order.into_iter().map(|(label, _)| label).collect(),
            index: self.index,
        }
    }
}

/// The label a number stands for, if it is one.
pub(super) fn whole(value: Number) -> Option<i64> {
    match value {
        Number::Integer(value) => i64::try_from(value).ok(),
        // Beyond 2^53 neighbouring whole numbers are no longer told apart.
        Number::Float(value) if value.fract() == 0.0 && value.abs() <= (1u64 << 53) as f64 => {
            Some(value as i64)
        }
        Number::Float(_) => None,
    }
}
