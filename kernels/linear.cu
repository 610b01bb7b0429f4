// Fully connected layers: Z = X W' + b with ReLU, the gradient of the input with the ReLU's mask, and the gradients of weights
// and biases with the Adam step on them as the epilogue, so that they need not be stored. All layers of a network are
// updated by one launch.
//
// In bf16, operands of which there is a rounded copy are taken from there: half the bytes, read as fragments as they lie. What is made
// is left rounded too, for who comes next.
//
// Registers: at most 128 a thread.
#include "adam.cuh"
#include "gemm.cuh"
#include "rounded.cuh"

// ---- forward -------------------------------------------------------------------------------------------------------------

// z (m x n) = x (m x d) w (n x d)' + bias, negative entries 0 where `relu`; NaN stays.
template <class Product, class T>
DEVICE void linear(typename Product::From x, typename Product::From w, const float* bias, int relu, float* z, int z_stride,
                   Rounded rounded, int m, int n, int d) {
    LARGE_SHARED(typename Product::Shared, shared);
    Product product;
    const int row0 = blockIdx.x * T::ROWS, column0 = blockIdx.y * T::COLUMNS;
    product.run(x, w, m, n, d, row0, column0, shared);
    product.c.each([&](int, int column) { return column0 + column < n ? bias[column0 + column] : 0.0f; },
                   [&](int row, int column, float value, float added) {
                       row += row0;
                       column += column0;
                       value += added;
                       if (relu && value < 0.0f) value = 0.0f;
                       if (row >= m || column >= n) return;
                       z[(size_t)row * z_stride + column] = value;
                       rounded.put(row, column, value);
                   });
}

template <class Product, class T>
using Forward = Gemm<Product, true, true, T>;
template <class T>
using HalfForward = HalfGemm<Bf16, true, true, T>;

#define DEFINE_FORWARD(name, Number, T, ...)                                                                         \
    LARGE_SHARED_OF(name, sizeof(__VA_ARGS__::Shared));                                                              \
    TILED_KERNEL(T) name(const Number* x, int x_stride, const Number* w, int w_stride, const float* bias,            \
                                           int relu, float* z, int z_stride, Rounded rounded, int m, int n, int d) { \
        linear<__VA_ARGS__, T>({x, x_stride}, {w, w_stride}, bias, relu, z, z_stride, rounded, m, n, d);             \
    }
