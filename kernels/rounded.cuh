// Copies of f32 matrices in bfloat16: operands of matrix products that are rounded once, by whoever makes them.
#pragma once
#include "gpu.cuh"

// Such a copy, rows `stride` numbers apart; `Rounded` in src/cuda/round.rs. Null where there is none.
struct Rounded {
    uint16_t* values;
    int stride, unused;

    DEVICE void put(int row, int column, float value) const {
        if (values) values[(size_t)row * stride + column] = (uint16_t)pack_bf16(value, 0.0f);
    }
};
