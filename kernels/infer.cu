// The hard label of each row under a network, in one pass: all layers, and the first of the largest logits. What layers put out stays in the
// block, and each number has the bits that linear.cu gives it: the same stages of the depth, the same two groups that take turns.
//
// A layer is computed some columns at a time, each such pass one run of the main loop over rows that are in shared memory and over the weights,
// which every block reads from L2. The last layer's passes keep nothing but the largest logit so far.
//
// From operands in f32 a block takes 32 rows, so that a few thousand occupy a card. What comes out of a layer stays in registers until all passes have read what the layer before left,
// and then takes its place: there need be room for one layer's outputs only. From weights that were rounded to 16 bits beforehand a block
// takes 64 rows, so that of each byte from L2 it makes four times as much; rows are 16-bit numbers too, read once and rounded on the way, and
// layers write what they make into one of two places by turns. Not measured.
//
// Shared memory has room for one block on a multiprocessor, so that each thread may have 255 registers.
//
// Registers: at most 232 a thread.
#include "gemm.cuh"
#include "reduce.cuh"

// Columns of a pass, and of the widest hidden layer; WIDEST in src/cuda/infer.rs. As much as shared memory holds, in whole stages and passes.
// From rounded weights: rows of a block, the widest rows, and the widest hidden layer.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int PASS = 64, WIDEST = 320;
constexpr int ROUNDED_ROWS = 32, ROUNDED_INPUTS = 512, ROUNDED_WIDEST = 512;
#else
constexpr int PASS = 128, WIDEST = 512;
constexpr int ROUNDED_ROWS = 64, ROUNDED_INPUTS = 768, ROUNDED_WIDEST = 512;
#endif
constexpr int MOST_LAYERS = 8;

// One layer; `Layer` in src/cuda/infer.rs.
struct Layer {
    // outputs x inputs, rows `stride` apart, and `rounded_stride` in the rounded copy; outputs.
    const float* weight;
    const uint16_t* rounded;
    const float* bias;
    int stride, rounded_stride, outputs, inputs;
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

// The labels of the rows of a block, of which a thread has those of the elements that it keeps.
template <class T>
struct Winners {
    typedef Accumulators<T> C;
    static_assert(C::BY_ROWS, "a row is kept by one group");
    static constexpr int OWN_ROWS = 2 * C::KEPT_DOWN;
    Best best[OWN_ROWS];

    // As if a row were searched from column 0 on for anything greater.
    DEVICE void clear() {
#pragma unroll
        for (Best& row : best) row = {-INFINITY, 0};
    }
    // Element e of fragment i of a row has a logit, if there is such a column.
    DEVICE void take(int i, int e, float value, int column, int columns) {
        // Nothing is greater than a NaN in column 0; any other is greater than nothing.
        if (column == 0 && value != value) value = INFINITY;
        if (column < columns) best[2 * i + e / 2].take({value, column});
    }
    // By the whole block.
    DEVICE void store(Best (&across)[T::WARPS_ACROSS][T::ROWS], uint32_t* labels, int row0, int m) {
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
};

// visit(i, j, e) for each element that a thread keeps of a pass.
template <class C, class Visit>
DEVICE void each_kept(Visit visit) {
#pragma unroll
    for (int i = 0; i < C::KEPT_DOWN; i++)
#pragma unroll
        for (int j = 0; j < C::KEPT_ACROSS; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) visit(i, j, e);
}

// Adds the biases to what a thread keeps of a pass that begins at column0.
template <class C>
DEVICE void add_bias(C& c, const Layer& layer, int column0) {
    float bias[C::KEPT_ACROSS][2];
#pragma unroll
    for (int j = 0; j < C::KEPT_ACROSS; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int column = column0 + C::kept_column(j) + e;
            bias[j][e] = column < layer.outputs ? layer.bias[column] : 0.0f;
        }
    each_kept<C>([&](int i, int j, int e) { c.d[i][j][e] += bias[j][e % 2]; });
}

// What a hidden layer puts out; beyond the layer 0, whatever the row holds.
DEVICE float activated(float value, int column, const Layer& layer) {
    return column >= layer.outputs || value < 0.0f ? 0.0f : value;
}

// ---- from operands in f32 ---------------------------------------------------------------------------------------------------------

template <class Product>
struct Inference {
    typedef Tiling<32, PASS, 1, 4, 2, DEEP_STAGES> T;
    typedef Accumulators<T> C;
    typedef Gemm<Product, true, true, T> Loop;
    typedef Tile<Product, true, T::ROWS, WIDEST> Rows;
    static constexpr int PASSES = WIDEST / PASS;
    static_assert(WIDEST % PASS == 0 && PASS % T::STAGE_DEPTH == 0, "a pass fills whole stages of the next layer");

