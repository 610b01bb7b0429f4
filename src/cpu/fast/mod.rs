//! The CPU backend people use: f32, threads, vector instructions, and a GEMM crate for the products.

mod adam;
mod affinity;
mod subgraph;
mod argmax;
mod bend;
mod ceilings;
mod cross_entropy;
mod fft;
mod gather;
mod infer;
mod linear;
mod ncut;
mod nearest;
mod normalize;
mod points;
mod product;
mod scattering;
mod simd;
mod softmax;
mod sparse;
mod squared_error;
mod tall;
mod widen;

use bytemuck::Pod;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::bending::Bending;
use crate::cpu::Matrix;
use crate::data::csr::Csr;
use crate::data::raw::Raw;
use crate::error::{Error, Result};
use crate::ops::{
    AdamRule, Ceilings, CutMatrix, GraphForm, HeatKernel, Layer, Nearest, Objective, Ops, ScatteringStep,
    Shape, StepState,
};

pub use affinity::Affinity;
pub(crate) use fft::Fft2;
pub(crate) use points::Points;
pub use simd::instructions;
pub(crate) use simd::vectorised;
pub use subgraph::Graph;

/// The most threads: more than any machine has cores to run them. Starting many more takes minutes.
pub const MOST_THREADS: usize = 1024;

/// The fast CPU backend.
pub struct Fast {
    pool: ThreadPool,
}

impl Fast {
    /// A backend on `threads` threads, at most 1024; 0 means one for each core.
    pub fn new(threads: usize) -> Result<Self> {
        if threads > MOST_THREADS {
            return Err(Error::option(
                "--threads",
                format!("{threads} threads are more than {MOST_THREADS}"),
                "ask for about as many as there are cores, or 0",
            ));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("neuncut-{i}"))
            .build()
            .map_err(|error| {
                Error::option(
                    "--threads",
                    format!("{threads} threads could not be started ({error})"),
                    "ask for fewer",
                )
            })?;
        Ok(Fast { pool })
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }
}

impl Ops for Fast {
    type Real = f32;
    type Matrix = Matrix<f32>;
    type Labels = Vec<u32>;
    type Affinity = Affinity;
    type Graph = Graph;
    type State = StepState;
    type Workspace = ncut::Workspace;
    type Recording = ();
    type Inbox = ();
    type Coming<N: Pod> = Vec<N>;

    fn name(&self) -> String {
        format!("CPU (f32, {} threads)", self.threads())
    }
    fn arithmetic(&self) -> String {
        "CPU (f32)".into()
    }

    fn matrix(&self, what: &str, rows: usize, cols: usize) -> Result<Matrix<f32>> {
        Matrix::zeros(what, rows, cols)
    }
    fn labels(&self, _what: &str, len: usize) -> Result<Vec<u32>> {
        Ok(vec![0; len])
    }
    fn affinity(&self, rows: usize, _cols: usize, _clusters: usize, kernel: HeatKernel) -> Result<Affinity> {
        Affinity::new(rows, kernel)
    }
    fn graph(&self, _what: &str, graph: &Csr) -> Result<Graph> {
        Ok(Graph::new(graph))
    }
    fn graph_affinity(&self, _graph: &Graph, rows: usize, form: GraphForm) -> Result<Affinity> {
        Affinity::of_graph(rows, form)
    }
    fn download_affinity(&self, from: &Affinity) -> Result<Vec<f32>> {
        Ok(self.pool.install(|| from.to_dense()))
    }
    fn workspace(&self, rows: usize, clusters: usize) -> Result<ncut::Workspace> {
        ncut::Workspace::new(rows, clusters)
    }
    fn state(&self, start: StepState) -> Result<StepState> {
        Ok(start)
    }
    fn set_state(&self, value: StepState, state: &mut StepState) -> Result<()> {
        *state = value;
        Ok(())
    }
    fn upload(&self, from: &[f32], to: &mut Matrix<f32>, first_row: usize) -> Result<()> {
        to.copy_in(from, first_row)
    }
    fn download(&self, from: &Matrix<f32>, to: &mut [f32]) -> Result<()> {
        from.copy_out(to)
    }
    fn upload_labels(&self, from: &[u32], to: &mut Vec<u32>) -> Result<()> {
        to[..from.len()].copy_from_slice(from);
        Ok(())
    }
    fn download_labels(&self, from: &Vec<u32>, to: &mut [u32]) -> Result<()> {
        to.copy_from_slice(&from[..to.len()]);
        Ok(())
    }

