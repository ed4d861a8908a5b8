// Statistics of batch norms and sums of their gradients: each block sums some rows of all channels into a part of its
// own, then a column of threads per channel adds the parts in a fixed order (`over_parts` in `reduction.rs`).
#include "kernel.cuh"

// Rows that one block sums. A block has `threads.x` channels by `threads.y` rows.
struct SumsParams {
    const void* x;   // [rows, channels]
    const void* dy;  // of the normalized images; none for moments
    Norm norm;
    float* parts;   // [blocks, 2, channels]
    float* counts;  // [blocks]: rows; for moments only
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
    // Sums of differences from one of the values, so that the mean is as exact as they are.
    const float pivot = used ? load(x + first * p.channels + c) : 0.0f;
    float sum = 0;
    if (used)
        for (long long row = first + threadIdx.y; row < end; row += blockDim.y) sum += load(x + row * p.channels + c) - pivot;
    const float total = add_rows(sums, sum);
    if (threadIdx.y == 0) means[threadIdx.x] = pivot + total / static_cast<float>(end - first);
    __syncthreads();
    if (blockIdx.y == 0 && threadIdx.x == 0 && threadIdx.y == 0) p.counts[blockIdx.x] = static_cast<float>(end - first);
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
    const float* counts;
    float* saved;     // [2, channels]
    float* mean;      // running, [channels]; may be none
    float* variance;  // running, [channels]
    double eps, momentum;
    int channels, blocks;
};

// Mean and inverse deviation of a batch from the moments of its parts: squares about the common mean are those about a
// part's own and, for each of its rows, the square between the means. Moves the running ones.
template <class T>
__device__ void statistics(const StatisticsParams& p) {
    DYNAMIC_SHARED(shared);
    double* sums = reinterpret_cast<double*>(shared);
    const int c = static_cast<int>(element());
    const auto total = [&](const auto& of) {
        double sum = 0;
        if (c < p.channels)
            for (int block = threadIdx.y; block < p.blocks; block += blockDim.y)
                sum += of(static_cast<double>(p.counts[block]), p.parts + 2ll * block * p.channels + c);
        sum = add_rows(sums, sum);
        if (threadIdx.y == 0) sums[threadIdx.x] = sum;
        __syncthreads();
        return sums[threadIdx.x];
    };
    const double count = total([](double rows, const float*) { return rows; });
    const double mean = total([](double rows, const float* part) { return rows * part[0]; }) / count;
    const double deviation = total([&](double rows, const float* part) {
        const double delta = part[0] - mean;
        return part[p.channels] + rows * delta * delta;
    });
    if (threadIdx.y > 0 || c >= p.channels) return;
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
    DYNAMIC_SHARED(shared);
    double* sums = reinterpret_cast<double*>(shared);
    const int c = static_cast<int>(element());
    double sum = 0, products = 0;
    if (c < p.channels)
        for (int block = threadIdx.y; block < p.blocks; block += blockDim.y) {
            const float* part = p.parts + 2ll * block * p.channels;
            sum += part[c];
            products += part[p.channels + c];
        }
    sum = add_rows(sums, sum);
    products = add_rows(sums, products);
    if (threadIdx.y > 0 || c >= p.channels) return;
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
