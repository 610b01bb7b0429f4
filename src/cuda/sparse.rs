//! Graphs of all training rows, and products with them; `kernels/sparse.cu`.

use super::driver::{Address, Driver};
use super::memory::Buffer;
use super::{Cuda, Matrix, arguments, int};
use crate::data::csr::Csr;
use crate::error::Result;
use crate::ops::Shape;

/// Rows of a block: one for each warp.
pub const ROWS: usize = 8;

/// Columns of a product that a warp works on; `PANEL` in the kernels.
pub const PANEL: usize = 128;

/// A graph in the device's memory.
pub struct Graph<D: Driver> {
    /// Its rows.
    pub rows: usize,
    starts: Buffer<D>,
    columns: Buffer<D>,
    values: Buffer<D>,
}

impl<D: Driver> Clone for Graph<D> {
    /// The same memory, once more.
    fn clone(&self) -> Self {
        Graph {
            rows: self.rows,
            starts: self.starts.clone(),
            columns: self.columns.clone(),
            values: self.values.clone(),
        }
    }
}

/// The edges as kernels take them: `Edges` in `kernels/edges.cuh`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Edges {
    starts: Address,
    columns: Address,
    values: Address,
}

impl<D: Driver> Graph<D> {
    /// Copies a graph to the device; `what` names it in the error when there is no room.
    pub fn new(cuda: &Cuda<D>, what: &str, graph: &Csr) -> Result<Self> {
        Ok(Graph {
            rows: graph.rows(),
            starts: copied(cuda, what, bytemuck::cast_slice(&graph.starts))?,
            columns: copied(cuda, what, bytemuck::cast_slice(&graph.columns))?,
            values: copied(cuda, what, bytemuck::cast_slice(&graph.values))?,
        })
    }

    /// Whether both are the same memory.
    pub fn is(&self, other: &Graph<D>) -> bool {
        self.starts.address() == other.starts.address()
    }

    /// As kernels take them.
    pub fn edges(&self) -> Edges {
        Edges {
            starts: self.starts.address(),
            columns: self.columns.address(),
            values: self.values.address(),
        }
    }
}

/// Bytes, on the device.
fn copied<D: Driver>(cuda: &Cuda<D>, what: &str, bytes: &[u8]) -> Result<Buffer<D>> {
    let buffer = cuda.memory.zeros(what, bytes.len())?;
    if buffer.is_real() && !bytes.is_empty() {
        cuda.driver
            .write(bytes, bytes.len(), buffer.address(), bytes.len())?;
    }
    Ok(buffer)
}

/// See [`Ops::sparse_product`](crate::ops::Ops::sparse_product).
pub fn sparse_product<D: Driver>(
    cuda: &Cuda<D>,
    graph: &Graph<D>,
    x: &Matrix<D>,
    y: &mut Matrix<D>,
) -> Result<()> {
    let (n, p) = (graph.rows, x.cols());
    cuda.launch(
        "sparse",
        "sparse_product",
        [n.div_ceil(ROWS), p.div_ceil(PANEL), 1],
        256,
        arguments![
            graph.edges(),
            x.address(),
            int(x.stride()),
            y.address(),
            int(y.stride()),
            int(n),
            int(p),
        ],
    )
}
