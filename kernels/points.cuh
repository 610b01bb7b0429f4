// Points, and the squared distances between them: from products of centred points, or from differences.
#pragma once
#include "gemm.cuh"
#include "reduce.cuh"

// Rows of which the mean is the centre of the points, at most. Any centre will do; the nearer, the less cancels.
constexpr int CENTERING_ROWS = 32;

// What points are stored as, rounded to the precision, and the main loop that multiplies them.
template <class Product>
struct Point {
    typedef float Number;
    static DEVICE float stored(float value) { return Product::round(value); }
    static DEVICE float value(float stored) { return stored; }
    typedef Operand Points;
    template <class T>
    using Loop = Gemm<Product, true, true, T>;
};
template <>
struct Point<Bf16> {
    typedef uint16_t Number;
    static DEVICE uint16_t stored(float value) { return (uint16_t)pack_bf16(value, 0.0f); }
    static DEVICE float value(uint16_t stored) { return from_bf16(stored); }
    typedef HalfOperand Points;
    template <class T>
    using Loop = HalfGemm<Bf16, true, true, T>;
};

// The pairs of points that a launch looks at; `Pairs` in src/cuda/points.rs.
struct Pairs {
    // The points that are rows, and their squared norms unless differences are taken.
    const void* row_points;
    const float* row_norms;
    // The points that are columns.
    const void* points;
    const float* norms;
    // From one point to the next, in numbers.
    int stride, dimensions;
    // Which column the first row is; below 0, and far below, when rows are other points than columns.
    int first_row, rows, columns;
    // -1 / (2 sigma^2)
    float factor;
};

constexpr int CENTER_COLUMNS = 1024;

// centred = round(x - mean of the first rows of `around`), norms of what is rounded; m x d. A block for 8 rows, one for each warp.
template <class Product>
DEVICE void affinity_center(const float* x, const float* around, int averaged, int stride, typename Point<Product>::Number* centred,
                            int centred_stride, float* norms, int m, int d) {
    SHARED(float, mean, [CENTER_COLUMNS]);
    const int row = blockIdx.x * 8 + threadIdx.x / 32;
    averaged = min(averaged, CENTERING_ROWS);
    float sum = 0.0f;
    for (int first = 0; first < d; first += CENTER_COLUMNS) {
        const int columns = min(CENTER_COLUMNS, d - first);
        __syncthreads();
        for (int c = threadIdx.x; c < columns; c += 256) {
            float total = 0.0f;
            // Unrolled as a whole, so that all rows are on their way at once.
#pragma unroll
            for (int i = 0; i < CENTERING_ROWS; i++)
                if (i < averaged) total += around[(size_t)i * stride + first + c];
            mean[c] = total / averaged;
        }
        __syncthreads();
        if (row >= m) continue;
        const float* from = x + (size_t)row * stride + first;
        auto* to = centred + (size_t)row * centred_stride + first;
        each_column<8>(columns, [&](int c) { return from[c]; }, [&](int c, float value) {
            const auto number = Point<Product>::stored(value - mean[c]);
            to[c] = number;
            value = Point<Product>::value(number);
            sum = fmaf(value, value, sum);
        });
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0 && row < m) norms[row] = sum;
}

// |x_i - x_j|^2 from the norms of the points and what the main loop has summed. Clamped at 0 and nowhere above, since small distances are
// real neighbours; NaN stays. Never -0, so that the bits of distances are in the order of the distances.
template <class Product>
DEVICE float squared_distance(float row_norm, float column_norm, float sum) {
    const float squared = row_norm + column_norm - 2.0f * sum;
    return (squared < 0.0f ? 0.0f : squared) + 0.0f;
}
template <>
DEVICE float squared_distance<Differences>(float, float, float sum) {
    return sum;
}

// The squared norm of a point, if there is such a point and norms are taken.
template <class Product>
DEVICE float norm_of(const float* norms, int point, int count) {
    return point < count ? norms[point] : 0.0f;
}
template <>
DEVICE float norm_of<Differences>(const float*, int, int) {
    return 0.0f;
}

// The tile of squared distances with its corner at (row0, column0), the loop's sums left in place of the product.
template <class Product, class T = Plain<64>>
struct Distances {
    typedef typename Point<Product>::template Loop<T> Loop;
    typedef typename Point<Product>::Points Points;
    typedef const typename Point<Product>::Number* Numbers;
    typedef typename Loop::Shared Shared;
    Loop gemm;

    DEVICE void run(const Pairs& pairs, int row0, int column0, Shared& shared) {
        const Points rows = {(Numbers)pairs.row_points, pairs.stride}, columns = {(Numbers)pairs.points, pairs.stride};
        gemm.run(rows, columns, pairs.rows, pairs.columns, pairs.dimensions, row0, column0, shared);
    }

    // visit(row in the tile, column in the tile, squared distance, number of the thread's row, of its column) for each that this thread keeps.
    template <class Visit>
    DEVICE void each(const Pairs& pairs, int row0, int column0, Visit visit) {
        typedef Accumulators<T> C;
        // Before anything is visited, so that none waits for what a visit writes.
        float row_norms[C::KEPT_DOWN][2], column_norms[C::KEPT_ACROSS][2];
#pragma unroll
        for (int i = 0; i < C::KEPT_DOWN; i++)
#pragma unroll
            for (int e = 0; e < 2; e++)
                row_norms[i][e] = norm_of<Product>(pairs.row_norms, row0 + C::kept_row(i) + 8 * e, pairs.rows);
#pragma unroll
        for (int j = 0; j < C::KEPT_ACROSS; j++)
#pragma unroll
            for (int e = 0; e < 2; e++)
                column_norms[j][e] = norm_of<Product>(pairs.norms, column0 + C::kept_column(j) + e, pairs.columns);
#pragma unroll
        for (int i = 0; i < C::KEPT_DOWN; i++)
#pragma unroll
            for (int j = 0; j < C::KEPT_ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    visit(C::kept_row(i) + e / 2 * 8, C::kept_column(j) + e % 2,
                          squared_distance<Product>(row_norms[i][e / 2], column_norms[j][e % 2], gemm.c.d[i][j][e]),
                          2 * i + e / 2, 2 * j + e % 2);
    }
};

// A row's neighbours: the columns whose distance has smaller bits, and those of the same bits up to a column.
struct Limit {
    uint32_t bits;
    int column;
};

DEVICE bool is_neighbor(Limit limit, float squared, int column) {
    const uint32_t bits = __float_as_uint(squared);
    return bits < limit.bits || (bits == limit.bits && column <= limit.column);
}
