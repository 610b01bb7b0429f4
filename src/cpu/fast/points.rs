//! Squared distances between rows, tile by tile: the common ground of the affinity and the exact cut.

use std::ops::Range;

use super::product::{plain, product, row_blocks, transposed};
use super::simd::{sum, vectorised};

/// Up to this many columns distances are summed directly: exact to the last bit or two, and no slower than a product.
const DIRECT: usize = 16;

/// Rows made ready for their distances to be taken.
pub struct Points {
    rows: usize,
    dims: usize,
    /// The columns one after the other, when there are few. Not centred: that would round, and differences need none of it.
    columns: Vec<f32>,
    /// Otherwise rows minus their mean. Distances do not notice, and the product form below cancels less.
    centred: Vec<f32>,
    /// That mean.
    mean: Vec<f32>,
    /// Squared norms of the centred rows.
    norms: Vec<f32>,
}

impl Points {
    /// Room for `rows` rows.
    pub fn new(rows: usize) -> Self {
        Points {
            rows: 0,
            dims: 0,
            columns: Vec::new(),
            centred: Vec::new(),
            mean: Vec::new(),
            norms: Vec::with_capacity(rows),
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Takes the rows of `x`, row-major with `dims` columns.
    pub fn set(&mut self, x: &[f32], dims: usize) {
        let rows = x.len() / dims;
        if dims > DIRECT {
            let mut mean = vec![0f64; dims];
            for row in x.chunks_exact(dims) {
                for (mean, &value) in mean.iter_mut().zip(row) {
                    *mean += f64::from(value);
                }
            }
            self.mean = mean.iter().map(|sum| (sum / rows as f64) as f32).collect();
        }
        self.fill(x, dims);
    }

    /// Other rows, ready for their distances to these to be taken.
    pub fn beside(&self, x: &[f32]) -> Points {
        let mut other = Points::new(0);
        other.mean.clone_from(&self.mean);
        other.fill(x, self.dims);
        other
    }

    /// Takes rows; their mean is known.
    fn fill(&mut self, x: &[f32], dims: usize) {
        let rows = x.len() / dims;
        self.rows = rows;
        self.dims = dims;
        if dims <= DIRECT {
            self.columns.resize(rows * dims, 0.0);
            for (i, row) in x.chunks_exact(dims).enumerate() {
                for (c, &value) in row.iter().enumerate() {
                    self.columns[c * rows + i] = value;
                }
            }
            return;
        }
        self.centred.resize(rows * dims, 0.0);
        self.norms.resize(rows, 0.0);
        let mean = &self.mean;
        row_blocks(&mut self.centred, dims, |first, block| {
            for (to, from) in block
                .chunks_exact_mut(dims)
                .zip(x[first * dims..].chunks_exact(dims))
            {
                for ((to, &from), &mean) in to.iter_mut().zip(from).zip(mean) {
                    *to = from - mean;
                }
            }
        });
        let centred = &self.centred;
        row_blocks(&mut self.norms, 1, |first, norms| {
            vectorised(|| {
                let mut squares = vec![0.0; dims];
                for (i, norm) in norms.iter_mut().enumerate() {
                    let row = &centred[(first + i) * dims..][..dims];
                    for (square, &value) in squares.iter_mut().zip(row) {
                        *square = value * value;
                    }
                    *norm = sum(&squares);
                }
            });
        });
    }

    /// `out[r][c] = |x_(rows.start + r) - x_(cols.start + c)|^2`, row-major, rows `stride` apart, on the calling thread.
    pub fn squared_distances(&self, rows: Range<usize>, cols: Range<usize>, out: &mut [f32], stride: usize) {
        self.squared_distances_to(self, rows, cols, out, stride);
    }

    /// The same from these rows to the columns `cols` of `others`.
    pub fn squared_distances_to(
        &self,
        others: &Points,
        rows: Range<usize>,
        cols: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        if self.dims <= DIRECT {
            self.by_differences(others, rows, cols, out, stride);
        } else {
            self.by_products(others, rows, cols, out, stride);
        }
    }

    fn by_differences(
        &self,
        others: &Points,
        rows: Range<usize>,
        cols: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let width = cols.len();
        vectorised(|| {
            for (i, out) in rows.zip(out.chunks_mut(stride)) {
                let out = &mut out[..width];
                out.fill(0.0);
                for c in 0..self.dims {
                    let own = self.columns[c * self.rows + i];
                    let others = &others.columns[c * others.rows + cols.start..][..width];
                    for (out, &other) in out.iter_mut().zip(others) {
                        *out += (own - other) * (own - other);
                    }
                }
            }
        });
    }

    /// `|a|^2 + |b|^2 - 2 a.b`, clamped at 0 and nowhere above: small distances are real neighbours.
    fn by_products(
        &self,
        others: &Points,
        rows: Range<usize>,
        cols: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let (d, width) = (self.dims, cols.len());
        product(
            (rows.len(), width, d),
            plain(&self.centred[rows.start * d..], d),
            transposed(&others.centred[cols.start * d..], d),
            0.0,
            out,
            stride,
        );
        vectorised(|| {
            let others = &others.norms[cols];
            for (&own, out) in self.norms[rows].iter().zip(out.chunks_mut(stride)) {
                for (out, &other) in out[..width].iter_mut().zip(others) {
                    let squared = own + other - 2.0 * *out;
                    // Written so that NaN stays NaN.
                    *out = if squared < 0.0 { 0.0 } else { squared };
                }
            }
        });
    }
}
