// Operations that threads carry out together: the barrier of a block; barrier, vote and shuffle of a warp. The last to arrive does
// the work for all and goes on, so that each operation costs every other thread one switch.

#include "block.h"

namespace emulator {

// Brings this lane's operand to the operation and returns when the lanes of `mask` have all done so.
void gather(const Operation& operation, unsigned mask, void* operand) {
    Thread& thread = current();
    Warp& warp = block().warp[thread.warp];
    unsigned lane = 1u << thread.lane;
    if (!(mask & lane)) fail("%s with mask %08x, which leaves out the calling lane %d", operation.name, mask, thread.lane);
    warp.operands[thread.lane] = operand;

    for (size_t i = 0; i < warp.gatherings.size(); ++i) {
        Gathering& gathering = warp.gatherings[i];
        if (!(gathering.mask & mask)) continue;
        if (gathering.operation != &operation)
            fail("%s, while other lanes of the warp wait for this one in %s", operation.name, gathering.operation->name);
        if (gathering.mask != mask)
            fail("%s with mask %08x, while other lanes wait with mask %08x", operation.name, mask, gathering.mask);
        gathering.arrived |= lane;
        if (gathering.arrived == mask) {
            unsigned others = gathering.lane_bits;
            warp.gatherings.erase(warp.gatherings.begin() + long(i));
            operation.combine(warp.operands, mask);
            make_runnable(thread.warp, others);
        } else {
            gathering.lane_bits |= thread.lane_bit;
            wait_in(operation.name);
        }
        return;
    }
    if (mask == lane) return operation.combine(warp.operands, mask);
    warp.gatherings.push_back({&operation, mask, lane, thread.lane_bit});
    wait_in(operation.name);
}

namespace {

struct Shuffle {
    uint64_t value, result;
    int from_lane;
};
const Operation SHUFFLE = {"a shuffle", [](void* const* operands, unsigned lanes) {
    for (unsigned left = lanes; left; left &= left - 1) {
        Shuffle& lane = *static_cast<Shuffle*>(operands[__builtin_ctz(left)]);
        if (!(lanes >> lane.from_lane & 1))
            fail("a shuffle in which lane %d asks lane %d, which takes no part", __builtin_ctz(left), lane.from_lane);
        lane.result = static_cast<const Shuffle*>(operands[lane.from_lane])->value;
    }
}};

struct Vote {
    int predicate;
    unsigned result;
};
const Operation BALLOT = {"__ballot_sync", [](void* const* operands, unsigned lanes) {
    unsigned result = 0;
    for (unsigned left = lanes; left; left &= left - 1)
        if (static_cast<const Vote*>(operands[__builtin_ctz(left)])->predicate) result |= left & -left;
    for (unsigned left = lanes; left; left &= left - 1) static_cast<Vote*>(operands[__builtin_ctz(left)])->result = result;
}};

const Operation SYNCWARP = {"__syncwarp", [](void* const*, unsigned lanes) {
    if (lanes == 0xffffffffu) note_warp_barrier(current().warp);
}};

}  // namespace

uint64_t shuffle(unsigned mask, uint64_t value, int from_lane) {
    Shuffle operand = {value, 0, from_lane};
    gather(SHUFFLE, mask, &operand);
    return operand.result;
}

}  // namespace emulator

using namespace emulator;

unsigned __ballot_sync(unsigned mask, int predicate) {
    Vote operand = {predicate, 0};
    gather(BALLOT, mask, &operand);
    return operand.result;
}

void __syncwarp(unsigned mask) { gather(SYNCWARP, mask, nullptr); }

// Threads that have ended are missed: on the card the barrier would be undefined without them.
void __syncthreads() {
    Block& b = block();
    if (++b.at_barrier < b.threads) return wait_in("__syncthreads");
    b.at_barrier = 0;
    note_barrier();
    for (int warp = 0; warp < b.warps; ++warp) make_runnable(warp, b.warp[warp].lanes);
}

namespace {
template <class T>
T add(T* to, T value) {
    note_atomic(to, sizeof(T));
    T before = *to;
    *to = before + value;
    return before;
}
}  // namespace

int atomicAdd(int* to, int value) { return add(to, value); }
unsigned atomicAdd(unsigned* to, unsigned value) { return add(to, value); }
unsigned long atomicAdd(unsigned long* to, unsigned long value) { return add(to, value); }
unsigned long long atomicAdd(unsigned long long* to, unsigned long long value) { return add(to, value); }
