// Fully connected layers: Z = X W' + b with ReLU, the gradient of the input with the ReLU's mask, and the gradients of weights
// and biases with the Adam step on them as the epilogue, so that they need not be stored. All layers of a network are
// updated by one launch.
//
// Registers: at most 128 a thread.
#include "adam.cuh"
#include "gemm.cuh"

// ---- forward -------------------------------------------------------------------------------------------------------------

// z (m x n) = x (m x d) w (n x d)' + bias, negative entries 0 where `relu`; NaN stays.
template <class Product, class T>
struct Forward {
    typedef Gemm<Product, true, true, T> Product_;

    static DEVICE void run(const float* x, int x_stride, const float* w, int w_stride, const float* bias, int relu, float* z,
                           int z_stride, int m, int n, int d) {
        LARGE_SHARED(typename Product_::Shared, shared);
        Product_ product;
        const int row0 = blockIdx.x * T::ROWS, column0 = blockIdx.y * T::COLUMNS;
        product.run({x, x_stride}, {w, w_stride}, m, n, d, row0, column0, shared);
        product.c.each([&](int, int column) { return column0 + column < n ? bias[column0 + column] : 0.0f; },
                       [&](int row, int column, float value, float added) {
                           row += row0;
                           column += column0;
                           value += added;
                           if (row < m && column < n)
                               z[(size_t)row * z_stride + column] = relu && value < 0.0f ? 0.0f : value;
                       });
    }
};

#define DEFINE_FORWARD(name, ...)                                                                                         \
    LARGE_SHARED_OF(name, sizeof(__VA_ARGS__::Product_::Shared));                                                         \
    KERNEL(DEEP_THREADS, DEEP_BLOCKS) name(const float* x, int x_stride, const float* w, int w_stride, const float* bias,     \
                                      int relu, float* z, int z_stride, int m, int n, int d) {                            \
        __VA_ARGS__::run(x, x_stride, w, w_stride, bias, relu, z, z_stride, m, n, d);                                     \
    }
