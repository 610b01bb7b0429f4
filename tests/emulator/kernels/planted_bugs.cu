// Kernels with one mistake each, and the same kernels without it. Every one writes `to[thread]`, a sum of what is in `from`, for one
// block; `tests/planted_bugs.rs` says which mode of the emulator notices what.

#include "gpu.cuh"

// PAIR(threads) defines name_bug and name_right; in the body `bug` is a constant.
#define PAIR(threads, name)                                                          \
    template <bool bug>                                                              \
    DEVICE void name(const float* from, float* to);                                  \
    KERNEL(threads) name##_bug(const float* from, float* to) { name<true>(from, to); }   \
    KERNEL(threads) name##_right(const float* from, float* to) { name<false>(from, to); } \
    template <bool bug>                                                              \
    DEVICE void name(const float* from, float* to)

// The last thread writes, or reads, one element beyond an array of shared memory.
PAIR(64, shared_write_beyond) {
    SHARED(float, line, [64]);
    int thread = threadIdx.x;
    line[thread + (bug ? 1 : 0)] = from[thread];
    to[thread] = from[thread];
}
PAIR(64, shared_read_beyond) {
    SHARED(float, line, [64]);
    int thread = threadIdx.x;
    line[thread] = from[thread];
    __syncthreads();
    const float* right = line + thread + (bug || thread < 63 ? 1 : -63);
    to[thread] = *right;
}

// The same in global memory, where `from` and `to` have 64 elements each.
PAIR(64, global_write_beyond) {
    int thread = threadIdx.x;
    to[thread] = from[thread];
    to[thread + (bug ? 1 : 0)] = from[thread];
}
PAIR(64, global_read_beyond) {
    int thread = threadIdx.x;
    to[thread] = from[bug ? thread + 1 : (thread + 1) % 64];
}

// Four numbers at once from an address that is no multiple of 16.
PAIR(8, misaligned) {
    int thread = threadIdx.x;
    SHARED(float, line, [36]);
    for (int i = thread; i < 36; i += 8) line[i] = from[i];
    __syncthreads();
    float4 four = *reinterpret_cast<const float4*>(&line[thread * 4 + (bug ? 1 : 0)]);
    to[thread] = four.x + four.w;
}

// Shared memory that nobody has written.
PAIR(64, never_written) {
    SHARED(float, sum, [64]);
    if (!bug) sum[threadIdx.x] = 0.0f;
    sum[threadIdx.x] += from[threadIdx.x];
    to[threadIdx.x] = sum[threadIdx.x];
}

// A neighbour's element is read before anybody has waited for the neighbour.
PAIR(64, no_sync_before_read) {
    SHARED(float, line, [64]);
    int thread = threadIdx.x;
    line[thread] = from[thread];
    if (!bug) __syncthreads();
    to[thread] = line[(thread + 1) % 64];
}

// The next round overwrites what others may still read.
PAIR(64, no_sync_at_loop_end) {
    SHARED(float, line, [64]);
    int thread = threadIdx.x;
    float sum = 0.0f;
    for (int round = 0; round < 4; ++round) {
        line[thread] = from[thread] * round;
        __syncthreads();
        sum += line[(thread + 63) % 64];
        if (!bug) __syncthreads();
    }
    to[thread] = sum;
}

// The same with asynchronous copies in two buffers: a round's copies may start only when all have read the round before the last.
PAIR(64, no_sync_at_loop_end_async) {
    SHARED(float, line, [2][64][4]);
    int thread = threadIdx.x;
    float sum = 0.0f;
    copy_async_16(line[0][thread], from + thread / 16 * 4, 16);
    copy_async_commit();
    for (int round = 0; round < 4; ++round) {
        if (round < 3) copy_async_16(line[(round + 1) % 2][thread], from + (thread / 16 + round) * 4, 16);
        copy_async_commit();
        copy_async_wait<1>();
        __syncthreads();
        sum += line[round % 2][63 - thread][0];
        if (!bug) __syncthreads();
    }
    to[thread] = sum;
}

