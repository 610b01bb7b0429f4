// The hard label of each row, a warp per row.
//
// Registers: at most 32 a thread.
#include "reduce.cuh"

// The first column that holds the row's largest entry, as if the row were searched from column 0 on for anything greater:
// nothing is greater than a NaN, and a NaN is greater than nothing.
KERNEL(256) argmax(const float* logits, int stride, uint32_t* labels, int m, int k) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= m) return;
    const float* z = logits + (size_t)row * stride;

    float largest = z[0];
    int best = 0;
    for (int l = lane; l < k; l += 32)
        if (z[l] > largest) {
            largest = z[l];
            best = l;
        }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(WHOLE_WARP, largest, step);
        const int column = __shfl_xor_sync(WHOLE_WARP, best, step);
        if (other > largest || (other == largest && column < best)) {
            largest = other;
            best = column;
        }
    }
    if (lane == 0) labels[row] = best;
}
