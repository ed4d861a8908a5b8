// Rows of steps to come: what a captured step takes anew each time it is repeated.
#include "kernel.cuh"

struct StepRowsParams {
    const float* rows;  // [steps, width]
    long long* state;   // [2]: rows taken, rows that there are
    float* current;     // [width]
    long long width;
};

// One block: the next row, if there is one.
template <class T>
__device__ void next_row(const StepRowsParams& p) {
    const long long row = p.state[0], count = p.state[1];
    __syncthreads();
    if (row >= count) return;
    for (long long at = threadIdx.x; at < p.width; at += blockDim.x) p.current[at] = p.rows[row * p.width + at];
    if (threadIdx.x == 0) p.state[0] = row + 1;
}
EXPORT_PLAIN(next_row, StepRowsParams)
