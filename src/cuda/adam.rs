//! The Adam step on stored gradients; `kernels/adam.cu`.

use super::driver::Driver;
use super::{Cuda, Matrix, State, arguments};
use crate::error::Result;
use crate::ops::{AdamRule, Shape};

const THREADS: u32 = 256;

/// Adam's constants as the kernels take them: `AdamRule` in `kernels/adam.cuh`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Rule {
    beta1: f64,
    beta2: f64,
    decay1: f32,
    decay2: f32,
    rest1: f32,
    rest2: f32,
    epsilon: f32,
    weight_decay: f32,
}

impl From<AdamRule> for Rule {
    fn from(rule: AdamRule) -> Self {
        Rule {
            beta1: rule.beta1,
            beta2: rule.beta2,
            decay1: rule.beta1 as f32,
            decay2: rule.beta2 as f32,
            // Subtracted before rounding: 1 - 0.999 in f32 is wrong from the fifth digit on.
            rest1: (1.0 - rule.beta1) as f32,
            rest2: (1.0 - rule.beta2) as f32,
            epsilon: rule.epsilon as f32,
            weight_decay: rule.weight_decay as f32,
        }
    }
}

/// See [`Ops::adam`](crate::ops::Ops::adam).
pub fn adam<D: Driver>(
    cuda: &Cuda<D>,
    gradient: &Matrix<D>,
    rule: AdamRule,
    state: &State<D>,
    parameter: &mut Matrix<D>,
    first_moment: &mut Matrix<D>,
    second_moment: &mut Matrix<D>,
) -> Result<()> {
    let count = parameter.rows() * parameter.stride();
    cuda.launch(
        "adam",
        "adam",
        [count.div_ceil(THREADS as usize), 1, 1],
        THREADS,
        arguments![
            gradient.address(),
            Rule::from(rule),
            state.buffer.address(),
            parameter.address(),
            first_moment.address(),
            second_moment.address(),
            count as u64,
        ],
    )
}
