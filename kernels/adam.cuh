// One Adam step on one number (Kingma and Ba, Algorithm 1) with coupled weight decay.
#pragma once
#include "state.cuh"

// `Rule` in src/cuda/adam.rs.
struct AdamRule {
    double beta1, beta2;
    // The same in f32, and 1 - beta, subtracted before rounding.
    float decay1, decay2, rest1, rest2;
    float epsilon, weight_decay;
};

struct AdamCorrections {
    // learning rate / (1 - beta1^t) and 1 / sqrt(1 - beta2^t), t = step + 1.
    float step_size, inverse_root;
};

// base^exponent by repeated squaring: the same bits on every device.
DEVICE double whole_power(double base, uint64_t exponent) {
    double result = 1.0;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1) result *= base;
        base *= base;
    }
    return result;
}

DEVICE AdamCorrections adam_corrections(const AdamRule& rule, const StepState& state) {
    const uint64_t t = state.step + 1;
    return {(float)(state.learning_rate / (1.0 - whole_power(rule.beta1, t))),
            (float)(1.0 / sqrt(1.0 - whole_power(rule.beta2, t)))};
}

DEVICE void adam_update(const AdamRule& rule, const AdamCorrections& corrections, float gradient, float& parameter,
                        float& first_moment, float& second_moment) {
    const float g = gradient + rule.weight_decay * parameter;
    const float first = rule.decay1 * first_moment + rule.rest1 * g;
    const float second = rule.decay2 * second_moment + rule.rest2 * g * g;
    first_moment = first;
    second_moment = second;
    parameter -= corrections.step_size * first / (sqrtf(second) * corrections.inverse_root + rule.epsilon);
}
