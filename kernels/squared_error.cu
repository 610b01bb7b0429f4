// The mean squared error between rows and what a network made of them, and its gradient.
//
// Registers: at most 40 a thread.
#include "reduce.cuh"
#include "rounded.cuh"
#include "state.cuh"

// errors_i = |z_i - x_i|^2 and dZ = factor (Z - X), factor 2 / (m d); a warp per row.
KERNEL(256) squared_error(const float* z, int z_stride, const float* x, int x_stride, int m, int d, float factor, float* errors,
                          float* d_z, int d_z_stride, Rounded rounded) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= m) return;
    z += (size_t)row * z_stride;
    x += (size_t)row * x_stride;
    d_z += (size_t)row * d_z_stride;
    float sum = 0.0f;
    each_column<8>(d, [&](int c) { return z[c] - x[c]; }, [&](int c, float apart) {
        const float value = factor * apart;
        d_z[c] = value;
        rounded.put(row, c, value);
        sum = fmaf(apart, apart, sum);
    });
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) errors[row] = sum;
}

// The mini-batch's row of `losses`: the sum of the errors of m rows of d numbers, over m d. One block.
KERNEL(256) mean_squared_error(const float* errors, const StepState* state, int m, int d, float* losses, int losses_stride) {
    SHARED(double, sums, [256]);
    double sum = 0.0;
    for (int i = threadIdx.x; i < m; i += 256) sum += errors[i];
    sums[threadIdx.x] = sum;
    for (int apart = 128; apart > 0; apart /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < apart) sums[threadIdx.x] += sums[threadIdx.x + apart];
    }
    if (threadIdx.x == 0) losses[(size_t)state->batch * losses_stride] = (float)(sums[0] / m / d);
}
