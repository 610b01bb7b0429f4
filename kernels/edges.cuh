// A graph of all training rows as a sparse matrix, and the way of a warp along the edges of a row.
#pragma once
#include "reduce.cuh"

// `Edges` in src/cuda/sparse.rs.
struct Edges {
    // Where each row begins, and where the last one ends.
    const uint64_t* starts;
    const uint32_t* columns;
    const float* values;
};

// visit(where, value) in all lanes of a warp for each edge of a row, in order; `where(column)` says where the other end is, or gives a
// number below 0 for an edge to be left out. Returns the sum of the values that this lane has brought.
template <class Where, class Visit>
DEVICE float each_edge(const Edges& edges, uint32_t row, Where where, Visit visit) {
    const int lane = threadIdx.x % 32;
    const uint64_t end = edges.starts[row + 1];
    float sum = 0.0f;
    for (uint64_t first = edges.starts[row]; first < end; first += 32) {
        const uint64_t at = first + lane;
        int place = -1;
        float value = 0.0f;
        if (at < end) {
            place = where(edges.columns[at]);
            value = edges.values[at];
        }
        if (place >= 0) sum += value;
        for (uint32_t found = __ballot_sync(WHOLE_WARP, place >= 0); found != 0; found &= found - 1) {
            const int from = __ffs(found) - 1;
            visit(__shfl_sync(WHOLE_WARP, place, from), __shfl_sync(WHOLE_WARP, value, from));
        }
    }
    return sum;
}

// Columns of a product that a warp works on at a time: so many for each lane.
constexpr int EACH = 4, PANEL = 32 * EACH;

// Columns column0 and on of one row of a product of a sparse and a tall matrix.
struct Panel {
    float sums[EACH] = {};

    DEVICE void add(float value, const float* row, int column0, int columns) {
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const int column = column0 + 32 * j + threadIdx.x % 32;
            if (column < columns) sums[j] = fmaf(value, row[column], sums[j]);
        }
    }
    DEVICE void store(float* row, int column0, int columns) const {
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const int column = column0 + 32 * j + threadIdx.x % 32;
            if (column < columns) row[column] = sums[j];
        }
    }
};
