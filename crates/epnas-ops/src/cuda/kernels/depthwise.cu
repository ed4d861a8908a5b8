// Depthwise convolution, a thread per element; gradients of weights by parts, one tap a block.
#include "kernel.cuh"

struct DepthwiseParams {
    Image x;
    Image dy;
    const float* weight;  // [kernel, kernel, channels]
    void* to;             // y or dx
    float* parts;         // [blocks, kernel, kernel, channels]
    long long count;      // elements of `to`, or pixels of dy
    int h, w, ho, wo, channels, kernel, stride, add, rows_per_block;
};

template <class T>
__device__ void depthwise_forward(const DepthwiseParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    const Position at(to, p.ho, p.wo, p.channels);
    const int pad = p.kernel / 2;
    float sum = 0;
    for (int u = 0; u < p.kernel; ++u) {
        const int i = at.i * p.stride + u - pad;
        if (i < 0 || i >= p.h) continue;
        for (int v = 0; v < p.kernel; ++v) {
            const int j = at.j * p.stride + v - pad;
            if (j < 0 || j >= p.w) continue;
            sum += read<T>(p.x, p.channels, ((at.n * p.h + i) * p.w + j) * p.channels + at.c, at.c) *
                   p.weight[(u * p.kernel + v) * p.channels + at.c];
        }
    }
    store(static_cast<T*>(p.to) + to, sum);
}
EXPORT(depthwise_forward, DepthwiseParams)

template <class T>
__device__ void depthwise_input(const DepthwiseParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    const Position at(to, p.h, p.w, p.channels);
    const int pad = p.kernel / 2;
    float sum = 0;
    for (int u = 0; u < p.kernel; ++u) {
        const int i = at.i + pad - u;
        if (i < 0 || i % p.stride || i / p.stride >= p.ho) continue;
        for (int v = 0; v < p.kernel; ++v) {
            const int j = at.j + pad - v;
            if (j < 0 || j % p.stride || j / p.stride >= p.wo) continue;
            const long long from = ((at.n * p.ho + i / p.stride) * p.wo + j / p.stride) * p.channels + at.c;
            sum += read<T>(p.dy, p.channels, from, at.c) * p.weight[(u * p.kernel + v) * p.channels + at.c];
        }
    }
    put<T>(p.to, to, sum, p.add);
}
EXPORT(depthwise_input, DepthwiseParams)

// Block (x: pixels of dy, y: channels, z: tap); threads (channels, rows).
template <class T>
__device__ void depthwise_weight(const DepthwiseParams& p) {
    DYNAMIC_SHARED(shared);
    const int c = blockIdx.y * blockDim.x + threadIdx.x;
    const int tap = blockIdx.z, u = tap / p.kernel, v = tap % p.kernel, pad = p.kernel / 2;
    const long long first = static_cast<long long>(blockIdx.x) * p.rows_per_block;
    const long long end = first + p.rows_per_block < p.count ? first + p.rows_per_block : p.count;
    float sum = 0;
    if (c < p.channels)
        for (long long pixel = first + threadIdx.y; pixel < end; pixel += blockDim.y) {
            const Position at(pixel * p.channels + c, p.ho, p.wo, p.channels);
            const int i = at.i * p.stride + u - pad, j = at.j * p.stride + v - pad;
            if (i < 0 || i >= p.h || j < 0 || j >= p.w) continue;
            sum += read<T>(p.x, p.channels, ((at.n * p.h + i) * p.w + j) * p.channels + c, c) *
                   read<T>(p.dy, p.channels, pixel * p.channels + c, c);
        }
    sum = add_rows(reinterpret_cast<float*>(shared), sum);
    if (threadIdx.y == 0 && c < p.channels)
        p.parts[(static_cast<long long>(blockIdx.x) * p.kernel * p.kernel + tap) * p.channels + c] = sum;
}
EXPORT(depthwise_weight, DepthwiseParams)
