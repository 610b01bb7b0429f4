// Products of small matrices by a warp. Which element a lane holds where is said in gpu.cuh.
//
// Products of two TF32, bfloat16 or f16 numbers are exact in f32; only their sum is rounded, towards zero, as cards do (Fasi et
// al., Numerical behavior of NVIDIA tensor cores, PeerJ Computer Science, 2021).

#include "block.h"

namespace emulator {
namespace {

// The eight columns of a row of B or D, and whole numbers for each.
typedef float Row __attribute__((vector_size(32)));
typedef int Whole __attribute__((vector_size(32)));

struct Operands {
    float* d;
    const uint32_t* a;
    const uint32_t* b;
};

template <int K>
struct Staged {
    float a[16][K];
    float b[K][8];
};

// d + p[0] + p[1] + ..., in each column: all terms cut after the last bit that f32 has for the largest and one more, as on the A100,
// the sum cut to f32.
template <int count>
Row add_and_cut(Row d, const Row (&p)[count]) {
    auto exponent = [](Row x) { return (Whole)x >> 23 & 255; };
    // Below 2^-100 last bits do not matter.
    Whole largest = Whole{} + 27;
    auto raise_to = [&](Whole other) { largest = largest > other ? largest : other; };
    raise_to(exponent(d));
    for (Row term : p) raise_to(exponent(term));
    bool finite = true;
    for (int column = 0; column < 8; ++column) finite &= largest[column] < 255;
    if (!finite) {
        for (Row term : p) d += term;
        return d;
    }
    const Row to_units = (Row)((2 * 127 + 24 - largest) << 23), unit = (Row)((largest - 24) << 23);
    // At most 9 terms of 25 bits.
    Whole sum = __builtin_convertvector(d * to_units, Whole);
    for (Row term : p) sum += __builtin_convertvector(term * to_units, Whole);
    const Whole magnitude = sum < 0 ? -sum : sum;
    Row cut = __builtin_convertvector(magnitude, Row);
    // A comparison gives -1 where it holds: one unit less where the conversion rounded up.
    cut = (Row)((Whole)cut + (__builtin_convertvector(cut, Whole) > magnitude)) * unit;
    return sum < 0 ? -cut : cut;
}

// An instruction adds its products in two halves.
template <int K>
void multiply_and_add(const Staged<K>& staged, void* const* operands) {
    Row b[K];
    memcpy(b, staged.b, sizeof b);
    for (int row = 0; row < 16; ++row) {
        auto at = [&](int column) -> float& {
            return static_cast<const Operands*>(operands[row % 8 * 4 + column / 2])->d[row / 8 * 2 + column % 2];
        };
        Row d;
        for (int column = 0; column < 8; ++column) d[column] = at(column);
        for (int first = 0; first < K; first += K / 2) {
            Row products[K / 2];
            for (int k = 0; k < K / 2; ++k) products[k] = staged.a[row][first + k] * b[first + k];
            d = add_and_cut(d, products);
        }
        for (int column = 0; column < 8; ++column) at(column) = d[column];
    }
}

const Operation TF32 = {"mma_tf32", [](void* const* operands, unsigned) {
    Staged<8> staged;
    // The card ignores the low 13 bits.
    auto value = [](uint32_t bits) { return __uint_as_float(bits & 0xffffe000); };
    for (int lane = 0; lane < WARP; ++lane) {
        const Operands& from = *static_cast<const Operands*>(operands[lane]);
        int g = lane / 4, t = lane % 4;
        staged.a[g][t] = value(from.a[0]);
        staged.a[g + 8][t] = value(from.a[1]);
        staged.a[g][t + 4] = value(from.a[2]);
        staged.a[g + 8][t + 4] = value(from.a[3]);
        staged.b[t][g] = value(from.b[0]);
        staged.b[t + 4][g] = value(from.b[1]);
    }
    multiply_and_add(staged, operands);
}};

template <float value(uint32_t half_a_word)>
void combine_halves(void* const* operands, unsigned) {
    Staged<16> staged;
    for (int lane = 0; lane < WARP; ++lane) {
        const Operands& from = *static_cast<const Operands*>(operands[lane]);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) {
            float* to = &staged.a[g + i % 2 * 8][2 * t + i / 2 * 8];
            to[0] = value(from.a[i] & 0xffff);
            to[1] = value(from.a[i] >> 16);
        }
        for (int i = 0; i < 2; ++i) {
            staged.b[2 * t + i * 8][g] = value(from.b[i] & 0xffff);
            staged.b[2 * t + i * 8 + 1][g] = value(from.b[i] >> 16);
        }
    }
    multiply_and_add(staged, operands);
}
float bf16_value(uint32_t bits) { return __uint_as_float(bits << 16); }
float f16_value(uint32_t bits) { return from_f16(uint16_t(bits)); }
const Operation BF16 = {"mma_bf16", combine_halves<bf16_value>};
const Operation F16 = {"mma_f16", combine_halves<f16_value>};

struct Rows {
    uint32_t* to;
    const void* row;
};

// `transposed`: matrices are turned on their way.
template <bool transposed>
void load(void* const* operands, unsigned) {
    for (int matrix = 0; matrix < 4; ++matrix) {
        uint16_t values[8][8];
        for (int row = 0; row < 8; ++row)
            memcpy(values[row], static_cast<const Rows*>(operands[8 * matrix + row])->row, sizeof values[row]);
        for (int lane = 0; lane < WARP; ++lane) {
            int g = lane / 4, t = lane % 4;
            uint32_t low = transposed ? values[2 * t][g] : values[g][2 * t];
            uint32_t high = transposed ? values[2 * t + 1][g] : values[g][2 * t + 1];
            static_cast<const Rows*>(operands[lane])->to[matrix] = low | high << 16;
        }
    }
}
const Operation MATRICES = {"load_matrices", load<false>};
const Operation TRANSPOSED = {"load_transposed", load<true>};

void load(const Operation& operation, uint32_t* to, const void* row) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("%s of a row at %p, which is no multiple of 16", operation.name, row);
    const SharedArray* array = array_at(row);
    if (!array) fail("%s of a row at %p, which is in no shared array", operation.name, row);
    if (static_cast<const unsigned char*>(row) + 16 > array->start + array->bytes)
        fail("%s of a row beyond the end of the shared array `%s`", operation.name, array->name);
    note_read(row, 16);
    Rows operands = {to, row};
    gather(operation, 0xffffffffu, &operands);
}

void multiply(const Operation& operation, float* d, const uint32_t* a, const uint32_t* b) {
    Operands operands = {d, a, b};
    gather(operation, 0xffffffffu, &operands);
}

}  // namespace
}  // namespace emulator

using namespace emulator;

void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { multiply(TF32, d, a, b); }
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { multiply(BF16, d, a, b); }
void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { multiply(F16, d, a, b); }
void load_matrices(uint32_t (&to)[4], const void* row) { load(MATRICES, to, row); }
void load_transposed(uint32_t (&to)[4], const void* row) { load(TRANSPOSED, to, row); }
