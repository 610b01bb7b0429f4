// The one matrix main loop: a block computes one tile of C = A B, A being rows x depth and B depth x columns. What it multiplies in is
// a Product (one for each precision, and one for squared differences), how the block shares the tile a Tiling, and what becomes of the
// tile is up to the kernel that calls it.
//
// Operands are f32 in global memory, rows 16-byte aligned, in either order: "by depth" means that element (i, depth k)
// is at [i * stride + k], otherwise at [k * stride + i]. They reach shared memory unchanged, by asynchronous 16-byte
// copies, some stages deep, and are rounded to the precision when they become fragments. What lies beyond the matrix is
// read as 0. Operands that several tiles read may have been rounded to 16 bits beforehand: HalfGemm.
#pragma once
#include "gpu.cuh"

// Depth that is summed at a time.
constexpr int DEPTH = 32;

// ---- how a block shares a tile ------------------------------------------------------------------------------------------------

// A tile of `rows` by `columns` for groups of warps_down x warps_across warps. The groups take turns along the depth, DEPTH each, and add up
// what they have at the end: so that a tile of few elements keeps enough warps busy. Tilings of as many groups give the same bits.
// `stages` tiles of operands are on their way or in use at a time.
template <int rows, int columns, int warps_down, int warps_across, int groups, int stages>
struct Tiling {
    static constexpr int ROWS = rows, COLUMNS = columns, WARPS_DOWN = warps_down, WARPS_ACROSS = warps_across;
    static constexpr int GROUP = 32 * warps_down * warps_across, GROUPS = groups, THREADS = GROUP * groups;
    static constexpr int STAGES = stages, STAGE_DEPTH = DEPTH * groups;
};

// Within 48 KB of shared memory, for kernels that keep other things beside.
#define GEMM_THREADS 128
template <int columns>
using Plain = Tiling<64, columns, columns >= 64 ? 2 : 4, columns >= 64 ? 2 : 1, 1, 2>;

// For products that steps are made of, which wait for their operands most of the time: in large shared memory, as many stages as leave
// room for DEEP_BLOCKS blocks on a multiprocessor of a card for computing.
#define DEEP_THREADS 256
#define DEEP_BLOCKS 2
// Of Ampere's cards some have less than 100 KB.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int DEEP_STAGES = 2;
#else
constexpr int DEEP_STAGES = 3;
#endif
template <int columns>
using Deep = Tiling<64, columns, columns >= 64 ? 2 : 4, columns >= 64 ? 2 : 1, 2, DEEP_STAGES>;
static_assert(Deep<64>::THREADS == DEEP_THREADS && Deep<16>::THREADS == DEEP_THREADS, "as the host launches them");

// The same for operands that were rounded to 16 bits beforehand: twice the stages fit.
typedef Tiling<64, 64, 2, 2, 2, 2 * DEEP_STAGES> DeepHalf;
// Tiles of half the rows, for products of so few tiles that a multiprocessor would have one block alone, which waits for its operands most of
// the time (the update of layers, m 1000, 512-512, operands in f32, H100: 36 microseconds become 32; the other products of as few tiles
// gained nothing by it from operands in f32, and were not measured from 16-bit ones).
typedef Tiling<32, 64, 1, 4, 2, DEEP_STAGES> Short;
typedef Tiling<32, 64, 1, 4, 2, 2 * DEEP_STAGES> ShortHalf;
static_assert(Short::THREADS == DEEP_THREADS && ShortHalf::THREADS == DEEP_THREADS, "as the host launches them");
// For large products of these: of each number that a block reads from the second-level cache it makes twice as many products. Its threads take the
// registers of a whole multiprocessor, so that it has one block, and all of the shared memory.
#define WIDE_THREADS 512
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int WIDE_STAGES = 2;
#else
constexpr int WIDE_STAGES = 5;
#endif
typedef Tiling<128, 128, 4, 2, 2, WIDE_STAGES> Wide;
static_assert(DeepHalf::THREADS == DEEP_THREADS && Wide::THREADS == WIDE_THREADS, "as the host launches them");

