// Dense convolutions that `conv.cu` does not make, such as those of stride 2 and factorized reductions: matrix products of
// rows of patches and weights, gathered element by element, multiplied by tensor cores (bfloat16) or one by one (float),
// summed in float.
#include "product.cuh"

// Sizes of a convolution. Output pixel (i, j) reads input rows `i stride + u - pad`. Of the `pitch` channels of an output
// pixel it writes `co`, from `offset` on: a factorized reduction is two convolutions side by side, of pads 0 and -1.
struct Geometry {
    long long n;
    int h, w, ho, wo, kernel, stride, pad, co, offset, pitch;
};

struct GatherParams {
    Geometry g;
    ConvSource sources[MOST_SOURCES];
    Image dy;
    void* to;          // y or dx; for weights none
    float* parts;      // [blocks z, kernel kernel ci, co]
    long long split;   // pixels of dy per block z
    int sources_count, add;
};

// A block of 4 warps makes 64 rows by 32 columns of a product, 16 terms at a time.
constexpr int ROWS = 64, TERMS = 16, PITCH = TERMS + 8;

// Pairs of bfloat16 are read as one word.
template <class P>
struct alignas(16) Tiles {
    P a[ROWS][PITCH];
    P b[COLUMNS][PITCH];
};

// Row `pixel` of the patches of a source: element k is tap k / ci, channel k % ci.
template <class T>
struct Patches {
    const Geometry& g;
    const ConvSource& source;
    __device__ float at(long long pixel, int k) const {
        const int c = k % source.ci, tap = k / source.ci;
        const int oj = pixel % g.wo;
        const long long line = pixel / g.wo;
        const int i = static_cast<int>(line % g.ho) * g.stride + tap / g.kernel - g.pad;
        const int j = oj * g.stride + tap % g.kernel - g.pad;
        if (i < 0 || i >= g.h || j < 0 || j >= g.w) return 0;
        return read<T>(source.x, source.ci, ((line / g.ho * g.h + i) * g.w + j) * source.ci + c, c);
    }
};

// Row `pixel` of the input: element k is tap k / co, output channel k % co of the outputs that read the pixel.
template <class T>
struct Readers {
    const Geometry& g;
    const Image& dy;
    __device__ float at(long long pixel, int k) const {
        const int c = g.offset + k % g.co, tap = k / g.co;
        const long long line = pixel / g.w;
        const int i = static_cast<int>(line % g.h) + g.pad - tap / g.kernel;
        const int j = static_cast<int>(pixel % g.w) + g.pad - tap % g.kernel;
        if (i < 0 || j < 0 || i % g.stride || j % g.stride || i / g.stride >= g.ho || j / g.stride >= g.wo) return 0;
        return read<T>(dy, g.pitch, ((line / g.h * g.ho + i / g.stride) * g.wo + j / g.stride) * g.pitch + c, c);
    }
};

// Fills one tile: `SIZE` lines of 16 terms. Neighboring threads take neighboring terms or neighboring lines, whichever lie
// side by side in memory.
template <int SIZE, bool TERMS_FIRST, class P, class Read>
__device__ inline void fill(P (&tile)[SIZE][PITCH], long long lines, long long terms, const Read& at) {
    for (int i = threadIdx.x; i < SIZE * TERMS; i += THREADS) {
        const int line = TERMS_FIRST ? i / TERMS : i % SIZE, term = TERMS_FIRST ? i % TERMS : i / SIZE;
        store(&tile[line][term], line < lines && term < terms ? at(line, term) : 0.0f);
    }
}

__device__ inline void multiply(const Tiles<float>& tiles, int used, float (&sums)[COLUMNS / 8][4]) {
    const int warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4, quad = threadIdx.x % 4;
    for (int k = 0; k < TERMS; ++k) {
        const float upper = tiles.a[16 * warp + group][k], lower = tiles.a[16 * warp + group + 8][k];
        for (int t = 0; t < COLUMNS / 8; ++t) {
            if (t >= used) break;
            const float left = tiles.b[8 * t + 2 * quad][k], right = tiles.b[8 * t + 2 * quad + 1][k];
            sums[t][0] += upper * left;
            sums[t][1] += upper * right;
            sums[t][2] += lower * left;
            sums[t][3] += lower * right;
        }
    }
}

__device__ inline uint32_t word(const bf16* at) { return *reinterpret_cast<const uint32_t*>(at); }

__device__ inline void multiply(const Tiles<bf16>& tiles, int used, float (&sums)[COLUMNS / 8][4]) {
    const int warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4, quad = threadIdx.x % 4;
    const bf16* upper = &tiles.a[16 * warp + group][2 * quad];
    const bf16* lower = &tiles.a[16 * warp + group + 8][2 * quad];
    const uint32_t a[4] = {word(upper), word(lower), word(upper + 8), word(lower + 8)};
    for (int t = 0; t < COLUMNS / 8; ++t) {
        if (t >= used) break;
        const bf16* column = &tiles.b[8 * t + group][2 * quad];
        const uint32_t b[2] = {word(column), word(column + 8)};
        mma_m16n8k16(sums[t], a, b);
    }
}

