//! The specification: every operation as plain loops beside its formula, in f32 or f64. Slow on purpose.
//!
//! It is also the plain computation at a given [`Precision`], which shows how much of an error the precision itself makes.

mod adam;
pub(crate) mod affinity;
mod subgraph;
mod argmax;
mod bend;
mod cross_entropy;
mod distances;
mod gather;
mod infer;
mod linear;
mod ncut;
mod nearest;
mod normalize;
mod rounding;
mod scattering;
mod softmax;
mod sparse;
mod squared_error;
mod tall;
mod widen;

use std::marker::PhantomData;

use affinity::Affinity;
use bytemuck::Pod;
pub(crate) use distances::{BY_DIFFERENCES, Distances};
pub(crate) use rounding::{product, transposed};

use crate::bending::Bending;
use crate::cpu::Matrix;
use crate::data::csr::Csr;
use crate::data::raw::Raw;
use crate::error::Result;
use crate::ops::{
    AdamRule, AffinityRule, CutMatrix, GraphForm, HeatKernel, Layer, Nearest, Objective, Ops, Precision,
    Real, ScatteringStep, Shape, StepState,
};

/// The reference backend, which computes in `T`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference<T> {
    /// What operands of products are rounded to; none is the formulas as they stand.
    precision: Option<Precision>,
    real: PhantomData<T>,
}

impl<T: Real> Reference<T> {
    /// The formulas as they stand; it has no state.
    pub fn new() -> Self {
        Reference {
            precision: None,
            real: PhantomData,
        }
    }
}

impl Reference<f32> {
    /// The plain computation at this precision: operands of products are rounded to it, distances between long rows are taken
    /// by products, affinities are stored as the precision says.
    pub fn rounding(precision: Precision) -> Self {
        Reference {
            precision: Some(precision),
            real: PhantomData,
        }
    }
}

impl<T: Real> Ops for Reference<T> {
    type Real = T;
    type Matrix = Matrix<T>;
    type Labels = Vec<u32>;
    type Affinity = Affinity<T>;
    type Graph = Csr;
    type State = StepState;
    type Workspace = ();
    type Recording = ();
    type Inbox = ();
    type Coming<N: Pod> = Vec<N>;

    fn name(&self) -> String {
        match self.precision {
            None => format!("reference (plain loops, f{})", 8 * size_of::<T>()),
            Some(precision) => format!("reference (plain loops, {})", precision.name()),
        }
    }

