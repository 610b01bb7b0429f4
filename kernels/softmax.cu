// The soft-max of each row, a warp per row.
//
// Registers: at most 32 a thread.
#include "reduce.cuh"
#include "rounded.cuh"

// y_il = exp(z_il - max_a z_ia) / sum_b exp(z_ib - max_a z_ia); the shift keeps the exponential finite. The maximum passes over
// NaN, the sum does not.
KERNEL(256) softmax(const float* logits, int logits_stride, float* membership, int membership_stride, Rounded rounded, int m,
                     int k) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= m) return;
    const float* z = logits + (size_t)row * logits_stride;
    float* y = membership + (size_t)row * membership_stride;

    auto logit = [&](int l) { return z[l]; };

    float largest = -INFINITY;
    each_column<8>(k, logit, [&](int, float value) { largest = fmaxf(largest, value); });
    largest = warp_max(largest);

    float sum = 0.0f;
    each_column<8>(k, logit, [&](int l, float value) {
        const float power = expf(value - largest);
        y[l] = power;
        sum += power;
    });
    const float inverse = 1.0f / warp_sum(sum);
    each_column<8>(k, [&](int l) { return y[l]; }, [&](int l, float power) {
        const float value = power * inverse;
        y[l] = value;
        rounded.put(row, l, value);
    });
}
