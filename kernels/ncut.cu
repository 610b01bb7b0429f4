// The relaxed cut of a mini-batch, its penalty, and the gradient with respect to the logits: `Ops::ncut` in src/ops.rs has the
// formulas and the symbols. Sums over rows run in f32 within a block and in f64 across blocks; everything that belongs to a
// cluster or to a pair of clusters is f64, except Y' W Y and its product with Y when there are many clusters.
//
// Few clusters, at most FEW: all that is k x k fits into each block, and two launches do: `ncut_sums`, `ncut_gradient`.
// Many: `ncut_columns`, `ncut_volumes`, `ncut_scaled` in tf32 and bf16, `ncut_overlaps`, `ncut_pull`, `ncut_losses`, `ncut_product`, `ncut_pull_back`.
//
// Registers: at most 128 a thread.
#include "gemm.cuh"
#include "reduce.cuh"
#include "rounded.cuh"
#include "state.cuh"

// Most clusters of the first way: a lane for each.
constexpr int FEW = 32;
// Rows that a block works on at a time.
constexpr int ROWS = 64;

// ---- the loss --------------------------------------------------------------------------------------------------------------

// `Parameters` in src/cuda/ncut.rs.
struct Parameters {
    double gamma;
    // Added to every volume.
    double volume_floor;
    // Penalty |M|_F / k instead of |M|_F^2; gradient through the volumes; ratio cut instead of the normalised one.
    int frobenius, through, ratio;
    int unused;
};

DEVICE float weight(const Parameters& parameters, float degree) { return parameters.ratio ? 1.0f : degree; }

// L_orth, and d(gamma / 2 L_orth) / dM = slope M.
struct Penalty {
    double value, slope;
};

DEVICE Penalty penalty(const Parameters& parameters, double squares, int k) {
    if (!parameters.frobenius) return {squares, parameters.gamma};
    const double norm = sqrt(squares);
    if (norm > 0.0) return {norm / k, parameters.gamma / (2.0 * k * norm)};
    // |M| = 0, where the root has no slope; or NaN, which must stay.
    return {norm, 0.0};
}

// The gradient with respect to the volume of a cluster, `overlap` being the sum of M P, P = M + I, along its row.
DEVICE float volume_gradient(const Parameters& parameters, double slope, double volume, double q, double overlap) {
    if (!parameters.through) return 0.0f;
    return (float)(-q / (volume * volume) - slope / volume * overlap);
}

// Fills the mini-batch's row of `losses`.
DEVICE void store_losses(const Parameters& parameters, double laplacian, double orthogonality, const StepState& state,
                         float* losses, int stride) {
    float* row = losses + (size_t)state.batch * stride;
    row[0] = (float)laplacian;
    row[1] = (float)orthogonality;
    row[2] = (float)(laplacian + 0.5 * parameters.gamma * orthogonality);
}

// ---- few clusters ----------------------------------------------------------------------------------------------------------

// Line a of the sums of k clusters: row a of N = Y' W Y, the volume of a without the floor, and q_a.
DEVICE int line_length(int k) { return k + 2; }

