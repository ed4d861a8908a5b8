// What all kernels share: element types, how a kernel becomes known by name, and how images are read.
//
// Images are NHWC, `float` or bfloat16; weights, statistics and sums are `float`. No kernel uses atomics: what several
// threads add up is added in a fixed order, so that results repeat.
#pragma once

#ifdef __CUDACC__
#include <cstdint>
#include <cuda_bf16.h>
#else
#include "host.h"
#endif

using bf16 = __nv_bfloat16;

// `EXPORT_AS(name, Params, suffix, T..)` makes the kernel `name_suffix` of a template `name<T..>(const Params&)`;
// `EXPORT` one for images in `float` and one for bfloat16, `EXPORT_PLAIN` one that sees no images. `EXPORT_WITHIN` bounds
// its threads, and its registers so that so many blocks fit on a multiprocessor.
#ifdef __CUDACC__
#define EXPORT_AS(name, Params, suffix, ...) \
    extern "C" __global__ void name##_##suffix(const __grid_constant__ Params params) { name<__VA_ARGS__>(params); }
#define EXPORT_WITHIN(name, Params, suffix, threads, blocks, ...)                                                    \
    extern "C" __global__ __launch_bounds__(threads, blocks) void name##_##suffix(const __grid_constant__ Params params) { \
        name<__VA_ARGS__>(params);                                                                                   \
    }
#else
#define EXPORT_WITHIN(name, Params, suffix, threads, blocks, ...) EXPORT_AS(name, Params, suffix, __VA_ARGS__)
#define EXPORT_AS(name, Params, suffix, ...)                        \
    static const host::Registration registration_##name##_##suffix( \
        #name "_" #suffix, sizeof(Params), [](const void* params) { name<__VA_ARGS__>(*static_cast<const Params*>(params)); });
#endif
#define EXPORT(name, Params)                \
    EXPORT_AS(name, Params, f32, float)     \
    EXPORT_AS(name, Params, bf16, bf16)
#define EXPORT_PLAIN(name, Params) EXPORT_AS(name, Params, plain, float)

// Shared memory whose size the launch decides.
#ifdef __CUDACC__
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#else
#define DYNAMIC_SHARED(name) unsigned char* name = host::block.shared
#endif

__device__ inline float load(const float* at) { return *at; }
__device__ inline float load(const bf16* at) { return __bfloat162float(*at); }
__device__ inline void store(float* at, float value) { *at = value; }
__device__ inline void store(bf16* at, float value) { *at = __float2bfloat16(value); }

// Two numbers in bfloat16, the first in the lower half.
#ifdef __CUDACC__
__device__ inline uint32_t pair(float lower, float upper) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(lower, upper);
    return *reinterpret_cast<const uint32_t*>(&both);
}
__device__ inline void check_alignment(const void*, unsigned) {}
#else
inline uint32_t pair(float lower, float upper) {
    return __float2bfloat16(lower).bits | static_cast<uint32_t>(__float2bfloat16(upper).bits) << 16;
}
// A GPU stops at an address that is not a multiple of what is read there.
inline void check_alignment(const void* at, unsigned bytes) {
    if (reinterpret_cast<uintptr_t>(at) % bytes != 0) host::block.misaligned = true;
}
#endif

// Images that one launch reads at most.
constexpr int MOST_SOURCES = 24;

// A batch norm: scale, shift `[c]`; saved `[2, c]`, mean and inverse deviation. No scale: no batch norm.
struct Norm {
    const float* scale;
    const float* shift;
    const float* saved;
    int relu;
};

// A batch of images, or of their gradients, as a kernel reads it. With `norm`, normalized; with `through` as well, `data`
// is the gradient of what `norm` makes of the images `through`, and what is read is the gradient of those images.
struct Image {
    const void* data;
    const void* through;
    Norm norm;
    const float* dscale;
    const float* dshift;
    float rows;
};

// The map of one channel: activation(slope (x - mean) + shift), and, for gradients, slope dz - offset - tilt (x - mean).
struct Channel {
    float mean, inverse, slope, shift, offset, tilt;
    bool relu;