    struct Shared {
        typename Loop::Shared stages;
        float rows[Rows::SIZE];
    };

    static DEVICE void run(const float* x, int x_stride, const Layers& all, int count, uint32_t* labels, int m) {
        LARGE_SHARED(Shared, shared);
        SHARED(Best, across, [T::WARPS_ACROSS][T::ROWS]);
        const int row0 = blockIdx.x * T::ROWS;
        Loop loop;
        Winners<T> winners;
        winners.clear();
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
                add_bias(loop.c, layer, column0);
                each_kept<C>([&](int i, int j, int e) {
                    const int column = column0 + C::kept_column(j) + e % 2;
                    float value = loop.c.d[i][j][e];
                    if (last) return winners.take(i, e, value, column, layer.outputs);
                    value = activated(value, column, layer);
                    // Every place is named, so that all of them are registers.
#pragma unroll
                    for (int p = 0; p < PASSES; p++) out[p][i][j][e] = p == pass ? value : out[p][i][j][e];
                });
            }
            if (last) break;
#pragma unroll
            for (int p = 0; p < PASSES; p++)
                if (p * PASS < layer.outputs)
                    each_kept<C>([&](int i, int j, int e) {
                        shared.rows[(C::kept_row(i) + e / 2 * 8) * Rows::STRIDE + p * PASS + C::kept_column(j) + e % 2] = out[p][i][j][e];
                    });
        }
        winners.store(across, labels, row0, m);
    }
};

#define DEFINE_INFER(precision, Product)                                                                                      \
    LARGE_SHARED_OF(infer_##precision, sizeof(Inference<Product>::Shared));                                                   \
    KERNEL(DEEP_THREADS) infer_##precision(const float* x, int x_stride, Layers all, int count, uint32_t* labels, int m) {    \
        Inference<Product>::run(x, x_stride, all, count, labels, m);                                                          \
    }
FOR_EACH_PRECISION(DEFINE_INFER)

// ---- from rounded weights -----------------------------------------------------------------------------------------------------------

struct RoundedInference {
    typedef Tiling<ROUNDED_ROWS, PASS, ROUNDED_ROWS / 32, ROUNDED_ROWS == 64 ? 2 : 4, 2, 3> T;
    typedef Accumulators<T> C;
    typedef HalfGemm<Bf16, true, true, T> Loop;
    // Rows as they come and outputs of every second layer, and outputs of the others.
    typedef HalfTile<true, T::ROWS, ROUNDED_INPUTS> Even;
    typedef HalfTile<true, T::ROWS, ROUNDED_WIDEST> Odd;
    static_assert(T::THREADS == DEEP_THREADS, "as the host launches it");
    static_assert(ROUNDED_WIDEST <= ROUNDED_INPUTS && ROUNDED_WIDEST % PASS == 0 && ROUNDED_INPUTS % T::STAGE_DEPTH == 0 &&
                      PASS % T::STAGE_DEPTH == 0,
                  "a pass fills whole stages of the next layer");

    struct Shared {
        struct {
            float b[T::STAGES][Loop::B::SIZE];
        } stages;
        float even[Even::SIZE], odd[Odd::SIZE];
    };