// The sums over `rows` rows, a multiple of ROWS, for each block: k lines each.
KERNEL(256) ncut_sums(const float* membership, int y_stride, const float* contraction, int s_stride, const float* degrees,
                      int m, int k, int rows, Parameters parameters, float* partial_sums) {
    constexpr int STRIDE = FEW + 1, MOST_SUMS = (FEW * (FEW + 2) + 255) / 256;
    SHARED(float, y, [ROWS * STRIDE]);
    SHARED(float, weighted, [ROWS * STRIDE]);
    SHARED(float, laplacian, [ROWS * STRIDE]);
    const int length = line_length(k), count = k * length;
    float sums[MOST_SUMS] = {};
    const int first = blockIdx.x * rows, end = min(m, first + rows);
    for (int row0 = first; row0 < end; row0 += ROWS) {
        __syncthreads();
        // Columns beyond the matrix are not read; rows beyond it add nothing. Column k of y holds ones, so that the volume is
        // the sum of one more product.
        for (int at = threadIdx.x; at < ROWS * STRIDE; at += 256) {
            const int row = row0 + at / STRIDE, column = at % STRIDE;
            float value = column == k ? 1.0f : 0.0f, weighted_value = 0.0f, laplacian_value = 0.0f;
            if (row < m && column < k) {
                const float degree = degrees[row];
                value = membership[(size_t)row * y_stride + column];
                weighted_value = weight(parameters, degree) * value;
                laplacian_value = degree * value - contraction[(size_t)row * s_stride + column];
            }
            y[at] = value;
            weighted[at] = weighted_value;
            laplacian[at] = laplacian_value;
        }
        __syncthreads();
#pragma unroll
        for (int n = 0; n < MOST_SUMS; n++) {
            const int index = n * 256 + threadIdx.x, a = index / length, b = index % length;
            if (index >= count) break;
            const float* left = b <= k ? &weighted[a] : &y[a];
            const float* right = b <= k ? &y[b] : &laplacian[a];
#pragma unroll 8
            for (int row = 0; row < ROWS; row++) sums[n] += left[row * STRIDE] * right[row * STRIDE];
        }
    }
#pragma unroll
    for (int n = 0; n < MOST_SUMS; n++) {
        const int index = n * 256 + threadIdx.x;
        if (index < count) partial_sums[(size_t)blockIdx.x * count + index] = sums[n];
    }
}

// Adds up the partial sums, in every block anew and to the same bits, and from them computes the gradient of ROWS rows. The first
// block also writes the volumes and the losses.
KERNEL(256, 1) ncut_gradient(const float* membership, int y_stride, const float* contraction, int s_stride, const float* degrees,
                          int m, int k, const float* partial_sums, int partials, Parameters parameters, const StepState* state,
                          float* volumes, float* d_logits, int d_stride, Rounded rounded, float* losses, int losses_stride) {
    constexpr int EACH = ROWS / 8;
    SHARED(double, lines, [FEW][FEW + 2]);
    SHARED(double, root, [FEW]);
    SHARED(double, squares, [FEW]);
    SHARED(float, pull, [FEW][FEW]);
    SHARED(float, d_volume, [FEW]);
    const int thread = threadIdx.x, lane = thread % 32, length = line_length(k), count = k * length;

    // The rows of this warp: on their way while the sums are added up.
    const int row0 = blockIdx.x * ROWS + thread / 32;
    float y[EACH], s[EACH], degree[EACH];
#pragma unroll
    for (int n = 0; n < EACH; n++) {
        const int row = row0 + 8 * n;
        const bool inside = row < m && lane < k;
        y[n] = inside ? membership[(size_t)row * y_stride + lane] : 0.0f;
        s[n] = inside ? contraction[(size_t)row * s_stride + lane] : 0.0f;
        degree[n] = inside ? degrees[row] : 0.0f;
    }

    for (int index = thread; index < count; index += 256) {
        double sum = 0.0;
#pragma unroll 8
        for (int part = 0; part < partials; part++) sum += partial_sums[(size_t)part * count + index];
        lines[index / length][index % length] = sum;
    }
    __syncthreads();
    if (thread < k) {
        lines[thread][k] += parameters.volume_floor;
        root[thread] = sqrt(lines[thread][k]);
    }
    __syncthreads();
    // N becomes M.
    for (int index = thread; index < k * k; index += 256) {
        const int a = index / k, b = index % k;
        lines[a][b] = lines[a][b] / (root[a] * root[b]) - (a == b ? 1.0 : 0.0);
    }
    __syncthreads();
    if (thread < k) {
        double sum = 0.0;
        for (int b = 0; b < k; b++) sum += lines[thread][b] * lines[thread][b];
        squares[thread] = sum;
    }
    __syncthreads();
    double all_squares = 0.0;
    for (int a = 0; a < k; a++) all_squares += squares[a];
    const Penalty orthogonality = penalty(parameters, all_squares, k);
    const double slope = orthogonality.slope;
    // The pull on row i is w_i y_i times this.
    for (int index = thread; index < k * k; index += 256) {
        const int a = index / k, b = index % k;
        pull[a][b] = (float)(2.0 * slope * lines[a][b] / (root[a] * root[b]));
    }
    if (thread < k)
        d_volume[thread] = volume_gradient(parameters, slope, lines[thread][k], lines[thread][k + 1],
                                           squares[thread] + lines[thread][thread]);
    __syncthreads();

    float pulled[EACH] = {};
    for (int a = 0; a < k; a++) {
        const float value = lane < k ? pull[a][lane] : 0.0f;
#pragma unroll
        for (int n = 0; n < EACH; n++) pulled[n] += __shfl_sync(WHOLE_WARP, y[n], a) * value;
    }
    const float twice_inverse = lane < k ? (float)(2.0 / lines[lane][k]) : 0.0f;
    const float of_volume = lane < k ? d_volume[lane] : 0.0f;
#pragma unroll
    for (int n = 0; n < EACH; n++) {
        const float g =
            twice_inverse * (degree[n] * y[n] - s[n]) + weight(parameters, degree[n]) * (pulled[n] + of_volume);
        const float inner = warp_sum(g * y[n]);
        const int row = row0 + 8 * n;
        if (row >= m || lane >= k) continue;
        const float value = y[n] * (g - inner);
        d_logits[(size_t)row * d_stride + lane] = value;
        rounded.put(row, lane, value);
    }

    if (blockIdx.x != 0) return;
    if (thread < k) volumes[thread] = (float)lines[thread][k];
    if (thread == 0) {
        double laplacian = 0.0;
        for (int l = 0; l < k; l++) laplacian += lines[l][k + 1] / lines[l][k];
        store_losses(parameters, laplacian, orthogonality.value, *state, losses, losses_stride);
    }
}

