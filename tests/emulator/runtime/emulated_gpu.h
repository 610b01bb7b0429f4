// What kernels/gpu.cuh stands for when g++ compiles the kernels for the CPU: the launch syntax, the built-ins of CUDA that the
// kernels may use, and every function of gpu.cuh. The other files of this folder say how each is done.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

// always_inline, as on the device: the arguments that a helper takes by reference then stay in registers.
#define DEVICE inline __attribute__((always_inline))
// The attribute means nothing to g++. The build script finds the kernels, and the threads they are for, by it.
#define KERNEL(threads, ...) [[gpu::kernel(threads)]] void
// One Slot per array and OS thread remembers where the array lies while the same block runs.
#define SHARED(T, name, dimensions)                                                                       \
    static __thread ::emulator::Slot name##_slot;                                                         \
    typedef T name##_type dimensions;                                                                     \
    name##_type& name = *static_cast<name##_type*>(::emulator::shared(name##_slot, #name, sizeof(name##_type), false))
#define LARGE_SHARED(T, name)                   \
    static __thread ::emulator::Slot name##_slot; \
    T& name = *static_cast<T*>(::emulator::shared(name##_slot, #name, sizeof(T), true))
// What a block of Hopper can have at most.
#define LARGE_SHARED_OF(kernel, ...) static_assert((__VA_ARGS__) <= ::emulator::MOST_SHARED, #kernel)

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
DEVICE float2 make_float2(float x, float y) { return {x, y}; }
DEVICE float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
DEVICE uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
DEVICE uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emulator {

// ---- where a thread is ------------------------------------------------------------------------------------------------------

struct Builtins {
    uint3 thread_index;
    int lane;
};
struct Grid {
    uint3 block_index;
    dim3 block_size, grid_size;
};
// Of the thread that runs now. __thread, not thread_local: nothing is to be initialised, so reading them costs no call.
extern __thread Builtins* builtins __attribute__((tls_model("initial-exec")));
extern __thread Grid grid __attribute__((tls_model("initial-exec")));

// ---- shared memory ----------------------------------------------------------------------------------------------------------

struct Slot {
    uint64_t block;  // serial number of the block that `array` belongs to
    void* array;
};
extern __thread uint64_t block_serial __attribute__((tls_model("initial-exec")));
// Bytes of a block in all, and of those that it has without asking.
constexpr size_t MOST_SHARED = 227 * 1024, SMALL_SHARED = 48 * 1024;
void* place_shared(Slot& slot, const char* name, size_t bytes, bool large);
DEVICE void* shared(Slot& slot, const char* name, size_t bytes, bool large) {
    return slot.block == block_serial ? slot.array : place_shared(slot, name, bytes, large);
}

// ---- values that lanes exchange -----------------------------------------------------------------------------------------------

// `from_lane` is the lane whose value this lane wants.
uint64_t shuffle(unsigned mask, uint64_t value, int from_lane);
template <class T>
DEVICE T shuffle(unsigned mask, T value, int from_lane) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    bits = shuffle(mask, bits, from_lane);
    memcpy(&value, &bits, sizeof(T));
    return value;
}

// ---- what the launcher knows of a kernel --------------------------------------------------------------------------------------

// Mirrored in src/kernels.rs.
struct Kernel {
    const char* name;
    unsigned threads;
    size_t parameters;
    const size_t* parameter_sizes;
    // Calls the kernel for one thread, with one pointer to each parameter's value.
    void (*call)(void* const* arguments);
};
struct File {
    const char* name;
    const Kernel* kernels;
    size_t count;
};

template <auto function>
struct Signature;
template <class... Parameters, void (*function)(Parameters...)>
struct Signature<function> {
    static constexpr size_t sizes[] = {sizeof(Parameters)..., 0};
    template <size_t... index>
    static void call_with(void* const* arguments, std::index_sequence<index...>) {
        function(*static_cast<Parameters*>(arguments[index])...);
    }
    static void call(void* const* arguments) { call_with(arguments, std::index_sequence_for<Parameters...>{}); }
    static constexpr Kernel kernel(const char* name, unsigned threads) {
        return {name, threads, sizeof...(Parameters), sizes, call};
    }
};

}  // namespace emulator

#define threadIdx (::emulator::builtins->thread_index)
#define blockIdx (::emulator::grid.block_index)
#define blockDim (::emulator::grid.block_size)
#define gridDim (::emulator::grid.grid_size)

// ---- built-ins of CUDA ----------------------------------------------------------------------------------------------------------

void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);
unsigned __ballot_sync(unsigned mask, int predicate);

