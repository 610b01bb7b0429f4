// The heat kernel between rows, A_ij = exp(-|x_i - x_j|^2 / (2 sigma^2)), its degrees, and the contraction [S | D] = A [Y | 1]: with A
// stored, with A thinned to nearest neighbours, and with A formed tile by tile and never stored.
//
// Points of many dimensions are centred first, which distances do not notice, and rounded to the precision; then
// |x_i - x_j|^2 = |x_i|^2 + |x_j|^2 - 2 x_i . x_j on the matrix main loop. Points of few dimensions take differences.
// Stored affinities are f32, or f16 in the precisions tf32 and bf16: on unit rows all of them lie near 1, where bfloat16 would
// lose a fifth of their contrast. There Y is rounded to f16 as well, after subtracting a centre c: S = A (Y - c) + D c.
//
// Registers: at most 200 a thread.
#include "points.cuh"

// Rows of which the mean is the centre of the memberships.
constexpr int MEMBERSHIP_ROWS = 64;

// ---- points ----------------------------------------------------------------------------------------------------------------

#define DEFINE_CENTER(precision, Product)                                                                             \
    KERNEL(256) affinity_center_##precision(const float* x, const float* around, int averaged, int stride,            \
                                            Point<Product>::Number* centred, int centred_stride, float* norms, int m, \
                                            int d) {                                                                  \
        affinity_center<Product>(x, around, averaged, stride, centred, centred_stride, norms, m, d);                  \
    }
DEFINE_CENTER(fp32, Fp32)
DEFINE_CENTER(tf32, Tf32)
DEFINE_CENTER(bf16, Bf16)

// One affinity; its diagonal is exactly 1.
DEVICE float heat(const Pairs& pairs, int row, int column, float squared) {
    if (pairs.first_row + row == column) return 1.0f;
    return expf(pairs.factor * squared);
}

// ---- numbers as they are stored -------------------------------------------------------------------------------------------------

DEVICE void store(float* to, float value) { *to = value; }
DEVICE void store(uint16_t* to, float value) { *to = to_f16(value); }
DEVICE float as_stored(const float*, float value) { return value; }
DEVICE float as_stored(const uint16_t*, float value) { return F16::round(value); }

// Sums over the columns of a tile: each thread adds to those of its rows; total() by the whole block, the sum of row threadIdx.x
// to the thread.
template <class T>
struct RowSums {
    typedef Accumulators<T> C;
    float sums[2 * C::KEPT_DOWN];

    DEVICE void clear() {
#pragma unroll
        for (float& sum : sums) sum = 0.0f;
    }
    DEVICE float total(float (&shared)[T::WARPS_ACROSS][T::ROWS]) {
        static_assert(C::BY_ROWS, "a row is kept by one group");
#pragma unroll
        for (int i = 0; i < C::KEPT_DOWN; i++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float sum = sums[2 * i + e];
                sum += __shfl_xor_sync(WHOLE_WARP, sum, 1);
                sum += __shfl_xor_sync(WHOLE_WARP, sum, 2);
                if (threadIdx.x % 4 == 0) shared[C::warp() % T::WARPS_ACROSS][C::kept_row(i) + 8 * e] = sum;
            }
        __syncthreads();
        float sum = 0.0f;
        if (threadIdx.x < T::ROWS)
            for (int part = 0; part < T::WARPS_ACROSS; part++) sum += shared[part][threadIdx.x];
        return sum;
    }
};

// The same over the rows: sums of columns.
template <class T>
struct ColumnSums {
    typedef Accumulators<T> C;
    static constexpr int PARTS = T::WARPS_DOWN * T::GROUPS;
    static_assert(C::BY_ROWS, "a group keeps some of the rows, and all columns");
    float sums[2 * C::KEPT_ACROSS];

