// Sums of parts that blocks made, in a fixed order: a row of threads for every so many parts, then row by row.
#include "kernel.cuh"

struct PartsParams {
    const float* parts;  // [count of parts, len]
    float* to;           // [len]
    long long len;
    int count;
};

template <class T>
__device__ void add_parts(const PartsParams& p) {
    DYNAMIC_SHARED(shared);
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    float sum = 0;
    if (at < p.len)
        for (int part = threadIdx.y; part < p.count; part += blockDim.y) sum += p.parts[part * p.len + at];
    sum = add_rows(reinterpret_cast<float*>(shared), sum);
    if (threadIdx.y == 0 && at < p.len) p.to[at] = sum;
}
EXPORT_PLAIN(add_parts, PartsParams)
