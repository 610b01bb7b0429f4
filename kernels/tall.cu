// The algebra of tall matrices: many rows, few columns.
//
// Registers: at most 168 a thread.
#include "gemm.cuh"

// A' B for A n x p and B n x q, in f64: a block for 64 x 64 numbers of the product and `part_rows` rows, which the host adds up.
KERNEL(GEMM_THREADS) gram(const float* a, int a_stride, const float* b, int b_stride, int n, int p, int q, int part_rows,
                          double* parts) {
    typedef Gemm<Fp64Sums, false, false, Plain<64>, double> Product;
    SHARED(Product::Shared, shared, [1]);
    const int row0 = blockIdx.x * 64, column0 = blockIdx.y * 64, first = blockIdx.z * part_rows;
    Product product;
    product.run({a + (size_t)first * a_stride, a_stride}, {b + (size_t)first * b_stride, b_stride}, p, q,
                min(part_rows, n - first), row0, column0, shared[0]);
    double* part = parts + (size_t)blockIdx.z * p * q;
    product.c.each([&](int row, int column, double value) {
        if (row0 + row < p && column0 + column < q) part[(size_t)(row0 + row) * q + column0 + column] = value;
    });
}

// Y <- keep Y + X C for X n x p and C p x q, in f32. What is not kept is not looked at: it may be no number.
KERNEL(GEMM_THREADS) combine(const float* x, int x_stride, const float* c, int c_stride, float keep, float* y, int y_stride, int n,
                             int p, int q) {
    typedef Gemm<Fp32, true, false, Plain<64>> Product;
    SHARED(Product::Shared, shared, [1]);
    const int row0 = blockIdx.x * 64, column0 = blockIdx.y * 64;
    Product product;
    product.run({x, x_stride}, {c, c_stride}, n, q, p, row0, column0, shared[0]);
    product.c.each([&](int row, int column, float value) {
        if (row0 + row >= n || column0 + column >= q) return;
        float& to = y[(size_t)(row0 + row) * y_stride + column0 + column];
        to = keep == 0.0f ? value : fmaf(keep, to, value);
    });
}
