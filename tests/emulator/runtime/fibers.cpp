// Fibers: every CUDA thread of a block has its own stack on one OS thread, and they hand the processor to each other.

#include "block.h"

#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that a function must keep, and the stack pointer in *from; then continues what was saved in `to`.
extern "C" void neuncut_switch_stack(void** from, void* to);
asm(R"(
.text
.globl neuncut_switch_stack
.type neuncut_switch_stack, @function
neuncut_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size neuncut_switch_stack, . - neuncut_switch_stack
)");

namespace emulator {
namespace {

constexpr size_t STACK = 256 * 1024;
constexpr size_t GUARD = 4096;

struct Stacks {
    unsigned char* memory[MAX_THREADS] = {};
};
__thread Stacks* stacks;

unsigned char* stack_of(const Thread& thread) {
    if (!stacks) stacks = new Stacks;
    unsigned char*& memory = stacks->memory[thread.number];
    if (!memory) {
        void* mapped = mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapped == MAP_FAILED || mprotect(mapped, GUARD, PROT_NONE) != 0) {
            perror("the emulator cannot map the stack of a thread");
            abort();
        }
        memory = static_cast<unsigned char*>(mapped) + GUARD;
    }
    return memory;
}

}  // namespace

// Lets the thread start in `entry` at its first turn.
void prepare_fiber(Thread& thread, void (*entry)()) {
    // Stacks that all began at the same place within a page would compete for the same few lines of the cache.
    size_t stagger = thread.number % 64 * 576;
    void** top = reinterpret_cast<void**>(stack_of(thread) + STACK - stagger);
    // As after a call: the address of `entry`, where the switch returns to, leaves the stack 8 bytes off a multiple of 16.
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(entry);
    for (int saved_register = 0; saved_register < 6; ++saved_register) *--top = nullptr;
    thread.stack_pointer = top;
}

#ifdef __SANITIZE_ADDRESS__

namespace {

struct Bounds {
    void* bottom;
    size_t size;
};
Bounds bounds_of(const Thread& thread) {
    if (&thread != &block().host) return {stack_of(thread), STACK};
    static __thread Bounds host;
    if (!host.bottom) {
        pthread_attr_t attributes;
        pthread_getattr_np(pthread_self(), &attributes);
        pthread_attr_getstack(&attributes, &host.bottom, &host.size);
        pthread_attr_destroy(&attributes);
    }
    return host;
}

}  // namespace

// Not itself under the sanitizer: its last call on a stack never returns, and would leave marks there for the next block to trip on.
__attribute__((no_sanitize_address)) void switch_to(Thread& next) {
    Thread& left = current();
    builtins = &next;
    Bounds bounds = bounds_of(next);
    __sanitizer_start_switch_fiber(left.ended ? nullptr : &left.sanitizer_stack, bounds.bottom, bounds.size);
    neuncut_switch_stack(&left.stack_pointer, next.stack_pointer);
    __sanitizer_finish_switch_fiber(left.sanitizer_stack, nullptr, nullptr);
}

// First thing that a fiber does.
void fiber_started() { __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr); }

// Frames that will never return leave their marks in the sanitizer's map of the stacks.
void abandon_fibers() {
    for (unsigned char* memory : stacks->memory)
        if (memory) __asan_unpoison_memory_region(memory, STACK);
}

#else

void switch_to(Thread& next) {
    Thread& left = current();
    builtins = &next;
    neuncut_switch_stack(&left.stack_pointer, next.stack_pointer);
}
void fiber_started() {}
void abandon_fibers() {}

#endif

void free_stacks() {
    if (!stacks) return;
    for (unsigned char* memory : stacks->memory)
        if (memory) munmap(memory - GUARD, GUARD + STACK);
    delete stacks;
    stacks = nullptr;
}

}  // namespace emulator
