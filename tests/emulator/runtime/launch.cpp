// Runs the blocks of a launch one after the other, and is what the Rust side calls.

#include "block.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace emulator {

__thread Builtins* builtins;
__thread Grid grid;

__thread Block* running_block;

Block::Block() : thread(new Thread[MAX_THREADS]()), window(map_window()) {}
Block::~Block() {
    unmap_window(window);
    free_stacks();
}

void fail(const char* format, ...) {
    Block& b = block();
    int used = 0;
    bool on_cuda_thread = builtins != &b.host;
    if (on_cuda_thread)
        used = snprintf(b.message, sizeof b.message, "block (%u, %u, %u), thread %u: ", grid.block_index.x,
                        grid.block_index.y, grid.block_index.z, builtins->thread_index.x);
    va_list values;
    va_start(values, format);
    vsnprintf(b.message + used, sizeof b.message - size_t(used), format, values);
    va_end(values);
    b.failed = true;
    // Nobody switches back.
    if (on_cuda_thread) switch_to(b.host);
}

}  // namespace emulator

using namespace emulator;

// Runs a kernel. Where it fails, writes a line of at most `capacity` bytes, the 0 at its end included, to `message`, and returns false.
extern "C" bool emulator_launch(const Kernel* kernel, const unsigned* blocks, void* const* arguments, uint64_t seed,
                                char* message, size_t capacity) {
    // One per OS thread: tests run side by side.
    static thread_local Block b;
    running_block = &b;
    b.kernel = kernel;
    b.arguments = arguments;
    b.threads = int(kernel->threads);
    b.warps = (b.threads + WARP - 1) / WARP;
    b.failed = false;
    builtins = &b.host;
    grid.block_size = {kernel->threads, 1, 1};
    grid.grid_size = {blocks[0], blocks[1], blocks[2]};
    for (unsigned z = 0; z < blocks[2]; ++z)
        for (unsigned y = 0; y < blocks[1]; ++y)
            for (unsigned x = 0; x < blocks[0]; ++x) {
                grid.block_index = {x, y, z};
                clear_window();
                forget_races();
                run_threads(seed);
                if (!b.failed) check_gaps();
                if (b.failed) {
                    snprintf(message, capacity, "%s", b.message);
                    return false;
                }
                // Each block gets its own order.
                if (seed != 0) seed += 0x9e3779b97f4a7c15;
            }
    return true;
}

// Forbids, or allows again, access to memory where the sanitizer watches.
extern "C" void emulator_poison(void* start, size_t bytes, bool forbid) {
#ifdef __SANITIZE_ADDRESS__
    if (forbid)
        __asan_poison_memory_region(start, bytes);
    else
        __asan_unpoison_memory_region(start, bytes);
#else
    (void)start, (void)bytes, (void)forbid;
#endif
}
