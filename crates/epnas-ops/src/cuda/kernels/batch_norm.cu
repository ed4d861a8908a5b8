// Statistics of batch norms and sums of their gradients: each block sums some rows of all channels into a part of its
// own, then one thread per channel adds the parts in order.
#include "kernel.cuh"

// Rows that one block sums. A block has `threads.x` channels by `threads.y` rows.
struct SumsParams {
    const void* x;   // [rows, channels]
    const void* dy;  // of the normalized images; none for moments
    Norm norm;
    float* parts;  // [blocks, 2, channels]
    long long rows;
    int channels, rows_per_block;
};

// Part: mean of the block's rows, and sum of squares of what differs from it.
template <class T>
__device__ void moments(const SumsParams& p) {
    DYNAMIC_SHARED(shared);
    float* sums = reinterpret_cast<float*>(shared);
    float* means = sums + blockDim.x * blockDim.y;
    const T* x = static_cast<const T*>(p.x);
    const long long first = static_cast<long long>(blockIdx.x) * p.rows_per_block;
    const long long end = first + p.rows_per_block < p.rows ? first + p.rows_per_block : p.rows;
    const int c = blockIdx.y * blockDim.x + threadIdx.x;
    const bool used = c < p.channels;
    float sum = 0;
    if (used)
        for (long long row = first + threadIdx.y; row < end; row += blockDim.y) sum += load(x + row * p.channels + c);
    const float total = add_rows(sums, sum);
    if (threadIdx.y == 0) means[threadIdx.x] = total / static_cast<float>(end - first);
    __syncthreads();
    const float mean = means[threadIdx.x];
    float squares = 0;
    if (used)
        for (long long row = first + threadIdx.y; row < end; row += blockDim.y) {
            const float centered = load(x + row * p.channels + c) - mean;
            squares += centered * centered;
        }
    const float deviation = add_rows(sums, squares);
    if (threadIdx.y == 0 && used) {
        float* part = p.parts + 2ll * blockIdx.x * p.channels;
        part[c] = mean;
        part[p.channels + c] = deviation;
    }
}
EXPORT(moments, SumsParams)

struct StatisticsParams {
    const float* parts;
    float* saved;     // [2, channels]
    float* mean;      // running, [channels]; may be none
    float* variance;  // running, [channels]
    double eps, momentum;
    long long rows;
    int channels, rows_per_block, blocks;
};

// Mean and inverse deviation of a batch from the parts of `moments` (Chan, Golub & LeVeque, 1983); moves the running ones.
template <class T>
__device__ void statistics(const StatisticsParams& p) {
    const int c = static_cast<int>(element());
    if (c >= p.channels) return;
    double count = 0, mean = 0, deviation = 0;
    for (int block = 0; block < p.blocks; ++block) {
        const float* part = p.parts + 2ll * block * p.channels;
        const long long left = p.rows - static_cast<long long>(block) * p.rows_per_block;
        const double rows = static_cast<double>(left < p.rows_per_block ? left : p.rows_per_block);
        const double delta = part[c] - mean;
        mean += delta * rows / (count + rows);
        deviation += part[p.channels + c] + delta * delta * count * rows / (count + rows);
        count += rows;
    }
    p.saved[c] = static_cast<float>(mean);
    p.saved[p.channels + c] = static_cast<float>(1.0 / sqrt(deviation / count + p.eps));
    if (!p.mean) return;
    const double variance = deviation / (count > 1 ? count - 1 : 1);
    p.mean[c] = static_cast<float>((1 - p.momentum) * p.mean[c] + p.momentum * mean);
    p.variance[c] = static_cast<float>((1 - p.momentum) * p.variance[c] + p.momentum * variance);
}
EXPORT_PLAIN(statistics, StatisticsParams)

// Part: sums of the gradient before the activation, and of its products with what is normalized.
template <class T>
__device__ void norm_sums(const SumsParams& p) {
    DYNAMIC_SHARED(shared);
    float* sums = reinterpret_cast<float*>(shared);
    const long long first = static_cast<long long>(blockIdx.x) * p.rows_per_block;
    const long long end = first + p.rows_per_block < p.rows ? first + p.rows_per_block : p.rows;
    const int c = blockIdx.y * blockDim.x + threadIdx.x;
    const bool used = c < p.channels;
    float sum = 0, products = 0;
    if (used) {
        const Channel channel(p.norm, p.channels, c);
        for (long long row = first + threadIdx.y; row < end; row += blockDim.y) {
            const long long at = row * p.channels + c;
            const float x = load(static_cast<const T*>(p.x) + at);
            const float dz = channel.masked(x, load(static_cast<const T*>(p.dy) + at));
            sum += dz;
            products += dz * (x - channel.mean);
        }
    }
    sum = add_rows(sums, sum);
    products = add_rows(sums, products);
    if (threadIdx.y == 0 && used) {
        float* part = p.parts + 2ll * blockIdx.x * p.channels;
        part[c] = sum;
        part[p.channels + c] = products;
    }
}
EXPORT(norm_sums, SumsParams)

struct NormGradientParams {
    const float* parts;
    const float* saved;
    float* dscale;
    float* dshift;
    int channels, blocks;
};

template <class T>
__device__ void norm_gradient(const NormGradientParams& p) {
    const int c = static_cast<int>(element());
    if (c >= p.channels) return;
    double sum = 0, products = 0;
    for (int block = 0; block < p.blocks; ++block) {
        const float* part = p.parts + 2ll * block * p.channels;
        sum += part[c];
        products += part[p.channels + c];
    }
    p.dshift[c] = static_cast<float>(sum);
    p.dscale[c] = static_cast<float>(products * p.saved[p.channels + c]);
}
EXPORT_PLAIN(norm_gradient, NormGradientParams)

struct SavedParams {
    const float* mean;
    const float* variance;
    float* saved;
    double eps;
    int channels;
};

// Running statistics in the form of a batch's.
template <class T>
__device__ void save_running(const SavedParams& p) {
    const int c = static_cast<int>(element());
    if (c >= p.channels) return;
    p.saved[c] = p.mean[c];
    p.saved[p.channels + c] = static_cast<float>(1.0 / sqrt(static_cast<double>(p.variance[c]) + p.eps));
}
EXPORT_PLAIN(save_running, SavedParams)
