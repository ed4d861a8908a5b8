// What products share: factors, tensor cores, and words of shared memory.
#pragma once
#include "kernel.cuh"

// Images of type T, factors rounded to type P: all `float`, all bfloat16, or bfloat16 factors of images in `float`.
// `blocks` are to fit on a multiprocessor.
#define EXPORT_PRODUCT(name, Params, blocks)                      \
    EXPORT_WITHIN(name, Params, f32, THREADS, 3, float, float)       \
    EXPORT_WITHIN(name, Params, mixed, THREADS, blocks, float, bf16) \
    EXPORT_WITHIN(name, Params, bf16, THREADS, blocks, bf16, bf16)

// A block of 4 warps makes 32 columns of a product.
constexpr int THREADS = 128, COLUMNS = 32;

struct ConvSource {
    Image x;
    const float* weight;  // [kernel, kernel, ci, co]
    int ci;
};

__device__ inline int least(int a, int b) { return a < b ? a : b; }

// Columns of eight that a block makes.
__device__ inline int tiles_used(int columns) { return (least(columns, COLUMNS) + 7) / 8; }

// A number that the compiler knows.
template <int N>
struct Known {
    static constexpr int VALUE = N;
};

// Calls `body` with what `tiles_used` said, for loops without conditions.
template <class Body>
__device__ inline void with_tiles(int used, const Body& body) {
    if (used == 1) body(Known<1>{});
    if (used == 2) body(Known<2>{});
    if (used == 3) body(Known<3>{});
    if (used == 4) body(Known<4>{});
}

// Calls `body` with the flag.
template <class Body>
__device__ inline void with_flag(bool flag, const Body& body) {
    if (flag)
        body(Known<1>{});
    else
        body(Known<0>{});
}

// Words that lie side by side and are read and written at once.
template <int N>
struct alignas(4 * N) Words {
    uint32_t at[N];
};

template <int N>
__device__ inline Words<N> load_words(const void* from) {
    check_alignment(from, 4 * N);
    return *static_cast<const Words<N>*>(from);
}

template <int N>
__device__ inline void store_words(void* to, const Words<N>& words) {
    check_alignment(to, 4 * N);
    *static_cast<Words<N>*>(to) = words;
}

__device__ inline bool is_aligned(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

// N numbers that lie side by side, at a multiple of their size or of 16 bytes.
template <int N>
__device__ inline void load_side(const float* from, float (&values)[N]) {
    for (int i = 0; i < N; i += 4) {
        const Words<4> words = load_words<4>(from + i);
        for (int j = 0; j < 4; ++j) values[i + j] = __uint_as_float(words.at[j]);
    }
}

template <int N>
__device__ inline void load_side(const bf16* from, float (&values)[N]) {
    const Words<N / 2> words = load_words<N / 2>(from);
    for (int i = 0; i < N; ++i) {
        const uint32_t word = words.at[i / 2];
        values[i] = __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
    }
}

template <int N>
__device__ inline void store_side(float* to, const float (&values)[N]) {
    for (int i = 0; i < N; i += 4) {
        Words<4> words;
        for (int j = 0; j < 4; ++j) words.at[j] = __float_as_uint(values[i + j]);
        store_words(to + i, words);
    }
}

template <int N>
__device__ inline void store_side(bf16* to, const float (&values)[N]) {
    Words<N / 2> words;
    for (int i = 0; i < N / 2; ++i) words.at[i] = pair(values[2 * i], values[2 * i + 1]);
    store_words(to, words);
}

#ifdef __CUDACC__
__device__ inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// A place in shared memory, in one register.
struct SharedRow {
    unsigned at;
    __device__ explicit SharedRow(const bf16* row) : at(static_cast<unsigned>(__cvta_generic_to_shared(row))) {}
    __device__ explicit SharedRow(unsigned at) : at(at) {}
    __device__ SharedRow operator+(int elements) const { return SharedRow(at + 2 * elements); }
};

// Four 8x8 matrices of bfloat16; lanes 8 i to 8 i + 7 name the rows of matrix i.
__device__ inline void ldmatrix_x4(uint32_t (&to)[4], SharedRow row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row.at)
                 : "memory");
}

// The same, each matrix transposed.
__device__ inline void ldmatrix_x4_trans(uint32_t (&to)[4], SharedRow row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row.at)
                 : "memory");
}
#else
using SharedRow = const bf16*;
#endif
