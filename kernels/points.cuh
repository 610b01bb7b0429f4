// Points, and the squared distances between them: from products of centred points, or from differences.
#pragma once
#include "gemm.cuh"
#include "reduce.cuh"

// Rows of which the mean is the centre of the points, at most. Any centre will do; the nearer, the less cancels.
constexpr int CENTERING_ROWS = 32;

// The pairs of points that a launch looks at; `Pairs` in src/cuda/points.rs.
struct Pairs {
    // The points that are rows, and their squared norms unless differences are taken.
    const float *row_points, *row_norms;
    // The points that are columns.
    const float *points, *norms;
    int stride, dimensions;
    // Which column the first row is; below 0, and far below, when rows are other points than columns.
    int first_row, rows, columns;
    // -1 / (2 sigma^2)
    float factor;
};

constexpr int CENTER_COLUMNS = 1024;

// centred = round(x - mean of the first rows of `around`), norms of what is rounded; m x d. A block for 32 rows, four for each warp.
template <class Product>
DEVICE void affinity_center(const float* x, const float* around, int averaged, float* centred, float* norms, int m, int d,
                            int stride) {
    SHARED(float, mean, [CENTER_COLUMNS]);
    const int lane = threadIdx.x % 32, row0 = blockIdx.x * 32 + threadIdx.x / 32 * 4;
    averaged = min(averaged, CENTERING_ROWS);
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int first = 0; first < d; first += CENTER_COLUMNS) {
        const int columns = min(CENTER_COLUMNS, d - first);
        for (int c = threadIdx.x; c < columns; c += 256) {
            float sum = 0.0f;
            for (int i = 0; i < averaged; i++) sum += around[(size_t)i * stride + first + c];
            mean[c] = sum / averaged;
        }
        __syncthreads();
#pragma unroll
        for (int r = 0; r < 4; r++) {
            if (row0 + r >= m) break;
            const size_t row = (size_t)(row0 + r) * stride + first;
            for (int c = lane; c < columns; c += 32) {
                const float value = Product::round(x[row + c] - mean[c]);
                centred[row + c] = value;
                sums[r] = fmaf(value, value, sums[r]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < 4; r++) {
        const float sum = warp_sum(sums[r]);
        if (lane == 0 && row0 + r < m) norms[row0 + r] = sum;
    }
}

// |x_i - x_j|^2 from what the main loop has summed. Clamped at 0 and nowhere above, since small distances are real neighbours; NaN
// stays. Never -0, so that the bits of distances are in the order of the distances.
template <class Product>
DEVICE float squared_distance(const float* row_norms, int row, const float* norms, int column, float sum) {
    const float squared = row_norms[row] + norms[column] - 2.0f * sum;
    return (squared < 0.0f ? 0.0f : squared) + 0.0f;
}
template <>
DEVICE float squared_distance<Differences>(const float*, int, const float*, int, float sum) {
    return sum;
}

// The tile of squared distances with its corner at (row0, column0), the loop's sums left in place of the product.
template <class Product>
struct Distances {
    Gemm<Product, true, true, 64> gemm;

    DEVICE void run(const Pairs& pairs, int row0, int column0, typename Gemm<Product, true, true, 64>::Shared& shared) {
        gemm.run({pairs.row_points, pairs.stride}, {pairs.points, pairs.stride}, pairs.rows, pairs.columns, pairs.dimensions,
                 row0, column0, shared);
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
