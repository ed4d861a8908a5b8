// The kernels and their launcher for the host: see host.h.
#include "host.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ucontext.h>

namespace host {

thread_local Block block;

namespace {

constexpr size_t STACK = 256 * 1024;
constexpr unsigned MOST_THREADS = 1024;

using Call = void (*)(const void*);

struct Kernel {
    size_t size;  // of its parameters
    Call call;
};

std::map<std::string, Kernel>& registry() {
    static std::map<std::string, Kernel> kernels;
    return kernels;
}

// A stack on which one thread of a block after the other runs. Fibers are made once: after that, changing between them
// is a long jump, where `swapcontext` would ask the kernel for signal masks each time.
struct Fiber {
    std::unique_ptr<char[]> stack;
    jmp_buf here;
    bool ended = true;
};

struct Fibers {
    std::vector<Fiber> all;
    jmp_buf scheduler;
    ucontext_t origin;
    Fiber* current = nullptr;
    Call call = nullptr;
    const void* params = nullptr;
};
thread_local Fibers fibers;

void life() {
    Fiber* self = fibers.current;
    if (_setjmp(self->here) == 0) setcontext(&fibers.origin);
    for (;;) {
        fibers.call(fibers.params);
        self->ended = true;
        if (_setjmp(self->here) == 0) _longjmp(fibers.scheduler, 1);
    }
}

void grow(unsigned count) {
    fibers.all.reserve(MOST_THREADS);
    while (fibers.all.size() < count) {
        fibers.all.emplace_back();
        Fiber& fiber = fibers.all.back();
        fiber.stack.reset(new char[STACK]);
        ucontext_t start;
        getcontext(&start);
        start.uc_stack.ss_sp = fiber.stack.get();
        start.uc_stack.ss_size = STACK;
        start.uc_link = nullptr;
        makecontext(&start, life, 0);
        fibers.current = &fiber;
        swapcontext(&fibers.origin, &start);
    }
}

// Runs a fiber until it waits or ends.
void resume(unsigned thread) {
    fibers.current = &fibers.all[thread];
    block.current = &block.threads[thread];
    if (_setjmp(fibers.scheduler) == 0) _longjmp(fibers.current->here, 1);
}

// Whether all threads from `first` to `end` that have not ended wait at this barrier, and none has ended.
bool complete(unsigned first, unsigned end, Barrier barrier) {
    for (unsigned thread = first; thread < end; ++thread)
        if (fibers.all[thread].ended || block.threads[thread].waits != barrier) return false;
    return true;
}

// Runs the threads of one block to their ends; false when they wait for each other forever.
bool run(unsigned count) {
    for (unsigned thread = 0; thread < count; ++thread) fibers.all[thread].ended = false;
    for (;;) {
        bool moved = false, left = false;
        for (unsigned turn = 0; turn < count; ++turn) {
            const unsigned thread = block.backwards ? count - 1 - turn : turn;
            if (fibers.all[thread].ended || block.threads[thread].waits != Barrier::None) continue;
            resume(thread);
            moved = true;
        }
        for (unsigned first = 0; first < count; first += 32) {
            const unsigned end = first + 32 < count ? first + 32 : count;
            if (!complete(first, end, Barrier::Warp)) continue;
            for (unsigned thread = first; thread < end; ++thread) block.threads[thread].waits = Barrier::None;
            moved = true;
        }
        if (complete(0, count, Barrier::Block)) {
            for (unsigned thread = 0; thread < count; ++thread) block.threads[thread].waits = Barrier::None;
            moved = true;
        }
        for (unsigned thread = 0; thread < count; ++thread) left |= !fibers.all[thread].ended;
        if (!left) return true;
        if (!moved) return false;
    }
}

}  // namespace

void wait(Barrier barrier) {
    block.current->waits = barrier;
    if (_setjmp(fibers.current->here) == 0) _longjmp(fibers.scheduler, 1);
}

Registration::Registration(const char* name, size_t size, Call call) { registry()[name] = {size, call}; }

}  // namespace host