// Shuffles work within groups of `width` lanes; a lane whose source falls outside its group keeps its own value.
template <class T>
DEVICE T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    int lane = emulator::builtins->lane;
    return emulator::shuffle(mask, value, (lane & -width) | (source & (width - 1)));
}
template <class T>
DEVICE T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    int lane = emulator::builtins->lane, source = lane ^ bits;
    return emulator::shuffle(mask, value, source < (lane & -width) + width ? source : lane);
}
template <class T>
DEVICE T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    int lane = emulator::builtins->lane, source = lane + int(distance);
    return emulator::shuffle(mask, value, source < (lane & -width) + width ? source : lane);
}
template <class T>
DEVICE T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    int lane = emulator::builtins->lane, source = lane - int(distance);
    return emulator::shuffle(mask, value, source >= (lane & -width) ? source : lane);
}

// Each returns the value before the addition. Whole numbers only: their sum does not depend on the order.
int atomicAdd(int* to, int value);
unsigned atomicAdd(unsigned* to, unsigned value);
unsigned long atomicAdd(unsigned long* to, unsigned long value);
unsigned long long atomicAdd(unsigned long long* to, unsigned long long value);

template <class T>
DEVICE T __ldg(const T* from) { return *from; }
DEVICE float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
DEVICE unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, 4);
    return bits;
}
DEVICE float __int_as_float(int bits) { return __uint_as_float(unsigned(bits)); }
DEVICE int __float_as_int(float value) { return int(__float_as_uint(value)); }
DEVICE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
DEVICE unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
DEVICE int __popc(unsigned x) { return __builtin_popcount(x); }
DEVICE int __ffs(int x) { return __builtin_ffs(x); }
DEVICE int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }

#define EMULATED_MIN_MAX(T)                         \
    DEVICE T min(T a, T b) { return b < a ? b : a; } \
    DEVICE T max(T a, T b) { return a < b ? b : a; }
EMULATED_MIN_MAX(int)
EMULATED_MIN_MAX(unsigned)
EMULATED_MIN_MAX(long)
EMULATED_MIN_MAX(unsigned long)
EMULATED_MIN_MAX(long long)
EMULATED_MIN_MAX(unsigned long long)
#undef EMULATED_MIN_MAX

// ---- the functions of gpu.cuh: what they do is said there -----------------------------------------------------------------------

void copy_async_16(void* to, const void* from, int bytes);
DEVICE void copy_async_16_if(bool take, void* to, const void* from) { copy_async_16(to, from, take ? 16 : 0); }
void copy_async_commit();
namespace emulator {
void wait_for_copies(int pending);
}
template <int pending>
DEVICE void copy_async_wait() { emulator::wait_for_copies(pending); }

void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

void load_matrices(uint32_t (&to)[4], const void* row);
void load_transposed(uint32_t (&to)[4], const void* row);

// A number's conversion is the same for every bit pattern but NaN, which becomes the format's NaN with all bits set.
DEVICE uint32_t to_tf32(float x) {
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fffe000;
    // Half a unit is added to the magnitude: halves go away from zero, and the largest numbers become infinity.
    if ((bits & 0x7fffffff) < 0x7f800000) bits += 0x1000;
    return bits & 0xffffe000;
}
namespace emulator {
DEVICE uint32_t to_bf16(float x) {
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
}  // namespace emulator
DEVICE uint32_t pack_bf16(float low, float high) { return emulator::to_bf16(low) | emulator::to_bf16(high) << 16; }
DEVICE uint16_t to_f16(float x) {
    uint32_t bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return 0x7fff;
    // 65520, half-way between the largest number and the next that there would be.
    if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);
    // Below 2^-14 the result is a multiple of 2^-24, which is just where the sum with 0.5 is rounded.
    if (magnitude < 0x38800000) return uint16_t(sign | (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000));
    uint32_t rebiased = magnitude - ((127 - 15) << 23);
    return uint16_t(sign | (rebiased + 0xfff + (rebiased >> 13 & 1)) >> 13);
}
DEVICE float from_f16(uint16_t bits) {
    uint32_t sign = (bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
    // Subnormal numbers are multiples of 2^-24.
    if (magnitude < 0x400) return __uint_as_float(sign | __float_as_uint(float(magnitude) * 0x1p-24f));
    if (magnitude > 0x7c00) return __uint_as_float(0x7fffffff);
    if (magnitude == 0x7c00) return __uint_as_float(sign | 0x7f800000);
    return __uint_as_float(sign | ((magnitude << 13) + ((127 - 15) << 23)));
}
DEVICE uint32_t pack_f16(float low, float high) { return to_f16(low) | uint32_t(to_f16(high)) << 16; }