// A kernel for tiles of a tiling, of which so many fit on a multiprocessor as there are threads for.
#define TILED_KERNEL(...) KERNEL(__VA_ARGS__::THREADS, DEEP_BLOCKS * DEEP_THREADS / __VA_ARGS__::THREADS)

// ---- tiles in shared memory -----------------------------------------------------------------------------------------------

// Copies a tile of `lines` lines of `length` numbers, `stride` apart in shared memory, out of a larger matrix, in 16-byte pieces, by a block of
// `threads` threads; then moves on. What it takes to find a thread's pieces is computed once.
template <int threads, int lines, int length, int stride, class T>
struct Loader {
    static constexpr int EACH = 16 / sizeof(T), PIECES = length / EACH;
    // A thread copies the same piece of every STEP-th line.
    static constexpr int STEP = threads / PIECES;
    static_assert(length % EACH == 0 && threads % PIECES == 0 && lines % STEP == 0, "no thread has a piece less than another");
    // The tile's corner, the same for all threads, and this thread's first piece from there. Within a tile 32 bits are enough: the host makes
    // no matrix for which they are not.
    const T* corner;
    uint32_t first;
    int from_stride;
    // Lines, and numbers of a line, that lie between this thread's first piece and the end of the matrix.
    int lines_left, numbers_left;
    // Of the first piece in the tile.
    int place;

    // From the place (line0, number0) of a matrix of `all_lines` lines of `numbers` numbers, `from_stride` apart.
    DEVICE Loader(const T* matrix, int from_stride, int line0, int number0, int all_lines, int numbers) : from_stride(from_stride) {
        const int line = threadIdx.x / PIECES, number = threadIdx.x % PIECES * EACH;
        corner = matrix + (size_t)line0 * from_stride + number0;
        first = (uint32_t)line * from_stride + number;
        lines_left = all_lines - line0 - line;
        numbers_left = numbers - number0 - number;
        place = line * stride + number;
    }
    // Starts the copies; what lies beyond the end becomes 0.
    DEVICE void load(T* to) const {
        to += place;
        if (numbers_left >= EACH || numbers_left <= 0)
            each_line([&](int line, const T* at) {
                copy_async_16_if(line < lines_left && numbers_left > 0, &to[line * stride], at);
            });
        else
            each_line([&](int line, const T* at) {
                copy_async_16(&to[line * stride], at, line < lines_left ? numbers_left * (int)sizeof(T) : 0);
            });
    }
    template <class Copy>
    DEVICE void each_line(Copy copy) const {
#pragma unroll
        for (int line = 0; line < lines; line += STEP) copy(line, corner + (first + (uint32_t)line * from_stride));
    }
    DEVICE void move_across(int numbers) {
        corner += numbers;
        numbers_left -= numbers;
    }
    DEVICE void move_down(int count) {
        corner += (size_t)count * from_stride;
        lines_left -= count;
    }
};

// An f32 tile of `extent` rows (or columns, for B) by `depth`. PAD_BY_DEPTH and PAD_ACROSS come from the Product: they keep
// the lanes of a warp that read a fragment in different banks.
template <class Product, bool by_depth, int extent, int depth>
struct Tile {
    static constexpr int STRIDE = by_depth ? depth + Product::PAD_BY_DEPTH : extent + Product::PAD_ACROSS;
    static constexpr int SIZE = (by_depth ? extent : depth) * STRIDE;
    const float* values;

    // What was (i, k) becomes (0, 0): a thread moves to its first element once, and what is left to add is known to the compiler.
    DEVICE void move(int i, int k) { values += by_depth ? i * STRIDE + k : k * STRIDE + i; }
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

    // Copies tile after tile along the depth, from (first, first_depth) on, of an operand of `rows` by `depths`.
    template <int threads>
    struct Along {
        Loader<threads, by_depth ? extent : depth, by_depth ? depth : extent, STRIDE, float> loader;