    fn inbox(&self, _what: &str, _numbers: usize) -> Result<()> {
        Ok(())
    }
    fn widen(&self, rows: Raw, _inbox: &mut (), x: &mut Matrix<f32>) -> Result<()> {
        self.pool.install(|| widen::widen(rows, x));
        Ok(())
    }
    fn post(&self, from: &Matrix<f32>) -> Result<Vec<f32>> {
        Ok(from.to_vec())
    }
    fn post_labels(&self, from: &Vec<u32>, count: usize) -> Result<Vec<u32>> {
        Ok(from[..count].to_vec())
    }
    fn collect<N: Pod>(&self, coming: Vec<N>) -> Result<Vec<N>> {
        Ok(coming)
    }

    fn ceilings(&self) -> Result<Option<Ceilings>> {
        self.pool.install(ceilings::ceilings).map(Some)
    }

    fn on_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    fn scale(&self, factor: f64, x: &mut Matrix<f32>) -> Result<()> {
        self.pool.install(|| normalize::scale(factor, x));
        Ok(())
    }
    fn center_rows(&self, mean: &Matrix<f32>, x: &mut Matrix<f32>) -> Result<()> {
        self.pool.install(|| normalize::center_rows(mean, x));
        Ok(())
    }
    fn scale_columns(&self, factors: &Matrix<f32>, x: &mut Matrix<f32>) -> Result<()> {
        self.pool.install(|| normalize::scale_columns(factors, x));
        Ok(())
    }
    fn normalize_rows(&self, length: f64, x: &mut Matrix<f32>) -> Result<()> {
        self.pool.install(|| normalize::normalize_rows(length, x));
        Ok(())
    }
    fn append_quantiles(
        &self,
        knots: &Matrix<f32>,
        levels: &Matrix<f32>,
        x: &Matrix<f32>,
        to: &mut Matrix<f32>,
    ) -> Result<()> {
        self.pool
            .install(|| normalize::append_quantiles(knots, levels, x, to));
        Ok(())
    }
    fn scatter(
        &self,
        step: &ScatteringStep,
        pictures: &Matrix<f32>,
        filters: &Matrix<f32>,
        low_pass: [&Matrix<f32>; 2],
        moduli: Option<&mut Matrix<f32>>,
        paths: &mut Matrix<f32>,
    ) -> Result<()> {
        self.pool
            .install(|| scattering::scatter(step, pictures, filters, low_pass, moduli, paths));
        Ok(())
    }
    fn normalize_paths(
        &self,
        positions: usize,
        least: f64,
        paths: &Matrix<f32>,
        to: &mut Matrix<f32>,
        first_row: usize,
    ) -> Result<()> {
        self.pool
            .install(|| normalize::normalize_paths(positions, least, paths, to, first_row));
        Ok(())
    }

    fn bend(
        &self,
        bending: &Bending,
        images: &Matrix<f32>,
        first_row: u64,
        to: &mut Matrix<f32>,
    ) -> Result<()> {
        self.pool.install(|| bend::bend(bending, images, first_row, to));
        Ok(())
    }

