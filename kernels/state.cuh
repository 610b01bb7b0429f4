// What changes from step to step, in device memory so that a recorded step can be replayed; `DeviceState` on the host.
#pragma once
#include "gpu.cuh"

struct StepState {
    uint64_t seed;
    // Steps finished since training began.
    uint64_t step;
    double learning_rate;
    uint32_t epoch;
    // Mini-batch within the epoch.
    uint32_t batch;
};