// ---- many clusters: sums ------------------------------------------------------------------------------------------------------

// What is known of each of k clusters: SECTIONS of k numbers.
struct Clusters {
    static constexpr int SECTIONS = 5;
    double* values;
    int k;

    DEVICE double& volume(int l) const { return values[l]; }
    DEVICE double& q(int l) const { return values[k + l]; }
    DEVICE double& inverse_root(int l) const { return values[2 * k + l]; }
    // Of the cluster's row: the sum of squares of M, and the sum of its products with P = M + I.
    DEVICE double& squares(int l) const { return values[3 * k + l]; }
    DEVICE double& overlap(int l) const { return values[4 * k + l]; }
};

// W Y, unless it is not wanted, and the volumes (without the floor) and q of `rows` rows for each block: the first k numbers of the
// block's part of `partial_sums` are the volumes, the next k are q.
KERNEL(128) ncut_columns(const float* membership, int y_stride, const float* contraction, int s_stride, const float* degrees,
                         int m, int k, int rows, Parameters parameters, float* weighted, float* partial_sums) {
    const int l = blockIdx.y * 128 + threadIdx.x;
    if (l >= k) return;
    const int first = blockIdx.x * rows, end = min(m, first + rows);
    float volume = 0.0f, q = 0.0f;
    // All of a batch is on its way before any of it is used.
    constexpr int BATCH = 8;
    for (int i0 = first; i0 < end; i0 += BATCH) {
        float y[BATCH], s[BATCH], degree[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const bool inside = i0 + i < end;
            y[i] = inside ? membership[(size_t)(i0 + i) * y_stride + l] : 0.0f;
            s[i] = inside ? contraction[(size_t)(i0 + i) * s_stride + l] : 0.0f;
            degree[i] = inside ? degrees[i0 + i] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const float weighted_y = weight(parameters, degree[i]) * y[i];
            if (weighted && i0 + i < end) weighted[(size_t)(i0 + i) * y_stride + l] = weighted_y;
            volume += weighted_y;
            q += y[i] * (degree[i] * y[i] - s[i]);
        }
    }
    float* part = partial_sums + (size_t)blockIdx.x * 2 * k;
    part[l] = volume;
    part[k + l] = q;
}

