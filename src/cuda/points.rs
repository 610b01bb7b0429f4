//! Points made ready for their distances to be taken; `kernels/points.cuh`.

use super::driver::{Address, Driver};
use super::memory::Buffer;
use super::{Cuda, Matrix, arguments, int};
use crate::error::Result;
use crate::ops::{Precision, Shape};

/// Up to this many columns distances are summed from differences: exact wherever the points lie.
const DIFFERENCES: usize = 16;

/// The number of a column that no row is, from whatever row it is counted.
const NO_COLUMN: i32 = i32::MIN / 2;

/// The pairs of points that a launch looks at: `Pairs` in the kernels.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Pairs {
    row_points: Address,
    row_norms: Address,
    points: Address,
    norms: Address,
    /// From one point to the next.
    stride: i32,
    dimensions: i32,
    /// Which column the first row is.
    pub first_row: i32,
    /// Points that are rows.
    pub rows: i32,
    /// Points that are columns.
    pub columns: i32,
    /// `-1 / (2 sigma^2)`.
    pub factor: f32,
}

impl Pairs {
    /// Only `rows` of the rows, from `first` on.
    pub fn of_rows(self, first: usize, rows: usize) -> Self {
        let offset = |at: Address, numbers: usize| match at {
            // Where differences are taken there are no norms.
            Address(0) => at,
            at => at.offset(numbers * size_of::<f32>()),
        };
        Pairs {
            row_points: offset(self.row_points, first * self.stride as usize),
            row_norms: offset(self.row_norms, first),
            first_row: self.first_row + int(first),
            rows: int(rows),
            ..self
        }
    }
}

/// Some rows of a matrix on the device.
#[derive(Clone, Copy)]
pub struct Rows {
    /// Where the first one is.
    pub at: Address,
    /// How many they are.
    pub count: usize,
}

impl Rows {
    /// All rows in use.
    pub fn of<D: Driver>(matrix: &Matrix<D>) -> Self {
        Rows {
            at: matrix.address(),
            count: matrix.rows(),
        }
    }

    /// `count` rows from `first` on.
    pub fn part<D: Driver>(matrix: &Matrix<D>, first: usize, count: usize) -> Self {
        Rows {
            at: matrix
                .address()
                .offset(first * matrix.stride() * size_of::<f32>()),
            count,
        }
    }
}

/// Rows made ready for their distances to be taken.
pub struct Points<D: Driver> {
    cols: usize,
    /// The rows centred and rounded, and their squared norms; `None` when differences are taken.
    centred: Option<(Matrix<D>, Buffer<D>)>,
}

impl<D: Driver> Points<D> {
    /// Room for `rows` points; `what` names it in the error when there is none.
    pub fn new(cuda: &Cuda<D>, what: &str, rows: usize, cols: usize) -> Result<Self> {
        let centred = if cols <= DIFFERENCES {
            None
        } else {
            let centred = Matrix::zeros(&cuda.memory, what, rows, cols)?;
            Some((centred, cuda.memory.zeros(what, rows * 4)?))
        };
        Ok(Points { cols, centred })
    }

    /// Makes the rows of `x` ready, the mean of the first rows of `around` subtracted, and returns where they are.
    pub fn set(&self, cuda: &Cuda<D>, x: Rows, around: Rows, precision: Precision) -> Result<Address> {
        let Some((centred, norms)) = &self.centred else {
            return Ok(x.at);
        };
        let rounded = match precision {
            // The split of tf32x3 is made on the way; nothing is lost here.
            Precision::Tf32x3 => Precision::Fp32,
            other => other,
        };
        cuda.launch(
            "affinity",
            &format!("affinity_center_{}", rounded.name()),
            [x.count.div_ceil(8), 1, 1],
            256,
            arguments![
                x.at,
                around.at,
                int(around.count),
                centred.address(),
                norms.address(),
                int(x.count),
                int(self.cols),
                int(centred.stride()),
            ],
        )?;
        Ok(centred.address())
    }

    fn norms(&self) -> Address {
        self.centred
            .as_ref()
            .map_or(Address(0), |(_, norms)| norms.address())
    }

    /// All pairs of the first `rows` points, `sigma` wide.
    pub fn pairs(&self, at: Address, rows: usize, sigma: f64) -> Pairs {
        Pairs {
            row_points: at,
            row_norms: self.norms(),
            points: at,
            norms: self.norms(),
            stride: int(self.cols.next_multiple_of(4)),
            dimensions: int(self.cols),
            first_row: 0,
            rows: int(rows),
            columns: int(rows),
            factor: (-0.5 / (sigma * sigma)) as f32,
        }
    }

    /// The pairs of these points, as rows, with others.
    pub fn pairs_with(
        &self,
        at: Address,
        rows: usize,
        others: &Points<D>,
        others_at: Address,
        columns: usize,
    ) -> Pairs {
        Pairs {
            points: others_at,
            norms: others.norms(),
            first_row: NO_COLUMN,
            columns: int(columns),
            factor: 0.0,
            ..self.pairs(at, rows, 1.0)
        }
    }

    /// How distances are computed: the end of the kernels' names.
    pub fn product(&self, precision: Precision) -> &'static str {
        match self.centred {
            None => "differences",
            Some(_) => precision.name(),
        }
    }
}