    fn matrix(&self, what: &str, rows: usize, cols: usize) -> Result<Matrix<T>> {
        Matrix::zeros(what, rows, cols)
    }
    fn labels(&self, _what: &str, len: usize) -> Result<Vec<u32>> {
        Ok(vec![0; len])
    }
    fn affinity(
        &self,
        rows: usize,
        _cols: usize,
        _clusters: usize,
        kernel: HeatKernel,
    ) -> Result<Affinity<T>> {
        Affinity::new(rows, AffinityRule::Heat(kernel))
    }
    fn graph(&self, _what: &str, graph: &Csr) -> Result<Csr> {
        Ok(graph.clone())
    }
    fn graph_affinity(&self, _graph: &Csr, rows: usize, form: GraphForm) -> Result<Affinity<T>> {
        Affinity::new(rows, AffinityRule::Graph(form))
    }
    fn download_affinity(&self, from: &Affinity<T>) -> Result<Vec<T>> {
        Ok(from.to_vec())
    }
    fn workspace(&self, _rows: usize, _clusters: usize) -> Result<()> {
        Ok(())
    }
    fn state(&self, start: StepState) -> Result<StepState> {
        Ok(start)
    }
    fn set_state(&self, value: StepState, state: &mut StepState) -> Result<()> {
        *state = value;
        Ok(())
    }
    fn upload(&self, from: &[T], to: &mut Matrix<T>, first_row: usize) -> Result<()> {
        to.copy_in(from, first_row)
    }
    fn download(&self, from: &Matrix<T>, to: &mut [T]) -> Result<()> {
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
    fn widen(&self, rows: Raw, _inbox: &mut (), x: &mut Matrix<T>) -> Result<()> {
        widen::widen(rows, x);
        Ok(())
    }
    fn post(&self, from: &Matrix<T>) -> Result<Vec<T>> {
        Ok(from.to_vec())
    }
    fn post_labels(&self, from: &Vec<u32>, count: usize) -> Result<Vec<u32>> {
        Ok(from[..count].to_vec())
    }
    fn collect<N: Pod>(&self, coming: Vec<N>) -> Result<Vec<N>> {
        Ok(coming)
    }

    fn scale(&self, factor: f64, x: &mut Matrix<T>) -> Result<()> {
        normalize::scale(factor, x);
        Ok(())
    }
    fn center_rows(&self, mean: &Matrix<T>, x: &mut Matrix<T>) -> Result<()> {
        normalize::center_rows(mean, x);
        Ok(())
    }
    fn scale_columns(&self, factors: &Matrix<T>, x: &mut Matrix<T>) -> Result<()> {
        normalize::scale_columns(factors, x);
        Ok(())
    }
    fn normalize_rows(&self, length: f64, x: &mut Matrix<T>) -> Result<()> {
        normalize::normalize_rows(length, x);
        Ok(())
    }
    fn append_quantiles(
        &self,
        knots: &Matrix<T>,
        levels: &Matrix<T>,
        x: &Matrix<T>,
        to: &mut Matrix<T>,
    ) -> Result<()> {
        normalize::append_quantiles(knots, levels, x, to);
        Ok(())
    }
    fn scatter(
        &self,
        step: &ScatteringStep,
        pictures: &Matrix<T>,
        filters: &Matrix<T>,
        low_pass: [&Matrix<T>; 2],
        moduli: Option<&mut Matrix<T>>,
        paths: &mut Matrix<T>,
    ) -> Result<()> {
        scattering::scatter(step, pictures, filters, low_pass, moduli, paths);
        Ok(())
    }
    fn normalize_paths(
        &self,
        positions: usize,
        least: f64,
        paths: &Matrix<T>,
        to: &mut Matrix<T>,
        first_row: usize,
    ) -> Result<()> {
        normalize::normalize_paths(positions, least, paths, to, first_row);
        Ok(())
    }

    fn bend(&self, bending: &Bending, images: &Matrix<T>, first_row: u64, to: &mut Matrix<T>) -> Result<()> {
        bend::bend(bending, images, first_row, to);
        Ok(())
    }

    fn gather_rows(
        &self,
        data: &Matrix<T>,
        order: &Vec<u32>,
        state: &StepState,
        x: &mut Matrix<T>,
    ) -> Result<()> {
        gather::gather_rows(data, order, state, x);
        Ok(())
    }
    fn copy_rows(&self, data: &Matrix<T>, first_row: usize, x: &mut Matrix<T>) -> Result<()> {
        let len = x.len();
        x.copy_from_slice(&data[first_row * data.cols()..][..len]);
        Ok(())
    }
    fn pairwise(&self, x: &Matrix<T>, affinity: &mut Affinity<T>) -> Result<()> {
        affinity::pairwise(x, self.precision, affinity);
        Ok(())
    }
    fn subgraph(
        &self,
        graph: &Csr,
        order: &Vec<u32>,
        state: &StepState,
        affinity: &mut Affinity<T>,
    ) -> Result<()> {
        subgraph::subgraph(graph, order, state, affinity);
        Ok(())
    }
    fn contract(
        &self,
        _x: &Matrix<T>,
        affinity: &Affinity<T>,
        membership: &Matrix<T>,
        contraction: &mut Matrix<T>,
        degrees: &mut Matrix<T>,
    ) -> Result<()> {
        affinity::contract(affinity, membership, self.precision, contraction, degrees);
        Ok(())
    }
    fn linear(
        &self,
        x: &Matrix<T>,
        weight: &Matrix<T>,
        bias: &Matrix<T>,
        relu: bool,
        z: &mut Matrix<T>,
    ) -> Result<()> {
        linear::linear(x, weight, bias, relu, self.precision, z);
        Ok(())
    }
    fn softmax(&self, logits: &Matrix<T>, membership: &mut Matrix<T>) -> Result<()> {
        softmax::softmax(logits, membership);
        Ok(())
    }
    fn ncut(
        &self,
        membership: &Matrix<T>,
        contraction: &Matrix<T>,
        degrees: &Matrix<T>,
        objective: Objective,
        state: &StepState,
        _workspace: &mut (),
        volumes: &mut Matrix<T>,
        d_logits: &mut Matrix<T>,
        losses: &mut Matrix<T>,
    ) -> Result<()> {
        let loss = ncut::ncut(
            membership,
            contraction,
            degrees,
            objective,
            self.precision,
            volumes,
            d_logits,
        );
        losses.row_mut(state.batch as usize).copy_from_slice(&loss);
        Ok(())
    }
    fn cross_entropy(
        &self,
        membership: &Matrix<T>,
        targets: &Vec<u32>,
        order: &Vec<u32>,
        state: &StepState,
        d_logits: &mut Matrix<T>,
        losses: &mut Matrix<T>,
    ) -> Result<()> {
        let loss = cross_entropy::cross_entropy(membership, targets, order, state, d_logits);
        losses
            .row_mut(state.batch as usize)
            .copy_from_slice(&[T::ZERO, T::ZERO, loss]);
        Ok(())
    }
    fn squared_error(
        &self,
        z: &Matrix<T>,
        x: &Matrix<T>,
        state: &StepState,
        errors: &mut Matrix<T>,
        d_z: &mut Matrix<T>,
        losses: &mut Matrix<T>,
    ) -> Result<()> {
        losses.row_mut(state.batch as usize)[0] = squared_error::squared_error(z, x, errors, d_z);
        Ok(())
    }
    fn linear_backward_data(
        &self,
        d_z: &Matrix<T>,
        weight: &Matrix<T>,
        x: &Matrix<T>,
        d_x: &mut Matrix<T>,
    ) -> Result<()> {
        linear::linear_backward_data(d_z, weight, x, self.precision, d_x);
        Ok(())
    }
    fn linear_backward_weights(
        &self,
        d_z: &Matrix<T>,
        x: &Matrix<T>,
        d_weight: &mut Matrix<T>,
        d_bias: &mut Matrix<T>,
    ) -> Result<()> {
        linear::linear_backward_weights(d_z, x, self.precision, d_weight, d_bias);
        Ok(())
    }
    fn adam(
        &self,
        gradient: &Matrix<T>,
        rule: AdamRule,
        state: &StepState,
        parameter: &mut Matrix<T>,
        first_moment: &mut Matrix<T>,
        second_moment: &mut Matrix<T>,
    ) -> Result<()> {
        adam::adam(gradient, rule, state, parameter, first_moment, second_moment);
        Ok(())
    }
    fn advance(&self, state: &mut StepState) -> Result<()> {
        state.batch += 1;
        state.step += 1;
        Ok(())
    }

    fn nearest(&self, queries: &Matrix<T>, x: &Matrix<T>, count: usize) -> Result<Nearest> {
        Ok(nearest::nearest(queries, x, count))
    }
    fn sparse_product(&self, graph: &Csr, x: &Matrix<T>, y: &mut Matrix<T>) -> Result<()> {
        sparse::sparse_product(graph, x, y);
        Ok(())
    }
    fn gram(&self, a: &Matrix<T>, b: &Matrix<T>) -> Result<Vec<f64>> {
        Ok(tall::gram(a, b))
    }
    fn combine(&self, x: &Matrix<T>, coefficients: &Matrix<T>, keep: f64, y: &mut Matrix<T>) -> Result<()> {
        tall::combine(x, coefficients, keep, y);
        Ok(())
    }

    fn argmax(&self, logits: &Matrix<T>, labels: &mut Vec<u32>, first: usize) -> Result<()> {
        argmax::argmax(logits, &mut labels[first..first + logits.rows()]);
        Ok(())
    }
    fn infer(
        &self,
        x: &Matrix<T>,
        layers: &[Layer<Matrix<T>>],
        _outputs: &mut [Matrix<T>],
        labels: &mut Vec<u32>,
        first: usize,
    ) -> Result<()> {
        infer::infer(x, layers, self.precision, &mut labels[first..first + x.rows()]);
        Ok(())
    }
    fn cut_matrix(
        &self,
        x: &Matrix<T>,
        labels: &[u32],
        clusters: usize,
        kernel: HeatKernel,
    ) -> Result<CutMatrix> {
        Ok(affinity::cut_matrix(x, labels, clusters, kernel, self.precision))
    }
}
