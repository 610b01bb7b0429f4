// Counter-based random numbers, bit for bit those of src/random.rs: Philox4x32-10, and a permutation that is evaluated point by
// point.
#pragma once
#include "gpu.cuh"

struct Words {
    uint32_t word[4];
};

// Ten rounds of Philox4x32 (Salmon, Moraes, Dror, Shaw, SC 2011) on one counter.
DEVICE Words philox(Words counter, uint32_t key0, uint32_t key1) {
    uint32_t c0 = counter.word[0], c1 = counter.word[1], c2 = counter.word[2], c3 = counter.word[3];
    for (int round = 0; round < 10; round++) {
        const uint32_t high0 = __umulhi(c0, 0xD2511F53u), low0 = c0 * 0xD2511F53u;
        const uint32_t high1 = __umulhi(c2, 0xCD9E8D57u), low1 = c2 * 0xCD9E8D57u;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// `Purpose::Shuffle` in src/random.rs.
constexpr uint32_t PURPOSE_SHUFFLE = 2;

constexpr int PERMUTATION_ROUNDS = 12;

// A random permutation of 0..size: a Feistel network over the smallest power of two that holds `size`, images outside sent
// through again.
struct Permutation {
    uint64_t size;
    int low_bits, high_bits;
    uint32_t keys[PERMUTATION_ROUNDS];

    // The first threads of a block, one for four keys, write a permutation that the block shares.
    DEVICE void fill(uint64_t count, uint64_t seed, uint32_t sub, int thread) {
        if (thread == 0) {
            size = count;
            int bits = 0;
            while (count > 1 && bits < 63 && ((count - 1) >> bits) != 0) bits++;
            bits = max(bits, 2);
            low_bits = bits / 2;
            high_bits = bits - bits / 2;
        }
        if (thread < PERMUTATION_ROUNDS / 4) {
            const Words words =
                philox({{(uint32_t)thread, 0, sub, PURPOSE_SHUFFLE}}, (uint32_t)seed, (uint32_t)(seed >> 32));
            for (int i = 0; i < 4; i++) keys[4 * thread + i] = words.word[i];
        }
    }

    DEVICE uint64_t at(uint64_t position) const {
        do {
            int low = low_bits, high = high_bits;
            uint64_t lower = position & ((1ull << low) - 1), upper = position >> low;
            for (int i = 0; i < PERMUTATION_ROUNDS; i++) {
                uint32_t x = (uint32_t)lower ^ keys[i];
                x = (x ^ (x >> 16)) * 0x7FEB352Du;
                x = (x ^ (x >> 15)) * 0x846CA68Bu;
                const uint64_t mixed = (upper + (x ^ (x >> 16))) & ((1ull << high) - 1);
                upper = lower;
                lower = mixed;
                const int bits = low;
                low = high;
                high = bits;
            }
            position = upper << low | lower;
        } while (position >= size);
        return position;
    }
};