// Adds up the partial sums of 32 clusters a block, each warp every eighth.
KERNEL(256) ncut_volumes(const float* partial_sums, int partials, int k, Parameters parameters, float* volumes,
                         double* cluster_values) {
    SHARED(double, sums, [2][8][32]);
    const Clusters clusters = {cluster_values, k};
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, l = blockIdx.x * 32 + lane;
    double volume = 0.0, q = 0.0;
    if (l < k)
        for (int index = warp; index < partials; index += 8) {
            const float* part = partial_sums + (size_t)index * 2 * k;
            volume += part[l];
            q += part[k + l];
        }
    sums[0][warp][lane] = volume;
    sums[1][warp][lane] = q;
    __syncthreads();
    if (warp != 0 || l >= k) return;
    for (int other = 1; other < 8; other++) {
        volume += sums[0][other][lane];
        q += sums[1][other][lane];
    }
    volume += parameters.volume_floor;
    volumes[l] = (float)volume;
    clusters.volume(l) = volume;
    clusters.q(l) = q;
    clusters.inverse_root(l) = 1.0 / sqrt(volume);
}

// ---- many clusters: the penalty -----------------------------------------------------------------------------------------------

template <class Product>
using Overlaps = Gemm<Product, false, false, Deep<64>>;
typedef HalfGemm<F16, false, false, DeepHalf> HalfOverlaps;

// P = Lambda^-1 Y' W Y Lambda^-1. It is symmetric: only the tiles on and above the diagonal are computed. I is subtracted
// later, in f64: M would lose in f32 what P has on the diagonal.
template <class Product>
DEVICE void ncut_overlaps(const float* weighted, const float* membership, int y_stride, double* cluster_values,
                          float* overlaps, int overlaps_stride, int m, int k) {
    if (blockIdx.x > blockIdx.y) return;
    typedef Overlaps<Product> Product_;
    LARGE_SHARED(typename Product_::Shared, shared);
    Product_ product;
    const Clusters clusters = {cluster_values, k};
    const int row0 = blockIdx.x * 64, column0 = blockIdx.y * 64;
    product.run({weighted, y_stride}, {membership, y_stride}, k, k, m, row0, column0, shared);
    product.c.each([&](int a, int b, float n) {
        a += row0;
        b += column0;
        if (a < k && b < k) {
            const float p = (float)(n * clusters.inverse_root(a) * clusters.inverse_root(b));
            overlaps[(size_t)a * overlaps_stride + b] = p;
            if (row0 != column0) overlaps[(size_t)b * overlaps_stride + a] = p;
        }
    });
}

// W^1/2 Y Lambda^-1 lies between 0 and 1, since no w y is larger than the volume that it is part of; so much larger it still fits f16, and
// small numbers keep their bits.
constexpr float SCALE = 32768.0f;

// SCALE W^1/2 Y Lambda^-1 (m x k) as f16 numbers, `stride` from one row to the next; a warp per row.
KERNEL(256) ncut_scaled(const float* membership, int y_stride, const float* degrees, int m, int k, Parameters parameters,
                        double* cluster_values, uint16_t* scaled, int stride) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= m) return;
    const Clusters clusters = {cluster_values, k};
    const float* y = membership + (size_t)row * y_stride;
    uint16_t* to = scaled + (size_t)row * stride;
    const float root = sqrtf(weight(parameters, degrees[row]));
    each_column<8>(k, [&](int l) { return make_float2(y[l], (float)clusters.inverse_root(l)); },
                   [&](int l, float2 of) { to[l] = to_f16(root * of.x * of.y * SCALE); });
}

// P as the product of these with themselves.
DEVICE void ncut_overlaps_of_scaled(const uint16_t* scaled, int stride, float* overlaps, int overlaps_stride, int m, int k) {
    if (blockIdx.x > blockIdx.y) return;
    LARGE_SHARED(HalfOverlaps::Shared, shared);
    HalfOverlaps product;
    const int row0 = blockIdx.x * 64, column0 = blockIdx.y * 64;
    product.run({scaled, stride}, {scaled, stride}, k, k, m, row0, column0, shared);
    product.c.each([&](int a, int b, float p) {
        a += row0;
        b += column0;
        if (a >= k || b >= k) return;
        p *= 1.0f / (SCALE * SCALE);
        overlaps[(size_t)a * overlaps_stride + b] = p;
        if (row0 != column0) overlaps[(size_t)b * overlaps_stride + a] = p;
    });
}

