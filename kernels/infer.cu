// The hard label of each row under a network, in one pass: all layers, and the first of the largest logits. What layers put out stays in the
// block, and each number has the bits that linear.cu gives it in tiles of 64 rows: the same stages of the depth, the same two groups that take turns.
//
// A block takes 32 rows through all layers, so that a few thousand rows occupy a card. A layer is computed some columns at a time, each such
// pass one run of the main loop; what comes out stays in registers until all passes have read what the layer before left in shared memory,
// and then takes its place. So there need be room for one layer's outputs only, and the rest is for stages of the weights, which every block
// reads from L2. The last layer's passes keep nothing but the largest logit so far.
//
// Registers: at most 216 a thread.
#include "gemm.cuh"
#include "reduce.cuh"

// Columns of a pass, and of the widest hidden layer; WIDEST in src/cuda/infer.rs. As much as shared memory holds, in whole stages and passes.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int PASS = 64, WIDEST = 320;
#else
constexpr int PASS = 128, WIDEST = 512;
#endif
constexpr int MOST_LAYERS = 8;

// One layer; `Layer` in src/cuda/infer.rs.
struct Layer {
    // outputs x inputs, rows `stride` apart; outputs.
    const float *weight, *bias;
    int stride, outputs, inputs;
    int unused;
};

struct Layers {
    Layer layers[MOST_LAYERS];
};

// The largest logit of a row so far, the first among equals.
struct Best {
    float value;
    int column;

    DEVICE void take(const Best& other) {
        if (other.value > value || (other.value == value && other.column < column)) *this = other;
    }
};

template <class Product>
struct Inference {
    typedef Tiling<32, PASS, 1, 4, 2, DEEP_STAGES> T;
    typedef Accumulators<T> C;
    typedef Gemm<Product, true, true, T> Loop;
    typedef Tile<Product, true, T::ROWS, WIDEST> Rows;
    static constexpr int PASSES = WIDEST / PASS, OWN_ROWS = 2 * C::KEPT_DOWN;
    static_assert(WIDEST % PASS == 0 && PASS % T::STAGE_DEPTH == 0, "a pass fills whole stages of the next layer");
    static_assert(C::BY_ROWS, "a row is kept by one group");

    struct Shared {
        typename Loop::Shared stages;
        float rows[Rows::SIZE];
    };

    static DEVICE void run(const float* x, int x_stride, const Layers& all, int count, uint32_t* labels, int m) {
        LARGE_SHARED(Shared, shared);
        SHARED(Best, across, [T::WARPS_ACROSS][T::ROWS]);
        const int row0 = blockIdx.x * T::ROWS;
        Loop loop;
        // As if a row were searched from column 0 on for anything greater.
        Best best[OWN_ROWS];
#pragma unroll
        for (Best& row : best) row = {-INFINITY, 0};

        float out[PASSES][C::KEPT_DOWN][C::KEPT_ACROSS][4] = {};
        for (int l = 0; l < count; l++) {
            const Layer& layer = all.layers[l];
            const bool last = l + 1 == count;
            for (int pass = 0; pass * PASS < layer.outputs; pass++) {
                const int column0 = pass * PASS;
                const Operand weight = {layer.weight, layer.stride};
                if (l == 0)
                    loop.run({x, x_stride}, weight, m, layer.outputs, layer.inputs, row0, column0, shared.stages);
                else
                    loop.run(Rows{shared.rows}, weight, layer.outputs, layer.inputs, column0, shared.stages);
                // All have what the groups have added up before stages are loaded anew.
                __syncthreads();
                each(column0, layer, loop.c, [&](int i, int j, int e, int column, float value) {
                    if (last) {
                        // Nothing is greater than a NaN in column 0; any other is greater than nothing.
                        if (column == 0 && value != value) value = INFINITY;
                        if (column < layer.outputs) best[2 * i + e / 2].take({value, column});
                        return;
                    }
                    // What is beyond the layer counts as 0, whatever the row holds.
                    value = column >= layer.outputs || value < 0.0f ? 0.0f : value;
                    // Every place is named, so that all of them are registers.
#pragma unroll
                    for (int p = 0; p < PASSES; p++) out[p][i][j][e] = p == pass ? value : out[p][i][j][e];
                });
            }
            if (last) break;
#pragma unroll
            for (int p = 0; p < PASSES; p++)
                if (p * PASS < layer.outputs)
                    each_kept([&](int i, int j, int e) {
                        shared.rows[(C::kept_row(i) + e / 2 * 8) * Rows::STRIDE + p * PASS + C::kept_column(j) + e % 2] = out[p][i][j][e];
                    });
        }

#pragma unroll
        for (int own = 0; own < OWN_ROWS; own++) {
#pragma unroll
            for (int step = 1; step <= 2; step *= 2) {
                const float value = __shfl_xor_sync(WHOLE_WARP, best[own].value, step);
                best[own].take({value, __shfl_xor_sync(WHOLE_WARP, best[own].column, step)});
            }
            if (threadIdx.x % 4 == 0) across[C::warp() % T::WARPS_ACROSS][C::kept_row(own / 2) + own % 2 * 8] = best[own];
        }
        __syncthreads();
        const int thread = threadIdx.x;
        if (thread >= T::ROWS || row0 + thread >= m) return;
        Best row = across[0][thread];
        for (int part = 1; part < T::WARPS_ACROSS; part++) row.take(across[part][thread]);
        labels[row0 + thread] = row.column;
    }

    // visit(i, j, e) for each element that this thread keeps of a pass.
    template <class Visit>
    static DEVICE void each_kept(Visit visit) {
#pragma unroll
        for (int i = 0; i < C::KEPT_DOWN; i++)
#pragma unroll
            for (int j = 0; j < C::KEPT_ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) visit(i, j, e);
    }
    // visit(i, j, e, column of the layer, value with its bias) for each of them.
    template <class Visit>
    static DEVICE void each(int column0, const Layer& layer, C& c, Visit visit) {
        float bias[C::KEPT_ACROSS][2];
#pragma unroll
        for (int j = 0; j < C::KEPT_ACROSS; j++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int column = column0 + C::kept_column(j) + e;
                bias[j][e] = column < layer.outputs ? layer.bias[column] : 0.0f;
            }
        each_kept([&](int i, int j, int e) {
            visit(i, j, e, column0 + C::kept_column(j) + e % 2, c.d[i][j][e] + bias[j][e % 2]);
        });
    }
};

#define DEFINE_INFER(precision, Product)                                                                                      \
    LARGE_SHARED_OF(infer_##precision, sizeof(Inference<Product>::Shared));                                                   \
    KERNEL(DEEP_THREADS) infer_##precision(const float* x, int x_stride, Layers all, int count, uint32_t* labels, int m) {    \
        Inference<Product>::run(x, x_stride, all, count, labels, m);                                                          \
    }
FOR_EACH_PRECISION(DEFINE_INFER)
