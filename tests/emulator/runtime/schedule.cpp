// Which thread of a block runs when: each goes on until it has to wait, then the next that waits for nothing does, those of its own
// warp first. When nobody can go on the block is dead, and the report says who waits where.

#include "block.h"

#include <algorithm>
#include <string>

namespace emulator {
namespace {

// The order in which the warps of a block, and the lanes of each warp, get their turn.
void choose_order(Block& b, uint64_t seed) {
    for (int i = 0; i < MAX_WARPS; ++i) b.warp_at[i] = uint8_t(i);
    for (int i = 0; i < WARP; ++i) b.lane_at[i] = uint8_t(i);
    if (seed == 0) return;
    auto random = [&](int below) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        return int((seed >> 33) % uint64_t(below));
    };
    for (int i = b.warps - 1; i > 0; --i) std::swap(b.warp_at[i], b.warp_at[random(i + 1)]);
    for (int i = WARP - 1; i > 0; --i) std::swap(b.lane_at[i], b.lane_at[random(i + 1)]);
}

Thread& next_thread() {
    Block& b = block();
    const Warp* warp = &b.warp[current().warp];
    int number = current().warp;
    if (!warp->runnable) {
        if (!b.runnable_warps) return b.host;
        number = b.warp_at[__builtin_ctz(b.runnable_warps)];
        warp = &b.warp[number];
    }
    return b.thread[number * WARP + b.lane_at[__builtin_ctz(warp->runnable)]];
}

void stop_running(Thread& thread) {
    Block& b = block();
    Warp& warp = b.warp[thread.warp];
    warp.runnable &= ~thread.lane_bit;
    if (!warp.runnable) b.runnable_warps &= ~(1u << warp.place);
}

// Does not return, so that the sanitizer must leave its frame alone (see switch_to).
__attribute__((no_sanitize_address)) void run_thread() {
    fiber_started();
    Block& b = block();
    b.kernel->call(b.arguments);
    check_copies_done();
    Thread& thread = current();
    thread.ended = true;
    --b.running;
    stop_running(thread);
    switch_to(next_thread());
}

void report_deadlock() {
    const Block& b = block();
    auto what = [&](int thread) { return b.thread[thread].ended ? nullptr : b.thread[thread].waits_in; };
    std::string report;
    for (int first = 0, after; first < b.threads; first = after) {
        for (after = first; after < b.threads && what(after) == what(first);) ++after;
        report += report.empty() ? "" : ", ";
        report += after - first == 1 ? "thread " + std::to_string(first)
                                     : "threads " + std::to_string(first) + " to " + std::to_string(after - 1);
        report += what(first) ? std::string(after - first == 1 ? " waits in " : " wait in ") + what(first)
                              : after - first == 1 ? " has ended" : " have ended";
    }
    const uint3& at = grid.block_index;
    fail("block (%u, %u, %u) cannot go on: %s", at.x, at.y, at.z, report.c_str());
}

}  // namespace

// The running thread waits until make_runnable() names it.
void wait_in(const char* what) {
    Thread& thread = current();
    thread.waits_in = what;
    stop_running(thread);
    switch_to(next_thread());
    thread.waits_in = nullptr;
}

void make_runnable(int warp, unsigned lane_bits) {
    Block& b = block();
    b.warp[warp].runnable |= lane_bits;
    b.runnable_warps |= 1u << b.warp[warp].place;
}

// Runs all threads of the block that grid.block_index names, to their end or to the first failure.
void run_threads(uint64_t seed) {
    Block& b = block();
    choose_order(b, seed);
    unsigned lane_bit[WARP];
    for (int place = 0; place < WARP; ++place) lane_bit[b.lane_at[place]] = 1u << place;
    b.running = b.threads;
    b.at_barrier = 0;
    b.runnable_warps = 0;
    for (int place = 0; place < b.warps; ++place) {
        Warp& warp = b.warp[b.warp_at[place]];
        warp.place = unsigned(place);
        warp.lanes = 0;
        warp.gatherings.clear();
    }
    for (int number = 0; number < b.threads; ++number) {
        Thread& thread = b.thread[number];
        thread.thread_index = {unsigned(number), 0, 0};
        thread.number = number;
        thread.warp = number / WARP;
        thread.lane = number % WARP;
        thread.lane_bit = lane_bit[thread.lane];
        thread.waits_in = nullptr;
        thread.ended = false;
        thread.copies.clear();
        thread.groups.clear();
        b.warp[thread.warp].lanes |= thread.lane_bit;
        prepare_fiber(thread, run_thread);
    }
    for (int warp = 0; warp < b.warps; ++warp) {
        b.warp[warp].runnable = 0;
        make_runnable(warp, b.warp[warp].lanes);
    }
    int first_warp = b.warp_at[0];
    builtins = &b.host;
    switch_to(b.thread[first_warp * WARP + b.lane_at[__builtin_ctz(b.warp[first_warp].runnable)]]);
    if (b.running > 0 && !b.failed) report_deadlock();
    if (b.failed) abandon_fibers();
}

}  // namespace emulator
