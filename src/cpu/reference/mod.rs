//! The specification: every operation as plain loops beside its formula, in f32 or f64. Slow on purpose.

mod adam;
mod affinity;
mod argmax;
mod gather;
mod linear;
mod ncut;
mod normalize;
mod softmax;

use std::marker::PhantomData;

use affinity::Affinity;

use crate::cpu::Matrix;
use crate::error::Result;
use crate::ops::{AdamRule, CutMatrix, HeatKernel, Objective, Ops, Real, Shape, StepState};

/// The reference backend in precision `T`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference<T>(PhantomData<T>);

impl<T: Real> Reference<T> {
    /// The backend; it has no state.
    pub fn new() -> Self {
        Reference(PhantomData)
    }
}

impl<T: Real> Ops for Reference<T> {
    type Real = T;
    type Matrix = Matrix<T>;
    type Labels = Vec<u32>;
    type Affinity = Affinity<T>;
    type State = StepState;
    type Workspace = ();
    type Recording = ();

    fn name(&self) -> String {
        format!("reference (plain loops, f{})", 8 * size_of::<T>())
    }

    fn matrix(&self, what: &str, rows: usize, cols: usize) -> Result<Matrix<T>> {
        Matrix::zeros(what, rows, cols)
    }
    fn labels(&self, _what: &str, len: usize) -> Result<Vec<u32>> {
        Ok(vec![0; len])
    }
    fn affinity(&self, rows: usize, _cols: usize, kernel: HeatKernel) -> Result<Affinity<T>> {
        Affinity::new(rows, kernel)
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
    fn download_labels(&self, from: &Vec<u32>, to: &mut [u32]) -> Result<()> {
        to.copy_from_slice(&from[..to.len()]);
        Ok(())
    }

    fn scale(&self, factor: f64, x: &mut Matrix<T>) -> Result<()> {
        normalize::scale(factor, x);
        Ok(())
    }
    fn center_rows(&self, mean: &Matrix<T>, x: &mut Matrix<T>) -> Result<()> {
        normalize::center_rows(mean, x);
        Ok(())
    }
    fn normalize_rows(&self, length: f64, x: &mut Matrix<T>) -> Result<()> {
        normalize::normalize_rows(length, x);
        Ok(())
    }

    fn gather_rows(&self, data: &Matrix<T>, state: &StepState, x: &mut Matrix<T>) -> Result<()> {
        gather::gather_rows(data, state, x);
        Ok(())
    }
    fn copy_rows(&self, data: &Matrix<T>, first_row: usize, x: &mut Matrix<T>) -> Result<()> {
        let len = x.len();
        x.copy_from_slice(&data[first_row * data.cols()..][..len]);
        Ok(())
    }
    fn pairwise(&self, x: &Matrix<T>, affinity: &mut Affinity<T>) -> Result<()> {
        affinity::pairwise(x, affinity);
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
        affinity::contract(affinity, membership, contraction, degrees);
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
        linear::linear(x, weight, bias, relu, z);
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
        let loss = ncut::ncut(membership, contraction, degrees, objective, volumes, d_logits);
        losses.row_mut(state.batch as usize).copy_from_slice(&loss);
        Ok(())
    }
    fn linear_backward_data(
        &self,
        d_z: &Matrix<T>,
        weight: &Matrix<T>,
        x: &Matrix<T>,
        d_x: &mut Matrix<T>,
    ) -> Result<()> {
        linear::linear_backward_data(d_z, weight, x, d_x);
        Ok(())
    }
    fn linear_backward_weights(
        &self,
        d_z: &Matrix<T>,
        x: &Matrix<T>,
        d_weight: &mut Matrix<T>,
        d_bias: &mut Matrix<T>,
    ) -> Result<()> {
        linear::linear_backward_weights(d_z, x, d_weight, d_bias);
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

    fn argmax(&self, logits: &Matrix<T>, labels: &mut Vec<u32>, first: usize) -> Result<()> {
        argmax::argmax(logits, &mut labels[first..first + logits.rows()]);
        Ok(())
    }
    fn cut_matrix(
        &self,
        x: &Matrix<T>,
        labels: &[u32],
        clusters: usize,
        kernel: HeatKernel,
    ) -> Result<CutMatrix> {
        Ok(affinity::cut_matrix(x, labels, clusters, kernel))
    }
}