    Channel() = default;
    __device__ Channel(const Norm& norm, int channels, int c) : offset(0), tilt(0) {
        mean = norm.saved[c];
        inverse = norm.saved[channels + c];
        slope = norm.scale[c] * inverse;
        shift = norm.shift[c];
        relu = norm.relu;
    }
    __device__ Channel(const Image& image, int channels, int c) : Channel(image.norm, channels, c) {
        if (!image.through) return;
        offset = slope * image.dshift[c] / image.rows;
        tilt = slope * image.dscale[c] / image.rows * inverse;
    }
    __device__ float normalized(float x) const {
        const float value = slope * (x - mean) + shift;
        return relu && value <= 0 ? 0.0f : value;  // what is no number stays
    }
    // The gradient before the activation.
    __device__ float masked(float x, float dy) const { return relu && !(slope * (x - mean) + shift > 0) ? 0.0f : dy; }
    __device__ float backward(float x, float dy) const { return slope * masked(x, dy) - (offset + tilt * (x - mean)); }
};

// Element `at` of an image, which is of channel `c` of `channels`.
template <class T>
__device__ inline float read(const Image& image, int channels, long long at, int c) {
    const float value = load(static_cast<const T*>(image.data) + at);
    if (!image.norm.scale) return value;
    const Channel channel(image, channels, c);
    if (!image.through) return channel.normalized(value);
    return channel.backward(load(static_cast<const T*>(image.through) + at), value);
}

// Writes an element of a gradient, or adds to it.
template <class T>
__device__ inline void put(void* to, long long at, float value, int add) {
    T* place = static_cast<T*>(to) + at;
    store(place, add ? load(place) + value : value);
}

// The element of a one-dimensional launch.
__device__ inline long long element() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }

// Position of an element: image, row, column, channel.
struct Position {
    long long n;
    int i, j, c;
    __device__ Position(long long at, int h, int w, int channels) {
        c = at % channels;
        at /= channels;
        j = at % w;
        at /= w;
        i = at % h;
        n = at / h;
    }
};

// Sizes of an operator with a window of odd side, padded by half of it.
struct Window {
    int h, w, ho, wo, channels, kernel, stride;
};

// Calls `visit(tap, index)` for every element of the input that an output reads, row by row.
template <class Visit>
__device__ inline void each_read(const Window& g, long long output, const Visit& visit) {
    const Position at(output, g.ho, g.wo, g.channels);
    const int pad = g.kernel / 2;
    for (int u = 0; u < g.kernel; ++u) {
        const int i = at.i * g.stride + u - pad;
        if (i < 0 || i >= g.h) continue;
        for (int v = 0; v < g.kernel; ++v) {
            const int j = at.j * g.stride + v - pad;
            if (j >= 0 && j < g.w) visit(u * g.kernel + v, ((at.n * g.h + i) * g.w + j) * g.channels + at.c);
        }
    }
}

// Calls `visit(tap, index)` for every element of the output that reads an input, row by row.
template <class Visit>
__device__ inline void each_reader(const Window& g, long long input, const Visit& visit) {
    const Position at(input, g.h, g.w, g.channels);
    const int pad = g.kernel / 2;
    for (int u = g.kernel - 1; u >= 0; --u) {
        const int i = at.i + pad - u;
        if (i < 0 || i % g.stride || i / g.stride >= g.ho) continue;
        for (int v = g.kernel - 1; v >= 0; --v) {
            const int j = at.j + pad - v;
            if (j < 0 || j % g.stride || j / g.stride >= g.wo) continue;
            visit(u * g.kernel + v, ((at.n * g.ho + i / g.stride) * g.wo + j / g.stride) * g.channels + at.c);
        }
    }
}

// Adds the sums of a column of threads; the result is in the first row. `sums` holds a number for every thread.
template <class N>
__device__ inline N add_rows(N* sums, N value) {
    const int lane = threadIdx.y * blockDim.x + threadIdx.x;
    __syncthreads();
    sums[lane] = value;
    __syncthreads();
    N total = 0;
    if (threadIdx.y == 0)
        for (int row = 0; row < static_cast<int>(blockDim.y); ++row) total += sums[row * blockDim.x + threadIdx.x];
    return total;
}
