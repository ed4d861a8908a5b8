// Kernels that test the emulation itself: on the host only.
#include "kernel.cuh"

struct HostTestParams {
    float* to;  // [threads]
    int what;
};

// What 0: every thread gets the number of its mirror image in the block, through shared memory. 1: the sum over its warp.
// 2: half of the threads wait at a barrier that the others never reach. 3: half wait for the block, half for the warp.
template <class T>
__device__ void host_test(const HostTestParams& p) {
    DYNAMIC_SHARED(shared);
    float* numbers = reinterpret_cast<float*>(shared);
    const int thread = threadIdx.x, last = blockDim.x - 1;
    float value = static_cast<float>(thread);
    if (p.what == 0) {
        numbers[thread] = value;
        __syncthreads();
        value = numbers[last - thread];
    }
    if (p.what == 1)
        for (int mask = 16; mask > 0; mask /= 2) value += __shfl_xor_sync(0xffffffffu, value, mask);
    if (p.what == 2 && thread <= last / 2) __syncthreads();
    if (p.what == 3) {
        if (thread <= last / 2)
            __syncthreads();
        else
            value = __shfl_xor_sync(0xffffffffu, value, 1);
    }
    p.to[thread] = value;
}
EXPORT_PLAIN(host_test, HostTestParams)