#define DEFINE_LINEAR(precision, Product)                                           \
    DEFINE_FORWARD(linear_##precision, float, Deep<64>, Forward<Product, Deep<64>>) \
    DEFINE_FORWARD(linear_narrow_##precision, float, Deep<16>, Forward<Product, Deep<16>>)
FOR_EACH_PRECISION(DEFINE_LINEAR)
DEFINE_FORWARD(linear_rounded_bf16, uint16_t, DeepHalf, HalfForward<DeepHalf>)
DEFINE_FORWARD(linear_rounded_short_bf16, uint16_t, ShortHalf, HalfForward<ShortHalf>)
DEFINE_FORWARD(linear_rounded_wide_bf16, uint16_t, Wide, HalfForward<Wide>)

// ---- backward, input -------------------------------------------------------------------------------------------------------

// d_x (m x n) = d_z (m x d) w (d x n), 0 where x, the output of a ReLU, is not positive.
template <class Product, class T>
DEVICE void linear_backward_data(typename Product::From d_z, typename Product::From w, const float* x, float* d_x, int x_stride,
                                 Rounded rounded, int m, int n, int d) {
    LARGE_SHARED(typename Product::Shared, shared);
    Product product;
    const int row0 = blockIdx.x * T::ROWS, column0 = blockIdx.y * T::COLUMNS;
    product.run(d_z, w, m, n, d, row0, column0, shared);
    product.c.each(
        [&](int row, int column) {
            const bool inside = row0 + row < m && column0 + column < n;
            return inside ? x[(size_t)(row0 + row) * x_stride + column0 + column] : 0.0f;
        },
        [&](int row, int column, float value, float output) {
            row += row0;
            column += column0;
            if (row >= m || column >= n) return;
            value = output > 0.0f ? value : 0.0f;
            d_x[(size_t)row * x_stride + column] = value;
            rounded.put(row, column, value);
        });
}

template <class Product>
using Backward = Gemm<Product, true, false, Deep<64>>;
template <class T>
using HalfBackward = HalfGemm<Bf16, true, false, T>;

#define DEFINE_BACKWARD(name, Number, T, ...)                                                                       \
    LARGE_SHARED_OF(name, sizeof(__VA_ARGS__::Shared));                                                             \
    TILED_KERNEL(T) name(const Number* d_z, int d_z_stride, const Number* w, int w_stride, const float* x,          \
                                           float* d_x, int x_stride, Rounded rounded, int m, int n, int d) {        \
        linear_backward_data<__VA_ARGS__, T>({d_z, d_z_stride}, {w, w_stride}, x, d_x, x_stride, rounded, m, n, d); \
    }
#define DEFINE_LINEAR_BACKWARD_DATA(precision, Product) \
    DEFINE_BACKWARD(linear_backward_data_##precision, float, Deep<64>, Backward<Product>)
FOR_EACH_OF_F32(DEFINE_LINEAR_BACKWARD_DATA)
DEFINE_BACKWARD(linear_backward_data_rounded_bf16, uint16_t, DeepHalf, HalfBackward<DeepHalf>)
DEFINE_BACKWARD(linear_backward_data_rounded_short_bf16, uint16_t, ShortHalf, HalfBackward<ShortHalf>)
DEFINE_BACKWARD(linear_backward_data_rounded_wide_bf16, uint16_t, Wide, HalfBackward<Wide>)

// ---- backward, parameters ----------------------------------------------------------------------------------------------------

constexpr int MOST_LAYERS = 8;

// One layer's share of an update; `Layer` in src/cuda/linear.rs. Strides and sizes are in numbers.
struct Layer {
    const float *d_z, *x;
    // Their rounded copies.
    const uint16_t *d_z_rounded, *x_rounded;
    // Where gradients go, or null.
    float *weight_gradient, *bias_gradient;
    // What is updated, or null.
    float *weight, *weight_first, *weight_second;
    float *bias, *bias_first, *bias_second;
    Rounded rounded_weight;
    int d_z_stride, x_stride, d_z_rounded_stride, x_rounded_stride, outputs, inputs;
    // The first block that works on this layer.
    int first_block;
    int unused;
};

struct Layers {
    Layer layers[MOST_LAYERS];
};

template <class Product, class T>
using Gradient = Gemm<Product, false, false, T>;
template <class T>
using HalfGradient = HalfGemm<Bf16, false, false, T>;

// The layer that a block works on.
DEVICE const Layer& layer_of(const Layers& all, int count) {
    int index = 0;
    while (index + 1 < count && (int)blockIdx.x >= all.layers[index + 1].first_block) index++;
    return all.layers[index];
}

// Tiles of a layer's weights, and the corner of the one that is a block's own, the first block the layer's first.
template <class T>
struct Weights {
    int across, tiles;

    DEVICE Weights(const Layer& layer)
        : across((layer.inputs + T::COLUMNS - 1) / T::COLUMNS), tiles((layer.outputs + T::ROWS - 1) / T::ROWS * across) {}
    DEVICE int row0(int block) const { return block / across * T::ROWS; }
    DEVICE int column0(int block) const { return block % across * T::COLUMNS; }
};

// What becomes of the gradients of a block's tile of weights. The corner is found anew: over a main loop there may be no registers to keep it.
template <class T>
DEVICE void update_weights(Accumulators<T>& gradients, const Layer& layer, const Weights<T>& weights, const AdamRule& rule,
                           const AdamCorrections& corrections) {
    const int block = blockIdx.x - layer.first_block, row0 = weights.row0(block), column0 = weights.column0(block);
    struct Parameter {
        float value, first, second;
    };
    auto place = [&](int row, int column) { return (size_t)(row0 + row) * layer.x_stride + column0 + column; };
    auto inside = [&](int row, int column) { return row0 + row < layer.outputs && column0 + column < layer.inputs; };
    // Two columns of fragments: more would take more registers than there are.
    gradients.template each<2>(
        [&](int row, int column) {
            if (!layer.weight || !inside(row, column)) return Parameter{};
            const size_t at = place(row, column);
            return Parameter{layer.weight[at], layer.weight_first[at], layer.weight_second[at]};
        },
        [&](int row, int column, float gradient, Parameter of) {
            if (!inside(row, column)) return;
            const size_t at = place(row, column);
            if (layer.weight_gradient) layer.weight_gradient[at] = gradient;
            if (!layer.weight) return;
            adam_update(rule, corrections, gradient, of.value, of.first, of.second);
            layer.weight[at] = of.value;
            layer.weight_first[at] = of.first;
            layer.weight_second[at] = of.second;
            layer.rounded_weight.put(row0 + row, column0 + column, of.value);
        });
}

// What becomes of the gradient of a bias.
DEVICE void update_bias(float gradient, const Layer& layer, int output, const AdamRule& rule, const AdamCorrections& corrections) {
    if (layer.bias_gradient) layer.bias_gradient[output] = gradient;
    if (layer.bias)
        adam_update(rule, corrections, gradient, layer.bias[output], layer.bias_first[output], layer.bias_second[output]);
}

// Gradient of the weights (outputs x inputs) = d_z (m x outputs)' x (m x inputs), of the biases the column sums of d_z.
template <class Product, class T>
DEVICE void linear_update(const Layers& all, int count, int m, AdamRule rule, const StepState* state) {
    typedef Gradient<Product, T> Product_;
    LARGE_SHARED(typename Product_::Shared, shared);
    SHARED(AdamCorrections, corrections, [1]);
    SHARED(float, quarters, [4][T::ROWS]);

    const Layer& layer = layer_of(all, count);
    const Weights<T> weights(layer);
    const int block = blockIdx.x - layer.first_block, row0 = weights.row0(block), column0 = weights.column0(block);
    // Read again only after the barriers of the main loop.
    if (threadIdx.x == 0 && layer.weight) corrections[0] = adam_corrections(rule, *state);

    Product_ product;
    // Of one output and a quarter of each stage, by as many threads as that takes.
    float bias_sum = 0.0f;
    const int quarter = threadIdx.x / T::ROWS, own = threadIdx.x % T::ROWS;
    const bool has_biases = column0 == 0, sums_biases = has_biases && quarter < 4;
    product.run({layer.d_z, layer.d_z_stride}, {layer.x, layer.x_stride}, layer.outputs, layer.inputs, m, row0, column0,
                shared, [&](const typename Product_::A& tile) {
                    constexpr int QUARTER = T::STAGE_DEPTH / 4;
                    if (sums_biases)
#pragma unroll 4
                        for (int k = 0; k < QUARTER; k++) bias_sum += tile.at(own, quarter * QUARTER + k);
                });
    update_weights<T>(product.c, layer, weights, rule, corrections[0]);
    if (!has_biases) return;
    if (sums_biases) quarters[quarter][own] = bias_sum;
    __syncthreads();
    const int output = row0 + threadIdx.x;
    if (threadIdx.x < T::ROWS && output < layer.outputs) {
        bias_sum = 0.0f;
        for (int part = 0; part < 4; part++) bias_sum += quarters[part][threadIdx.x];
        update_bias(bias_sum, layer, output, rule, corrections[0]);
    }
}

// Outputs of a block that sums biases: a lane for each, of each warp that takes part.
constexpr int BIASES = 32, BIAS_WARPS = 8;

// The same from rounded copies, but for the biases, which other blocks sum, as they are: those behind the tiles of the layer.
template <class T>
DEVICE void linear_update_rounded(const Layers& all, int count, int m, AdamRule rule, const StepState* state) {
    typedef HalfGradient<T> Product_;
    LARGE_SHARED(typename Product_::Shared, shared);
    SHARED(AdamCorrections, corrections, [1]);
    SHARED(float, parts, [BIAS_WARPS][BIASES]);

    const Layer& layer = layer_of(all, count);
    const Weights<T> weights(layer);
    const int block = blockIdx.x - layer.first_block;
    // Read again only after a barrier.
    if (threadIdx.x == 0 && layer.weight) corrections[0] = adam_corrections(rule, *state);
    if (block < weights.tiles) {
        Product_ product;
        product.run({layer.d_z_rounded, layer.d_z_rounded_stride}, {layer.x_rounded, layer.x_rounded_stride}, layer.outputs,
                    layer.inputs, m, weights.row0(block), weights.column0(block), shared);
        update_weights<T>(product.c, layer, weights, rule, corrections[0]);
        return;
    }
    // By as many warps whatever the tiling.
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, output = (block - weights.tiles) * BIASES + lane;
    float sum = 0.0f;
    if (warp < BIAS_WARPS) {
        if (output < layer.outputs)
#pragma unroll 8
            for (int row = warp; row < m; row += BIAS_WARPS) sum += layer.d_z[(size_t)row * layer.d_z_stride + output];
        parts[warp][lane] = sum;
    }
    __syncthreads();
    if (warp != 0 || output >= layer.outputs) return;
    sum = 0.0f;
    for (int part = 0; part < BIAS_WARPS; part++) sum += parts[part][lane];
    update_bias(sum, layer, output, rule, corrections[0]);
}

#define DEFINE_UPDATE(name, T, update, ...)                                                     \
    LARGE_SHARED_OF(name, sizeof(__VA_ARGS__::Shared));                                         \
    TILED_KERNEL(T) name(Layers all, int count, int m, AdamRule rule, const StepState* state) { \
        update(all, count, m, rule, state);                                                     \
    }
#define DEFINE_LINEAR_UPDATE(precision, Product)                                                                        \
    DEFINE_UPDATE(linear_update_##precision, Deep<64>, (linear_update<Product, Deep<64>>), Gradient<Product, Deep<64>>) \
    DEFINE_UPDATE(linear_update_short_##precision, Short, (linear_update<Product, Short>), Gradient<Product, Short>)
FOR_EACH_OF_F32(DEFINE_LINEAR_UPDATE)
DEFINE_UPDATE(linear_update_rounded_bf16, DeepHalf, linear_update_rounded<DeepHalf>, HalfGradient<DeepHalf>)
DEFINE_UPDATE(linear_update_rounded_short_bf16, ShortHalf, linear_update_rounded<ShortHalf>, HalfGradient<ShortHalf>)
DEFINE_UPDATE(linear_update_rounded_wide_bf16, Wide, linear_update_rounded<Wide>, HalfGradient<Wide>)

// ---- ceilings ------------------------------------------------------------------------------------------------------------------

// What the matrix units do when nothing else is in the way: products of registers, eight independent ones in flight. A round is
// 8 x 16 x 8 x 8 multiply-adds for a warp, in bf16 8 x 16 x 8 x 16. `out`, a number for each thread, keeps them from being left out.
template <class Multiply>
DEVICE void matrix_ceiling(float* out, int rounds, Multiply multiply) {
    float sums[8][4] = {};
    const uint32_t seed = __float_as_uint(out[threadIdx.x]) + threadIdx.x;
    const uint32_t a[4] = {seed, seed + 1, seed + 2, seed + 3}, b[2] = {seed + 4, seed + 5};
    for (int round = 0; round < rounds; round++)
#pragma unroll
        for (int i = 0; i < 8; i++) multiply(sums[i], a, b);
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) sum += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];
    out[(size_t)blockIdx.x * 256 + threadIdx.x] = sum;
}

typedef float Quad[4];
typedef const uint32_t Words4[4];
typedef const uint32_t Words2[2];

KERNEL(256) matrix_ceiling_fp32(float* out, int rounds) {
    // Eight times four for each thread: its share of 16 x 8 x 8.
    matrix_ceiling(out, rounds, [](Quad& d, Words4& a, Words2& b) {
#pragma unroll
        for (int k = 0; k < 8; k++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                d[e] = fmaf(__uint_as_float(a[k % 4] + e), __uint_as_float(b[k % 2] + k), d[e]);
    });
}
KERNEL(256) matrix_ceiling_tf32x3(float* out, int rounds) {
    matrix_ceiling(out, rounds, [](Quad& d, Words4& a, Words2& b) {
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        mma_tf32(sum, a, b);
        mma_tf32(sum, a, b);
        mma_tf32(sum, a, b);
#pragma unroll
        for (int e = 0; e < 4; e++) d[e] += sum[e];
    });
}
KERNEL(256) matrix_ceiling_tf32(float* out, int rounds) {
    matrix_ceiling(out, rounds, [](Quad& d, Words4& a, Words2& b) { mma_tf32(d, a, b); });
}
KERNEL(256) matrix_ceiling_bf16(float* out, int rounds) {
    matrix_ceiling(out, rounds, [](Quad& d, Words4& a, Words2& b) { mma_bf16(d, a, b); });
}
