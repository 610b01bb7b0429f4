// Shared memory: one window per OS thread, in which each array of the running block gets its place, full of NaN, with gaps between
// the arrays. The sanitizer knows the gaps; without it a write to one is found when the block ends.

#include "block.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes)
#define ASAN_UNPOISON_MEMORY_REGION(start, bytes)
#endif

namespace emulator {
namespace {

constexpr size_t ALIGNMENT = 128;
constexpr size_t GAP = 512;
constexpr unsigned char UNDEFINED = 0xff;  // as float, and as bfloat16 or f16, it is NaN

size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

}  // namespace

__thread uint64_t block_serial;

unsigned char* map_window() {
    void* mapped = mmap(nullptr, WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
        perror("the emulator cannot map shared memory");
        abort();
    }
    return static_cast<unsigned char*>(mapped);
}

void unmap_window(unsigned char* window) {
    ASAN_UNPOISON_MEMORY_REGION(window, WINDOW);
    munmap(window, WINDOW);
}

// Takes all arrays away: a new block begins.
void clear_window() {
    Block& b = block();
    ++block_serial;
    b.arrays.clear();
    b.small_bytes = b.large_bytes = 0;
    ASAN_UNPOISON_MEMORY_REGION(b.window, WINDOW);
    memset(b.window, UNDEFINED, GAP);
    ASAN_POISON_MEMORY_REGION(b.window, WINDOW);
    b.window_used = GAP;
}

// Gives an array its place in the running block.
void* place_shared(Slot& slot, const char* name, size_t bytes, bool large) {
    Block& b = block();
    unsigned char* start = b.window + b.window_used;
    size_t& used = large ? b.large_bytes : b.small_bytes;
    used += aligned(bytes);
    b.window_used += aligned(bytes) + GAP;
    const size_t most = large ? MOST_SHARED - b.small_bytes : SMALL_SHARED;
    if (used > most || b.small_bytes + b.large_bytes > MOST_SHARED || b.window_used > WINDOW)
        fail("with `%s` the kernel uses %zu bytes of shared memory, more than the %zu of a block", name, used, most);
    ASAN_UNPOISON_MEMORY_REGION(start, aligned(bytes) + GAP);
    memset(start, UNDEFINED, aligned(bytes) + GAP);
    ASAN_POISON_MEMORY_REGION(start, aligned(bytes) + GAP);
    ASAN_UNPOISON_MEMORY_REGION(start, bytes);
    b.arrays.push_back({name, start, bytes});
    slot = {block_serial, start};
    return start;
}

// At the end of a block: nothing may have been written between the arrays.
void check_gaps() {
    // The sanitizer has seen every access, and would object to this one.
#ifndef __SANITIZE_ADDRESS__
    Block& b = block();
    const unsigned char* gap = b.window;
    const char* before = nullptr;
    auto check = [&](const unsigned char* end, const char* after) {
        const uint3& at = grid.block_index;
        for (const unsigned char* byte = gap; byte < end; ++byte)
            if (*byte != UNDEFINED && !b.failed)
                fail("block (%u, %u, %u) wrote outside its shared arrays, %s `%s`", at.x, at.y, at.z,
                     before ? "after" : "before", before ? before : after);
    };
    for (const SharedArray& array : b.arrays) {
        check(array.start, array.name);
        gap = array.start + array.bytes;
        before = array.name;
    }
    if (before) check(b.window + b.window_used, nullptr);
#endif
}

// The array that a place belongs to; nullptr for none.
const SharedArray* array_at(const void* at) {
    for (const SharedArray& array : block().arrays)
        if (at >= array.start && at < array.start + array.bytes) return &array;
    return nullptr;
}

}  // namespace emulator