// A copy is used that has landed for the thread that made it, but not for others.
PAIR(64, no_sync_after_wait) {
    SHARED(float, line, [64][4]);
    int thread = threadIdx.x;
    copy_async_16(line[thread], from + thread / 4 * 4, 16);
    copy_async_commit();
    copy_async_wait<0>();
    if (!bug) __syncthreads();
    to[thread] = line[63 - thread][thread % 4];
}

// Nobody waits for the copies.
PAIR(64, no_wait) {
    SHARED(float, line, [64][4]);
    int thread = threadIdx.x;
    copy_async_16(line[thread], from + thread / 4 * 4, 16);
    copy_async_commit();
    if (!bug) copy_async_wait<0>();
    __syncthreads();
    to[thread] = line[63 - thread][thread % 4];
}

// One group too many may be under way.
PAIR(64, wait_for_too_few) {
    SHARED(float, line, [2][64][4]);
    int thread = threadIdx.x;
    for (int half = 0; half < 2; ++half) {
        copy_async_16(line[half][thread], from + thread / 4 * 4, 16);
        copy_async_commit();
    }
    copy_async_wait<bug ? 1 : 0>();
    __syncthreads();
    to[thread] = line[1][thread][0];
    copy_async_wait<0>();
}

// Waiting for closed groups does not cover copies in an open one.
PAIR(64, no_commit) {
    SHARED(float, line, [64][4]);
    int thread = threadIdx.x;
    copy_async_16(line[thread], from + thread / 4 * 4, 16);
    if (!bug) copy_async_commit();
    copy_async_wait<0>();
    to[thread] = line[thread][0];
}

// An asynchronous copy to an address that is no multiple of 16.
PAIR(8, misaligned_copy) {
    SHARED(float, line, [36]);
    int thread = threadIdx.x;
    copy_async_16(&line[thread * 4 + (bug ? 1 : 0)], from + thread * 4, 16);
    copy_async_commit();
    copy_async_wait<0>();
    to[thread] = line[thread * 4 + (bug ? 1 : 0)];
}

// Only some threads come to the barrier: the others take another way, or have ended.
PAIR(64, divergent_sync) {
    if (!bug || threadIdx.x < 40) __syncthreads();
    to[threadIdx.x] = from[threadIdx.x];
    __syncwarp();
}
PAIR(64, early_end) {
    if (bug && threadIdx.x >= 40) return;
    __syncthreads();
    to[threadIdx.x] = from[threadIdx.x];
}

// Half of a warp goes to a product of the whole warp, the other half to a shuffle.
PAIR(64, divergent_mma) {
    float d[4] = {};
    uint32_t a[4] = {}, b[2] = {};
    float value = from[threadIdx.x];
    if (!bug || threadIdx.x % 32 < 16) mma_tf32(d, a, b);
    value = __shfl_sync(0xffffffffu, value, threadIdx.x % 32);
    to[threadIdx.x] = value + d[0];
}

// A lane asks for the value of one that takes no part.
PAIR(64, shuffle_outside_mask) {
    int thread = threadIdx.x;
    to[thread] = from[thread];
    if (thread % 32 < 16) to[thread] = __shfl_sync(0x0000ffffu, from[thread], bug ? 16 : 15);
}

// Lanes of a warp exchange values through shared memory without the warp's barrier.
PAIR(32, no_syncwarp) {
    SHARED(float, line, [32]);
    int thread = threadIdx.x;
    line[thread] = from[thread];
    if (!bug) __syncwarp();
    float left = line[(thread + 31) % 32];
    to[thread] = left;
}

// A counter that some threads add to atomically, and one reads too early.
PAIR(64, unordered_atomic) {
    SHARED(unsigned, count, [1]);
    int thread = threadIdx.x;
    if (thread == 0) count[0] = 0;
    __syncthreads();
    atomicAdd(&count[0], 1u);
    if (!bug) __syncthreads();
    to[thread] = from[thread] + (thread == 63 ? count[0] : 0);
}

// More shared memory than a block has.
PAIR(64, too_much_shared) {
    SHARED(float, large, [bug ? 12289 : 12288]);
    large[threadIdx.x] = from[threadIdx.x];
    to[threadIdx.x] = large[threadIdx.x];
}