void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    using host::block;
    struct {
        uint32_t a[4], b[2];
    } mine;
    std::memcpy(mine.a, a, sizeof a);
    std::memcpy(mine.b, b, sizeof b);
    const unsigned turn = host::show(mine), lane = block.current->linear & 31u, group = lane / 4, quad = lane % 4;
    const auto half = [](uint32_t word, unsigned odd) { return __uint_as_float(odd ? word & 0xffff0000u : word << 16); };
    // Element (row, k) of A: lane 4 (row % 8) + k % 8 / 2, register row / 8 + 2 (k / 8). Element (k, column) of B: lane
    // 4 column + k % 8 / 2, register k / 8.
    const host::Thread* rows = &host::neighbor(4 * group);
    const host::Thread* columns[2] = {&host::neighbor(8 * quad), &host::neighbor(8 * quad + 4)};
    for (unsigned k = 0; k < 16; ++k) {
        const unsigned at = k % 8 / 2;
        for (unsigned i = 0; i < 4; ++i)
            d[i] += half(rows[at].shown[turn][i / 2 + 2 * (k / 8)], k % 2) *
                    half(columns[i % 2][at].shown[turn][4 + k / 8], k % 2);
    }
}

// The row of this lane, shown to all of the warp.
static unsigned show_row(const __nv_bfloat16* row) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) host::block.misaligned = true;
    return host::show(row);
}

static uint32_t element(unsigned row, unsigned column, unsigned turn) {
    return host::shown<const __nv_bfloat16*>(row, turn)[column].bits;
}

void ldmatrix_x4(uint32_t (&to)[4], const __nv_bfloat16* row) {
    const unsigned turn = show_row(row), lane = host::block.current->linear & 31u, group = lane / 4, quad = lane % 4;
    for (unsigned i = 0; i < 4; ++i)
        to[i] = element(8 * i + group, 2 * quad, turn) | element(8 * i + group, 2 * quad + 1, turn) << 16;
}

void ldmatrix_x4_trans(uint32_t (&to)[4], const __nv_bfloat16* row) {
    const unsigned turn = show_row(row), lane = host::block.current->linear & 31u, group = lane / 4, quad = lane % 4;
    for (unsigned i = 0; i < 4; ++i)
        to[i] = element(8 * i + 2 * quad, group, turn) | element(8 * i + 2 * quad + 1, group, turn) << 16;
}

#include "all.cu"
#include "host_tests.cu"

// Runs a kernel. 0 when it ended; 1 when there is none of this name, 2 when its threads waited for each other, 3 when its
// parameters have another size, 4 when it used an address that a GPU could not, 5 when it wrote beyond its shared memory.
// Backwards, the last blocks and threads run first.
extern "C" int epnas_host_launch(const char* name, const unsigned grid[3], const unsigned threads[3], size_t shared,
                                 const void* params, size_t size, int backwards) {
    using namespace host;
    const auto kernel = registry().find(name);
    const unsigned count = threads[0] * threads[1] * threads[2];
    if (kernel == registry().end() || count == 0 || count > MOST_THREADS) return 1;
    if (kernel->second.size != size) return 3;
    grow(count);
    fibers.call = kernel->second.call;
    fibers.params = params;
    std::vector<Thread> all(count);
    constexpr size_t GUARD = 64;
    const size_t room = shared / sizeof(double) + 1;
    std::vector<double> memory(room + GUARD);
    block = Block{};
    block.size = {threads[0], threads[1], threads[2]};
    block.grid = {grid[0], grid[1], grid[2]};
    block.backwards = backwards;
    block.threads = all.data();
    block.shared = reinterpret_cast<unsigned char*>(memory.data());
    const auto place = [&](unsigned at, unsigned end) { return backwards ? end - 1 - at : at; };
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x) {
                block.index = {place(x, grid[0]), place(y, grid[1]), place(z, grid[2])};
                // Shared memory holds no zeros on a GPU either: not-a-numbers.
                std::memset(memory.data(), 0xff, memory.size() * sizeof(double));
                for (unsigned thread = 0; thread < count; ++thread) {
                    all[thread] = Thread{};
                    all[thread].linear = thread;
                    all[thread].index = {thread % threads[0], thread / threads[0] % threads[1],
                                         thread / threads[0] / threads[1]};
                }
                if (!run(count)) {
                    fibers.all.clear();  // they stand in the middle of the kernel
                    return 2;
                }
                if (block.misaligned) return 4;
                for (size_t at = shared; at < (room + GUARD) * sizeof(double); ++at)
                    if (block.shared[at] != 0xff) return 5;
            }
    return 0;
}