    // The block's rows, rounded, and 0 behind them to the end of a stage.
    static DEVICE void round(const float* x, int x_stride, int row0, int m, int inputs, uint16_t* to) {
        const int quarters = (inputs + T::STAGE_DEPTH - 1) / T::STAGE_DEPTH * (T::STAGE_DEPTH / 4), count = T::ROWS * quarters;
#pragma unroll 8
        for (int at = threadIdx.x; at < count; at += T::THREADS) {
            const int row = at / quarters, column = at % quarters * 4;
            float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            // Rows are whole pieces of 16 bytes; what is behind the last number may be anything.
            if (row0 + row < m && column < inputs) four = *(const float4*)&x[(size_t)(row0 + row) * x_stride + column];
            if (column + 1 >= inputs) four.y = 0.0f;
            if (column + 2 >= inputs) four.z = 0.0f;
            if (column + 3 >= inputs) four.w = 0.0f;
            uint32_t* pairs = (uint32_t*)&to[row * Even::STRIDE + column];
            pairs[0] = pack_bf16(four.x, four.y);
            pairs[1] = pack_bf16(four.z, four.w);
        }
    }

    // Takes rows through a layer, into `next`, or to the winners if it is the last.
    template <class Next, class From>
    static DEVICE void through(From from, const Layer& layer, bool last, uint16_t* next, Winners<T>& winners, Shared& shared) {
        Loop loop;
        for (int column0 = 0; column0 < layer.outputs; column0 += PASS) {
            const HalfOperand weight = {layer.rounded, layer.rounded_stride};
            loop.run(from, weight, layer.outputs, layer.inputs, column0, shared.stages);
            // All have what the groups have added up before stages are loaded anew.
            __syncthreads();
            add_bias(loop.c, layer, column0);
            if (last) {
                each_kept<C>([&](int i, int j, int e) {
                    winners.take(i, e, loop.c.d[i][j][e], column0 + C::kept_column(j) + e % 2, layer.outputs);
                });
                continue;
            }
#pragma unroll
            for (int i = 0; i < C::KEPT_DOWN; i++)
#pragma unroll
                for (int j = 0; j < C::KEPT_ACROSS; j++)
#pragma unroll
                    for (int e = 0; e < 4; e += 2) {
                        const int column = column0 + C::kept_column(j);
                        *(uint32_t*)&next[(C::kept_row(i) + 4 * e) * Next::STRIDE + column] =
                            pack_bf16(activated(loop.c.d[i][j][e], column, layer), activated(loop.c.d[i][j][e + 1], column + 1, layer));
                    }
        }
    }

    static DEVICE void run(const float* x, int x_stride, const Layers& all, int count, uint32_t* labels, int m) {
        LARGE_SHARED(Shared, shared);
        SHARED(Best, across, [T::WARPS_ACROSS][T::ROWS]);
        const int row0 = blockIdx.x * T::ROWS;
        uint16_t *even = (uint16_t*)shared.even, *odd = (uint16_t*)shared.odd;
        Winners<T> winners;
        winners.clear();
        // The main loop's barriers are between what writes rows and what reads them.
        round(x, x_stride, row0, m, all.layers[0].inputs, even);
        for (int l = 0; l < count; l += 2) {
            through<Odd>(Even{even}, all.layers[l], l + 1 == count, odd, winners, shared);
            if (l + 1 < count) through<Even>(Odd{odd}, all.layers[l + 1], l + 2 == count, even, winners, shared);
        }
        winners.store(across, labels, row0, m);
    }
};

LARGE_SHARED_OF(infer_rounded_bf16, sizeof(RoundedInference::Shared));
KERNEL(DEEP_THREADS) infer_rounded_bf16(const float* x, int x_stride, Layers all, int count, uint32_t* labels, int m) {
    RoundedInference::run(x, x_stride, all, count, labels, m);
}
