// The nearest points to each query, with no matrix of all distances: tiles of distances are formed and used up by lists of the nearest
// so far. Where more are wanted than a list holds, distances of some queries to all points are formed instead, and selected from.
//
// Which points are nearest is decided by distances from products, as in kernels/affinity.cu; the distances that leave are taken by
// differences.
//
// Registers: at most 168 a thread.
#include "points.cuh"

// A place that no point has taken.
constexpr uint32_t NOBODY = 0xffffffffu;

// Lists of `count` entries, at most 32, for 64 queries a block and `part_columns` points: those nearest by the bits of their distances, nearest
// first, the lower point first among equals. Points come in rising order, and only a smaller distance displaces another. A warp keeps 16 lists,
// a lane the same place of each.
template <class Product>
DEVICE void nearest(const Pairs& pairs, int part_columns, int count, uint32_t* bits, uint32_t* rows) {
    typedef typename Distances<Product>::Shared Loop;
    union Memory {
        Loop loop;
        float squared[64][65];
    };
    SHARED(Memory, shared, [1]);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row0 = blockIdx.x * 64;
    const int first = blockIdx.y * part_columns, end = min(pairs.columns, first + part_columns);
    // The furthest entry of this warp's list `lane`.
    uint32_t furthest = NOBODY;
    const size_t lists = ((size_t)blockIdx.y * pairs.rows + row0) * count;
    for (int r = warp * 16; r < warp * 16 + 16 && row0 + r < pairs.rows; r++) {
        if (lane < count) {
            bits[lists + (size_t)r * count + lane] = NOBODY;
            rows[lists + (size_t)r * count + lane] = NOBODY;
        }
    }
    for (int column0 = first; column0 < end; column0 += 64) {
        Distances<Product> tile;
        tile.run(pairs, row0, column0, shared[0].loop);
        tile.gemm.c.each([&](int row, int column, float sum) {
            const int i = row0 + row, j = column0 + column;
            if (i < pairs.rows && j < end)
                shared[0].squared[row][column] = squared_distance<Product>(
                    norm_of<Product>(pairs.row_norms, i, pairs.rows), norm_of<Product>(pairs.norms, j, end), sum);
        });
        __syncthreads();
        for (int r = warp * 16; r < warp * 16 + 16 && row0 + r < pairs.rows; r++) {
            uint32_t limit = __shfl_sync(WHOLE_WARP, furthest, r % 16);
            uint32_t near[2];
            bool any = false;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int column = 32 * half + lane;
                near[half] = column0 + column < end ? __float_as_uint(shared[0].squared[r][column]) : NOBODY;
                any |= near[half] < limit;
            }
            if (__ballot_sync(WHOLE_WARP, any) == 0) continue;
            const size_t list = lists + (size_t)r * count + lane;
            uint32_t own_bits = lane < count ? bits[list] : NOBODY, own_row = lane < count ? rows[list] : NOBODY;
#pragma unroll
            for (int half = 0; half < 2; half++)
                for (uint32_t found = __ballot_sync(WHOLE_WARP, near[half] < limit); found != 0; found &= found - 1) {
                    const int from = __ffs(found) - 1;
                    const uint32_t candidate = __shfl_sync(WHOLE_WARP, near[half], from);
                    // Those found before may have moved the limit.
                    if (candidate >= limit) continue;
                    const int place = __popc(__ballot_sync(WHOLE_WARP, own_bits <= candidate));
                    const uint32_t above_bits = __shfl_up_sync(WHOLE_WARP, own_bits, 1);
                    const uint32_t above_row = __shfl_up_sync(WHOLE_WARP, own_row, 1);
                    if (lane > place) {
                        own_bits = above_bits;
                        own_row = above_row;
                    }
                    if (lane == place) {
                        own_bits = candidate;
                        own_row = column0 + 32 * half + from;
                    }
                    limit = __shfl_sync(WHOLE_WARP, own_bits, count - 1);
                }
            if (lane < count) {
                bits[list] = own_bits;
                rows[list] = own_row;
            }
            if (lane == r % 16) furthest = limit;
        }
        __syncthreads();
    }
}

// For Ampere the compiler takes no more registers than leave room for four blocks, of which one kernel would lack some, unless it is told that
// three are enough.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define NEAREST_BOUNDS GEMM_THREADS, 3
#else
#define NEAREST_BOUNDS GEMM_THREADS
#endif
#define DEFINE_NEAREST(product, Product)                                                                                      \
    KERNEL(NEAREST_BOUNDS) nearest_##product(Pairs pairs, int part_columns, int count, uint32_t* bits, uint32_t* rows) {      \
        nearest<Product>(pairs, part_columns, count, bits, rows);                                                             \
    }
DEFINE_NEAREST(fp32, Fp32)
DEFINE_NEAREST(tf32x3, Tf32x3)
DEFINE_NEAREST(differences, Differences)

// The points within each row's limit, `count` of them, in rising order. A warp for each row.
KERNEL(256) nearest_within(const float* distances, int stride, const Limit* limits, int m, int columns, int count, uint32_t* rows) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= m) return;
    const Limit limit = limits[row];
    uint32_t* to = rows + (size_t)row * count;
    int seen = 0;
    for (int first = 0; first < columns; first += 32) {
        const int column = first + lane;
        const bool inside = column < columns && is_neighbor(limit, distances[(size_t)row * stride + column], column);
        const uint32_t ballot = __ballot_sync(WHOLE_WARP, inside);
        const int place = seen + __popc(ballot & ((1u << lane) - 1));
        if (inside && place < count) to[place] = column;
        seen += __popc(ballot);
    }
}

// The squared distances of queries to the points of their lists, by differences: `entries` in lists of `count`, one list for each of
// `query_count` queries, then the next for each. A warp for each entry.
KERNEL(256) nearest_squared(const float* queries, const float* points, int stride, int dimensions, int query_count, int count,
                            uint64_t entries, const uint32_t* rows, float* squared) {
    const uint64_t entry = (uint64_t)blockIdx.x * 8 + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (entry >= entries) return;
    const uint32_t row = rows[entry];
    float sum = INFINITY;
    if (row != NOBODY) {
        const float* a = queries + entry / count % query_count * stride;
        const float* b = points + (size_t)row * stride;
        sum = 0.0f;
        for (int c = lane; c < dimensions; c += 32) sum = fmaf(a[c] - b[c], a[c] - b[c], sum);
        sum = warp_sum(sum);
    }
    if (lane == 0) squared[entry] = sum;
}