    DEVICE void clear() {
#pragma unroll
        for (float& sum : sums) sum = 0.0f;
    }
    DEVICE float total(float (&shared)[PARTS][T::COLUMNS]) {
#pragma unroll
        for (int j = 0; j < C::KEPT_ACROSS; j++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float sum = sums[2 * j + e];
                sum += __shfl_xor_sync(WHOLE_WARP, sum, 4);
                sum += __shfl_xor_sync(WHOLE_WARP, sum, 8);
                sum += __shfl_xor_sync(WHOLE_WARP, sum, 16);
                if (threadIdx.x % 32 < 4)
                    shared[C::group() * T::WARPS_DOWN + C::warp() / T::WARPS_ACROSS][C::kept_column(j) + e] = sum;
            }
        __syncthreads();
        float sum = 0.0f;
        if (threadIdx.x < T::COLUMNS)
            for (int part = 0; part < PARTS; part++) sum += shared[part][threadIdx.x];
        return sum;
    }
};

// ---- A stored -------------------------------------------------------------------------------------------------------------------

// One tile of A, of which the diagonal and what is above are computed, and its mirror image; and the sums of its rows, and of its columns, which
// are rows of the image, in `partial_degrees` (tiles across x rows).
template <class Product, class T, class Stored>
struct StoredTile {
    typedef Distances<Product, T> Tile;

    static DEVICE void run(const Pairs& pairs, Stored* a, int a_stride, float* partial_degrees) {
        if (blockIdx.x > blockIdx.y) return;
        LARGE_SHARED(typename Tile::Shared, shared);
        SHARED(float, shared_rows, [T::WARPS_ACROSS][T::ROWS]);
        SHARED(float, shared_columns, [ColumnSums<T>::PARTS][T::COLUMNS]);
        const int row0 = blockIdx.x * T::ROWS, column0 = blockIdx.y * T::COLUMNS, m = pairs.rows;
        const bool mirrored = row0 != column0;
        Tile tile;
        tile.run(pairs, row0, column0, shared);

        RowSums<T> row_sums;
        ColumnSums<T> column_sums;
        row_sums.clear();
        column_sums.clear();
        tile.each(pairs, row0, column0, [&](int row, int column, float squared, int i, int j) {
            row += row0;
            column += column0;
            if (row >= m || column >= m) return;
            const float value = heat(pairs, row, column, squared);
            store(&a[(size_t)row * a_stride + column], value);
            if (mirrored) store(&a[(size_t)column * a_stride + row], value);
            row_sums.sums[i] += as_stored(a, value);
            column_sums.sums[j] += as_stored(a, value);
        });
        const int i = row0 + threadIdx.x, j = column0 + threadIdx.x;
        const float row_sum = row_sums.total(shared_rows), column_sum = column_sums.total(shared_columns);
        if (threadIdx.x >= T::ROWS) return;
        if (i < m) partial_degrees[(size_t)blockIdx.y * m + i] = row_sum;
        if (mirrored && j < m) partial_degrees[(size_t)blockIdx.x * m + j] = column_sum;
    }
};

#define DEFINE_AFFINITY(name, Stored, Product, ...)                                                \
    LARGE_SHARED_OF(name, sizeof(StoredTile<Product, __VA_ARGS__, Stored>::Tile::Shared));         \
    TILED_KERNEL(__VA_ARGS__) name(Pairs pairs, Stored* a, int a_stride, float* partial_degrees) { \
        StoredTile<Product, __VA_ARGS__, Stored>::run(pairs, a, a_stride, partial_degrees);        \
    }
DEFINE_AFFINITY(affinity_f32_fp32, float, Fp32, Deep<64>)
DEFINE_AFFINITY(affinity_f32_tf32x3, float, Tf32x3, Deep<64>)
DEFINE_AFFINITY(affinity_f32_differences, float, Differences, Deep<64>)
DEFINE_AFFINITY(affinity_f16_tf32, uint16_t, Tf32, Deep<64>)
DEFINE_AFFINITY(affinity_f16_bf16, uint16_t, Bf16, DeepHalf)
DEFINE_AFFINITY(affinity_wide_f16_bf16, uint16_t, Bf16, Wide)
DEFINE_AFFINITY(affinity_f16_differences, uint16_t, Differences, Deep<64>)

