// The part of a graph that lies between the rows of a mini-batch: contracted along the edges of the whole graph, or as a full matrix.
//
// Registers: at most 40 a thread.
#include "edges.cuh"
#include "state.cuh"

// `Part` in src/cuda/subgraph.rs.
struct Part {
    Edges edges;
    // The rows of the mini-batch, and for each row of the graph where it was in the last mini-batch that it was in.
    const uint32_t *rows, *places;
    int m;

    // Where a row of the graph is in the mini-batch; below 0 when it is not. What earlier ones left is told by who is there now.
    DEVICE int place(uint32_t row) const {
        const uint32_t place = places[row];
        return place < (uint32_t)m && rows[place] == row ? (int)place : -1;
    }
};

// The rows of the mini-batch, and their places.
KERNEL(256) subgraph_places(const uint32_t* order, const StepState* state, uint32_t* rows, uint32_t* places, int m) {
    const int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= m) return;
    const uint32_t row = order[(uint64_t)state->batch * m + i];
    rows[i] = row;
    places[row] = i;
}

// [S | D] = A [Y | 1], in f32 whatever the precision. A warp for a row and a panel of columns.
KERNEL(256) subgraph_contract(Part part, const float* y, int y_stride, float* s, int s_stride, float* degrees, int k) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, column0 = blockIdx.y * PANEL;
    if (row >= part.m) return;
    Panel panel;
    const float degree = warp_sum(each_edge(
        part.edges, part.rows[row], [&](uint32_t other) { return part.place(other); },
        [&](int place, float value) { panel.add(value, y + (size_t)place * y_stride, column0, k); }));
    panel.store(s + (size_t)row * s_stride, column0, k);
    if (threadIdx.x % 32 == 0 && blockIdx.y == 0) degrees[row] = degree;
}

// A as a full matrix, and its degrees, in f32: weights may be of any size. A block for a row.
KERNEL(128) subgraph_dense(Part part, float* a, int a_stride, float* degrees) {
    float* row = a + (size_t)blockIdx.x * a_stride;
    for (int j = threadIdx.x; j < part.m; j += 128) row[j] = 0.0f;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    // A lane for each edge: none waits for another.
    const uint32_t graph_row = part.rows[blockIdx.x];
    float degree = 0.0f;
    for (uint64_t at = part.edges.starts[graph_row] + threadIdx.x; at < part.edges.starts[graph_row + 1]; at += 32) {
        const int place = part.place(part.edges.columns[at]);
        if (place < 0) continue;
        const float value = part.edges.values[at];
        row[place] = value;
        degree += value;
    }
    degree = warp_sum(degree);
    if (threadIdx.x == 0) degrees[blockIdx.x] = degree;
}
