// 3x3 pooling with padding 1, a thread per element.
#include "kernel.cuh"

struct PoolParams {
    Image x;                // forward
    const void* dy;         // backward
    unsigned char* argmax;  // may be none
    void* to;               // y or dx
    long long count;        // elements of `to`
    Window g;
    int add;
};

template <class T>
__device__ void max_forward(const PoolParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    const int c = to % p.g.channels;
    float best = 0;
    int place = -1;
    each_read(p.g, to, [&](int tap, long long from) {
        const float value = read<T>(p.x, p.g.channels, from, c);
        // The first wins a tie, not-a-number wins over numbers.
        if (place < 0 || value > best || (value != value && best == best)) {
            best = value;
            place = tap;
        }
    });
    store(static_cast<T*>(p.to) + to, best);
    if (p.argmax) p.argmax[to] = static_cast<unsigned char>(place);
}
EXPORT(max_forward, PoolParams)

template <class T>
__device__ void max_backward(const PoolParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    float sum = 0;
    each_reader(p.g, to, [&](int tap, long long from) {
        if (p.argmax[from] == tap) sum += load(static_cast<const T*>(p.dy) + from);
    });
    put<T>(p.to, to, sum, p.add);
}
EXPORT(max_backward, PoolParams)

template <class T>
__device__ void avg_forward(const PoolParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    const int c = to % p.g.channels;
    float sum = 0;
    each_read(p.g, to, [&](int, long long from) { sum += read<T>(p.x, p.g.channels, from, c); });
    store(static_cast<T*>(p.to) + to, sum * (1.0f / 9));
}
EXPORT(avg_forward, PoolParams)

template <class T>
__device__ void avg_backward(const PoolParams& p) {
    const long long to = element();
    if (to >= p.count) return;
    float sum = 0;
    each_reader(p.g, to, [&](int, long long from) { sum += load(static_cast<const T*>(p.dy) + from); });
    put<T>(p.to, to, sum * (1.0f / 9), p.add);
}
EXPORT(avg_backward, PoolParams)