// ---- nearest neighbours -----------------------------------------------------------------------------------------------------------

// Squared distances, to choose neighbours by.
template <class Product>
DEVICE void distances(const Pairs& pairs, float* out, int out_stride) {
    typedef Distances<Product, Deep<64>> Tile;
    LARGE_SHARED(typename Tile::Shared, shared);
    const int row0 = blockIdx.x * 64, column0 = blockIdx.y * 64;
    Tile tile;
    tile.run(pairs, row0, column0, shared);
    tile.each(pairs, row0, column0, [&](int row, int column, float squared, int, int) {
        row += row0;
        column += column0;
        if (row < pairs.rows && column < pairs.columns) out[(size_t)row * out_stride + column] = squared;
    });
}

#define DEFINE_DISTANCES(precision, Product)                                                           \
    LARGE_SHARED_OF(distances_##precision, sizeof(Distances<Product, Deep<64>>::Shared));              \
    KERNEL(DEEP_THREADS, DEEP_BLOCKS) distances_##precision(Pairs pairs, float* out, int out_stride) { \
        distances<Product>(pairs, out, out_stride);                                                    \
    }
FOR_EACH_PRECISION(DEFINE_DISTANCES)
DEFINE_DISTANCES(differences, Differences)

// The limit that leaves each row `neighbors` columns, its own not counted, the lower column first among equal distances. A block for
// each row selects byte by byte, from the highest on.
KERNEL(256) neighbors_select(const float* distances, int stride, int columns, int first_row, int neighbors, Limit* limits) {
    SHARED(int, counts, [256]);
    SHARED(int, found, [2]);
    const float* row = distances + (size_t)blockIdx.x * stride;
    const int own = first_row + blockIdx.x, lane = threadIdx.x % 32;
    const int others = columns - (own >= 0 && own < columns);
    if (neighbors <= 0 || neighbors >= others) {
        if (threadIdx.x == 0) limits[blockIdx.x] = neighbors <= 0 ? Limit{0u, -1} : Limit{0xffffffffu, columns};
        return;
    }
    // How many of the numbers that share the bits found so far belong to the neighbours.
    int wanted = neighbors;
    uint32_t prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        counts[threadIdx.x] = 0;
        __syncthreads();
        for (int j = threadIdx.x; j < columns; j += 256) {
            const uint32_t bits = __float_as_uint(row[j]);
            // A shift by 32 is undefined: the first byte has no prefix.
            if (j != own && (shift == 24 || bits >> (shift + 8) == prefix)) atomicAdd(&counts[bits >> shift & 255], 1);
        }
        __syncthreads();
        if (threadIdx.x < 32) {
            // Eight counts to each lane, then the sums of all lanes below.
            int sum = 0;
            for (int i = 0; i < 8; i++) sum += counts[8 * lane + i];
            int below = sum;
            for (int step = 1; step < 32; step *= 2) {
                const int other = __shfl_up_sync(WHOLE_WARP, below, step);
                if (lane >= step) below += other;
            }
            below -= sum;
            if (below < wanted && wanted <= below + sum) {
                int value = 8 * lane;
                for (; below + counts[value] < wanted; value++) below += counts[value];
                found[0] = value;
                found[1] = wanted - below;
            }
        }
        __syncthreads();
        prefix = prefix << 8 | (uint32_t)found[0];
        wanted = found[1];
    }
    // The column of the last of the equal numbers that is wanted.
    if (threadIdx.x < 32) {
        int seen = 0;
        for (int first = 0; first < columns; first += 32) {
            const int j = first + lane;
            const bool equal = j < columns && j != own && __float_as_uint(row[j]) == prefix;
            const uint32_t ballot = __ballot_sync(WHOLE_WARP, equal);
            const int before = seen + __popc(ballot & ((1u << lane) - 1));
            if (equal && before + 1 == wanted) limits[blockIdx.x] = Limit{prefix, j};
            seen += __popc(ballot);
            if (seen >= wanted) break;
        }
    }
}

