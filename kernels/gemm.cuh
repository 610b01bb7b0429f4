// The one matrix main loop: a block of 128 threads computes one tile of C = A B, A being rows x depth and B depth x columns.
// What it multiplies in is a Product (one for each precision, and one for squared differences), what becomes of the tile is
// up to the kernel that calls it.
//
// Operands are f32 in global memory, rows 16-byte aligned, in either order: "by depth" means that element (i, depth k)
// is at [i * stride + k], otherwise at [k * stride + i]. They reach shared memory unchanged, by asynchronous 16-byte
// copies, two stages deep, and are rounded to the precision when they become fragments. What lies beyond the matrix is
// read as 0.
#pragma once
#include "gpu.cuh"

#define GEMM_THREADS 128

// Depth of a stage.
constexpr int DEPTH = 32;
constexpr int STAGES = 2;

// ---- tiles in shared memory -----------------------------------------------------------------------------------------------

// Starts the copies of `lines` lines of `length` numbers, `stride` apart in shared memory, from the place (line0, column0) of a matrix of
// `all_lines` lines of `columns` numbers, `from_stride` apart, in 16-byte pieces.
template <int lines, int length, int stride, class T>
DEVICE void load_lines(T* to, const T* from, int from_stride, int line0, int column0, int all_lines, int columns) {
    constexpr int EACH = 16 / sizeof(T), PIECES = length / EACH;
#pragma unroll
    for (int at = 0; at < lines * PIECES; at += GEMM_THREADS) {
        const int index = at + threadIdx.x;
        if (lines * PIECES % GEMM_THREADS != 0 && index >= lines * PIECES) break;
        const int line = index / PIECES, column = index % PIECES * EACH;
        int bytes = (columns - column0 - column) * (int)sizeof(T);
        bytes = line0 + line < all_lines ? max(0, min(16, bytes)) : 0;
        const T* source = bytes > 0 ? from + (size_t)(line0 + line) * from_stride + column0 + column : from;
        copy_async_16(&to[line * stride + column], source, bytes);
    }
}

// An f32 tile of `extent` rows (or columns, for B) by `depth`. PAD_BY_DEPTH and PAD_ACROSS come from the Product: they keep
// the lanes of a warp that read a fragment in different banks.
template <class Product, bool by_depth, int extent, int depth = DEPTH>
struct Tile {
    static constexpr int STRIDE = by_depth ? depth + Product::PAD_BY_DEPTH : extent + Product::PAD_ACROSS;
    static constexpr int SIZE = (by_depth ? extent : depth) * STRIDE;
    const float* values;

    DEVICE float at(int i, int k) const { return by_depth ? values[i * STRIDE + k] : values[k * STRIDE + i]; }
    // Elements (i, k) and (i, k + 1), k even.
    DEVICE float2 pair(int i, int k) const {
        if (by_depth) return *(const float2*)&values[i * STRIDE + k];
        return make_float2(values[k * STRIDE + i], values[(k + 1) * STRIDE + i]);
    }
    DEVICE uint32_t f16_pair(int i, int k) const {
        float2 two = pair(i, k);
        return pack_f16(two.x, two.y);
    }

    // Starts the copies of the tile whose corner is (first, first_depth) of an operand of `rows` by `depths`.
    static DEVICE void load(float* to, const float* from, int stride, int first, int first_depth, int rows, int depths) {
        if (by_depth)
            load_lines<extent, depth, STRIDE>(to, from, stride, first, first_depth, rows, depths);
        else
            load_lines<depth, extent, STRIDE>(to, from, stride, first_depth, first, depths, rows);
    }
};

// A tile of f16 numbers, by depth. Its stride keeps fragments free of bank conflicts.
template <int extent, int depth = DEPTH>
struct HalfTile {
    static constexpr int STRIDE = depth + 8;
    // In f32, like the other tiles' sizes.
    static constexpr int SIZE = extent * STRIDE / 2;
    const uint16_t* values;

    DEVICE uint32_t f16_pair(int i, int k) const { return *(const uint32_t*)&values[i * STRIDE + k]; }

