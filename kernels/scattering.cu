// A step of a scattering transform: pictures filtered by wavelets, the moduli on a coarser grid, and their local means.
//
// All of it happens in shared memory, in f32 whatever the precision. A block takes one picture, or two real ones as the two parts of
// complex numbers; beside their spectrum it holds as many filtered pictures as there is room for. Transforms are in place: forwards from
// the natural order, which leaves the digits of each frequency reversed, and back from there, so that nothing is ever sorted.
//
// Registers: at most 80 a thread.
#include "gpu.cuh"

constexpr int SCATTERING_THREADS = 192;

// Points of a grid, and of the filtered pictures that are held at a time.
constexpr int MOST_POINTS = 2304;
// Points of a side of a grid.
constexpr int MOST_SIDE = 96;
constexpr int MOST_RADICES = 6;

// A side of a grid: its length, and the primes or fours that it is the product of, 0 behind the last.
struct Side {
    int length;
    int radices[MOST_RADICES];
};

// `Step` in src/cuda/scattering.rs.
struct Step {
    // Rows and columns of the pictures' grid, and of the moduli's.
    Side fine[2], coarse[2];
    // Rows and columns of a picture, around which it is mirrored to fill its grid.
    int picture[2], margin;
    // Pictures whose paths lie in one row, and filters.
    int group, filters;
    // Where the paths of a row's first picture begin, and from one picture to the next.
    int first_path, path_step;
    // Rows and columns of a path.
    int heights, widths;
    int unused;
    // exp(-2 pi i t / length) for each fine side.
    float2 turns[2][MOST_SIDE];
};

// Quotients of small numbers. The half keeps them away from whole numbers by more than rounding can move them.
struct Divisor {
    float inverse;
    DEVICE explicit Divisor(int by) : inverse(1.0f / by) {}
    DEVICE int of(int number) const { return (int)((number + 0.5f) * inverse); }
};

