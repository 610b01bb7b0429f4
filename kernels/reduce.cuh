// Reductions over the lanes of a warp. The order is fixed and every lane gets the same bits.
#pragma once
#include "gpu.cuh"

constexpr unsigned ALL_LANES = 0xffffffff;

template <class T>
DEVICE T warp_sum(T value) {
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) value += __shfl_xor_sync(ALL_LANES, value, apart);
    return value;
}
// NaN is passed over.
DEVICE float warp_max(float value) {
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, apart));
    return value;
}
