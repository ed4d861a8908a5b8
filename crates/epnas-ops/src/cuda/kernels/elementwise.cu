// Sums and copies.
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