// Hands every element of this thread to `keep(row, column, value)`, counted within the block.
template <class Keep>
__device__ inline void finish(const float (&sums)[COLUMNS / 8][4], long long rows, long long columns, const Keep& keep) {
    const int warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4, quad = threadIdx.x % 4;
    for (int t = 0; t < COLUMNS / 8; ++t)
        for (int i = 0; i < 4; ++i) {
            const int row = 16 * warp + group + 8 * (i / 2), column = 8 * t + 2 * quad + i % 2;
            if (row < rows && column < columns) keep(row, column, sums[t][i]);
        }
}

// Block (x: output pixels, y: output channels).
template <class T, class P>
__device__ void gather_forward(const GatherParams& p) {
    DYNAMIC_SHARED(shared);
    Tiles<P>& tiles = *reinterpret_cast<Tiles<P>*>(shared);
    const Geometry& g = p.g;
    const long long row0 = static_cast<long long>(blockIdx.x) * ROWS, rows = g.n * g.ho * g.wo - row0;
    const int column0 = blockIdx.y * COLUMNS, columns = g.co - column0;
    float sums[COLUMNS / 8][4] = {};
    for (int s = 0; s < p.sources_count; ++s) {
        const ConvSource& source = p.sources[s];
        const Patches<T> patches{g, source};
        const int terms = g.kernel * g.kernel * source.ci;
        for (int k0 = 0; k0 < terms; k0 += TERMS) {
            fill<ROWS, true>(tiles.a, rows, terms - k0, [&](int r, int k) { return patches.at(row0 + r, k0 + k); });
            fill<COLUMNS, false>(tiles.b, columns, terms - k0, [&](int c, int k) {
                return source.weight[static_cast<long long>(k0 + k) * g.co + column0 + c];
            });
            __syncthreads();
            multiply(tiles, tiles_used(columns), sums);
            __syncthreads();
        }
    }
    finish(sums, rows, columns, [&](int r, int c, float value) {
        put<T>(p.to, (row0 + r) * g.pitch + g.offset + column0 + c, value, p.add);
    });
}
EXPORT_PRODUCT(gather_forward, GatherParams, 6)

// Gradient of the only source; block (x: input pixels, y: input channels).
template <class T, class P>
__device__ void gather_input(const GatherParams& p) {
    DYNAMIC_SHARED(shared);
    Tiles<P>& tiles = *reinterpret_cast<Tiles<P>*>(shared);
    const Geometry& g = p.g;
    const ConvSource& source = p.sources[0];
    const long long row0 = static_cast<long long>(blockIdx.x) * ROWS, rows = g.n * g.h * g.w - row0;
    const int column0 = blockIdx.y * COLUMNS, columns = source.ci - column0;
    const Readers<T> readers{g, p.dy};
    const int terms = g.kernel * g.kernel * g.co;
    float sums[COLUMNS / 8][4] = {};
    for (int k0 = 0; k0 < terms; k0 += TERMS) {
        fill<ROWS, true>(tiles.a, rows, terms - k0, [&](int r, int k) { return readers.at(row0 + r, k0 + k); });
        fill<COLUMNS, true>(tiles.b, columns, terms - k0, [&](int c, int k) {
            const int tap = (k0 + k) / g.co, co = (k0 + k) % g.co;
            return source.weight[(static_cast<long long>(tap) * source.ci + column0 + c) * g.co + co];
        });
        __syncthreads();
        multiply(tiles, tiles_used(columns), sums);
        __syncthreads();
    }
    finish(sums, rows, columns, [&](int r, int c, float value) {
        put<T>(p.to, (row0 + r) * source.ci + column0 + c, value, p.add);
    });
}
EXPORT_PRODUCT(gather_input, GatherParams, 6)

// Part of the weight's gradient; block (x: taps and input channels, y: output channels, z: pixels).
template <class T, class P>
__device__ void gather_weight(const GatherParams& p) {
    DYNAMIC_SHARED(shared);
    Tiles<P>& tiles = *reinterpret_cast<Tiles<P>*>(shared);
    const Geometry& g = p.g;
    const ConvSource& source = p.sources[0];
    const int all_rows = g.kernel * g.kernel * source.ci;
    const int row0 = blockIdx.x * ROWS, rows = all_rows - row0;
    const int column0 = blockIdx.y * COLUMNS, columns = g.co - column0;
    const long long pixels = g.n * g.ho * g.wo, first = blockIdx.z * p.split;
    const long long end = first + p.split < pixels ? first + p.split : pixels;
    const Patches<T> patches{g, source};
    float sums[COLUMNS / 8][4] = {};
    for (long long k0 = first; k0 < end; k0 += TERMS) {
        fill<ROWS, false>(tiles.a, rows, end - k0, [&](int r, int k) { return patches.at(k0 + k, row0 + r); });
        fill<COLUMNS, false>(tiles.b, columns, end - k0, [&](int c, int k) {
            const int channel = g.offset + column0 + c;
            return read<T>(p.dy, g.pitch, (k0 + k) * g.pitch + channel, channel);
        });
        __syncthreads();
        multiply(tiles, tiles_used(columns), sums);
        __syncthreads();
    }
    float* part = p.parts + static_cast<long long>(blockIdx.z) * all_rows * g.co;
    finish(sums, rows, columns, [&](int r, int c, float value) {
        part[static_cast<long long>(row0 + r) * g.co + column0 + c] = value;
    });
}
EXPORT_PRODUCT(gather_weight, GatherParams, 6)
