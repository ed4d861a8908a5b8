// Weights as a library takes them: [co, taps, ci] of the images' type, from and to [taps, ci, co] in float.
#include "kernel.cuh"

struct PackParams {
    float* weight;  // [taps, ci, co]
    void* packed;   // [co, taps, ci]
    int taps, ci, co;
};

// Where element `at` of the packed weights lies among the others.
__device__ inline long long unpacked(const PackParams& p, long long at) {
    const int c = at % p.ci;
    const int tap = at / p.ci % p.taps;
    return (static_cast<long long>(tap) * p.ci + c) * p.co + at / p.ci / p.taps;
}

template <class T>
__device__ void pack(const PackParams& p) {
    const long long at = element();
    if (at < static_cast<long long>(p.taps) * p.ci * p.co) store(static_cast<T*>(p.packed) + at, p.weight[unpacked(p, at)]);
}
EXPORT(pack, PackParams)

template <class T>
__device__ void unpack(const PackParams& p) {
    const long long at = element();
    if (at < static_cast<long long>(p.taps) * p.ci * p.co) p.weight[unpacked(p, at)] = load(static_cast<const T*>(p.packed) + at);
}
EXPORT(unpack, PackParams)
