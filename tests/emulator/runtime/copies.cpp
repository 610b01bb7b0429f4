// Asynchronous copies from global to shared memory. They land as late as the rules allow, when their thread waits for them, so that
// whoever reads too early sees what was there before.

#include "block.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace emulator {
namespace {

bool misaligned(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 != 0; }

// Lets the sanitizer see the copy while the kernel's own line is on the stack.
void inspect(void* to, const void* from, int bytes) {
#ifdef __SANITIZE_ADDRESS__
    for (int i = 0; i < bytes; ++i) (void)static_cast<const volatile unsigned char*>(from)[i];
    for (int i = 0; i < 16; ++i) (void)static_cast<const volatile unsigned char*>(to)[i];
#else
    (void)to, (void)from, (void)bytes;
#endif
}

void land(const Thread::Copy& copy) {
    memcpy(copy.to, copy.from, size_t(copy.bytes));
    memset(static_cast<unsigned char*>(copy.to) + copy.bytes, 0, size_t(16 - copy.bytes));
    note_copy_done(copy.to);
}

}  // namespace

void wait_for_copies(int pending) {
    Thread& thread = current();
    int done_groups = int(thread.groups.size()) - pending;
    if (done_groups <= 0) return;
    size_t done_copies = 0;
    for (int group = 0; group < done_groups; ++group)
        for (int i = 0; i < thread.groups[size_t(group)]; ++i) land(thread.copies[done_copies++]);
    thread.groups.erase(thread.groups.begin(), thread.groups.begin() + done_groups);
    thread.copies.erase(thread.copies.begin(), thread.copies.begin() + long(done_copies));
}

// At the end of a thread. Empty groups may be left over: pipelines commit them to keep their count.
void check_copies_done() {
    const Thread& thread = current();
    if (thread.copies.empty()) return;
    size_t closed = 0;
    for (int copies : thread.groups) closed += size_t(copies);
    size_t open = thread.copies.size() - closed;
    if (open > 0) fail("the thread ends with %zu asynchronous copies in no group: copy_async_commit() is missing", open);
    fail("the thread ends with %zu asynchronous copies unfinished: copy_async_wait() is missing", closed);
}

}  // namespace emulator

using namespace emulator;

void copy_async_16(void* to, const void* from, int bytes) {
    if (bytes < 0 || bytes > 16) fail("copy_async_16 of %d bytes; it takes 0 to 16", bytes);
    if (misaligned(to) || misaligned(from)) fail("copy_async_16 from %p to %p: both must be multiples of 16", from, to);
    inspect(to, from, bytes);
    const SharedArray* array = array_at(to);
    if (!array) fail("copy_async_16 to %p, which is in no shared array", to);
    if (static_cast<unsigned char*>(to) + 16 > array->start + array->bytes)
        fail("copy_async_16 beyond the end of the shared array `%s`", array->name);
    note_copy_started(to);
    current().copies.push_back({to, from, bytes});
}

void copy_async_commit() {
    Thread& thread = current();
    size_t closed = 0;
    for (int copies : thread.groups) closed += size_t(copies);
    thread.groups.push_back(int(thread.copies.size() - closed));
}
