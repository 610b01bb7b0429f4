// The vocabulary of every kernel: types, launch syntax, and each instruction that needs inline PTX as one function.
// It is the only file with inline PTX. With NEUNCUT_EMULATOR defined the same names come from the emulator's header instead,
// and g++ compiles the kernels for the CPU.
#pragma once

#ifdef NEUNCUT_EMULATOR
#include "emulated_gpu.h"
#else

typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#define INFINITY __int_as_float(0x7f800000)

#define DEVICE __device__ __forceinline__
// KERNEL(256) name(int rows) { ... }: a kernel for blocks of 256 threads. KERNEL(256, 2): the compiler leaves registers for at least two
// blocks on a multiprocessor, and need not leave more.
#define KERNEL(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)
// SHARED(float, tile, [64][36]): memory shared by a block, 128-byte aligned, its contents undefined.
#define SHARED(T, name, dimensions) __shared__ __align__(128) T name dimensions
// LARGE_SHARED(T, name): one T, which may be larger than the 48 KB that all SHARED of a kernel have. A kernel has one at most, and
// LARGE_SHARED_OF(kernel, sizeof(T)) beside it tells the host, which has to ask for so much at each launch.
#define LARGE_SHARED(T, name)                                            \
    extern __shared__ __align__(128) unsigned char large_shared[];       \
    T& name = *(T*)large_shared
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define MOST_SHARED (227 * 1024)
#else
#define MOST_SHARED (99 * 1024)
#endif
#define LARGE_SHARED_OF(kernel, ...)                                                              \
    static_assert((__VA_ARGS__) + 4096 <= MOST_SHARED, "a block cannot have so much");           \
    extern "C" __device__ unsigned kernel##_large_shared = __VA_ARGS__

// ---- asynchronous copies from global to shared memory ---------------------------------------------------------------------

// Copies `bytes` (0 to 16; of none, `from` need be no place) from 16-byte aligned `from` to 16-byte aligned `to` and sets the rest of the 16 to 0.
DEVICE void copy_async_16(void* to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from), "r"(bytes) : "memory");
}
// The same for 16 bytes or none: where nothing is to be taken, `from` need be no place.
DEVICE void copy_async_16_if(bool take, void* to, const void* from) {
    asm volatile("{ .reg .pred ignore; setp.eq.u32 ignore, %2, 0; cp.async.cg.shared.global [%0], [%1], 16, ignore; }"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from), "r"((uint32_t)take) : "memory");
}
// Closes the group of the copies started by this thread since the last commit.
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `pending` of this thread's groups are unfinished.
template <int pending>
DEVICE void copy_async_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(pending) : "memory"); }

// ---- tensor cores -----------------------------------------------------------------------------------------------------------
//
// A warp multiplies a 16 x K matrix A by a K x 8 matrix B and adds to a 16 x 8 matrix D. With g = lane / 4, t = lane % 4:
//   D: d[0], d[1] are row g, columns 2t and 2t + 1; d[2], d[3] the same of row g + 8.
//   tf32 (K = 8):       a[0] is (g, t), a[1] (g + 8, t), a[2] (g, t + 4), a[3] (g + 8, t + 4); b[0] is (t, g), b[1] (t + 4, g).
//   bf16, f16 (K = 16): a[0] holds (g, 2t) below and (g, 2t + 1) above, a[1] row g + 8, a[2] row g columns 2t + 8 and 2t + 9,
//                       a[3] row g + 8 of those; b[0] holds (2t, g) below and (2t + 1, g) above, b[1] rows 2t + 8 and 2t + 9.

DEVICE void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEVICE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEVICE void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices of 16-bit numbers out of shared memory, for the fragments above: lane 8 i + r tells where row r of matrix i begins, 16-byte
// aligned, and with g and t as above word i becomes row g, columns 2t and 2t + 1 of matrix i.
DEVICE void load_matrices(uint32_t (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)) : "memory");
}
// The same of their transposes: word i becomes rows 2t and 2t + 1, column g of matrix i.
DEVICE void load_transposed(uint32_t (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)) : "memory");
}

// ---- numbers of fewer bits ---------------------------------------------------------------------------------------------------

// The nearest TF32 number (halves away from zero) as f32 bits; the low 13 bits are 0.
DEVICE uint32_t to_tf32(float x) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}
// Two nearest bfloat16 numbers (halves to even), `low` in the low half of the word.
DEVICE uint32_t pack_bf16(float low, float high) {
    uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}
// Two nearest f16 numbers (halves to even), `low` in the low half of the word.
DEVICE uint32_t pack_f16(float low, float high) {
    uint32_t bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}
// The nearest f16 number (halves to even).
DEVICE uint16_t to_f16(float x) {
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
// The value of an f16 number.
DEVICE float from_f16(uint16_t bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
#endif

// The value of the bfloat16 number in the low half of `bits`.
DEVICE float from_bf16(uint32_t bits) { return __uint_as_float(bits << 16); }
