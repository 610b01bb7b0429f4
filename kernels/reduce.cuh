// Ordered reductions: the same numbers in the same order give the same bits.
#pragma once
#include "gpu.cuh"

constexpr uint32_t WHOLE_WARP = 0xffffffffu;

// The sum over a warp, in every lane.
template <class T>
DEVICE T warp_sum(T value) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(WHOLE_WARP, value, step);
    return value;
}

// The largest number of a warp, in every lane. NaN is passed over.
DEVICE float warp_max(float value) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(WHOLE_WARP, value, step));
    return value;
}