    static DEVICE void load(uint16_t* to, const uint16_t* from, int stride, int first, int first_depth, int rows, int depths) {
        load_lines<extent, depth, STRIDE>(to, from, stride, first, first_depth, rows, depths);
    }
};

// ---- accumulators ------------------------------------------------------------------------------------------------------------

// The part of a tile of 64 rows by `columns` that one thread holds. Four warps share the tile: two by two, or one above the other
// when it is narrow. Within a warp's part, elements lie as gpu.cuh says of D.
template <int columns, class Sum = float>
struct Accumulators {
    static constexpr int ROWS = 64, COLUMNS = columns;
    static constexpr int WARPS_ACROSS = columns >= 64 ? 2 : 1, WARPS_DOWN = 4 / WARPS_ACROSS;
    static constexpr int DOWN = ROWS / WARPS_DOWN / 16, ACROSS = columns / WARPS_ACROSS / 8;
    Sum d[DOWN][ACROSS][4];

    DEVICE void clear() {
#pragma unroll
        for (int i = 0; i < DOWN; i++)
#pragma unroll
            for (int j = 0; j < ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) d[i][j][e] = 0;
    }
    DEVICE void add(const Accumulators& other) {
#pragma unroll
        for (int i = 0; i < DOWN; i++)
#pragma unroll
            for (int j = 0; j < ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) d[i][j][e] += other.d[i][j][e];
    }
    // Where this thread's elements lie in the tile: rows row(i) and row(i) + 8, columns column(j) and column(j) + 1.
    static DEVICE int warp_row() { return threadIdx.x / 32 / WARPS_ACROSS * (16 * DOWN); }
    static DEVICE int warp_column() { return threadIdx.x / 32 % WARPS_ACROSS * (8 * ACROSS); }
    static DEVICE int row(int i) { return warp_row() + 16 * i + threadIdx.x % 32 / 4; }
    static DEVICE int column(int j) { return warp_column() + 8 * j + threadIdx.x % 4 * 2; }

    // visit(row, column, value&) for each element of this thread.
    template <class Visit>
    DEVICE void each(Visit visit) {
#pragma unroll
        for (int i = 0; i < DOWN; i++)
#pragma unroll
            for (int j = 0; j < ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) visit(row(i) + e / 2 * 8, column(j) + e % 2, d[i][j][e]);
    }
};

// ---- products ------------------------------------------------------------------------------------------------------------------
//
// multiply(c, a, b) adds the product of two tiles, DEPTH (or `depth`) deep, to the accumulators. Each such stage is summed on its own
// first: the error of a long sum then grows with its number of stages, not of products. Tensor cores, moreover, round sums towards
// zero, which would add up, and show where sums cancel: in distances, and in contractions less a centre.

// Plain f32 on the ordinary cores: each thread multiplies for the elements it holds.
struct Fp32 {
    static constexpr int PAD_BY_DEPTH = 4, PAD_ACROSS = 8;
    static DEVICE float round(float x) { return x; }
    static DEVICE float add(float sum, float a, float b) { return fmaf(a, b, sum); }

    template <class Self = Fp32, int depth = DEPTH, class C, class A, class B>
    static DEVICE void multiply(C& c, const A& a, const B& b) {
        C stage;
        stage.clear();
#pragma unroll 2
        for (int k = 0; k < depth; k++) {
            float rows[C::DOWN][2], columns[C::ACROSS][2];
#pragma unroll
            for (int i = 0; i < C::DOWN; i++) {
                rows[i][0] = a.at(C::row(i), k);
                rows[i][1] = a.at(C::row(i) + 8, k);
            }
#pragma unroll
            for (int j = 0; j < C::ACROSS; j++) {
                columns[j][0] = b.at(C::column(j), k);
                columns[j][1] = b.at(C::column(j) + 1, k);
            }
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int j = 0; j < C::ACROSS; j++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        stage.d[i][j][e] = Self::add(stage.d[i][j][e], rows[i][e / 2], columns[j][e % 2]);
        }
        c.add(stage);
    }
};