// A = (B + B') / 2, B the affinities of the neighbours of each row, diagonal 1; m x m. A block for 32 x 32, a warp for a row.
template <class Stored>
DEVICE void neighbors_symmetrize(const float* distances, int stride, const Limit* limits, float factor, int m, Stored* a,
                                 int a_stride, float* partial_degrees) {
    SHARED(float, across, [32][33]);
    const int row0 = blockIdx.x * 32, column0 = blockIdx.y * 32, lane = threadIdx.x % 32;
    for (int r = threadIdx.x / 32; r < 32; r += 8)
        if (column0 + r < m && row0 + lane < m) across[r][lane] = distances[(size_t)(column0 + r) * stride + row0 + lane];
    __syncthreads();
    const int column = column0 + lane;
    for (int r = threadIdx.x / 32; r < 32 && row0 + r < m; r += 8) {
        const int row = row0 + r;
        float value = 0.0f;
        if (column < m) {
            const float there = distances[(size_t)row * stride + column], back = across[lane][r];
            if (is_neighbor(limits[row], there, column)) value += 0.5f * expf(factor * there);
            if (is_neighbor(limits[column], back, row)) value += 0.5f * expf(factor * back);
            if (row == column) value = 1.0f;
            store(&a[(size_t)row * a_stride + column], value);
            value = as_stored(a, value);
        }
        const float sum = warp_sum(value);
        if (lane == 0) partial_degrees[(size_t)blockIdx.y * m + row] = sum;
    }
}

#define DEFINE_NEIGHBORS_SYMMETRIZE(stored, Stored)                                                                         \
    KERNEL(256) neighbors_symmetrize_##stored(const float* distances, int stride, const Limit* limits, float factor, int m, \
                                              Stored* a, int a_stride, float* partial_degrees) {                            \
        neighbors_symmetrize(distances, stride, limits, factor, m, a, a_stride, partial_degrees);                           \
    }
DEFINE_NEIGHBORS_SYMMETRIZE(f32, float)
DEFINE_NEIGHBORS_SYMMETRIZE(f16, uint16_t)

// B itself, in place of the distances, for some rows of the whole. A block for each row.
KERNEL(256) neighbors_directed(float* distances, int stride, const Limit* limits, float factor, int columns, int first_row) {
    float* row = distances + (size_t)blockIdx.x * stride;
    const Limit limit = limits[blockIdx.x];
    const int own = first_row + blockIdx.x;
    for (int j = threadIdx.x; j < columns; j += 256)
        row[j] = j == own ? 1.0f : is_neighbor(limit, row[j], j) ? expf(factor * row[j]) : 0.0f;
}

// ---- contraction of a stored A ----------------------------------------------------------------------------------------------------

// Memberships as f16 numbers, each column less its centre.
template <int columns, int depth>
struct CentredTile : Tile<F16, false, columns, depth> {
    const float* centre;

    DEVICE void move(int i, int k) {
        Tile<F16, false, columns, depth>::move(i, k);
        centre += i;
    }
    DEVICE uint32_t f16_pair(int i, int k) const {
        const float2 two = this->pair(i, k);
        return pack_f16(two.x - centre[i], two.y - centre[i]);
    }
};

// The mean of the first rows of Y (n x k) for the columns of a tile, by the first threads.
template <int columns>
DEVICE void membership_centre(const float* y, int y_stride, int n, int k, int column0, float (&centre)[columns]) {
    if (threadIdx.x < columns) {
        const int column = column0 + threadIdx.x, averaged = min(n, MEMBERSHIP_ROWS);
        float sum = 0.0f;
        // Many rows on their way at once: few blocks have nothing else to do meanwhile.
#pragma unroll 16
        for (int i = 0; i < MEMBERSHIP_ROWS; i++)
            if (i < averaged && column < k) sum += y[(size_t)i * y_stride + column];
        centre[threadIdx.x] = sum / averaged;
    }
}

