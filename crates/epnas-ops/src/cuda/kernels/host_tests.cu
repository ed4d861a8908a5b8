// Kernels that test the emulation itself: on the host only.
#include "product.cuh"

struct HostTestParams {
    float* to;  // [threads]
    int what;
};

// What 0: every thread gets the number of its mirror image in the block, through shared memory. 1: the sum over its warp.
// 2: half of the threads wait at a barrier that the others never reach. 3: half wait for the block, half for the warp.
// 4, 5: four 8x8 matrices with the numbers from 0 on, row by row; each warp gets another of the four words of `ldmatrix_x4`,
// or of the transposed one, as lower number + 256 upper number. 6: a row that `ldmatrix_x4` cannot read. 7: a number behind
// the shared memory.
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
    if (p.what >= 4 && p.what <= 6) {
        bf16* rows = reinterpret_cast<bf16*>(shared);
        for (int at = thread; at < 256; at += blockDim.x) store(rows + at, static_cast<float>(at));
        __syncthreads();
        const SharedRow row = SharedRow(rows) + (8 * (thread % 32) + (p.what == 6));
        uint32_t words[4];
        if (p.what == 5)
            ldmatrix_x4_trans(words, row);
        else
            ldmatrix_x4(words, row);
        const uint32_t word = words[thread / 32 % 4];
        value = __uint_as_float(word << 16) + 256 * __uint_as_float(word & 0xffff0000u);
    }
    if (p.what == 7) numbers[blockDim.x + thread] = value;
    p.to[thread] = value;
}
EXPORT_PLAIN(host_test, HostTestParams)
