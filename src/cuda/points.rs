//! Points made ready for their distances to be taken; `kernels/points.cuh`.

use super::driver::{Address, Driver};
use super::memory::{Buffer, stride};
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
    /// From one point to the next, in numbers.
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
    precision: Precision,
    /// The rows centred and rounded, as numbers of so many bytes, and their squared norms; `None` when differences are taken.
    centred: Option<(usize, Buffer<D>, Buffer<D>)>,
}

impl<D: Driver> Points<D> {
    /// Room for `rows` points, whose distances are computed in `precision`; `what` names it in the error when there is none.
    pub fn new(cuda: &Cuda<D>, what: &str, rows: usize, cols: usize, precision: Precision) -> Result<Self> {
        let mut points = Points {
            cols,
            precision,
            centred: None,
        };
        if cols > DIFFERENCES {
            let bytes = match precision {
                Precision::Bf16 => 2,
                _ => 4,
            };
            let numbers = cuda.memory.zeros(what, rows * stride(cols, bytes) * bytes)?;
            points.centred = Some((bytes, numbers, cuda.memory.zeros(what, rows * 4)?));
        }
        Ok(points)
    }

    /// Makes the rows of `x` ready, the mean of the first rows of `around` subtracted, and returns where they are.
    pub fn set(&self, cuda: &Cuda<D>, x: Rows, around: Rows) -> Result<Address> {
        let Some((_, centred, norms)) = &self.centred else {
            return Ok(x.at);
        };
        let rounded = match self.precision {
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
                int(stride(self.cols, 4)),
                centred.address(),
                int(self.stride()),
                norms.address(),
                int(x.count),
                int(self.cols),
            ],
        )?;
        Ok(centred.address())
    }

    /// Bytes of a number.
    fn bytes(&self) -> usize {
        self.centred.as_ref().map_or(4, |(bytes, ..)| *bytes)
    }

    /// From one point to the next, in numbers.
    fn stride(&self) -> usize {
        stride(self.cols, self.bytes())
    }

    fn norms(&self) -> Address {
        self.centred
            .as_ref()
            .map_or(Address(0), |(.., norms)| norms.address())
    }

    /// All pairs of the first `rows` points, `sigma` wide.
    pub fn pairs(&self, at: Address, rows: usize, sigma: f64) -> Pairs {
        Pairs {
            row_points: at,
            row_norms: self.norms(),
            points: at,
            norms: self.norms(),
            stride: int(self.stride()),
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

    /// Of pairs of these points, as rows, those of `rows` rows from `first` on.
    pub fn part(&self, pairs: Pairs, first: usize, rows: usize) -> Pairs {
        let row_norms = match pairs.row_norms {
            // Where differences are taken there are none.
            Address(0) => Address(0),
            at => at.offset(first * size_of::<f32>()),
        };
        Pairs {
            row_points: pairs.row_points.offset(first * self.stride() * self.bytes()),
            row_norms,
            first_row: pairs.first_row + int(first),
            rows: int(rows),
            ..pairs
        }
    }

    /// How distances are computed: the end of the kernels' names.
    pub fn product(&self) -> &'static str {
        match self.centred {
            None => "differences",
            Some(_) => self.precision.name(),
        }
    }
}
