//! Adam with coupled weight decay.

use crate::cpu::Matrix;
use crate::ops::{AdamRule, Real, StepState};

/// `g <- g + wd w; m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; w <- w - lr m^ / (sqrt(v^) + eps)` with the moments'
/// bias corrections `m^ = m / (1 - b1^t)`, `v^ = v / (1 - b2^t)`, `t = step + 1`.
pub fn adam<T: Real>(
    gradient: &Matrix<T>,
    rule: AdamRule,
    state: &StepState,
    parameter: &mut Matrix<T>,
    first_moment: &mut Matrix<T>,
    second_moment: &mut Matrix<T>,
) {
    let (step_size, root_correction) = rule.corrections(state);
    let (beta1, beta2) = (T::of(rule.beta1), T::of(rule.beta2));
    // Subtracted before rounding: 1 - 0.999 in f32 is wrong from the fifth digit on.
    let (rest1, rest2) = (T::of(1.0 - rule.beta1), T::of(1.0 - rule.beta2));
    for i in 0..gradient.len() {
        let g = gradient[i] + T::of(rule.weight_decay) * parameter[i];
        first_moment[i] = beta1 * first_moment[i] + rest1 * g;
        second_moment[i] = beta2 * second_moment[i] + rest2 * g * g;
        let root = second_moment[i].sqrt() / T::of(root_correction) + T::of(rule.epsilon);
        parameter[i] = parameter[i] - T::of(step_size) * first_moment[i] / root;
    }
}