LARGE_SHARED_OF(ncut_overlaps_f16, sizeof(HalfOverlaps::Shared));
KERNEL(DEEP_THREADS, DEEP_BLOCKS) ncut_overlaps_f16(const uint16_t* scaled, int stride, float* overlaps, int overlaps_stride, int m,
                                                    int k) {
    ncut_overlaps_of_scaled(scaled, stride, overlaps, overlaps_stride, m, k);
}

// P becomes Lambda^-1 M Lambda^-1, or what is rounded does, where something is; a warp per row. What the losses need of the row is kept.
KERNEL(256) ncut_pull(float* overlaps, int stride, Rounded rounded, int k, double* cluster_values) {
    const int a = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (a >= k) return;
    const Clusters clusters = {cluster_values, k};
    float* row = overlaps + (size_t)a * stride;
    const double inverse_root = clusters.inverse_root(a);
    double squares = 0.0, overlap = 0.0;
    struct Entry {
        float p;
        double inverse_root;
    };
    each_column<4>(
        k, [&](int b) { return Entry{row[b], clusters.inverse_root(b)}; },
        [&](int b, Entry of) {
            const double p = of.p, entry = a == b ? p - 1.0 : p;
            squares += entry * entry;
            overlap += entry * p;
            const float pull = (float)(entry * inverse_root * of.inverse_root);
            if (!rounded.values) row[b] = pull;
            rounded.put(a, b, pull);
        });
    squares = warp_sum(squares);
    overlap = warp_sum(overlap);
    if (lane == 0) {
        clusters.squares(a) = squares;
        clusters.overlap(a) = overlap;
    }
}

// What the gradient of a membership needs of its cluster.
struct alignas(16) Terms {
    float twice_inverse, d_volume;
    // Twice the slope of the penalty, the same for all clusters.
    float twice_slope;
    float unused;
};

// The losses, and the terms of the gradient; one block.
KERNEL(256) ncut_losses(double* cluster_values, int k, Parameters parameters, const StepState* state, float* losses,
                        int losses_stride, Terms* terms) {
    SHARED(double, sums, [2][256]);
    const Clusters clusters = {cluster_values, k};
    const int thread = threadIdx.x;
    double squares = 0.0, laplacian = 0.0;
    for (int l = thread; l < k; l += 256) {
        squares += clusters.squares(l);
        laplacian += clusters.q(l) / clusters.volume(l);
    }
    sums[0][thread] = squares;
    sums[1][thread] = laplacian;
    for (int apart = 128; apart > 0; apart /= 2) {
        __syncthreads();
        if (thread < apart) {
            sums[0][thread] += sums[0][thread + apart];
            sums[1][thread] += sums[1][thread + apart];
        }
    }
    __syncthreads();
    const Penalty orthogonality = penalty(parameters, sums[0][0], k);
    for (int l = thread; l < k; l += 256) {
        const double volume = clusters.volume(l);
        terms[l] = {(float)(2.0 / volume),
                    volume_gradient(parameters, orthogonality.slope, volume, clusters.q(l), clusters.overlap(l)),
                    (float)(2.0 * orthogonality.slope), 0.0f};
    }
    if (thread == 0) store_losses(parameters, sums[1][0], orthogonality.value, *state, losses, losses_stride);
}

// ---- many clusters: the gradient -------------------------------------------------------------------------------------------------

template <class Product>
using Pulled = Gemm<Product, true, false, Deep<64>>;
template <class T>
using HalfPulled = HalfGemm<Bf16, true, false, T>;

