//! Class labels: one whole number per row, stored as an index into the distinct ones.

use std::collections::HashMap;

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

    pub(super) fn from_matrix(matrix: &Matrix) -> Result<Self> {
        let mut builder = Builder::default();
        builder.push_matrix(matrix)?;
        Ok(builder.finish())
    }
}

/// Collects labels one by one: 4 bytes a row, whatever the source.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// Number of each class, in order of first appearance.
    seen: HashMap<i64, u32>,
    index: Vec<u32>,
    last: Option<(i64, u32)>,
}

impl Builder {
    pub fn push(&mut self, label: i64) {
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

    /// Appends an array of one axis, or one column.
    pub fn push_matrix(&mut self, matrix: &Matrix) -> Result<()> {
        if matrix.cols() != 1 || matrix.rows() == 0 {
            let shape = ShapeText(matrix.shape());
            let problem = format!("labels of shape {shape}");
            return Err(matrix
                .origin()
                .error(problem, "labels must be one whole number per row"));
        }
        self.index.reserve(matrix.rows());
        for row in 0..matrix.rows() {
            let value = matrix.number(row);
            let label = whole(value).ok_or_else(|| {
                let problem =
                    format!("label {value} of row {row} (counted from 0) is not a whole 64-bit number");
                matrix
                    .origin()
                    .error(problem, "labels must be one whole number per row")
            })?;
            self.push(label);
        }
        matrix.release(0..matrix.rows());
        Ok(())
    }

    /// Sorts the classes and renumbers the rows.
    pub fn finish(mut self) -> Labels {
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
