// The state of the block that runs on this OS thread, and what the parts of the runtime call of each other.
#pragma once

#include "emulated_gpu.h"

#include <memory>
#include <vector>

namespace emulator {

constexpr int WARP = 32;
constexpr int MAX_THREADS = 1024;
constexpr int MAX_WARPS = MAX_THREADS / WARP;

// A CUDA thread. Its Builtins come first so that the pointer `builtins` is also the pointer to it.
struct Thread : Builtins {
    void* stack_pointer;
    void* sanitizer_stack;
    int number;                // in its block
    int warp;
    unsigned lane_bit;         // its place among the lanes in the order in which they are run
    const char* waits_in;      // nullptr while it may run
    bool ended;

    struct Copy {
        void* to;
        const void* from;
        int bytes;
    };
    std::vector<Copy> copies;  // started and not yet done, oldest first
    std::vector<int> groups;   // copies in each closed group, oldest first; what is left over is not yet closed
};

// A collective operation of a warp: the last lane to arrive combines what all have brought.
struct Operation {
    const char* name;
    void (*combine)(void* const* operands, unsigned lanes);
};
struct Gathering {
    const Operation* operation;
    unsigned mask;        // lanes that take part
    unsigned arrived;
    unsigned lane_bits;   // of those that arrived
};
struct Warp {
    unsigned lanes;       // lane_bit of each thread
    unsigned runnable;    // lane_bit of each thread that waits for nothing
    unsigned place;       // its place among the warps in the order in which they are run
    void* operands[WARP];
    std::vector<Gathering> gatherings;
};

struct SharedArray {
    const char* name;
    unsigned char* start;
    size_t bytes;
};

struct Block {
    const Kernel* kernel;
    void* const* arguments;
    int threads, warps;
    int running;                         // threads that have not ended
    int at_barrier;
    unsigned runnable_warps;             // bit `place` of each warp that has a runnable lane
    uint8_t warp_at[MAX_WARPS];          // which warp has a place
    uint8_t lane_at[WARP];               // which lane has a lane_bit
    Thread host;                         // the OS thread's own stack
    std::unique_ptr<Thread[]> thread;
    Warp warp[MAX_WARPS];

    unsigned char* window;               // shared memory
    size_t window_used, small_bytes, large_bytes;
    std::vector<SharedArray> arrays;

    bool failed;
    char message[1024];

    Block();
    ~Block();
};
extern __thread Block* running_block __attribute__((tls_model("initial-exec")));
inline Block& block() { return *running_block; }
inline Thread& current() { return *static_cast<Thread*>(builtins); }

// Ends the launch with a message. On a CUDA thread the block and thread are put before it and the call does not return.
void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// fibers.cpp
void prepare_fiber(Thread& thread, void (*entry)());
void fiber_started();
void switch_to(Thread& next);
void abandon_fibers();
void free_stacks();

// schedule.cpp
void run_threads(uint64_t seed);
void wait_in(const char* what);
void make_runnable(int warp, unsigned lane_bits);

// shared.cpp
constexpr size_t WINDOW = 512 * 1024;
unsigned char* map_window();
void unmap_window(unsigned char* window);
void clear_window();
void check_gaps();
const SharedArray* array_at(const void* at);

// collectives.cpp
void gather(const Operation& operation, unsigned mask, void* operand);

// copies.cpp
void check_copies_done();

// races.cpp
void forget_races();
void note_barrier();
void note_warp_barrier(int warp);
void note_read(const void* at, size_t bytes);
void note_atomic(void* at, size_t bytes);
void note_copy_started(void* to);
void note_copy_done(void* to);

}  // namespace emulator
