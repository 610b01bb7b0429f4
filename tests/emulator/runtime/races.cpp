// The race detector: finds two accesses of a block to the same shared memory, one of them a write, that nothing orders.
//
// Compiled with -fsanitize=thread a kernel calls a hook before every access to memory; the hooks are here, and the sanitizer's own
// library is not linked. What was last done to a place is kept beside it: every two bytes have a Cell.
//
// __syncthreads orders all threads; __syncwarp of a whole warp orders its lanes. Shuffles, votes and tensor-core products order nothing,
// as CUDA has it. Not seen: races in global memory, and races between the two halves of a cell, where single bytes are written.

#include "block.h"

#ifndef NEUNCUT_RACES

namespace emulator {
void forget_races() {}
void note_barrier() {}
void note_warp_barrier(int) {}
void note_read(const void*, size_t) {}
void note_atomic(void*, size_t) {}
void note_copy_started(void*) {}
void note_copy_done(void*) {}
}  // namespace emulator

#else

#include <cstdio>
#include <dlfcn.h>
#include <string>
#include <unistd.h>

namespace emulator {
namespace {

enum Who : uint16_t {
    THREAD = MAX_THREADS - 1,  // mask of the thread's number
    LANES = 0x400,             // several lanes of a warp: its number in the low bits
    EVERYONE = 0x800,          // several warps
    ATOMIC = 0x1000,           // a thread, with an atomic operation
    IN_FLIGHT = 0x2000,        // a thread's asynchronous copy, which has not landed
};

// Who did it, and in which span between barriers. 0 is long ago.
struct Stamp {
    uint32_t phase;  // counts __syncthreads, and blocks
    uint16_t turn;   // counts the __syncwarp of the thread's warp within the phase
    uint16_t who;
};
struct Cell {
    Stamp write;
    Stamp read;  // by whom since the last write
};
constexpr size_t CELL = 2;

struct Clock {
    uint32_t phase, first_phase_of_block;
    uint16_t turn[MAX_WARPS];
    Cell cells[WINDOW / CELL];
};
Clock& clock() {
    static __thread Clock* cached;
    if (!cached) {
        static thread_local std::unique_ptr<Clock> owner(new Clock());
        cached = owner.get();
    }
    return *cached;
}

enum Access { READ, WRITE, ATOMIC_ADD, COPY };

bool is_before(const Clock& now, const Stamp& stamp, const Thread& thread) {
    if (stamp.phase < now.first_phase_of_block) return true;
    if (stamp.who & IN_FLIGHT) return false;
    if (stamp.phase != now.phase) return true;
    if (stamp.who & EVERYONE) return false;
    int warp = stamp.who & LANES ? stamp.who & (MAX_WARPS - 1) : (stamp.who & THREAD) / WARP;
    if (warp == thread.warp && stamp.turn != now.turn[warp]) return true;
    return !(stamp.who & LANES) && (stamp.who & THREAD) == thread.number;
}

// What a Read stamp becomes when a thread adds its own read.
Stamp with_reader(const Clock& now, const Stamp& before, const Stamp& mine, const Thread& thread) {
    if (is_before(now, before, thread)) return mine;
    int warp = before.who & LANES ? before.who & (MAX_WARPS - 1) : before.who / WARP;
    bool same_warp = !(before.who & EVERYONE) && warp == thread.warp;
    return {mine.phase, mine.turn, uint16_t(same_warp ? LANES | warp : EVERYONE)};
}

// " (file.cu:12)" for a place in the program's code; nothing where that cannot be found out.
std::string source_line(void* code) {
    Dl_info program;
    if (!code || !dladdr(code, &program)) return "";
    size_t offset = size_t(static_cast<char*>(code) - static_cast<char*>(program.dli_fbase));
    // One byte back: the address is that after the call.
    char command[128];
    snprintf(command, sizeof command, "addr2line --basenames --exe=/proc/%d/exe %#zx 2>/dev/null", getpid(), offset - 1);
    char line[256] = "";
    if (FILE* answer = popen(command, "r")) {
        if (!fgets(line, sizeof line, answer)) line[0] = 0;
        pclose(answer);
    }
    std::string place(line, strcspn(line, "\n"));
    return place.empty() || place[0] == '?' ? "" : " (" + place + ")";
}

[[noreturn]] void report(const Stamp& before, bool was_read, Access access, const void* at, void* code) {
    static const char* const DOING[] = {"reads", "writes", "adds to", "starts an asynchronous copy to"};
    const SharedArray* array = array_at(at);
    std::string who = before.who & EVERYONE ? "several threads"
                      : before.who & LANES  ? "several lanes of warp " + std::to_string(before.who & (MAX_WARPS - 1))
                                            : "thread " + std::to_string(before.who & THREAD);
    const char* did = before.who & IN_FLIGHT ? "has an asynchronous copy under way to it"
                      : was_read             ? "read it"
                      : before.who & ATOMIC  ? "added to it"
                                             : "wrote it";
    fail("race: the thread %s byte %zu of the shared array `%s`%s; %s %s, and nothing orders the two", DOING[access],
         array ? size_t(static_cast<const unsigned char*>(at) - array->start) : 0, array ? array->name : "(a gap)",
         source_line(code).c_str(), who.c_str(), did);
    __builtin_unreachable();
}

// `code` is where the kernel goes on after the access; nullptr where that is not known.
inline void note(void* at, size_t bytes, Access access, void* code) {
    size_t offset = size_t(static_cast<unsigned char*>(at) - block().window);
    // The stack, global memory, or a place that the sanitizer's mode will complain about.
    if (offset >= WINDOW || offset + bytes > WINDOW) return;
    Clock& now = clock();
    const Thread& thread = current();
    Stamp mine = {now.phase, now.turn[thread.warp], uint16_t(thread.number)};
    for (size_t cell = offset / CELL; cell * CELL < offset + bytes; ++cell) {
        Stamp& write = now.cells[cell].write;
        Stamp& read = now.cells[cell].read;
        bool both_atomic = access == ATOMIC_ADD && write.who & ATOMIC;
        if (!both_atomic && !is_before(now, write, thread)) report(write, false, access, at, code);
        if (access == READ) {
            read = with_reader(now, read, mine, thread);
            continue;
        }
        if (!is_before(now, read, thread)) report(read, true, access, at, code);
        write = mine;
        if (access == ATOMIC_ADD) write.who |= ATOMIC;
        if (access == COPY) write.who |= IN_FLIGHT;
        read = {};
    }
}

}  // namespace

// A new block begins, in whose memory nothing has been done.
void forget_races() {
    note_barrier();
    clock().first_phase_of_block = clock().phase;
}

void note_barrier() {
    Clock& now = clock();
    ++now.phase;
    memset(now.turn, 0, sizeof now.turn);
}

void note_warp_barrier(int warp) { ++clock().turn[warp]; }

void note_read(const void* at, size_t bytes) { note(const_cast<void*>(at), bytes, READ, nullptr); }

void note_atomic(void* at, size_t bytes) { note(at, bytes, ATOMIC_ADD, nullptr); }

void note_copy_started(void* to) { note(to, 16, COPY, nullptr); }

// From now on it is like a write of the thread that has waited for it.
void note_copy_done(void* to) {
    Clock& now = clock();
    size_t first = size_t(static_cast<unsigned char*>(to) - block().window) / CELL;
    const Thread& thread = current();
    for (size_t cell = first; cell < first + 16 / CELL; ++cell)
        now.cells[cell].write = {now.phase, now.turn[thread.warp], uint16_t(thread.number)};
}

}  // namespace emulator

using emulator::note;

// The compiler calls these; their names are its.
#define HOOK(name, bytes, access) \
    extern "C" void __tsan_##name##bytes(void* at) { note(at, bytes, emulator::access, __builtin_return_address(0)); }
#define HOOKS(bytes)                        \
    HOOK(read, bytes, READ)                 \
    HOOK(write, bytes, WRITE)               \
    HOOK(unaligned_read, bytes, READ)       \
    HOOK(unaligned_write, bytes, WRITE)     \
    HOOK(volatile_read, bytes, READ)        \
    HOOK(volatile_write, bytes, WRITE)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
#define RANGE_HOOK(name, access)                               \
    extern "C" void __tsan_##name(void* at, size_t bytes) {    \
        note(at, bytes, emulator::access, __builtin_return_address(0)); \
    }
RANGE_HOOK(read_range, READ)
RANGE_HOOK(write_range, WRITE)
extern "C" void __tsan_init() {}

#endif
