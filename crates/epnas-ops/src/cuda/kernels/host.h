// CUDA C++ on a CPU, as far as our kernels use it: so that they run in tests where there is no GPU.
//
// The threads of a block are fibers of one thread of the host. A fiber runs until it waits at a barrier or ends; when
// all that have not ended wait at the same barrier, they go on. Everything else is an error: threads that wait at
// different barriers, or for one that has ended. Blocks run one after the other.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace host {

enum class Barrier { None, Block, Warp };

// Where a thread stands, and what it shows to its warp.
struct Thread {
    dim3 index;
    unsigned linear = 0;
    Barrier waits = Barrier::None;
    // In turns: what one operation of the warp shows stays until all have come to the next.
    uint32_t shown[2][8] = {};
    unsigned turn = 0;
};

// The block that runs on this thread of the host.
struct Block {
    dim3 index, size, grid;
    bool backwards = false;
    Thread* threads = nullptr;
    Thread* current = nullptr;
    unsigned char* shared = nullptr;
    bool misaligned = false;  // an address was not a multiple of what was read or written there
};
extern thread_local Block block;

// Lets the others run until all of the block, or of the warp, are here.
void wait(Barrier barrier);

// The thread of the same warp with this lane.
inline Thread& neighbor(unsigned lane) {
    return block.threads[(block.current->linear & ~31u) + lane];
}

inline void syncthreads() { wait(Barrier::Block); }

// Shows words to the warp; what the others show is there when all have come.
template <class T>
unsigned show(const T& value) {
    static_assert(sizeof(T) <= sizeof(Thread::shown[0]), "as much as is shown");
    const unsigned turn = block.current->turn++ % 2;
    std::memcpy(block.current->shown[turn], &value, sizeof(T));
    wait(Barrier::Warp);
    return turn;
}

template <class T>
T shown(unsigned lane, unsigned turn) {
    T value;
    std::memcpy(&value, neighbor(lane & 31u).shown[turn], sizeof(T));
    return value;
}

template <class T>
T shuffle(T value, unsigned lane) {
    return shown<T>(lane, show(value));
}

}  // namespace host

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define threadIdx (host::block.current->index)
#define blockIdx (host::block.index)
#define blockDim (host::block.size)
#define gridDim (host::block.grid)
#define __syncthreads host::syncthreads

inline float __shfl_xor_sync(unsigned, float value, int mask) {
    return host::shuffle(value, (host::block.current->linear & 31u) ^ static_cast<unsigned>(mask));
}

inline float __uint_as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

struct __nv_bfloat16 {
    uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) { return __uint_as_float(static_cast<uint32_t>(value.bits) << 16); }

// To the nearest, ties to even.
inline __nv_bfloat16 __float2bfloat16(float value) {
    uint32_t bits = __float_as_uint(value);
    if (std::isnan(value)) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
    bits += 0x7fff + (bits >> 16 & 1);
    return {static_cast<uint16_t>(bits >> 16)};
}

// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 (PTX ISA, "Matrix Fragments for mma.m16n8k16").
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// ldmatrix.sync.aligned.m8n8.x4.shared.b16 and .trans ("Warp-level matrix load instruction: ldmatrix").
void ldmatrix_x4(uint32_t (&to)[4], const __nv_bfloat16* row);
void ldmatrix_x4_trans(uint32_t (&to)[4], const __nv_bfloat16* row);

// Makes a kernel known to `epnas_host_launch`.
namespace host {
struct Registration {
    Registration(const char* name, size_t size, void (*call)(const void*));
};
}  // namespace host
