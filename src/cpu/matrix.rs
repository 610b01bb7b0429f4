//! A row-major matrix in host memory, shared by both CPU backends.

use std::ops::{Deref, DerefMut};

use crate::error::{Error, Result};
use crate::ops::{Real, Shape};

/// A row-major matrix; dereferences to the slice of the rows in use.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<T> {
    rows: usize,
    cols: usize,
    values: Vec<T>,
}

impl<T: Real> Matrix<T> {
    /// A matrix of zeros, or [`Error::Memory`].
    pub fn zeros(what: &str, rows: usize, cols: usize) -> Result<Self> {
        let refused = |bytes: u128| Error::Memory {
            what: what.to_string(),
            mib: (bytes >> 20) as u64 + 1,
            advice: "use fewer rows (--train-rows), a smaller --batch or smaller --hidden layers",
        };
        let bytes = rows as u128 * cols as u128 * size_of::<T>() as u128;
        let len = usize::try_from(bytes).map_err(|_| refused(bytes))? / size_of::<T>();
        let mut values = Vec::new();
        values.try_reserve_exact(len).map_err(|_| refused(bytes))?;
        values.resize(len, T::ZERO);
        Ok(Matrix { rows, cols, values })
    }

    /// A matrix of the given rows; `values` holds `rows * cols` numbers.
    pub fn from_rows(rows: usize, cols: usize, values: Vec<T>) -> Self {
        assert_eq!(values.len(), rows * cols, "a matrix of {rows} x {cols}");
        Matrix { rows, cols, values }
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[T] {
        &self.values[i * self.cols..][..self.cols]
    }

    /// Row `i`, to be written.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.values[i * self.cols..][..self.cols]
    }

    /// Changes the row length of an empty matrix; its memory stays.
    pub fn set_cols(&mut self, cols: usize) {
        assert_eq!(self.rows, 0, "rows of another length are in use");
        self.cols = cols;
    }

    /// Copies `from`, whole rows, to the rows from `first_row` on.
    pub fn copy_in(&mut self, from: &[T], first_row: usize) -> Result<()> {
        let to = self
            .values
            .get_mut(first_row * self.cols..)
            .and_then(|tail| tail.get_mut(..from.len()));
        match to {
            Some(to) if from.len().is_multiple_of(self.cols.max(1)) => to.copy_from_slice(from),
            _ => {
                return Err(Error::Shape {
                    what: "the host's array".into(),
                    found: format!("{} numbers from row {first_row}", from.len()),
                    expected: format!("rows of {} within {} rows", self.cols, self.rows),
                });
            }
        }
        Ok(())
    }

    /// Copies the rows in use to `to`, which holds as many numbers.
    pub fn copy_out(&self, to: &mut [T]) -> Result<()> {
        if to.len() != self.len() {
            return Err(Error::Shape {
                what: "the host's array".into(),
                found: format!("{} numbers", to.len()),
                expected: format!("{} x {}", self.rows, self.cols),
            });
        }
        to.copy_from_slice(self);
        Ok(())
    }
}

impl<T> Shape for Matrix<T> {
    fn rows(&self) -> usize {
        self.rows
    }
    fn cols(&self) -> usize {
        self.cols
    }
    fn set_rows(&mut self, rows: usize) {
        assert!(
            rows * self.cols <= self.values.len(),
            "{rows} rows of {} numbers",
            self.values.len()
        );
        self.rows = rows;
    }
}

impl<T> Deref for Matrix<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values[..self.rows * self.cols]
    }
}

impl<T> DerefMut for Matrix<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.rows * self.cols]
    }
}