// The degrees of a tile's rows from the sums over tiles, by the first threads, in the order of the tiles.
// What the thread's row has is returned.
template <int tile_rows>
DEVICE float add_degrees(const float* partial_degrees, int tiles, int rows, int row0, float* out) {
    float sum = 0.0f;
    if (threadIdx.x < tile_rows && row0 + (int)threadIdx.x < rows) {
#pragma unroll 16
        for (int tile = 0; tile < tiles; tile++) sum += partial_degrees[(size_t)tile * rows + row0 + threadIdx.x];
        if (blockIdx.y == 0) out[row0 + threadIdx.x] = sum;
    }
    return sum;
}

// What a contraction reads and writes; `Contraction` in src/cuda/affinity.rs.
struct Contraction {
    // Y, n x k.
    const float* y;
    // S, rows x k, and D. S is f64 in the kernels of exact cuts.
    float *s, *degrees;
    int y_stride, s_stride, k;
    // Of a stored A: sums over tiles of columns.
    int tiles;
    const float* partial_degrees;
};

// S = A Y for A (rows x n) in f32.
template <class Product, class T>
struct Contracted {
    typedef Gemm<Product, true, false, T> Product_;
    typedef typename Product_::Shared Shared;

    static DEVICE void run(const float* a, int a_stride, const Contraction& c, int rows, int n) {
        LARGE_SHARED(Shared, shared);
        const int row0 = blockIdx.x * T::ROWS, column0 = blockIdx.y * T::COLUMNS;
        add_degrees<T::ROWS>(c.partial_degrees, c.tiles, rows, row0, c.degrees);
        Product_ product;
        product.run({a, a_stride}, {c.y, c.y_stride}, rows, c.k, n, row0, column0, shared);
        product.c.each([&](int row, int column, float value) {
            if (row0 + row < rows && column0 + column < c.k)
                c.s[(size_t)(row0 + row) * c.s_stride + column0 + column] = value;
        });
    }
};

// S = A (Y - c) + D c for A in f16.
template <class T>
struct HalfContracted {
    typedef HalfTile<true, T::ROWS, T::STAGE_DEPTH> A;
    typedef CentredTile<T::COLUMNS, T::STAGE_DEPTH> B;
    typedef Stages<A, B, T::STAGES> Shared;

    static DEVICE void run(const uint16_t* a, int a_stride, const Contraction& c, int rows, int n) {
        LARGE_SHARED(Shared, shared);
        SHARED(float, degrees, [T::ROWS]);
        SHARED(float, centre, [T::COLUMNS]);
        const int row0 = blockIdx.x * T::ROWS, column0 = blockIdx.y * T::COLUMNS;
        const float degree = add_degrees<T::ROWS>(c.partial_degrees, c.tiles, rows, row0, c.degrees);
        if (threadIdx.x < T::ROWS) degrees[threadIdx.x] = degree;
        membership_centre<T::COLUMNS>(c.y, c.y_stride, n, c.k, column0, centre);
        __syncthreads();
        Accumulators<T> sums;
        sums.clear();
        typename A::template Along<T::THREADS> along_a(a, a_stride, row0, rows, n);
        typename B::template Along<T::THREADS> along_b(c.y, c.y_stride, column0, 0, c.k, n);
        over_depth<T>(
            n,
            [&](int stage) {
                along_a.next(shared.a[stage]);
                along_b.next(shared.b[stage]);
            },
            [&](int stage) {
                const A tile_a = {(const uint16_t*)shared.a[stage]};
                B tile_b;
                tile_b.values = shared.b[stage];
                tile_b.centre = centre;
                F16::multiply(sums, tile_a, tile_b);
            });
        sums.join(shared);
        sums.each([&](int row, int column, float value) {
            if (row0 + row < rows && column0 + column < c.k)
                c.s[(size_t)(row0 + row) * c.s_stride + column0 + column] = fmaf(degrees[row], centre[column], value);
        });
    }
};

