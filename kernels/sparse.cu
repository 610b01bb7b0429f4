// Products with a graph of all training rows.
//
// Registers: at most 40 a thread.
#include "edges.cuh"

// Y = A X; X and Y n x p. A warp for a row and a panel of columns.
KERNEL(256) sparse_product(Edges edges, const float* x, int x_stride, float* y, int y_stride, int n, int p) {
    const int row = blockIdx.x * 8 + threadIdx.x / 32, column0 = blockIdx.y * PANEL;
    if (row >= n) return;
    Panel panel;
    each_edge(
        edges, row, [](uint32_t column) { return (int)column; },
        [&](int column, float value) { panel.add(value, x + (size_t)column * x_stride, column0, p); });
    panel.store(y + (size_t)row * y_stride, column0, p);
}
