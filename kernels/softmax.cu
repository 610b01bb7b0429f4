// The soft-max of each row, a warp per row.
//
// Registers: at most 32 a thread.
#include "reduce.cuh"

// y_il = exp(z_il - max_a z_ia) / sum_b exp(z_ib - max_a z_ia); the shift keeps the exponential finite. The maximum passes over
// NaN, the sum does not.
KERNEL(256) softmax(const float* logits, int logits_stride, float* membership, int membership_stride, int m, int k) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= m) return;
    const float* z = logits + (size_t)row * logits_stride;
    float* y = membership + (size_t)row * membership_stride;

    float largest = -INFINITY;
    for (int l = lane; l < k; l += 32) largest = fmaxf(largest, z[l]);
    largest = warp_max(largest);

    float sum = 0.0f;
    for (int l = lane; l < k; l += 32) {
        const float power = expf(z[l] - largest);
        y[l] = power;
        sum += power;
    }
    const float inverse = 1.0f / warp_sum(sum);
    for (int l = lane; l < k; l += 32) y[l] *= inverse;
}
