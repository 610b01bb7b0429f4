// Rows as the data stores them, made f32: what travels to the device is the few bytes that they are.
//
// Registers: at most 32 a thread.
#include "reduce.cuh"

// Row i of x (rows `stride` numbers apart; their padding stays) becomes row i of `from`, m rows of d numbers without a gap. A warp for each
// row.
template <class T, class Value>
DEVICE void widen(const T* from, float* x, int m, int d, int stride, Value value) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= m) return;
    from += (size_t)row * d;
    x += (size_t)row * stride;
    each_column<4>(d, [&](int c) { return from[c]; }, [&](int c, T number) { x[c] = value(number); });
}

KERNEL(256) widen_u8(const uint8_t* from, float* x, int m, int d, int stride) {
    widen(from, x, m, d, stride, [](uint8_t number) { return (float)number; });
}

KERNEL(256) widen_f16(const uint16_t* from, float* x, int m, int d, int stride) {
    widen(from, x, m, d, stride, [](uint16_t number) { return from_f16(number); });
}

KERNEL(256) widen_bf16(const uint16_t* from, float* x, int m, int d, int stride) {
    widen(from, x, m, d, stride, [](uint16_t number) { return from_bf16(number); });
}

KERNEL(256) widen_f32(const float* from, float* x, int m, int d, int stride) {
    widen(from, x, m, d, stride, [](float number) { return number; });
}
