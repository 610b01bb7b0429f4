//! Adam with coupled weight decay.

use rayon::prelude::*;

use super::simd::vectorised;
use crate::cpu::Matrix;
use crate::ops::{AdamRule, StepState};

/// Numbers updated as one task.
const CHUNK: usize = 1 << 14;

/// See [`Ops::adam`](crate::ops::Ops::adam).
pub fn adam(
    gradient: &Matrix<f32>,
    rule: AdamRule,
    state: &StepState,
    parameter: &mut Matrix<f32>,
    first_moment: &mut Matrix<f32>,
    second_moment: &mut Matrix<f32>,
) {
    let (step_size, root_correction) = rule.corrections(state);
    let (step_size, inverse_correction) = (step_size as f32, (1.0 / root_correction) as f32);
    let (beta1, beta2) = (rule.beta1 as f32, rule.beta2 as f32);
    let (rest1, rest2) = ((1.0 - rule.beta1) as f32, (1.0 - rule.beta2) as f32);
    let (epsilon, decay) = (rule.epsilon as f32, rule.weight_decay as f32);
    let chunks = parameter
        .par_chunks_mut(CHUNK)
        .zip(first_moment.par_chunks_mut(CHUNK))
        .zip(second_moment.par_chunks_mut(CHUNK))
        .zip(gradient.par_chunks(CHUNK));
    chunks.for_each(|(((w, m), v), g)| {
        vectorised(|| {
            for (((w, m), v), &g) in w.iter_mut().zip(m).zip(v).zip(g) {
                let g = g + decay * *w;
                *m = beta1 * *m + rest1 * g;
                *v = beta2 * *v + rest2 * g * g;
                *w -= step_size * *m / (v.sqrt() * inverse_correction + epsilon);
            }
        });
    });
}