        DEVICE Along(const float* from, int stride, int first, int first_depth, int rows, int depths)
            : loader(from, stride, by_depth ? first : first_depth, by_depth ? first_depth : first, by_depth ? rows : depths,
                     by_depth ? depths : rows) {}
        DEVICE void next(float* to) {
            loader.load(to);
            if (by_depth)
                loader.move_across(depth);
            else
                loader.move_down(depth);
        }
    };
};

// A tile of 16-bit numbers. Its stride keeps fragments free of bank conflicts.
template <bool by_depth, int extent, int depth>
struct HalfTile {
    static constexpr int STRIDE = (by_depth ? depth : extent) + 8;
    // In f32, like the other tiles' sizes.
    static constexpr int SIZE = (by_depth ? extent : depth) * STRIDE / 2;
    const uint16_t* values;

    DEVICE void move(int i, int k) { values += by_depth ? i * STRIDE + k : k * STRIDE + i; }
    // Of a tile by depth.
    DEVICE uint32_t f16_pair(int i, int k) const {
        static_assert(by_depth, "pairs lie along the depth");
        return *(const uint32_t*)&values[i * STRIDE + k];
    }
    // To what this lane tells of the four matrices that are a fragment of A, rows 0 to 15, or two of B, columns 0 to 7 and 8 to 15.
    DEVICE void move_to_rows() {
        const int second = threadIdx.x % 16 / 8 * 8, third = threadIdx.x % 32 / 16 * 8, line = threadIdx.x % 8;
        move(second + (by_depth ? line : 0), third + (by_depth ? 0 : line));
    }
    DEVICE void move_to_columns() {
        const int second = threadIdx.x % 16 / 8 * 8, third = threadIdx.x % 32 / 16 * 8, line = threadIdx.x % 8;
        move(third + (by_depth ? line : 0), second + (by_depth ? 0 : line));
    }
    DEVICE void matrices(uint32_t (&to)[4], int i, int k) const {
        if (by_depth)
            load_matrices(to, &values[i * STRIDE + k]);
        else
            load_transposed(to, &values[k * STRIDE + i]);
    }

    template <int threads>
    struct Along {
        Loader<threads, by_depth ? extent : depth, by_depth ? depth : extent, STRIDE, uint16_t> loader;

        DEVICE Along(const uint16_t* from, int stride, int first, int rows, int depths)
            : loader(from, stride, by_depth ? first : 0, by_depth ? 0 : first, by_depth ? rows : depths, by_depth ? depths : rows) {}
        DEVICE void next(float* to) {
            loader.load((uint16_t*)to);
            if (by_depth)
                loader.move_across(depth);
            else
                loader.move_down(depth);
        }
    };
};

// ---- accumulators ------------------------------------------------------------------------------------------------------------

// The part of a tile that one thread holds. Within a warp's part, elements lie as gpu.cuh says of D.
template <class T, class Sum = float>
struct Accumulators {
    static constexpr int DOWN = T::ROWS / T::WARPS_DOWN / 16, ACROSS = T::COLUMNS / T::WARPS_ACROSS / 8;
    // What a group keeps when groups have been added up: some of the rows of fragments, or of the columns.
    static constexpr bool BY_ROWS = DOWN % T::GROUPS == 0;
    static constexpr int KEPT_DOWN = BY_ROWS ? DOWN / T::GROUPS : DOWN, KEPT_ACROSS = BY_ROWS ? ACROSS : ACROSS / T::GROUPS;
    static_assert(BY_ROWS || ACROSS % T::GROUPS == 0, "fragments are shared out whole");
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
    static DEVICE int group() { return T::GROUPS == 1 ? 0 : threadIdx.x / T::GROUP; }
    static DEVICE int warp() { return threadIdx.x / 32 % (T::GROUP / 32); }
    static DEVICE int warp_row() { return warp() / T::WARPS_ACROSS * (16 * DOWN); }
    static DEVICE int warp_column() { return warp() % T::WARPS_ACROSS * (8 * ACROSS); }
    static DEVICE int row(int i) { return warp_row() + 16 * i + threadIdx.x % 32 / 4; }
    static DEVICE int column(int j) { return warp_column() + 8 * j + threadIdx.x % 4 * 2; }
    // The same of what is kept.
    static DEVICE int kept_row(int i) { return row(BY_ROWS ? group() * KEPT_DOWN + i : i); }
    static DEVICE int kept_column(int j) { return column(BY_ROWS ? j : group() * KEPT_ACROSS + j); }

