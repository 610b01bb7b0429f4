// Rows by warps: each lane's columns, and ordered reductions (the same numbers in the same order give the same bits).
#pragma once
#include "gpu.cuh"

constexpr uint32_t WHOLE_WARP = 0xffffffffu;

// use(l, load(l)) for l = lane, lane + 32, ... below n; `batch` loads are on their way at a time, which the compiler would not dare: what
// use() writes might be what load() reads.
template <int batch, class Load, class Use>
DEVICE void each_column(int n, Load load, Use use) {
    for (int first = threadIdx.x % 32; first < n; first += 32 * batch) {
        decltype(load(0)) values[batch] = {};
#pragma unroll
        for (int i = 0; i < batch; i++)
            if (first + 32 * i < n) values[i] = load(first + 32 * i);
#pragma unroll
        for (int i = 0; i < batch; i++)
            if (first + 32 * i < n) use(first + 32 * i, values[i]);
    }
}

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