    fn gather_rows(
        &self,
        data: &Matrix<f32>,
        order: &Vec<u32>,
        state: &StepState,
        x: &mut Matrix<f32>,
    ) -> Result<()> {
        self.pool.install(|| gather::gather_rows(data, order, state, x));
        Ok(())
    }
    fn copy_rows(&self, data: &Matrix<f32>, first_row: usize, x: &mut Matrix<f32>) -> Result<()> {
        let len = x.len();
        x.copy_from_slice(&data[first_row * data.cols()..][..len]);
        Ok(())
    }
    fn pairwise(&self, x: &Matrix<f32>, affinity: &mut Affinity) -> Result<()> {
        self.pool.install(|| affinity::pairwise(x, affinity));
        Ok(())
    }
    fn subgraph(
        &self,
        graph: &Graph,
        order: &Vec<u32>,
        state: &StepState,
        affinity: &mut Affinity,
    ) -> Result<()> {
        self.pool
            .install(|| subgraph::subgraph(graph, order, state, affinity));
        Ok(())
    }
    fn contract(
        &self,
        _x: &Matrix<f32>,
        affinity: &Affinity,
        membership: &Matrix<f32>,
        contraction: &mut Matrix<f32>,
        degrees: &mut Matrix<f32>,
    ) -> Result<()> {
        self.pool
            .install(|| affinity::contract(affinity, membership, contraction, degrees));
        Ok(())
    }
    fn linear(
        &self,
        x: &Matrix<f32>,
        weight: &Matrix<f32>,
        bias: &Matrix<f32>,
        relu: bool,
        z: &mut Matrix<f32>,
    ) -> Result<()> {
        self.pool.install(|| linear::linear(x, weight, bias, relu, z));
        Ok(())
    }
    fn softmax(&self, logits: &Matrix<f32>, membership: &mut Matrix<f32>) -> Result<()> {
        self.pool.install(|| softmax::softmax(logits, membership));
        Ok(())
    }
    fn ncut(
        &self,
        membership: &Matrix<f32>,
        contraction: &Matrix<f32>,
        degrees: &Matrix<f32>,
        objective: Objective,
        state: &StepState,
        workspace: &mut ncut::Workspace,
        volumes: &mut Matrix<f32>,
        d_logits: &mut Matrix<f32>,
        losses: &mut Matrix<f32>,
    ) -> Result<()> {
        let loss = self.pool.install(|| {
            ncut::ncut(
                membership,
                contraction,
                degrees,
                objective,
                workspace,
                volumes,
                d_logits,
            )
        });
        losses.row_mut(state.batch as usize).copy_from_slice(&loss);
        Ok(())
    }
    fn cross_entropy(
        &self,
        membership: &Matrix<f32>,
        targets: &Vec<u32>,
        order: &Vec<u32>,
        state: &StepState,
        d_logits: &mut Matrix<f32>,
        losses: &mut Matrix<f32>,
    ) -> Result<()> {
        let loss = self
            .pool
            .install(|| cross_entropy::cross_entropy(membership, targets, order, state, d_logits));
        losses
            .row_mut(state.batch as usize)
            .copy_from_slice(&[0.0, 0.0, loss]);
        Ok(())
    }
    fn squared_error(
        &self,
        z: &Matrix<f32>,
        x: &Matrix<f32>,
        state: &StepState,
        errors: &mut Matrix<f32>,
        d_z: &mut Matrix<f32>,
        losses: &mut Matrix<f32>,
    ) -> Result<()> {
        let loss = self
            .pool
            .install(|| squared_error::squared_error(z, x, errors, d_z));
        losses.row_mut(state.batch as usize)[0] = loss;
        Ok(())
    }
    fn linear_backward_data(
        &self,
        d_z: &Matrix<f32>,
        weight: &Matrix<f32>,
        x: &Matrix<f32>,
        d_x: &mut Matrix<f32>,
    ) -> Result<()> {
        self.pool
            .install(|| linear::linear_backward_data(d_z, weight, x, d_x));
        Ok(())
    }
    fn linear_backward_weights(
        &self,
        d_z: &Matrix<f32>,
        x: &Matrix<f32>,
        d_weight: &mut Matrix<f32>,
        d_bias: &mut Matrix<f32>,
    ) -> Result<()> {
        self.pool
            .install(|| linear::linear_backward_weights(d_z, x, d_weight, d_bias));
        Ok(())
    }
    fn adam(
        &self,
        gradient: &Matrix<f32>,
        rule: AdamRule,
        state: &StepState,
        parameter: &mut Matrix<f32>,
        first_moment: &mut Matrix<f32>,
        second_moment: &mut Matrix<f32>,
    ) -> Result<()> {
        self.pool
            .install(|| adam::adam(gradient, rule, state, parameter, first_moment, second_moment));
        Ok(())
    }
    fn advance(&self, state: &mut StepState) -> Result<()> {
        state.batch += 1;
        state.step += 1;
        Ok(())
    }

    fn nearest(&self, queries: &Matrix<f32>, x: &Matrix<f32>, count: usize) -> Result<Nearest> {
        Ok(self.pool.install(|| nearest::nearest(queries, x, count)))
    }
    fn sparse_product(&self, graph: &Graph, x: &Matrix<f32>, y: &mut Matrix<f32>) -> Result<()> {
        self.pool.install(|| sparse::sparse_product(&graph.csr, x, y));
        Ok(())
    }
    fn gram(&self, a: &Matrix<f32>, b: &Matrix<f32>) -> Result<Vec<f64>> {
        Ok(self.pool.install(|| tall::gram(a, b)))
    }
    fn combine(
        &self,
        x: &Matrix<f32>,
        coefficients: &Matrix<f32>,
        keep: f64,
        y: &mut Matrix<f32>,
    ) -> Result<()> {
        self.pool.install(|| tall::combine(x, coefficients, keep, y));
        Ok(())
    }

    fn argmax(&self, logits: &Matrix<f32>, labels: &mut Vec<u32>, first: usize) -> Result<()> {
        self.pool
            .install(|| argmax::argmax(logits, &mut labels[first..first + logits.rows()]));
        Ok(())
    }
    fn infer(
        &self,
        x: &Matrix<f32>,
        layers: &[Layer<Matrix<f32>>],
        _outputs: &mut [Matrix<f32>],
        labels: &mut Vec<u32>,
        first: usize,
    ) -> Result<()> {
        self.pool
            .install(|| infer::infer(x, layers, &mut labels[first..first + x.rows()]));
        Ok(())
    }
    fn cut_matrix(
        &self,
        x: &Matrix<f32>,
        labels: &[u32],
        clusters: usize,
        kernel: HeatKernel,
    ) -> Result<CutMatrix> {
        Ok(self
            .pool
            .install(|| affinity::cut_matrix(x, labels, clusters, kernel)))
    }
}
