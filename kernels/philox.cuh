// Counter-based random numbers, those of src/random.rs: any block makes any part of a stream by itself.
#pragma once
#include "gpu.cuh"

// The four words at an index.
struct Words {
    uint32_t word[4];
};

// `Stream` in src/random.rs.
struct Stream {
    uint32_t key[2];
    uint32_t purpose, sub;

    // Ten rounds of Philox4x32 (Salmon, Moraes, Dror, Shaw, SC 2011).
    DEVICE Words words(uint64_t index) const {
        Words c = {{(uint32_t)index, (uint32_t)(index >> 32), sub, purpose}};
        uint32_t k0 = key[0], k1 = key[1];
#pragma unroll
        for (int round = 0; round < 10; round++) {
            const uint64_t p0 = (uint64_t)c.word[0] * 0xD2511F53u, p1 = (uint64_t)c.word[2] * 0xCD9E8D57u;
            c = {{(uint32_t)(p1 >> 32) ^ c.word[1] ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c.word[3] ^ k1, (uint32_t)p0}};
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        return c;
    }
};
