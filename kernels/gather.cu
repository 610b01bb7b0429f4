// The rows of a mini-batch, and the step state's way from one mini-batch to the next.
//
// Registers: at most 56 a thread.
#include "reduce.cuh"
#include "rounded.cuh"
#include "state.cuh"

// Row i of x (m rows, `stride` numbers each, padding included) is row order[batch m + i] of `data`. A warp for each row.
KERNEL(256) gather_rows(const float* data, const uint32_t* order, const StepState* state, float* x, Rounded rounded, int m,
                        int stride) {
    const int i = blockIdx.x * 8 + threadIdx.x / 32;
    if (i >= m) return;
    const uint64_t row = order[(uint64_t)state->batch * m + i];
    const float4* from = (const float4*)(data + row * stride);
    float4* to = (float4*)(x + (uint64_t)i * stride);
    uint2* halves = rounded.values ? (uint2*)(rounded.values + (uint64_t)i * rounded.stride) : nullptr;
    each_column<4>(stride / 4, [&](int c) { return from[c]; }, [&](int c, float4 value) {
        to[c] = value;
        if (halves) halves[c] = make_uint2(pack_bf16(value.x, value.y), pack_bf16(value.z, value.w));
    });
}

// The mini-batch that the host has brought to one of two places: even batches to the first.
KERNEL(256) gather_staged(const float4* even, const float4* odd, const StepState* state, float4* x, uint64_t count) {
    const uint64_t at = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    if (at < count) x[at] = (state->batch % 2 ? odd : even)[at];
}

// `count` times four numbers.
KERNEL(256) copy_rows(const float4* from, float4* to, uint64_t count) {
    const uint64_t at = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    if (at < count) to[at] = from[at];
}

// The next mini-batch.
KERNEL(32) advance(StepState* state) {
    if (threadIdx.x == 0) {
        state->batch += 1;
        state->step += 1;
    }
}
