// A matrix rounded to bfloat16, where whoever made it left no such copy. No operation of its own, but what precedes products here, so that there
// is nothing on the CPU that it would mirror.
//
// Registers: at most 40 a thread.
#include "reduce.cuh"
#include "rounded.cuh"

// A warp for each row of x (m x d).
KERNEL(256) round_rows(const float* x, int stride, Rounded rounded, int m, int d) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= m) return;
    const float* from = x + (size_t)row * stride;
    each_column<8>(d, [&](int c) { return from[c]; }, [&](int c, float value) { rounded.put(row, c, value); });
}
