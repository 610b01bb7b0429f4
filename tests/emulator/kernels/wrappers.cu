// One small kernel for each function of gpu.cuh, so that it can be held against what the hardware's manual says of it, here and on a card.

#include "gpu.cuh"

// Each thread copies one piece of 16 bytes, of which `bytes` come from `from` and the rest become 0.
KERNEL(32) copy_async_16_of(const float* from, float* to, int bytes) {
    SHARED(float, piece, [32][4]);
    copy_async_16(piece[threadIdx.x], from + threadIdx.x * 4, bytes);
    copy_async_commit();
    copy_async_wait<0>();
    for (int i = 0; i < 4; ++i) to[threadIdx.x * 4 + i] = piece[threadIdx.x][i];
}

// Three groups on their way; each wait<> lets one more land. After the wait for a group, its sum is stored.
KERNEL(32) copy_async_groups(const float* from, float* to) {
    SHARED(float, piece, [3][32][4]);
    int thread = threadIdx.x;
    for (int group = 0; group < 3; ++group) {
        copy_async_16(piece[group][thread], from + (group * 32 + thread) * 4, 16);
        copy_async_commit();
    }
    copy_async_wait<2>();
    to[thread] = piece[0][thread][3];
    copy_async_wait<1>();
    to[32 + thread] = piece[1][thread][3];
    copy_async_wait<0>();
    to[64 + thread] = piece[2][thread][3];
}

// Fragments exactly as they are in registers: a[lane][4], b[lane][2], d[lane][4].
#define MMA_KERNEL(name)                                                              \
    KERNEL(32) name##_of(const uint32_t* a, const uint32_t* b, float* d) {            \
        int lane = threadIdx.x;                                                       \
        uint32_t left[4], right[2];                                                   \
        float sum[4];                                                                 \
        for (int i = 0; i < 4; ++i) left[i] = a[lane * 4 + i], sum[i] = d[lane * 4 + i]; \
        for (int i = 0; i < 2; ++i) right[i] = b[lane * 2 + i];                       \
        name(sum, left, right);                                                       \
        for (int i = 0; i < 4; ++i) d[lane * 4 + i] = sum[i];                         \
    }
MMA_KERNEL(mma_tf32)
MMA_KERNEL(mma_bf16)
MMA_KERNEL(mma_f16)

// Each lane's row of eight numbers of 16 bits to shared memory; `loaded` is what the lanes get of them, then what they get transposed.
KERNEL(32) load_matrices_of(const uint4* rows, const uint32_t* order, uint32_t* loaded) {
    SHARED(uint4, row, [32]);
    int lane = threadIdx.x;
    row[lane] = rows[lane];
    __syncthreads();
    uint32_t words[4];
    load_matrices(words, &row[order[lane]]);
    for (int i = 0; i < 4; ++i) loaded[lane * 4 + i] = words[i];
    load_transposed(words, &row[order[lane]]);
    for (int i = 0; i < 4; ++i) loaded[128 + lane * 4 + i] = words[i];
}

KERNEL(256) to_tf32_of(const float* x, uint32_t* y, int count) {
    for (int i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) y[i] = to_tf32(x[i]);
}
// The low half of y[i] is of x[i], the high half of -x[i].
KERNEL(256) pack_bf16_of(const float* x, uint32_t* y, int count) {
    for (int i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) y[i] = pack_bf16(x[i], -x[i]);
}
KERNEL(256) pack_f16_of(const float* x, uint32_t* y, int count) {
    for (int i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) y[i] = pack_f16(x[i], -x[i]);
}
KERNEL(256) to_f16_of(const float* x, uint32_t* y, int count) {
    for (int i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) y[i] = to_f16(x[i]);
}
KERNEL(256) from_f16_of(const uint32_t* x, float* y, int count) {
    for (int i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) y[i] = from_f16(uint16_t(x[i]));
}
KERNEL(256) from_bf16_of(const uint32_t* x, float* y, int count) {
    for (int i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) y[i] = from_bf16(x[i]);
}

// Built-ins that lanes share; every thread stores what it got.
KERNEL(64) lanes(const uint32_t* x, uint32_t* y) {
    int thread = threadIdx.x;
    uint32_t value = x[thread];
    y[0 * 64 + thread] = __shfl_sync(0xffffffffu, value, 5);
    y[1 * 64 + thread] = __shfl_sync(0xffffffffu, value, 3, 8);
    y[2 * 64 + thread] = __shfl_xor_sync(0xffffffffu, value, 16);
    y[3 * 64 + thread] = __shfl_down_sync(0xffffffffu, value, 3);
    y[4 * 64 + thread] = __shfl_up_sync(0xffffffffu, value, 3, 16);
    y[5 * 64 + thread] = __ballot_sync(0xffffffffu, value & 1);
    if (thread % 32 < 8) y[6 * 64 + thread] = __shfl_down_sync(0x000000ffu, value, 1, 8);
}

// Adds x over the blocks and threads of the whole grid; whole numbers, so that no order matters.
KERNEL(96) count(const uint32_t* x, uint32_t* sum, uint32_t* blocks_seen) {
    SHARED(uint32_t, part, [3]);
    int thread = threadIdx.x, block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    uint32_t value = x[block * 96 + thread];
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_down_sync(0xffffffffu, value, lanes);
    if (thread % 32 == 0) part[thread / 32] = value;
    __syncthreads();
    if (thread == 0) {
        atomicAdd(sum, part[0] + part[1] + part[2]);
        blocks_seen[block] = 1;
    }
}