#define DEFINE_LINEAR(precision, Product)                                 \
    DEFINE_FORWARD(linear_##precision, Forward<Product, Deep<64>>)        \
    DEFINE_FORWARD(linear_narrow_##precision, Forward<Product, Deep<16>>)
FOR_EACH_PRECISION(DEFINE_LINEAR)

// ---- backward, input -------------------------------------------------------------------------------------------------------

template <class Product>
using Backward = Gemm<Product, true, false, Deep<64>>;

// d_x (m x n) = d_z (m x d) w (d x n), 0 where x, the output of a ReLU, is not positive.
template <class Product>
DEVICE void linear_backward_data(const float* d_z, int d_z_stride, const float* w, int w_stride, const float* x, float* d_x,
                                 int x_stride, int m, int n, int d) {
    LARGE_SHARED(typename Backward<Product>::Shared, shared);
    Backward<Product> product;
    const int row0 = blockIdx.x * 64, column0 = blockIdx.y * 64;
    product.run({d_z, d_z_stride}, {w, w_stride}, m, n, d, row0, column0, shared);
    product.c.each(
        [&](int row, int column) {
            const bool inside = row0 + row < m && column0 + column < n;
            return inside ? x[(size_t)(row0 + row) * x_stride + column0 + column] : 0.0f;
        },
        [&](int row, int column, float value, float output) {
            row += row0;
            column += column0;
            if (row < m && column < n) d_x[(size_t)row * x_stride + column] = output > 0.0f ? value : 0.0f;
        });
}

#define DEFINE_LINEAR_BACKWARD_DATA(precision, Product)                                                                  \
    LARGE_SHARED_OF(linear_backward_data_##precision, sizeof(Backward<Product>::Shared));                                \
    KERNEL(DEEP_THREADS, DEEP_BLOCKS) linear_backward_data_##precision(                                                  \
        const float* d_z, int d_z_stride, const float* w, int w_stride, const float* x, float* d_x, int x_stride, int m, \
        int n, int d) {                                                                                                  \
        linear_backward_data<Product>(d_z, d_z_stride, w, w_stride, x, d_x, x_stride, m, n, d);                          \
    }
FOR_EACH_PRECISION(DEFINE_LINEAR_BACKWARD_DATA)

// ---- backward, parameters ----------------------------------------------------------------------------------------------------

constexpr int MOST_LAYERS = 8;

// One layer's share of an update; `Layer` in src/cuda/linear.rs. Strides and sizes are in f32.
struct Layer {
    const float *d_z, *x;
    // Where gradients go, or null.
    float *weight_gradient, *bias_gradient;
    // What is updated, or null.
    float *weight, *weight_first, *weight_second;
    float *bias, *bias_first, *bias_second;
    int d_z_stride, x_stride, outputs, inputs;
    // The first block that works on this layer.
    int first_block;
    int unused;
};

struct Layers {
    Layer layers[MOST_LAYERS];
};

// Tiles of half the rows, for layers of so few tiles that a multiprocessor would have one block alone, which waits for its operands most
// of the time (m 1000, 512-512, H100: 36 microseconds become 32; other products of as few tiles gain nothing by it). The bits are the same.
typedef Tiling<32, 64, 1, 4, 2, DEEP_STAGES> Short;
static_assert(Short::THREADS == DEEP_THREADS, "as the host launches them");

template <class Product, class T>
using Gradient = Gemm<Product, false, false, T>;

// Gradient of the weights (outputs x inputs) = d_z (m x outputs)' x (m x inputs), of the biases the column sums of d_z.
template <class Product, class T>
DEVICE void linear_update(const Layers& all, int count, int m, AdamRule rule, const StepState* state) {
    typedef Gradient<Product, T> Product_;
    LARGE_SHARED(typename Product_::Shared, shared);
    SHARED(AdamCorrections, corrections, [1]);
    SHARED(float, quarters, [4][T::ROWS]);

    int index = 0;
    while (index + 1 < count && (int)blockIdx.x >= all.layers[index + 1].first_block) index++;
    const Layer& layer = all.layers[index];
    const int block = blockIdx.x - layer.first_block, across = (layer.inputs + T::COLUMNS - 1) / T::COLUMNS;
    const int row0 = block / across * T::ROWS, column0 = block % across * T::COLUMNS;
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

    struct Parameter {
        float value, first, second;
    };
    auto place = [&](int row, int column) { return (size_t)(row0 + row) * layer.x_stride + column0 + column; };
    auto inside = [&](int row, int column) { return row0 + row < layer.outputs && column0 + column < layer.inputs; };
    // Two columns of fragments: more would take more registers than there are.
    product.c.template each<2>(
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
            adam_update(rule, corrections[0], gradient, of.value, of.first, of.second);
            layer.weight[at] = of.value;
            layer.weight_first[at] = of.first;
            layer.weight_second[at] = of.second;
        });
    if (!has_biases) return;
    if (sums_biases) quarters[quarter][own] = bias_sum;
    __syncthreads();
    const int output = row0 + threadIdx.x;
    if (threadIdx.x < T::ROWS && output < layer.outputs) {
        bias_sum = 0.0f;
        for (int part = 0; part < 4; part++) bias_sum += quarters[part][threadIdx.x];
        if (layer.bias_gradient) layer.bias_gradient[output] = bias_sum;
        if (layer.bias)
            adam_update(rule, corrections[0], bias_sum, layer.bias[output], layer.bias_first[output],
                        layer.bias_second[output]);
    }
}

#define DEFINE_UPDATE(name, Product, T)                                                                                     \
    LARGE_SHARED_OF(name, sizeof(Gradient<Product, T>::Shared));                                                            \
    KERNEL(DEEP_THREADS, DEEP_BLOCKS) name(Layers all, int count, int m, AdamRule rule, const StepState* state) {           \
        linear_update<Product, T>(all, count, m, rule, state);                                                              \
    }
#define DEFINE_LINEAR_UPDATE(precision, Product)                   \
    DEFINE_UPDATE(linear_update_##precision, Product, Deep<64>)    \
    DEFINE_UPDATE(linear_update_short_##precision, Product, Short)
FOR_EACH_PRECISION(DEFINE_LINEAR_UPDATE)

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