// Not a product: sums of squared differences, exact for points of few dimensions wherever they lie.
struct Differences : Fp32 {
    static DEVICE float add(float sum, float a, float b) { return fmaf(a - b, a - b, sum); }

    template <class Self = Differences, int depth = DEPTH, class C, class A, class B>
    static DEVICE void multiply(C& c, const A& a, const B& b) {
        Fp32::multiply<Differences, depth>(c, a, b);
    }
};

// Sums in f64, for exact cuts.
struct Fp64Sums {
    static constexpr int PAD_BY_DEPTH = 4, PAD_ACROSS = 8;

    template <class Self = Fp64Sums, int depth = DEPTH, class C, class A, class B>
    static DEVICE void multiply(C& c, const A& a, const B& b) {
#pragma unroll 1
        for (int k = 0; k < depth; k++)
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const double row = a.at(C::row(i) + e / 2 * 8, k);
#pragma unroll
                    for (int j = 0; j < C::ACROSS; j++) c.d[i][j][e] += row * b.at(C::column(j) + e % 2, k);
                }
    }
};

// Operands rounded to TF32.
struct Tf32 {
    static constexpr int PAD_BY_DEPTH = 4, PAD_ACROSS = 8;
    static DEVICE float round(float x) { return __uint_as_float(to_tf32(x)); }

    template <class Self = Tf32, int depth = DEPTH, class C, class A, class B>
    static DEVICE void multiply(C& c, const A& a, const B& b) {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        C stage;
        stage.clear();
#pragma unroll
        for (int k = 0; k < depth; k += 8) {
            uint32_t rows[C::DOWN][4], columns[C::ACROSS][2];
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) rows[i][e] = to_tf32(a.at(C::row(i) + e % 2 * 8, k + t + e / 2 * 4));
#pragma unroll
            for (int j = 0; j < C::ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) columns[j][e] = to_tf32(b.at(C::warp_column() + 8 * j + g, k + t + e * 4));
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int j = 0; j < C::ACROSS; j++) mma_tf32(stage.d[i][j], rows[i], columns[j]);
        }
        c.add(stage);
    }
};

// Each operand as the sum of two TF32 numbers; of their four products the smallest is left out. To be nearly f32, only eight products
// of each kind are added by the tensor cores, and the rest by ordinary addition.
struct Tf32x3 {
    static constexpr int PAD_BY_DEPTH = 4, PAD_ACROSS = 8;
    static DEVICE float round(float x) { return x; }

    static DEVICE void split(float x, uint32_t& high, uint32_t& low) {
        high = to_tf32(x);
        low = to_tf32(x - __uint_as_float(high));
    }

    template <class Self = Tf32x3, int depth = DEPTH, class C, class A, class B>
    static DEVICE void multiply(C& c, const A& a, const B& b) {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll 2
        for (int k = 0; k < depth; k += 8) {
            uint32_t high[C::DOWN][4], low[C::DOWN][4];
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    split(a.at(C::row(i) + e % 2 * 8, k + t + e / 2 * 4), high[i][e], low[i][e]);
#pragma unroll
            for (int j = 0; j < C::ACROSS; j++) {
                uint32_t high_b[2], low_b[2];
#pragma unroll
                for (int e = 0; e < 2; e++) split(b.at(C::warp_column() + 8 * j + g, k + t + e * 4), high_b[e], low_b[e]);
#pragma unroll
                for (int i = 0; i < C::DOWN; i++) {
                    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                    mma_tf32(sum, low[i], high_b);
                    mma_tf32(sum, high[i], low_b);
                    mma_tf32(sum, high[i], high_b);
#pragma unroll
                    for (int e = 0; e < 4; e++) c.d[i][j][e] += sum[e];
                }
            }
        }
    }
};

