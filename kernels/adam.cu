// The Adam step on its own, for gradients that are stored.
//
// Registers: at most 40 a thread.
#include "adam.cuh"

// All arrays hold `count` numbers; padding, being 0 in all of them, stays 0.
KERNEL(256) adam(const float* gradient, AdamRule rule, const StepState* state, float* parameter, float* first_moment,
                 float* second_moment, uint64_t count) {
    SHARED(AdamCorrections, corrections, [1]);
    if (threadIdx.x == 0) corrections[0] = adam_corrections(rule, *state);
    __syncthreads();
    const uint64_t at = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    if (at < count)
        adam_update(rule, corrections[0], gradient[at], parameter[at], first_moment[at], second_moment[at]);
}
