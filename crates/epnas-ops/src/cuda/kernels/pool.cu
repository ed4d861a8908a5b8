// 3x3 pooling with padding 1, a thread per element.
#include "kernel.cuh"

struct PoolParams {
    Image x;               // forward
    const void* dy;        // backward
    unsigned char* argmax; // may be none
    void* to;              // y or dx
    long long count;       // elements of `to`
    int h, w, ho, wo, channels, stride, add;
};

template <class T>
__device__ void max_forward(const PoolParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    const Position at(to, p.ho, p.wo, p.channels);
    float best = 0;
    int place = -1;
    for (int u = 0; u < 3; ++u) {
        const int i = at.i * p.stride + u - 1;
        if (i < 0 || i >= p.h) continue;
        for (int v = 0; v < 3; ++v) {
            const int j = at.j * p.stride + v - 1;
            if (j < 0 || j >= p.w) continue;
            const float value = read<T>(p.x, p.channels, ((at.n * p.h + i) * p.w + j) * p.channels + at.c, at.c);
            // The first wins a tie, not-a-number wins over numbers.
            if (place < 0 || value > best || (value != value && best == best)) {
                best = value;
                place = 3 * u + v;
            }
        }
    }
    store(static_cast<T*>(p.to) + to, best);
    if (p.argmax) p.argmax[to] = static_cast<unsigned char>(place);
}
EXPORT(max_forward, PoolParams)

// Outputs whose window holds a pixel: rows (i + 1 - u) / stride for u from 0 to 2.
template <class T>
__device__ void max_backward(const PoolParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    const Position at(to, p.h, p.w, p.channels);
    float sum = 0;
    for (int u = 2; u >= 0; --u) {
        const int i = at.i + 1 - u;
        if (i < 0 || i % p.stride || i / p.stride >= p.ho) continue;
        for (int v = 2; v >= 0; --v) {
            const int j = at.j + 1 - v;
            if (j < 0 || j % p.stride || j / p.stride >= p.wo) continue;
            const long long from = ((at.n * p.ho + i / p.stride) * p.wo + j / p.stride) * p.channels + at.c;
            if (p.argmax[from] == 3 * u + v) sum += load(static_cast<const T*>(p.dy) + from);
        }
    }
    put<T>(p.to, to, sum, p.add);
}
EXPORT(max_backward, PoolParams)

template <class T>
__device__ void avg_forward(const PoolParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    const Position at(to, p.ho, p.wo, p.channels);
    float sum = 0;
    for (int u = 0; u < 3; ++u) {
        const int i = at.i * p.stride + u - 1;
        if (i < 0 || i >= p.h) continue;
        for (int v = 0; v < 3; ++v) {
            const int j = at.j * p.stride + v - 1;
            if (j < 0 || j >= p.w) continue;
            sum += read<T>(p.x, p.channels, ((at.n * p.h + i) * p.w + j) * p.channels + at.c, at.c);
        }
    }
    store(static_cast<T*>(p.to) + to, sum * (1.0f / 9));
}
EXPORT(avg_forward, PoolParams)

template <class T>
__device__ void avg_backward(const PoolParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    const Position at(to, p.h, p.w, p.channels);
    float sum = 0;
    for (int u = 2; u >= 0; --u) {
        const int i = at.i + 1 - u;
        if (i < 0 || i % p.stride || i / p.stride >= p.ho) continue;
        for (int v = 2; v >= 0; --v) {
            const int j = at.j + 1 - v;
            if (j < 0 || j % p.stride || j / p.stride >= p.wo) continue;
            sum += load(static_cast<const T*>(p.dy) + ((at.n * p.ho + i / p.stride) * p.wo + j / p.stride) * p.channels + at.c);
        }
    }
    put<T>(p.to, to, sum * (1.0f / 9), p.add);
}
EXPORT(avg_backward, PoolParams)
