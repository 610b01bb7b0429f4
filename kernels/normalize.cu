// Scaling, centring and normalisation of rows, and their places among quantiles.
//
// Registers: at most 32 a thread.
#include "reduce.cuh"

// x <- factor x. The array holds `count` numbers; padding, being 0, stays 0.
KERNEL(256) scale(float factor, float* x, uint64_t count) {
    const uint64_t at = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    if (at < count) x[at] *= factor;
}

// x_i <- x_i - mean, a warp per row.
KERNEL(256) center_rows(const float* mean, float* x, int stride, int m, int d) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= m) return;
    x += (size_t)row * stride;
    for (int c = lane; c < d; c += 32) x[c] -= mean[c];
}

// x_ij <- factors_j x_ij, a warp per row.
KERNEL(256) scale_columns(const float* factors, float* x, int stride, int m, int d) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= m) return;
    x += (size_t)row * stride;
    for (int c = lane; c < d; c += 32) x[c] *= factors[c];
}

// x_i <- length x_i / (|x_i| + 1e-6), a warp per row.
KERNEL(256) normalize_rows(float length, float* x, int stride, int m, int d) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= m) return;
    x += (size_t)row * stride;
    float squares = 0.0f;
    for (int c = lane; c < d; c += 32) squares += x[c] * x[c];
    const float factor = length / (sqrtf(warp_sum(squares)) + 1e-6f);
    for (int c = lane; c < d; c += 32) x[c] *= factor;
}

// Divides each path, `positions` numbers, by its largest absolute value, or by nothing at all, to 0, where that is at most `least` times
// that of the first path of the row; a warp per row. `merged` rows of d numbers, one after the other, become one.
KERNEL(256) normalize_paths(int positions, float least, const float* paths, int path_stride, float* to, int to_stride, int merged,
                            int m, int d) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= m) return;
    paths += (size_t)row * path_stride;
    to += (size_t)(row / merged) * to_stride + row % merged * d;
    float threshold = 0.0f;
    for (int first = 0; first < d; first += positions) {
        float largest = 0.0f;
        for (int c = lane; c < positions; c += 32) largest = fmaxf(largest, fabsf(paths[first + c]));
        largest = warp_max(largest);
        if (first == 0) threshold = least * largest;
        const float factor = largest > threshold ? 1.0f / largest : 0.0f;
        for (int c = lane; c < positions; c += 32) to[first + c] = factor * paths[first + c];
    }
}

// to_i = (x_i, q(x_i)), 2 d numbers, each q_j linear between the `count` knots of column j, at which it has the levels; a warp per row.
KERNEL(256) append_quantiles(const float* knots, const float* levels, int knot_stride, int count, const float* x, int x_stride,
                             float* to, int to_stride, int m, int d) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= m) return;
    x += (size_t)row * x_stride;
    to += (size_t)row * to_stride;
    for (int c = lane; c < d; c += 32) {
        const float value = x[c];
        // The last knot up to the value, or the first.
        int at = 0, beyond = count;
        while (beyond - at > 1) {
            const int middle = (at + beyond) / 2;
            if (knots[(size_t)middle * knot_stride + c] <= value) {
                at = middle;
            } else {
                beyond = middle;
            }
        }
        const float knot = knots[(size_t)at * knot_stride + c];
        float place = levels[(size_t)at * knot_stride + c];
        if (beyond < count && value >= knot) {
            const float share = (value - knot) / (knots[(size_t)beyond * knot_stride + c] - knot);
            place += share * (levels[(size_t)beyond * knot_stride + c] - place);
        }
        to[c] = value;
        to[d + c] = place;
    }
}
