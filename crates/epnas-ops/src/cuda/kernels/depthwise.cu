// Depthwise convolution, a thread per element; gradients of weights by parts, one tap a block.
#include "kernel.cuh"

struct DepthwiseParams {
    Image x;
    Image dy;
    const float* weight;  // [kernel, kernel, channels]
    void* to;             // y or dx
    float* parts;         // [blocks, kernel, kernel, channels]
    long long count;      // elements of `to`, or pixels of dy
    Window g;
    int add, rows_per_block;
};

template <class T>
__device__ void depthwise_forward(const DepthwiseParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    const int channels = p.g.channels, c = to % channels;
    float sum = 0;
    each_read(p.g, to, [&](int tap, long long from) {
        sum += read<T>(p.x, channels, from, c) * p.weight[tap * channels + c];
    });
    store(static_cast<T*>(p.to) + to, sum);
}
EXPORT(depthwise_forward, DepthwiseParams)

template <class T>
__device__ void depthwise_input(const DepthwiseParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    const int channels = p.g.channels, c = to % channels;
    float sum = 0;
    each_reader(p.g, to, [&](int tap, long long from) {
        sum += read<T>(p.dy, channels, from, c) * p.weight[tap * channels + c];
    });
    put<T>(p.to, to, sum, p.add);
}
EXPORT(depthwise_input, DepthwiseParams)

// Block (x: pixels of dy, y: channels, z: tap); threads (channels, rows).
template <class T>
__device__ void depthwise_weight(const DepthwiseParams& p) {
    DYNAMIC_SHARED(shared);
    const Window& g = p.g;
    const int c = blockIdx.y * blockDim.x + threadIdx.x;
    const int tap = blockIdx.z, u = tap / g.kernel, v = tap % g.kernel, pad = g.kernel / 2;
    const long long first = static_cast<long long>(blockIdx.x) * p.rows_per_block;
    const long long end = first + p.rows_per_block < p.count ? first + p.rows_per_block : p.count;
    float sum = 0;
    if (c < g.channels)
        for (long long pixel = first + threadIdx.y; pixel < end; pixel += blockDim.y) {
            const Position at(pixel * g.channels + c, g.ho, g.wo, g.channels);
            const int i = at.i * g.stride + u - pad, j = at.j * g.stride + v - pad;
            if (i < 0 || i >= g.h || j < 0 || j >= g.w) continue;
            sum += read<T>(p.x, g.channels, ((at.n * g.h + i) * g.w + j) * g.channels + c, c) *
                   read<T>(p.dy, g.channels, pixel * g.channels + c, c);
        }
    sum = add_rows(reinterpret_cast<float*>(shared), sum);
    if (threadIdx.y == 0 && c < g.channels)
        p.parts[(static_cast<long long>(blockIdx.x) * g.kernel * g.kernel + tap) * g.channels + c] = sum;
}
EXPORT(depthwise_weight, DepthwiseParams)