DEVICE float2 operator+(float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); }
DEVICE float2 operator-(float2 a, float2 b) { return make_float2(a.x - b.x, a.y - b.y); }
DEVICE float2 times(float2 a, float2 b) { return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
DEVICE float2 times_i(float2 a) { return make_float2(-a.y, a.x); }

// ---- Fourier transforms --------------------------------------------------------------------------------------------------------

// v_s <- sum_t v_t w^(s t), with w the R-th root of unity whose powers are given; R odd. Pairs of terms that mirror each other share
// their products.
template <int R>
struct Butterfly {
    static DEVICE void apply(float2 (&v)[R], const float2 (&roots)[R], bool) {
        constexpr int HALF = R / 2;
        float2 sums[HALF + 1], differences[HALF + 1], total = v[0];
#pragma unroll
        for (int t = 1; t <= HALF; t++) {
            sums[t] = v[t] + v[R - t];
            differences[t] = times_i(v[t] - v[R - t]);
            total = total + sums[t];
        }
#pragma unroll
        for (int s = 1; s <= HALF; s++) {
            float2 even = v[0], odd = make_float2(0.0f, 0.0f);
#pragma unroll
            for (int t = 1; t <= HALF; t++) {
                const float2 root = roots[s * t % R];
                even = make_float2(fmaf(root.x, sums[t].x, even.x), fmaf(root.x, sums[t].y, even.y));
                odd = make_float2(fmaf(root.y, differences[t].x, odd.x), fmaf(root.y, differences[t].y, odd.y));
            }
            v[s] = even + odd;
            v[R - s] = even - odd;
        }
        v[0] = total;
    }
};
template <>
struct Butterfly<2> {
    static DEVICE void apply(float2 (&v)[2], const float2 (&)[2], bool) {
        const float2 a = v[0], b = v[1];
        v[0] = a + b;
        v[1] = a - b;
    }
};
template <>
struct Butterfly<4> {
    static DEVICE void apply(float2 (&v)[4], const float2 (&)[4], bool inverse) {
        const float2 a = v[0] + v[2], b = v[0] - v[2], c = v[1] + v[3], d = times_i(v[1] - v[3]);
        v[0] = a + c;
        v[1] = inverse ? b + d : b - d;
        v[2] = a - c;
        v[3] = inverse ? b - d : b + d;
    }
};

// One pass of a transform along lines whose points lie `stride` apart: butterflies of R points, `m` points apart, of `count` points in
// all. `turns[t turn]` is exp(-2 pi i t / (R m)).
template <int R, bool inverse>
DEVICE void pass(float2* values, int count, int m, int stride, const float2* turns, int turn) {
    const auto root = [&](int t) {
        const float2 found = turns[t * turn];
        return inverse ? make_float2(found.x, -found.y) : found;
    };
    float2 roots[R];
#pragma unroll
    for (int t = 0; t < R; t++) roots[t] = root(t * m);
    const int span = m * stride;
    const Divisor by_span(span), by_stride(stride);
    for (int index = threadIdx.x; index < count / R; index += SCATTERING_THREADS) {
        const int block = by_span.of(index), rest = index - block * span, j = by_stride.of(rest);
        float2* at = values + block * (span * R) + rest;
        float2 v[R];
#pragma unroll
        for (int s = 0; s < R; s++) v[s] = at[s * span];
        if (inverse)
#pragma unroll
            for (int s = 1; s < R; s++) v[s] = times(v[s], root(j * s));
        Butterfly<R>::apply(v, roots, inverse);
        if (!inverse)
#pragma unroll
            for (int s = 1; s < R; s++) v[s] = times(v[s], root(j * s));
#pragma unroll
        for (int s = 0; s < R; s++) at[s * span] = v[s];
    }
    __syncthreads();
}

template <bool inverse>
DEVICE void pass_of(int radix, float2* values, int count, int m, int stride, const float2* turns, int turn) {
    switch (radix) {
        case 2: return pass<2, inverse>(values, count, m, stride, turns, turn);
        case 3: return pass<3, inverse>(values, count, m, stride, turns, turn);
        case 4: return pass<4, inverse>(values, count, m, stride, turns, turn);
        case 5: return pass<5, inverse>(values, count, m, stride, turns, turn);
        default: return pass<7, inverse>(values, count, m, stride, turns, turn);
    }
}

// Transforms of lines of one side. `turns` are those of a side that is `ratio` times as long.
DEVICE void forward(float2* values, int count, const Side& side, int stride, const float2* turns, int ratio) {
    int n = side.length;
    for (int i = 0; n > 1; i++) {
        const int radix = side.radices[i], m = n / radix;
        pass_of<false>(radix, values, count, m, stride, turns, ratio * (side.length / n));
        n = m;
    }
}
DEVICE void back(float2* values, int count, const Side& side, int stride, const float2* turns, int ratio) {
    int m = 1;
    for (int i = MOST_RADICES - 1; i >= 0; i--) {
        const int radix = side.radices[i];
        if (radix == 0) continue;
        pass_of<true>(radix, values, count, m, stride, turns, ratio * (side.length / (radix * m)));
        m *= radix;
    }
}

// Where `forward` leaves a frequency.
DEVICE int place_of(const Side& side, int frequency) {
    int place = 0, m = side.length;
    for (int i = 0; m > 1; i++) {
        const int radix = side.radices[i];
        m /= radix;
        place += frequency % radix * m;
        frequency /= radix;
    }
    return place;
}

// ---- the step --------------------------------------------------------------------------------------------------------------------

// The pixel of a line of `length` that a place outside mirrors; the ends are not repeated.
DEVICE int mirrored(int at, int length) {
    const int period = 2 * (length - 1);
    at = (at < 0 ? -at : at) % period;
    return min(at, period - at);
}

// Writes |x * psi| for all wavelets psi, (rows of x, filters) x points of the coarse grid, unless `moduli` is null, and its paths
// P |x * psi| Q'. The wavelets are in the Fourier domain, where they are real: filters x points of the fine grid.
KERNEL(SCATTERING_THREADS, 4) scatter(Step step, const float* x, int x_stride, const float* wavelets, int wavelet_stride,
                                      const float* left, int left_stride, const float* right, int right_stride, float* moduli,
                                      int modulus_stride, float* paths, int path_stride) {
    SHARED(float2, spectrum, [MOST_POINTS]);
    SHARED(float2, filtered, [MOST_POINTS]);
    // P |x * psi|: P has at most half as many rows as columns.
    SHARED(float, means, [MOST_POINTS / 2]);
    SHARED(float2, turns, [2][MOST_SIDE]);
    // Of the frequencies of the rows and columns of both grids.
    SHARED(short, fine_places, [2][MOST_SIDE]);
    SHARED(short, coarse_places, [2][MOST_SIDE]);

    const int rows = step.fine[0].length, columns = step.fine[1].length, coarse_rows = step.coarse[0].length,
              coarse_columns = step.coarse[1].length, points = coarse_rows * coarse_columns;
    const int pairs = (step.group + 1) / 2, group = blockIdx.x / pairs, in_group = blockIdx.x % pairs * 2;
    const bool both = in_group + 1 < step.group;
    const size_t row = (size_t)group * step.group + in_group;

    for (int at = threadIdx.x; at < 2 * MOST_SIDE; at += SCATTERING_THREADS) {
        const int side = at / MOST_SIDE, k = at % MOST_SIDE;
        if (k < step.fine[side].length) {
            turns[side][k] = step.turns[side][k];
            fine_places[side][k] = place_of(step.fine[side], k) * (side == 0 ? columns : 1);
        }
        if (k < step.coarse[side].length)
            coarse_places[side][k] = place_of(step.coarse[side], k) * (side == 0 ? coarse_columns : 1);
    }
    const int positions = step.heights * step.widths;
    const Divisor by_columns(columns), by_coarse_columns(coarse_columns), by_points(points), by_heights(step.heights),
        by_widths(step.widths), by_positions(positions);
    x += row * x_stride;
    for (int at = threadIdx.x; at < rows * columns; at += SCATTERING_THREADS) {
        const int r = by_columns.of(at), c = at - r * columns;
        const int from = mirrored(r - step.margin, step.picture[0]) * step.picture[1] + mirrored(c - step.margin, step.picture[1]);
        spectrum[at] = make_float2(x[from], both ? x[x_stride + from] : 0.0f);
    }
    __syncthreads();
    forward(spectrum, rows * columns, step.fine[1], 1, turns[1], 1);
    forward(spectrum, rows * columns, step.fine[0], columns, turns[0], 1);

    const int ratio[2] = {rows / coarse_rows, columns / coarse_columns}, pictures = both ? 2 : 1;
    const int at_a_time = MOST_POINTS / (points * pictures);
    for (int first = 0; first < step.filters; first += at_a_time) {
        const int filters = min(at_a_time, step.filters - first), count = filters * pictures;
        // The product with a wavelet; frequencies that the coarse grid cannot tell apart are added up.
        for (int at = threadIdx.x; at < filters * points; at += SCATTERING_THREADS) {
            const int filter = by_points.of(at), point = at - filter * points;
            const int r = by_coarse_columns.of(point), c = point - r * coarse_columns;
            const float* wavelet = wavelets + (size_t)(first + filter) * wavelet_stride;
            float2 a = make_float2(0.0f, 0.0f), b = a;
            for (int k = r; k < rows; k += coarse_rows) {
                for (int l = c; l < columns; l += coarse_columns) {
                    const float factor = wavelet[k * columns + l];
                    const float2 here = spectrum[fine_places[0][k] + fine_places[1][l]];
                    if (both) {
                        // Of two real pictures a and b: A(k) = (Z(k) + conj Z(-k)) / 2, B(k) = (Z(k) - conj Z(-k)) / 2i.
                        const int opposite = fine_places[0][k == 0 ? 0 : rows - k] + fine_places[1][l == 0 ? 0 : columns - l];
                        const float2 there = spectrum[opposite];
                        const float half = 0.5f * factor;
                        a.x = fmaf(half, here.x + there.x, a.x);
                        a.y = fmaf(half, here.y - there.y, a.y);
                        b.x = fmaf(half, here.y + there.y, b.x);
                        b.y = fmaf(half, there.x - here.x, b.y);
                    } else {
                        a.x = fmaf(factor, here.x, a.x);
                        a.y = fmaf(factor, here.y, a.y);
                    }
                }
            }
            const int place = filter * points + coarse_places[0][r] + coarse_places[1][c];
            filtered[place] = a;
            if (both) filtered[filters * points + place] = b;
        }
        __syncthreads();
        back(filtered, count * points, step.coarse[0], coarse_columns, turns[0], ratio[0]);
        back(filtered, count * points, step.coarse[1], 1, turns[1], ratio[1]);

        for (int at = threadIdx.x; at < count * points; at += SCATTERING_THREADS) {
            const float2 value = filtered[at];
            const float modulus = sqrtf(value.x * value.x + value.y * value.y);
            filtered[at].x = modulus;
            if (moduli) {
                const int item = by_points.of(at), picture = item >= filters, filter = first + item - picture * filters;
                moduli[((row + picture) * step.filters + filter) * modulus_stride + at - item * points] = modulus;
            }
        }
        __syncthreads();
        for (int at = threadIdx.x; at < count * step.heights * coarse_columns; at += SCATTERING_THREADS) {
            const int line = by_coarse_columns.of(at), item = by_heights.of(line), output = line - item * step.heights;
            const float2* from = filtered + item * points + at - line * coarse_columns;
            const float* weights = left + output * left_stride;
            float sum = 0.0f;
            for (int k = 0; k < coarse_rows; k++) sum = fmaf(weights[k], from[k * coarse_columns].x, sum);
            means[at] = sum;
        }
        __syncthreads();
        for (int at = threadIdx.x; at < count * positions; at += SCATTERING_THREADS) {
            const int line = by_widths.of(at), output = at - line * step.widths;
            const float* weights = right + output * right_stride;
            float sum = 0.0f;
            for (int k = 0; k < coarse_columns; k++) sum = fmaf(weights[k], means[line * coarse_columns + k], sum);
            const int item = by_positions.of(at), picture = item >= filters, filter = first + item - picture * filters;
            const int path = step.first_path + (in_group + picture) * step.path_step + filter;
            paths[(size_t)group * path_stride + path * positions + at - item * positions] = sum;
        }
        // What comes next writes other places, and waits before it writes these.
    }
}
