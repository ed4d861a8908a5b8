// Sums, copies and mixtures.
#include "kernel.cuh"

struct SumParams {
    Image inputs[MOST_SOURCES];
    void* y;
    long long count;
    int inputs_count, channels, add;
};

// y = sum of inputs, or y += ..
template <class T>
__device__ void sum(const SumParams& p) {
    const long long at = element();
    if (at >= p.count) return;
    const int c = at % p.channels;
    float total = 0;
    for (int i = 0; i < p.inputs_count; ++i) total += read<T>(p.inputs[i], p.channels, at, c);
    put<T>(p.y, at, total, p.add);
}
EXPORT(sum, SumParams)

struct ScaledSumParams {
    SumParams sum;
    const float* factors[MOST_SOURCES];  // [n] of each input; none: 1
    long long image_len;
};

// As `sum`, every image of an input times its factor.
template <class T>
__device__ void scaled_sum(const ScaledSumParams& p) {
    const long long at = element();
    if (at >= p.sum.count) return;
    const int c = at % p.sum.channels;
    const long long n = at / p.image_len;
    float total = 0;
    for (int i = 0; i < p.sum.inputs_count; ++i) {
        const float value = read<T>(p.sum.inputs[i], p.sum.channels, at, c);
        total += p.factors[i] ? p.factors[i][n] * value : value;
    }
    put<T>(p.sum.y, at, total, p.sum.add);
}
EXPORT(scaled_sum, ScaledSumParams)

struct MixParams {
    void* x;             // [n, image_len]
    const float* share;  // [1]
    long long image_len;
    int n;
};

// A thread per element of the first half of a batch, and its partner in the image as far from the end.
template <class T>
__device__ void mix_with_reverse(const MixParams& p) {
    const long long at = element();
    if (at >= p.n / 2 * p.image_len) return;
    const long long n = at / p.image_len;
    T* first = static_cast<T*>(p.x) + at;
    T* second = first + (p.n - 1 - 2 * n) * p.image_len;
    const float share = *p.share, a = load(first), b = load(second);
    store(first, share * a + (1 - share) * b);
    store(second, share * b + (1 - share) * a);
}
EXPORT(mix_with_reverse, MixParams)
