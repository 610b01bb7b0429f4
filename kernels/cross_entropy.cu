// The mean cross-entropy between memberships and given labels, and its gradient with respect to the logits.
//
// Registers: at most 40 a thread.
#include "reduce.cuh"
#include "rounded.cuh"
#include "state.cuh"

// dZ = (Y - onehot(t)) / m, a warp per row; t_i the target of row order[batch m + i]. The first block also fills the mini-batch's row of
// `losses`: (0, 0, -1/m sum_i log y_(i, t_i)).
KERNEL(256) cross_entropy(const float* membership, int y_stride, const uint32_t* targets, const uint32_t* order,
                          const StepState* state, float least, int m, int k, float* d_logits, int d_stride, Rounded rounded,
                          float* losses, int losses_stride) {
    SHARED(double, sums, [256]);
    const uint32_t* rows = order + (uint64_t)state->batch * m;
    const int row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row < m) {
        const int target = targets[rows[row]];
        const float* y = membership + (size_t)row * y_stride;
        float* d = d_logits + (size_t)row * d_stride;
        for (int l = threadIdx.x % 32; l < k; l += 32) {
            const float value = (y[l] - (l == target ? 1.0f : 0.0f)) / m;
            d[l] = value;
            rounded.put(row, l, value);
        }
    }
    if (blockIdx.x != 0) return;
    double sum = 0.0;
    for (int i = threadIdx.x; i < m; i += 256) {
        const float y = membership[(size_t)i * y_stride + targets[rows[i]]];
        // Written so that NaN stays NaN.
        sum += logf(y < least ? least : y);
    }
    sums[threadIdx.x] = sum;
    for (int apart = 128; apart > 0; apart /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < apart) sums[threadIdx.x] += sums[threadIdx.x + apart];
    }
    if (threadIdx.x == 0) {
        float* loss = losses + (size_t)state->batch * losses_stride;
        loss[0] = loss[1] = 0.0f;
        loss[2] = (float)(-sums[0] / m);
    }
}
