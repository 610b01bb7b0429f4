//! The part of a graph between the rows of a mini-batch; `kernels/subgraph.cu`.

use super::affinity::stride;
use super::driver::{Address, Driver};
use super::memory::Buffer;
use super::sparse::{Edges, Graph, PANEL, ROWS};
use super::{Cuda, Labels, Matrix, State, arguments, int};
use crate::error::Result;
use crate::ops::Shape;

/// The rows of a mini-batch within a graph.
pub struct Part<D: Driver> {
    /// Shares the memory of the graph, which contractions read.
    graph: Graph<D>,
    /// The mini-batch's rows.
    rows: Buffer<D>,
    /// For each row of the graph its place in the last mini-batch that it was in.
    places: Buffer<D>,
    m: usize,
}

/// `Part` in the kernels.
#[derive(Clone, Copy)]
#[repr(C)]
struct Argument {
    edges: Edges,
    rows: Address,
    places: Address,
    m: i32,
}

impl<D: Driver> Part<D> {
    /// Room for mini-batches of `m` rows.
    pub fn new(cuda: &Cuda<D>, what: &str, graph: &Graph<D>, m: usize) -> Result<Self> {
        Ok(Part {
            graph: graph.clone(),
            rows: cuda.memory.zeros(what, m * size_of::<u32>())?,
            places: cuda.memory.zeros(what, graph.rows * size_of::<u32>())?,
            m,
        })
    }

    fn argument(&self) -> Argument {
        Argument {
            edges: self.graph.edges(),
            rows: self.rows.address(),
            places: self.places.address(),
            m: int(self.m),
        }
    }

    /// The rows that `order` names for the mini-batch.
    ///
    /// # Panics
    /// When `graph` is another than there was made room for.
    pub fn set(&self, cuda: &Cuda<D>, graph: &Graph<D>, order: &Labels<D>, state: &State<D>) -> Result<()> {
        assert!(self.graph.is(graph), "the affinity belongs to another graph");
        cuda.launch(
            "subgraph",
            "subgraph_places",
            [self.m.div_ceil(256), 1, 1],
            256,
            arguments![
                order.buffer.address(),
                state.buffer.address(),
                self.rows.address(),
                self.places.address(),
                int(self.m),
            ],
        )
    }

    /// The affinities as a full matrix in f32, and their sums over rows.
    pub fn fill(&self, cuda: &Cuda<D>, a: Address, degrees: Address) -> Result<()> {
        cuda.launch(
            "subgraph",
            "subgraph_dense",
            [self.m, 1, 1],
            128,
            arguments![self.argument(), a, int(stride(self.m)), degrees],
        )
    }

    /// `[S | D] = A [Y | 1]`, along the edges.
    pub fn contract(
        &self,
        cuda: &Cuda<D>,
        membership: &Matrix<D>,
        contraction: &mut Matrix<D>,
        degrees: &mut Matrix<D>,
    ) -> Result<()> {
        let k = membership.cols();
        cuda.launch(
            "subgraph",
            "subgraph_contract",
            [self.m.div_ceil(ROWS), k.div_ceil(PANEL), 1],
            256,
            arguments![
                self.argument(),
                membership.address(),
                int(membership.stride()),
                contraction.address(),
                int(contraction.stride()),
                degrees.address(),
                int(k),
            ],
        )
    }
}