// Operands rounded to bfloat16.
struct Bf16 {
    static constexpr int PAD_BY_DEPTH = 8, PAD_ACROSS = 4;
    static DEVICE float round(float x) { return from_bf16(pack_bf16(x, 0.0f)); }
    template <class T>
    static DEVICE uint32_t pair(const T& tile, int i, int k) {
        float2 two = tile.pair(i, k);
        return pack_bf16(two.x, two.y);
    }
    static DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma_bf16(d, a, b); }

    template <class Self = Bf16, int depth = DEPTH, class C, class A, class B>
    static DEVICE void multiply(C& c, const A& a, const B& b) {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        C stage;
        stage.clear();
#pragma unroll 2
        for (int k = 0; k < depth; k += 16) {
            uint32_t rows[C::DOWN][4], columns[C::ACROSS][2];
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) rows[i][e] = Self::pair(a, C::row(i) + e % 2 * 8, k + 2 * t + e / 2 * 8);
#pragma unroll
            for (int j = 0; j < C::ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) columns[j][e] = Self::pair(b, C::warp_column() + 8 * j + g, k + 2 * t + e * 8);
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int j = 0; j < C::ACROSS; j++) Self::mma(stage.d[i][j], rows[i], columns[j]);
        }
        c.add(stage);
    }
};

// Operands rounded to f16, or f16 already.
struct F16 : Bf16 {
    static DEVICE float round(float x) { return from_f16(to_f16(x)); }
    template <class T>
    static DEVICE uint32_t pair(const T& tile, int i, int k) { return tile.f16_pair(i, k); }
    static DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma_f16(d, a, b); }

    template <class Self = F16, int depth = DEPTH, class C, class A, class B>
    static DEVICE void multiply(C& c, const A& a, const B& b) {
        Bf16::multiply<F16, depth>(c, a, b);
    }
};

// ---- the loop ------------------------------------------------------------------------------------------------------------------

// A matrix in global memory.
struct Operand {
    const float* values;
    int stride;
};

// The shared memory of a main loop whose tiles are A and B.
template <class A, class B>
struct Stages {
    float a[STAGES][A::SIZE], b[STAGES][B::SIZE];
};

// Adds the products over the whole depth. load(stage, first_depth) starts the copies of a stage; multiply(stage) uses them up.
// Between the stages, and when it returns, shared memory may be used anew.
template <class Load, class Multiply>
DEVICE void over_depth(int depth, Load load, Multiply multiply) {
    load(0, 0);
    copy_async_commit();
    for (int first = 0; first < depth; first += DEPTH) {
        const int stage = first / DEPTH % STAGES;
        if (first + DEPTH < depth) {
            load(1 - stage, first + DEPTH);
            copy_async_commit();
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        __syncthreads();
        multiply(stage);
        __syncthreads();
    }
}

// The product of two f32 operands for the tile with its corner at (row0, column0).
template <class Product, bool a_by_depth, bool b_by_depth, int columns, class Sum = float>
struct Gemm {
    typedef Tile<Product, a_by_depth, 64> A;
    typedef Tile<Product, b_by_depth, columns> B;
    typedef Stages<A, B> Shared;
    Accumulators<columns, Sum> c;

    // `each_stage(tile of A)` sees each stage of A on its way.
    template <class EachStage>
    DEVICE void run(Operand a, Operand b, int rows, int cols, int depth, int row0, int column0, Shared& shared,
                    EachStage each_stage) {
        c.clear();
        over_depth(
            depth,
            [&](int stage, int first) {
                A::load(shared.a[stage], a.values, a.stride, row0, first, rows, depth);
                B::load(shared.b[stage], b.values, b.stride, column0, first, cols, depth);
            },
            [&](int stage) {
                A tile_a = {shared.a[stage]};
                B tile_b = {shared.b[stage]};
                Product::multiply(c, tile_a, tile_b);
                each_stage(tile_a);
            });
    }
    DEVICE void run(Operand a, Operand b, int rows, int cols, int depth, int row0, int column0, Shared& shared) {
        run(a, b, rows, cols, depth, row0, column0, shared, [](const A&) {});
    }
};

// define_kernel(precision, Product) for each precision.
#define FOR_EACH_PRECISION(define_kernel) \
    define_kernel(fp32, Fp32)             \
    define_kernel(tf32x3, Tf32x3)         \
    define_kernel(tf32, Tf32)             \
    define_kernel(bf16, Bf16)