// d (m x k) = Y times the pull.
template <class Product, class T>
DEVICE void ncut_product(typename Product::From membership, typename Product::From pull, float* d, int d_stride, int m, int k) {
    LARGE_SHARED(typename Product::Shared, shared);
    Product product;
    const int row0 = blockIdx.x * T::ROWS, column0 = blockIdx.y * T::COLUMNS;
    product.run(membership, pull, m, k, k, row0, column0, shared);
    product.c.each([&](int i, int l, float pulled) {
        i += row0;
        l += column0;
        if (i < m && l < k) d[(size_t)i * d_stride + l] = pulled;
    });
}

// From Y times the pull in `d` the gradient g with respect to the memberships, and that pulled back through the soft-max: y (g - g.y).
// A warp per row.
KERNEL(256) ncut_pull_back(const float* membership, int y_stride, const float* contraction, int s_stride,
                           const float* degrees, const Terms* terms, Parameters parameters, float* d, int d_stride,
                           Rounded rounded, int m, int k) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= m) return;
    const float* y = membership + (size_t)row * y_stride;
    const float* s = contraction + (size_t)row * s_stride;
    float* g = d + (size_t)row * d_stride;
    const float degree = degrees[row], w = weight(parameters, degree);
    struct Entry {
        Terms of;
        float y, s, pulled;
    };
    float inner = 0.0f;
    each_column<4>(
        k, [&](int l) { return Entry{terms[l], y[l], s[l], g[l]}; },
        [&](int l, const Entry& at) {
            const float gradient = at.of.twice_inverse * (degree * at.y - at.s) +
                                   w * (at.of.twice_slope * at.pulled + at.of.d_volume);
            g[l] = gradient;
            inner += gradient * at.y;
        });
    inner = warp_sum(inner);
    each_column<8>(
        k, [&](int l) { return make_float2(y[l], g[l]); },
        [&](int l, float2 at) {
            const float value = at.x * (at.y - inner);
            g[l] = value;
            rounded.put(row, l, value);
        });
}

// Where others are TF32 or bfloat16 the operands of P, of which only M remains when I is subtracted, are f16: 10 bits of mantissa.
#define DEFINE_OVERLAPS(precision, Product)                                                                                   \
    LARGE_SHARED_OF(ncut_overlaps_##precision, sizeof(Overlaps<Product>::Shared));                                            \
    KERNEL(DEEP_THREADS, DEEP_BLOCKS) ncut_overlaps_##precision(const float* weighted, const float* membership, int y_stride, \
                                                   double* cluster_values, float* overlaps, int overlaps_stride,              \
                                                   int m, int k) {                                                            \
        ncut_overlaps<Product>(weighted, membership, y_stride, cluster_values, overlaps, overlaps_stride, m, k);              \
    }
DEFINE_OVERLAPS(fp32, Fp32)
DEFINE_OVERLAPS(tf32x3, Tf32x3)

// The product with M is one like those of the layers. Both in nearly f32 whatever the precision took 151 and 161 of the 965 microseconds of a
// step (bf16, m 3000, k 1000, H100), from operands in f32 of the step's precision 73 and 76; from 16-bit ones they were not measured.
#define DEFINE_PULLED(name, Number, T, ...)                                                           \
    LARGE_SHARED_OF(name, sizeof(__VA_ARGS__::Shared));                                               \
    TILED_KERNEL(T) name(const Number* membership, int y_stride, const Number* pull, int pull_stride, \
                                           float* d, int d_stride, int m, int k) {                    \
        ncut_product<__VA_ARGS__, T>({membership, y_stride}, {pull, pull_stride}, d, d_stride, m, k); \
    }
#define DEFINE_PRODUCT(precision, Product) DEFINE_PULLED(ncut_product_##precision, float, Deep<64>, Pulled<Product>)
FOR_EACH_OF_F32(DEFINE_PRODUCT)
// From rounded copies of Y and of the pull.
DEFINE_PULLED(ncut_product_rounded_bf16, uint16_t, DeepHalf, HalfPulled<DeepHalf>)
DEFINE_PULLED(ncut_product_rounded_wide_bf16, uint16_t, Wide, HalfPulled<Wide>)