// (Y - c)' as f16 numbers, k x n, rows `stride` apart, and c. A block for 64 x 64.
KERNEL(256) memberships_turned(const float* y, int y_stride, int n, int k, uint16_t* turned, int stride, float* centres) {
    SHARED(float, centre, [64]);
    SHARED(float, tile, [64][65]);
    const int row0 = blockIdx.x * 64, column0 = blockIdx.y * 64;
    membership_centre<64>(y, y_stride, n, k, column0, centre);
    for (int at = threadIdx.x; at < 64 * 64; at += 256) {
        const int row = row0 + at / 64, column = column0 + at % 64;
        tile[at / 64][at % 64] = row < n && column < k ? y[(size_t)row * y_stride + column] : 0.0f;
    }
    __syncthreads();
    for (int at = threadIdx.x; at < 64 * 32; at += 256) {
        const int column = at / 32, row = at % 32 * 2;
        if (column0 + column >= k || row0 + row >= n) continue;
        // A last row alone has a second number beside it, which is never read: rows are 16 bytes or more apart.
        *(uint32_t*)&turned[(size_t)(column0 + column) * stride + row0 + row] =
            pack_f16(tile[row][column] - centre[column], tile[row + 1][column] - centre[column]);
    }
    if (blockIdx.x == 0 && threadIdx.x < 64 && column0 + (int)threadIdx.x < k) centres[column0 + threadIdx.x] = centre[threadIdx.x];
}

// The same product where the memberships have been turned: half the bytes to read, and no rounding on the way, to the same
// bits. With m 3000 and k 1000 142 microseconds and 11 to turn them, not 193 (H100, three stages, fragments in words of two numbers).
template <class T>
struct TurnedContracted {
    typedef HalfGemm<F16, true, true, T> Product_;
    typedef typename Product_::Shared Shared;

    static DEVICE void run(const uint16_t* a, int stride, const Contraction& c, const uint16_t* turned, const float* centres, int rows,
                           int n) {
        LARGE_SHARED(Shared, shared);
        SHARED(float, degrees, [T::ROWS]);
        const int row0 = blockIdx.x * T::ROWS, column0 = blockIdx.y * T::COLUMNS;
        const float degree = add_degrees<T::ROWS>(c.partial_degrees, c.tiles, rows, row0, c.degrees);
        if (threadIdx.x < T::ROWS) degrees[threadIdx.x] = degree;
        Product_ product;
        product.run({a, stride}, {turned, stride}, rows, c.k, n, row0, column0, shared);
        product.c.each([&](int row, int column, float value) {
            if (row0 + row < rows && column0 + column < c.k)
                c.s[(size_t)(row0 + row) * c.s_stride + column0 + column] = fmaf(degrees[row], centres[column0 + column], value);
        });
    }
};

#define DEFINE_CONTRACTED(name, Stored, ...)                                                                \
    LARGE_SHARED_OF(name, sizeof(__VA_ARGS__::Shared));                                                     \
    KERNEL(DEEP_THREADS, DEEP_BLOCKS) name(const Stored* a, int a_stride, Contraction c, int rows, int n) { \
        __VA_ARGS__::run(a, a_stride, c, rows, n);                                                          \
    }