    // visit(row, column, value&) for each element that this thread keeps.
    template <class Visit>
    DEVICE void each(Visit visit) {
#pragma unroll
        for (int i = 0; i < KEPT_DOWN; i++)
#pragma unroll
            for (int j = 0; j < KEPT_ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) visit(kept_row(i) + e / 2 * 8, kept_column(j) + e % 2, d[i][j][e]);
    }

    // The same with what load(row, column) gives for each. That of `batch` columns of fragments is on its way before any of it is used: what a
    // visit writes might be what load() reads, for all that the compiler knows.
    template <int batch = KEPT_ACROSS, class Load, class Visit>
    DEVICE void each(Load load, Visit visit) {
        static_assert(KEPT_ACROSS % batch == 0, "batches are whole");
#pragma unroll
        for (int i = 0; i < KEPT_DOWN; i++)
#pragma unroll
            for (int j0 = 0; j0 < KEPT_ACROSS; j0 += batch) {
                decltype(load(0, 0)) loaded[batch][4];
#pragma unroll
                for (int j = 0; j < batch; j++)
#pragma unroll
                    for (int e = 0; e < 4; e++) loaded[j][e] = load(kept_row(i) + e / 2 * 8, kept_column(j0 + j) + e % 2);
#pragma unroll
                for (int j = 0; j < batch; j++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        visit(kept_row(i) + e / 2 * 8, kept_column(j0 + j) + e % 2, d[i][j0 + j][e], loaded[j][e]);
            }
    }

    // Adds up two groups, each keeping its share in the first places. The whole block calls; the loop's shared memory is in use until the next
    // barrier.
    template <class Shared>
    DEVICE void join(Shared& shared) {
        if (T::GROUPS == 1) return;
        static_assert(T::GROUPS <= 2, "one has what the other lacks");
        static_assert(T::GROUPS == 1 || sizeof(Shared) >= sizeof(Sum) * T::ROWS * T::COLUMNS, "room for half of each");
        constexpr int OWN = KEPT_DOWN * KEPT_ACROSS * 4, SECOND_I = DOWN - KEPT_DOWN, SECOND_J = ACROSS - KEPT_ACROSS;
        const bool second = group() == 1;
        Sum* at = (Sum*)&shared + threadIdx.x % T::GROUP;
#pragma unroll
        for (int i = 0; i < KEPT_DOWN; i++)
#pragma unroll
            for (int j = 0; j < KEPT_ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    // Chosen, not indexed: registers have no indices.
                    const Sum first_share = d[i][j][e], second_share = d[SECOND_I + i][SECOND_J + j][e];
                    at[((second ? 0 : OWN) + (i * KEPT_ACROSS + j) * 4 + e) * T::GROUP] = second ? first_share : second_share;
                    d[i][j][e] = second ? second_share : first_share;
                }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < KEPT_DOWN; i++)
#pragma unroll
            for (int j = 0; j < KEPT_ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) d[i][j][e] += at[((second ? OWN : 0) + (i * KEPT_ACROSS + j) * 4 + e) * T::GROUP];
    }
};

// ---- products ------------------------------------------------------------------------------------------------------------------
//
// multiply(c, a, b) adds the product of two tiles, of the DEPTH (or `depth`) that is the group's, to the accumulators. Each such stage is
// summed on its own first: the error of a long sum then grows with its number of stages, not of products. Tensor cores, moreover, round
// sums towards zero, which would add up, and show where sums cancel: in distances, and in contractions less a centre.

// Plain f32 on the ordinary cores: each thread multiplies for the elements it holds.
struct Fp32 {
    static constexpr int PAD_BY_DEPTH = 4, PAD_ACROSS = 8;
    static DEVICE float round(float x) { return x; }
    static DEVICE float add(float sum, float a, float b) { return fmaf(a, b, sum); }

