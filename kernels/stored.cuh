// Affinities as they are stored: f32, or f16.
#pragma once
#include "gpu.cuh"

DEVICE void store(float* to, float value) { *to = value; }
DEVICE void store(uint16_t* to, float value) { *to = to_f16(value); }
DEVICE float as_stored(const float*, float value) { return value; }
DEVICE float as_stored(const uint16_t*, float value) { return from_f16(to_f16(value)); }