#define DEFINE_CONTRACT_F32(precision, Product)                                   \
    DEFINE_CONTRACTED(contract_##precision, float, Contracted<Product, Deep<64>>) \
    DEFINE_CONTRACTED(contract_narrow_##precision, float, Contracted<Product, Deep<16>>)
DEFINE_CONTRACT_F32(fp32, Fp32)
DEFINE_CONTRACT_F32(tf32x3, Tf32x3)
DEFINE_CONTRACTED(contract_f16, uint16_t, HalfContracted<Deep<64>>)
DEFINE_CONTRACTED(contract_narrow_f16, uint16_t, HalfContracted<Deep<16>>)
#define DEFINE_TURNED(name, T)                                                                 \
    LARGE_SHARED_OF(name, sizeof(TurnedContracted<T>::Shared));                                \
    TILED_KERNEL(T) name(const uint16_t* a, int stride, Contraction c, const uint16_t* turned, \
                                           const float* centres, int rows, int n) {            \
        TurnedContracted<T>::run(a, stride, c, turned, centres, rows, n);                      \
    }
DEFINE_TURNED(contract_turned_f16, DeepHalf)
DEFINE_TURNED(contract_turned_wide_f16, Wide)

// ---- contraction without a stored A ------------------------------------------------------------------------------------------------

// The tile of affinities and the memberships it meets take the place of the main loop's stages.
template <class Loop, class Affinities, class Memberships>
union Streamed {
    Loop loop;
    struct {
        float a[Affinities::SIZE], y[Memberships::SIZE];
    } tile;
};

// How an affinity tile in f32 is contracted with Y: the tile type of Y, and what is rounded.
template <class Product>
struct ContractExactly {
    static constexpr int COLUMNS = 64;
    typedef float Sum;
    typedef Tile<Product, true, 64, 64> A;
    typedef Tile<Product, false, 64, 64> Y;
    static DEVICE float as_stored(float value) { return value; }
    static DEVICE void multiply(Accumulators<Plain<64>>& sums, const float* a, const float* y, const float*) {
        A tile_a = {a};
        Y tile_y = {y};
        Product::template multiply<Product, 64>(sums, tile_a, tile_y);
    }
};
struct ContractInHalf {
    static constexpr int COLUMNS = 64;
    typedef float Sum;
    typedef Tile<F16, true, 64, 64> A;
    typedef CentredTile<64, 64> Y;
    static DEVICE float as_stored(float value) { return F16::round(value); }
    static DEVICE void multiply(Accumulators<Plain<64>>& sums, const float* a, const float* y, const float* centre) {
        A tile_a = {a};
        Y tile_y;
        tile_y.values = y;
        tile_y.centre = centre;
        F16::multiply<F16, 64>(sums, tile_a, tile_y);
    }
};

struct ContractInF64 {
    // Half as many, since the sums take twice the registers.
    static constexpr int COLUMNS = 32;
    typedef double Sum;
    typedef Tile<Fp64Sums, true, 64, 64> A;
    typedef Tile<Fp64Sums, false, COLUMNS, 64> Y;
    static DEVICE float as_stored(float value) { return value; }
    static DEVICE void multiply(Accumulators<Plain<COLUMNS>, double>& sums, const float* a, const float* y, const float*) {
        A tile_a = {a};
        Y tile_y = {y};
        Fp64Sums::multiply<Fp64Sums, 64>(sums, tile_a, tile_y);
    }
};

// [S | D] for 64 rows and some columns of Y: for each tile of 64 columns of A its distances, its affinities, its product with
// Y.
template <class Product, class Contract, bool centred>
DEVICE void contract_streamed(const Pairs& pairs, const Contraction& c) {
    typedef typename Distances<Product>::Shared Loop;
    typedef Streamed<Loop, typename Contract::A, typename Contract::Y> Shared;
    SHARED(Shared, shared, [1]);
    SHARED(float, shared_sums, [2][64]);
    SHARED(float, degrees, [64]);
    constexpr int COLUMNS = Contract::COLUMNS;
    SHARED(float, centre, [COLUMNS]);
    const int row0 = blockIdx.x * 64, y_column0 = blockIdx.y * COLUMNS;
    if (centred) membership_centre<COLUMNS>(c.y, c.y_stride, pairs.columns, c.k, y_column0, centre);
    __syncthreads();

    typedef typename Contract::Sum Sum;
    Accumulators<Plain<COLUMNS>, Sum> contraction;
    contraction.clear();
    RowSums<Plain<64>> sums;
    sums.clear();
    for (int column0 = 0; column0 < pairs.columns; column0 += 64) {
        Distances<Product> tile;
        tile.run(pairs, row0, column0, shared[0].loop);
        typename Contract::Y::template Along<GEMM_THREADS> along_y(c.y, c.y_stride, y_column0, column0, c.k, pairs.columns);
        along_y.next(shared[0].tile.y);
        copy_async_commit();
        tile.each(pairs, row0, column0, [&](int row, int column, float squared, int i, int) {
            float value = 0.0f;
            if (row0 + row < pairs.rows && column0 + column < pairs.columns)
                value = Contract::as_stored(heat(pairs, row0 + row, column0 + column, squared));
            shared[0].tile.a[row * Contract::A::STRIDE + column] = value;
            sums.sums[i] += value;
        });
        copy_async_wait<0>();
        __syncthreads();
        Contract::multiply(contraction, shared[0].tile.a, shared[0].tile.y, centre);
        __syncthreads();
    }
    const float degree = sums.total(shared_sums);
    if (threadIdx.x < 64) {
        degrees[threadIdx.x] = degree;
        if (blockIdx.y == 0 && row0 + (int)threadIdx.x < pairs.rows) c.degrees[row0 + threadIdx.x] = degree;
    }
    __syncthreads();
    contraction.each([&](int row, int column, Sum value) {
        if (row0 + row < pairs.rows && y_column0 + column < c.k)
            ((Sum*)c.s)[(size_t)(row0 + row) * c.s_stride + y_column0 + column] =
                centred ? fmaf(degrees[row], centre[column], (float)value) : value;
    });
}

#define DEFINE_CONTRACT_STREAMED(product, Product, Contract, centred)              \
    KERNEL(GEMM_THREADS) contract_streamed_##product(Pairs pairs, Contraction c) { \
        contract_streamed<Product, Contract, centred>(pairs, c);                   \
    }
DEFINE_CONTRACT_STREAMED(fp32, Fp32, ContractExactly<Fp32>, false)
DEFINE_CONTRACT_STREAMED(tf32x3, Tf32x3, ContractExactly<Tf32x3>, false)
DEFINE_CONTRACT_STREAMED(tf32, Tf32, ContractInHalf, true)
DEFINE_CONTRACT_STREAMED(bf16, Bf16, ContractInHalf, true)
DEFINE_CONTRACT_STREAMED(differences, Differences, ContractExactly<Fp32>, false)

// ---- exact cuts: S in f64 -----------------------------------------------------------------------------------------------------------

KERNEL(GEMM_THREADS, 1) cut_streamed_fp32(Pairs pairs, Contraction c) {
    contract_streamed<Fp32, ContractInF64, false>(pairs, c);
}
KERNEL(GEMM_THREADS, 1) cut_streamed_differences(Pairs pairs, Contraction c) {
    contract_streamed<Differences, ContractInF64, false>(pairs, c);
}
KERNEL(GEMM_THREADS) cut_stored(const float* a, int a_stride, Contraction c, int rows, int n) {
    typedef Gemm<Fp64Sums, true, false, Plain<64>, double> Product;
    SHARED(Product::Shared, shared, [1]);
    const int row0 = blockIdx.x * 64, column0 = blockIdx.y * 64;
    Product product;
    product.run({a, a_stride}, {c.y, c.y_stride}, rows, c.k, n, row0, column0, shared[0]);
    product.c.each([&](int row, int column, double value) {
        if (row0 + row < rows && column0 + column < c.k)
            ((double*)c.s)[(size_t)(row0 + row) * c.s_stride + column0 + column] = value;
    });
}

// ---- hard labels ---------------------------------------------------------------------------------------------------------------------

// Y (n x columns, rows `stride` apart): 1 where a row's label is first_label + column, else 0.
KERNEL(256) memberships_of_labels(const uint32_t* labels, int first_label, float* y, int stride, int columns, int n) {
    const uint64_t at = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    const uint64_t row = at / columns;
    const int column = at % columns;
    if (row < (uint64_t)n) y[row * stride + column] = labels[row] == (uint32_t)(first_label + column) ? 1.0f : 0.0f;
}