    template <class Self = Fp32, int depth = DEPTH, class C, class A, class B>
    static DEVICE void multiply(C& c, const A& a, const B& b) {
        C stage;
        stage.clear();
        A own_a = a;
        B own_b = b;
        own_a.move(C::row(0), C::group() * depth);
        own_b.move(C::column(0), C::group() * depth);
#pragma unroll 2
        for (int k = 0; k < depth; k++, own_a.move(0, 1), own_b.move(0, 1)) {
            float rows[C::DOWN][2], columns[C::ACROSS][2];
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int e = 0; e < 2; e++) rows[i][e] = own_a.at(16 * i + 8 * e, 0);
#pragma unroll
            for (int j = 0; j < C::ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) columns[j][e] = own_b.at(8 * j + e, 0);
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
        A own_a = a;
        B own_b = b;
        own_a.move(C::row(0), C::group() * depth);
        own_b.move(C::column(0), C::group() * depth);
#pragma unroll 1
        for (int k = 0; k < depth; k++, own_a.move(0, 1), own_b.move(0, 1))
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const double row = own_a.at(16 * i + e / 2 * 8, 0);
#pragma unroll
                    for (int j = 0; j < C::ACROSS; j++) c.d[i][j][e] += row * own_b.at(8 * j + e % 2, 0);
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
        A own_a = a;
        B own_b = b;
        own_a.move(C::warp_row() + g, C::group() * depth + t);
        own_b.move(C::warp_column() + g, C::group() * depth + t);
        C stage;
        stage.clear();
#pragma unroll 2
        for (int k = 0; k < depth; k += 8, own_a.move(0, 8), own_b.move(0, 8)) {
            uint32_t rows[C::DOWN][4], columns[C::ACROSS][2];
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) rows[i][e] = to_tf32(own_a.at(16 * i + e % 2 * 8, e / 2 * 4));
#pragma unroll
            for (int j = 0; j < C::ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) columns[j][e] = to_tf32(own_b.at(8 * j, e * 4));
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
        A own_a = a;
        B own_b = b;
        own_a.move(C::warp_row() + g, C::group() * depth + t);
        own_b.move(C::warp_column() + g, C::group() * depth + t);
#pragma unroll 2
        for (int k = 0; k < depth; k += 8, own_a.move(0, 8), own_b.move(0, 8)) {
            uint32_t high[C::DOWN][4], low[C::DOWN][4];
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    split(own_a.at(16 * i + e % 2 * 8, e / 2 * 4), high[i][e], low[i][e]);
#pragma unroll
            for (int j = 0; j < C::ACROSS; j++) {
                uint32_t high_b[2], low_b[2];
#pragma unroll
                for (int e = 0; e < 2; e++) split(own_b.at(8 * j, e * 4), high_b[e], low_b[e]);
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
    template <class T>
    static DEVICE uint32_t pair(const T& tile, int i, int k) {
        float2 two = tile.pair(i, k);
        return pack_bf16(two.x, two.y);
    }
    static DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma_bf16(d, a, b); }

    template <class Self = Bf16, int depth = DEPTH, class C, class A, class B>
    static DEVICE void multiply(C& c, const A& a, const B& b) {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        A own_a = a;
        B own_b = b;
        own_a.move(C::warp_row() + g, C::group() * depth + 2 * t);
        own_b.move(C::warp_column() + g, C::group() * depth + 2 * t);
        C stage;
        stage.clear();
#pragma unroll
        for (int k = 0; k < depth; k += 16, own_a.move(0, 16), own_b.move(0, 16)) {
            uint32_t rows[C::DOWN][4], columns[C::ACROSS][2];
#pragma unroll
            for (int i = 0; i < C::DOWN; i++)
#pragma unroll
                for (int e = 0; e < 4; e++) rows[i][e] = Self::pair(own_a, 16 * i + e % 2 * 8, e / 2 * 8);
#pragma unroll
            for (int j = 0; j < C::ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) columns[j][e] = Self::pair(own_b, 8 * j, e * 8);
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

// The same for two tiles of 16-bit numbers, fragments read as matrices. A stage is summed fragment by fragment: the registers for all of it
// would be as many as the sums take.
template <class Product, class T, class A, class B>
DEVICE void multiply_halves(Accumulators<T>& c, const A& a, const B& b) {
    typedef Accumulators<T> C;
    static_assert(C::ACROSS % 2 == 0, "two fragments of B at a time");
    constexpr int HALVES = DEPTH / 16;
    A own_a = a;
    B own_b = b;
    own_a.move(C::warp_row(), C::group() * DEPTH);
    own_a.move_to_rows();
    own_b.move(C::warp_column(), C::group() * DEPTH);
    own_b.move_to_columns();
    uint32_t rows[HALVES][C::DOWN][4];
#pragma unroll
    for (int half = 0; half < HALVES; half++)
#pragma unroll
        for (int i = 0; i < C::DOWN; i++) own_a.matrices(rows[half][i], 16 * i, 16 * half);
#pragma unroll
    for (int j = 0; j < C::ACROSS; j += 2) {
        // Of wide tiles further columns are not loaded before these are multiplied: there would be no registers for them.
        if (j > 0 && T::THREADS > DEEP_THREADS) __syncwarp();
        uint32_t columns[HALVES][4];
#pragma unroll
        for (int half = 0; half < HALVES; half++) own_b.matrices(columns[half], 8 * j, 16 * half);
#pragma unroll
        for (int i = 0; i < C::DOWN; i++)
#pragma unroll
            for (int other = 0; other < 2; other++) {
                float stage[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
                for (int half = 0; half < HALVES; half++) {
                    const uint32_t two[2] = {columns[half][2 * other], columns[half][2 * other + 1]};
                    Product::mma(stage, rows[half][i], two);
                }
#pragma unroll
                for (int e = 0; e < 4; e++) c.d[i][j + other][e] += stage[e];
            }
    }
}

// ---- the loop ------------------------------------------------------------------------------------------------------------------

// A matrix in global memory.
struct Operand {
    const float* values;
    int stride;
};

// The same in 16-bit numbers.
struct HalfOperand {
    const uint16_t* values;
    int stride;
};

// The shared memory of a main loop whose tiles are A and B.
template <class A, class B, int stages>
struct Stages {
    float a[stages][A::SIZE], b[stages][B::SIZE];
};

// Adds the products over the whole depth. load(stage) starts the copies of the next stage; multiply(stage) uses one up.
// When it returns, shared memory may be used anew.
template <class T, class Load, class Multiply>
DEVICE void over_depth(int depth, Load load, Multiply multiply) {
    int left = (depth + T::STAGE_DEPTH - 1) / T::STAGE_DEPTH, to_load = left;
#pragma unroll
    for (int stage = 0; stage < T::STAGES - 1; stage++) {
        if (to_load-- > 0) load(stage);
        copy_async_commit();
    }
    for (int stage = 0, free = T::STAGES - 1; left > 0; left--) {
        copy_async_wait<T::STAGES - 2>();
        // All see the stage, and all are done with the one before, which is loaded anew.
        __syncthreads();
        if (to_load-- > 0) load(free);
        copy_async_commit();
        multiply(stage);
        free = stage;
        stage = stage + 1 == T::STAGES ? 0 : stage + 1;
    }
    __syncthreads();
}

// The product of two f32 operands for the tile with its corner at (row0, column0).
template <class Product, bool a_by_depth, bool b_by_depth, class T, class Sum = float>
struct Gemm {
    typedef Tile<Product, a_by_depth, T::ROWS, T::STAGE_DEPTH> A;
    typedef Tile<Product, b_by_depth, T::COLUMNS, T::STAGE_DEPTH> B;
    typedef Stages<A, B, T::STAGES> Shared;
    typedef Operand From;
    Accumulators<T, Sum> c;

    // `each_stage(tile of A)` sees each stage of A, STAGE_DEPTH deep, on its way.
    template <class EachStage>
    DEVICE void run(Operand a, Operand b, int rows, int cols, int depth, int row0, int column0, Shared& shared,
                    EachStage each_stage) {
        c.clear();
        typename A::template Along<T::THREADS> along_a(a.values, a.stride, row0, 0, rows, depth);
        typename B::template Along<T::THREADS> along_b(b.values, b.stride, column0, 0, cols, depth);
        over_depth<T>(
            depth,
            [&](int stage) {
                along_a.next(shared.a[stage]);
                along_b.next(shared.b[stage]);
            },
            [&](int stage) {
                const A tile_a = {shared.a[stage]};
                const B tile_b = {shared.b[stage]};
                Product::multiply(c, tile_a, tile_b);
                each_stage(tile_a);
            });
        c.join(shared);
    }
    DEVICE void run(Operand a, Operand b, int rows, int cols, int depth, int row0, int column0, Shared& shared) {
        run(a, b, rows, cols, depth, row0, column0, shared, [](const A&) {});
    }

    // The same where the tile's rows of A are in shared memory already, in their whole depth, followed by 0 to the end of a stage. When it
    // returns they may be written anew.
    template <class Rows>
    DEVICE void run(Rows a, Operand b, int cols, int depth, int column0, Shared& shared) {
        c.clear();
        typename B::template Along<T::THREADS> along_b(b.values, b.stride, column0, 0, cols, depth);
        over_depth<T>(
            depth, [&](int stage) { along_b.next(shared.b[stage]); },
            [&](int stage) {
                const B tile_b = {shared.b[stage]};
                Product::multiply(c, a, tile_b);
                a.move(0, T::STAGE_DEPTH);
            });
        c.join(shared);
    }
};

// The same of operands in 16-bit numbers; Product is Bf16 or F16.
template <class Product, bool a_by_depth, bool b_by_depth, class T>
struct HalfGemm {
    typedef HalfTile<a_by_depth, T::ROWS, T::STAGE_DEPTH> A;
    typedef HalfTile<b_by_depth, T::COLUMNS, T::STAGE_DEPTH> B;
    typedef Stages<A, B, T::STAGES> Shared;
    typedef HalfOperand From;
    Accumulators<T> c;

    DEVICE void run(HalfOperand a, HalfOperand b, int rows, int cols, int depth, int row0, int column0, Shared& shared) {
        c.clear();
        typename A::template Along<T::THREADS> along_a(a.values, a.stride, row0, rows, depth);
        typename B::template Along<T::THREADS> along_b(b.values, b.stride, column0, cols, depth);
        over_depth<T>(
            depth,
            [&](int stage) {
                along_a.next(shared.a[stage]);
                along_b.next(shared.b[stage]);
            },
            [&](int stage) {
                const A tile_a = {(const uint16_t*)shared.a[stage]};
                const B tile_b = {(const uint16_t*)shared.b[stage]};
                multiply_halves<Product, T>(c, tile_a, tile_b);
            });
        c.join(shared);
    }

    // The same where the tile's rows of A are in shared memory already, as in Gemm; of `shared` only the places of B are used.
    template <class Rows, class OnlyB>
    DEVICE void run(Rows a, HalfOperand b, int cols, int depth, int column0, OnlyB& shared) {
        c.clear();
        typename B::template Along<T::THREADS> along_b(b.values, b.stride, column0, cols, depth);
        over_depth<T>(
            depth, [&](int stage) { along_b.next(shared.b[stage]); },
            [&](int stage) {
                const B tile_b = {(const uint16_t*)shared.b[stage]};
                multiply_halves<Product, T>(c, a, tile_b);
                a.move(0, T::STAGE_DEPTH);
            });
        c.join(shared);
    }
};

// define_kernel(precision, Product) for each precision.
#define FOR_EACH_PRECISION(define_kernel) \
    FOR_EACH_OF_F32(define_kernel)        \
    define_kernel(bf16, Bf16)
// The same where operands of bf16 are rounded copies, for which there are other kernels.
#define FOR_EACH_OF_F32(define_kernel) \
    define_kernel(fp32, Fp32)          \
    define_kernel(tf32x3, Tf32x3)      \
    define_kernel(tf32, Tf32)
