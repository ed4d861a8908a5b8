// Dense convolutions of stride 1: tiles of images in shared memory, whose windows are multiplied in place by tensor cores
// (bfloat16) or one by one (float), and summed in float. What does not fit is in `conv_gather.cu`.
//
// TILES. A block of 4 warps makes up to 128 pixels of the result by up to 32 channels: a rectangle of one image, or
// several small images whole; of 1x1 convolutions, 128 pixels in a row. It reads the tile and a margin of half a window
// ("halo") of 24 channels (bfloat16; float: 16) at a time: every element is normalized, activated and rounded once, and
// is zero outside of the images. Then all taps are multiplied from there. Weights follow 9 taps at a time.
//
// Terms of a window come in eights, one tap and 8 channels each ("octet"); two octets are the 16 terms of an mma. Both lie
// anywhere in the halo: the lanes that load an 8x8 matrix name its rows one by one, so that a row of the product is a
// pixel's place, a step along the terms is one of `offsets` from there, and the tile may have any shape. 24 channels are 27
// octets or 14 steps of a 3x3 window; an odd octet is multiplied by zeros.
//
// SHARED MEMORY. Pixels of the halo are 48 bytes apart (float: 80), rows of weights 80 bytes (float: 128) and, where they
// stand transposed, 16 bytes more than a multiple of 32: an odd number of 16-byte units, so that eight neighbors hit
// different banks. The result passes through the same memory on its way to whole vectors and to statistics. In bytes:
//
//                                tables   weights or dy   halo     all, at least 20,480 and the tables
//     3x3, 16x8, bfloat16         3,664          17,920    8,640   30,224; for the gradient of the weights 24,144
//     1x1, bfloat16               3,664           2,560    6,144   24,144
//     7x7, 16x8, float            3,664          18,944   24,640   47,248: the most, of 49,152 that need no permission
//
// GRADIENTS. That of the input is the same product over dy, with mirrored taps and transposed weights. That of the weights
// has octets of the window as rows, output channels as columns and pixels as terms: a block keeps up to 9 taps of 24
// input channels by 32 output channels in registers while it passes over some tiles.
//
// COST, counted in machine code for sm_90, bfloat16 of 32 columns: 69 instructions for 32 products of tensor cores (71
// for the gradient of the input, 106 for that of the weights), 90 for eight elements of the halo (11 each, once for all
// taps), 25 for four weights. A warp executes about 1,000 for the 112 products of a 3x3 chunk, 9 each; gathered element by
// element it was some 150.
// Registers: forward 113, input 127 (4 blocks a multiprocessor), weights 163 (3 blocks); none spill.
//
// NOT MEASURED YET. First: time of 3x3 and 1x1 at 24 channels and 32x32 beside that of reading and writing the images once.
// If weights weigh most, let a block make two tiles with them, or pack them to bfloat16 once a step; if waiting for
// memory does, fetch the next chunk while one is multiplied (cp.async cannot normalize on the way).
#include "tile.cuh"

struct ConvParams {
    Tiling tiling;
    ConvSource sources[MOST_SOURCES];  // x; for the gradient of the input dy, whose channels are `ci`
    Image dy;                          // for weights
    void* to;                          // y or dx
    float* parts;   // for weights [blocks z, kernel kernel ci, co]; else [tiles, 2, co], mean and squares of what differs
    float* counts;  // [tiles]: pixels of the parts
    int sources_count, add;
    int co;       // channels of the result
    int columns;  // of them a block makes so many: a multiple of 8
    int tiles;    // for weights: of all tiles a block sums so many
    int side;     // bytes of shared memory for weights or dy
};

// Which weights a product takes: taps from `tap` on, channels from `c0` on, columns from `column0` on.
struct Range {
    int tap, taps, c0, octets, column0;
    __device__ int terms() const { return 8 * octets * taps; }
    // An mma takes two octets.
    template <class P>
    __device__ int rows() const {
        return sizeof(P) == 2 ? (terms() + 15) / 16 * 16 : terms();
    }
    // Distance of transposed columns.
    template <class P>
    __device__ int pitch() const {
        return rows<P>() + 16 / static_cast<int>(sizeof(P));
    }
};

// Four weights that lie side by side; those beyond the last as zeros.
template <bool VECTOR, class P>
__device__ inline void fill_four(const float* from, int valid, P* to) {
    float values[4] = {};
    if (VECTOR) {
        if (valid >= 4) load_side(from, values);
    } else {
        for (int i = 0; i < 4; ++i)
            if (i < valid) values[i] = from[i];
    }
    store_side(to, values);
}

// Weights [terms, COLUMNS] of a source.
template <class P>
__device__ inline void fill_weights(const ConvSource& source, const ConvParams& p, const Range& range, P* to) {
    const int quad = threadIdx.x % 8, column = range.column0 + 4 * quad, width = 8 * range.octets;
    const Divisor by_width(width);
    const bool vector = p.co % 4 == 0 && is_aligned(source.weight);
    const float* first = source.weight + (range.tap * source.ci + range.c0) * p.co + column;
    with_flag(vector, [&](auto flag) {
        for (int row = threadIdx.x / 8; row < range.rows<P>(); row += THREADS / 8) {
            const int tap = by_width.quotient(row), c = row - tap * width;
            const int valid = row < range.terms() && c < source.ci - range.c0 ? p.co - column : 0;
            const float* from = first + (tap * source.ci + c) * p.co;
            fill_four<decltype(flag)::VALUE>(from, valid, to + row * Layout<P>::ROW + 4 * quad);
        }
    });
}

// Mirrored weights [COLUMNS, terms], transposed: `ci` channels of dy to `co` of the input.
template <class P>
__device__ inline void fill_transposed(const ConvSource& source, const ConvParams& p, const Range& range, P* to) {
    const int width = 8 * range.octets, quads = width / 4, lines = THREADS / quads;
    const int first = threadIdx.x / quads, quad = threadIdx.x - first * quads, c = range.c0 + 4 * quad;
    const int last = p.tiling.kernel * p.tiling.kernel - 1 - range.tap, pitch = range.pitch<P>();
    const bool vector = source.ci % 4 == 0 && is_aligned(source.weight);
    with_flag(vector, [&](auto flag) {
        for (int line = first; first < lines && line < COLUMNS * range.taps; line += lines) {
            const int tap = line / COLUMNS, column = line % COLUMNS;
            const int valid = range.column0 + column < p.co ? source.ci - c : 0;
            const float* from = source.weight + ((last - tap) * p.co + range.column0 + column) * source.ci + c;
            fill_four<decltype(flag)::VALUE>(from, valid, to + column * pitch + tap * width + 4 * quad);
        }
    });
    if (range.rows<P>() > range.terms() && threadIdx.x < 2 * COLUMNS)
        fill_four<false>(nullptr, 0, to + threadIdx.x / 2 * pitch + range.terms() + threadIdx.x % 2 * 4);
}

// Sums of a thread, as an mma has them: of 2 times 16 pixels, and of 8 columns each.
using Sums = float[2][COLUMNS / 8][4];

__device__ inline int warp() { return threadIdx.x / 32; }
__device__ inline int lane() { return threadIdx.x % 32; }
__device__ inline int group() { return lane() / 4; }
__device__ inline int quad() { return threadIdx.x % 4; }

template <bool TRANSPOSED, int USED>
__device__ inline void multiply(const Shared<bf16>& shared, const Range& range, Sums& sums) {
    const int pitch = range.pitch<bf16>(), upper = lane() / 16;
    const SharedRow halo(shared.halo);
    const SharedRow pixels[2] = {halo + shared.starts[32 * warp() + lane() % 16],
                                 halo + shared.starts[32 * warp() + 16 + lane() % 16]};
    const SharedRow weights = SharedRow(shared.side) + (TRANSPOSED ? (lane() % 8 + 8 * upper) * pitch + lane() / 8 % 2 * 8
                                                                   : lane() % 16 * Layout<bf16>::ROW + 8 * upper);
    const auto step = [&](int at, bool half) {
        const int offset = shared.offsets[2 * at + (half ? 0 : upper)];
        uint32_t a[2][4], b[2][4];
        for (int m = 0; m < 2; ++m) {
            ldmatrix_x4(a[m], pixels[m] + offset);
            if (half) a[m][2] = a[m][3] = 0;
        }
        for (int t = 0; t < (USED + 1) / 2; ++t) {
            if (TRANSPOSED)
                ldmatrix_x4(b[t], weights + (16 * at + 16 * t * pitch));
            else
                ldmatrix_x4_trans(b[t], weights + (16 * at * Layout<bf16>::ROW + 16 * t));
        }
        for (int t = 0; t < USED; ++t) {
            const uint32_t column[2] = {b[t / 2][t % 2 * 2], b[t / 2][t % 2 * 2 + 1]};
            for (int m = 0; m < 2; ++m) mma_m16n8k16(sums[m][t], a[m], column);
        }
    };
    const int octets = range.taps * range.octets;
    for (int at = 0; at < octets / 2; ++at) step(at, false);
    if (octets % 2) step(octets / 2, true);
}

template <bool TRANSPOSED, int USED>
__device__ inline void multiply(const Shared<float>& shared, const Range& range, Sums& sums) {
    const int pitch = range.pitch<float>();
    const float* pixels[4];
    for (int m = 0; m < 4; ++m) pixels[m] = shared.halo + shared.starts[32 * warp() + group() + 8 * m];
    for (int at = 0; at < range.taps * range.octets; ++at) {
        const int offset = shared.offsets[at];
        for (int c = 0; c < 8; c += 4) {
            float a[4][4];
            for (int m = 0; m < 4; ++m) load_side(pixels[m] + offset + c, a[m]);
            for (int k = 0; k < 4; ++k) {
                const int term = 8 * at + c + k;
                for (int t = 0; t < USED; ++t)
                    for (int i = 0; i < 2; ++i) {
                        const int column = 8 * t + 2 * quad() + i;
                        const float b = shared.side[TRANSPOSED ? column * pitch + term : term * Layout<float>::ROW + column];
                        for (int m = 0; m < 4; ++m) sums[m / 2][t][m % 2 * 2 + i] += a[m][k] * b;
                    }
            }
        }
    }
}

// Mean and sum of squares of what differs from it, of all rows of the stage that are pixels, column by column.
__device__ inline void moments_of(const float* stage, const int* outputs, int count, float* scratch, float* part, int columns,
                                  int co) {
    const int column = lane(), rows = PIXELS / 4, first = warp() * rows;
    float* squares = scratch + 4 * COLUMNS;
    const auto total = [&](const float* sums) {
        return (sums[column] + sums[COLUMNS + column]) + (sums[2 * COLUMNS + column] + sums[3 * COLUMNS + column]);
    };
    // Sums of differences from one of the values, so that the mean is as exact as they are.
    const float pivot = stage[column];
    float sum = 0;
#pragma unroll 8
    for (int row = first; row < first + rows; ++row)
        if (outputs[row] >= 0) sum += stage[row * STAGE + column] - pivot;
    scratch[warp() * COLUMNS + column] = sum;
    __syncthreads();
    const float mean = pivot + total(scratch) / static_cast<float>(count);
    sum = 0;
#pragma unroll 8
    for (int row = first; row < first + rows; ++row)
        if (outputs[row] >= 0) {
            const float centered = stage[row * STAGE + column] - mean;
            sum += centered * centered;
        }
    squares[warp() * COLUMNS + column] = sum;
    __syncthreads();
    if (warp() > 0 || column >= columns) return;
    part[column] = mean;
    part[co + column] = total(squares);
}

// Writes the sums of a block, or adds them to what is there; where wanted, also a part of the statistics.
template <class T, class P>
__device__ inline void finish(const ConvParams& p, const Shared<P>& shared, const Corner& corner, int column0, int columns,
                              const Sums& sums) {
    float* stage = shared.stage;
    __syncthreads();
    for (int m = 0; m < 4; ++m)
        for (int t = 0; t < COLUMNS / 8; ++t)
            for (int i = 0; i < 2; ++i)
                stage[(32 * warp() + group() + 8 * m) * STAGE + 8 * t + 2 * quad() + i] = sums[m / 2][t][m % 2 * 2 + i];
    __syncthreads();
    const int octet = quad(), valid = columns - 8 * octet;
    const bool vector = valid >= 8 && p.co * sizeof(T) % 16 == 0 && is_aligned(p.to);
    with_flag(vector, [&](auto flag) {
        constexpr bool VECTOR = decltype(flag)::VALUE;
#pragma unroll 1
        for (int row = threadIdx.x / 4; row < PIXELS && valid > 0; row += THREADS / 4) {
            const int pixel = shared.outputs[row];
            if (pixel < 0) continue;
            T* to = static_cast<T*>(p.to) + static_cast<long long>(pixel) * p.co + column0 + 8 * octet;
            float values[8], before[8];
            Eight<T> written;
            load_side(stage + row * STAGE + 8 * octet, values);
            if (p.add) {
                written.template load<VECTOR>(to, valid);
                written.get(before);
                for (int i = 0; i < 8; ++i) values[i] = before[i] + values[i];
            }
            written.set(values);
            written.template store<VECTOR>(to, valid);
            if (!p.parts) continue;
            written.get(values);
            store_side(stage + row * STAGE + 8 * octet, values);
        }
    });
    if (!p.parts) return;
    __syncthreads();
    const int count = corner.count(p.tiling);
    if (blockIdx.y == 0 && threadIdx.x == 0) p.counts[blockIdx.x] = static_cast<float>(count);
    float* part = p.parts + 2ll * blockIdx.x * p.co + column0;
    moments_of(stage, shared.outputs, count, reinterpret_cast<float*>(shared.maps), part, columns, p.co);
}

// Block (x: tiles, y: channels of the result).
template <class T, class P, bool TRANSPOSED>
__device__ inline void convolve(const ConvParams& p) {
    DYNAMIC_SHARED(memory);
    const Tiling& t = p.tiling;
    const Shared<P> shared(memory, p.side);
    const Corner corner(t, blockIdx.x);
    const int column0 = blockIdx.y * p.columns, columns = least(p.columns, p.co - column0), used = tiles_used(columns);
    const int all_taps = t.kernel * t.kernel, PIXEL = Layout<P>::PIXEL;
    const int halo = locate(t, corner, t.kernel / 2, shared.inputs);
    locate_outputs(t, corner, shared.outputs);
    locate_windows(t, shared);
    Sums sums = {};
    for (int s = 0; s < p.sources_count; ++s) {
        const ConvSource& source = p.sources[s];
        for (int c0 = 0; c0 < source.ci; c0 += 8 * Layout<P>::OCTETS) {
            const int octets = least(Layout<P>::OCTETS, (source.ci - c0 + 7) / 8);
            prepare(source.x, source.ci, c0, octets, shared.maps[0]);
            for (int tap = 0; tap < all_taps; tap += TAPS) {
                const Range range{tap, least(TAPS, all_taps - tap), c0, octets, column0};
                __syncthreads();
                if (tap == 0 && TRANSPOSED)
                    fill_gradient<T>(source.x, source.ci, c0, octets, shared.maps[0], shared.inputs, halo, shared.halo, PIXEL);
                if (tap == 0 && !TRANSPOSED)
                    fill<false, T>(source.x, source.ci, c0, octets, shared.maps[0], shared.inputs, halo, shared.halo, PIXEL);
                if (threadIdx.x < range.taps * octets)
                    shared.offsets[threadIdx.x] = octet_offset<P>(t, tap, octets, threadIdx.x);
                if (TRANSPOSED)
                    fill_transposed(source, p, range, shared.side);
                else
                    fill_weights(source, p, range, shared.side);
                __syncthreads();
                // Tiles of few pixels leave warps without work.
                if (32 * warp() < t.images * t.rows * t.columns)
                    with_tiles(used, [&](auto tiles) { multiply<TRANSPOSED, decltype(tiles)::VALUE>(shared, range, sums); });
            }
        }
    }
    finish<T>(p, shared, corner, column0, columns, sums);
}

template <class T, class P>
__device__ void conv_forward(const ConvParams& p) {
    convolve<T, P, false>(p);
}
EXPORT_PRODUCT(conv_forward, ConvParams, 4)

template <class T, class P>
__device__ void conv_input(const ConvParams& p) {
    convolve<T, P, true>(p);
}
EXPORT_PRODUCT(conv_input, ConvParams, 4)

// Pairs of octets of a warp: every fourth.
constexpr int PAIRS = (MOST_OCTETS / 2 + 3) / 4;
using WeightSums = float[PAIRS][COLUMNS / 8][4];

// Adds the products of a tile. `octets` are those of a window that the block makes.
template <int USED>
__device__ inline void multiply_pixels(const Shared<bf16>& shared, int octets, int pixels, WeightSums& sums) {
    const int upper = lane() / 16, right = lane() / 8 % 2;
    int pairs[PAIRS];
    for (int i = 0; i < PAIRS; ++i) {
        const int octet = 2 * (warp() + 4 * i) + right;
        pairs[i] = octet < octets ? shared.offsets[octet] : 0;
    }
    const SharedRow halo(shared.halo), dy = SharedRow(shared.side) + (lane() % 16 * Layout<bf16>::ROW + 8 * upper);
    for (int at = 0; at < pixels; at += 16) {
        const SharedRow window = halo + shared.starts[at + lane() % 8 + 8 * upper];
        uint32_t b[2][4];
        for (int t = 0; t < (USED + 1) / 2; ++t) ldmatrix_x4_trans(b[t], dy + (at * Layout<bf16>::ROW + 16 * t));
        for (int i = 0; i < PAIRS; ++i) {
            if (2 * (warp() + 4 * i) >= octets) break;
            uint32_t a[4];
            ldmatrix_x4_trans(a, window + pairs[i]);
            for (int t = 0; t < USED; ++t) {
                const uint32_t column[2] = {b[t / 2][t % 2 * 2], b[t / 2][t % 2 * 2 + 1]};
                mma_m16n8k16(sums[i][t], a, column);
            }
        }
    }
}

template <int USED>
__device__ inline void multiply_pixels(const Shared<float>& shared, int octets, int pixels, WeightSums& sums) {
    int places[PAIRS][2];
    for (int i = 0; i < PAIRS; ++i)
        for (int m = 0; m < 2; ++m) {
            const int octet = 2 * (warp() + 4 * i) + m;
            places[i][m] = (octet < octets ? shared.offsets[octet] : 0) + group();
        }
    for (int at = 0; at < pixels; ++at) {
        const float* window = shared.halo + shared.starts[at];
        const float* dy = shared.side + at * Layout<float>::ROW + 2 * quad();
        for (int i = 0; i < PAIRS; ++i) {
            if (2 * (warp() + 4 * i) >= octets) break;
            const float a[2] = {window[places[i][0]], window[places[i][1]]};
            for (int t = 0; t < USED; ++t)
                for (int m = 0; m < 4; ++m) sums[i][t][m] += a[m / 2] * dy[8 * t + m % 2];
        }
    }
}

// Part of the weight's gradient; block (x: input channels, then taps, y: output channels, z: tiles).
template <class T, class P>
__device__ void conv_weight(const ConvParams& p) {
    DYNAMIC_SHARED(memory);
    const Tiling& t = p.tiling;
    const Shared<P> shared(memory, p.side);
    const ConvSource& source = p.sources[0];
    const int column0 = blockIdx.y * p.columns, columns = least(p.columns, p.co - column0), used = tiles_used(columns);
    const int chunks = (source.ci + 8 * Layout<P>::OCTETS - 1) / (8 * Layout<P>::OCTETS);
    const int c0 = static_cast<int>(blockIdx.x) % chunks * 8 * Layout<P>::OCTETS, tap = blockIdx.x / chunks * TAPS;
    const int octets = least(Layout<P>::OCTETS, (source.ci - c0 + 7) / 8);
    const int all_taps = t.kernel * t.kernel, all_octets = least(TAPS, all_taps - tap) * octets;
    const int pixels = (t.images * t.rows * t.columns + 15) / 16 * 16;
    const int tiles = (t.n + t.images - 1) / t.images * t.down * t.across, first = blockIdx.z * p.tiles;
    prepare(source.x, source.ci, c0, octets, shared.maps[0]);
    prepare(p.dy, p.co, column0, used, shared.maps[1]);
    if (threadIdx.x < all_octets) shared.offsets[threadIdx.x] = octet_offset<P>(t, tap, octets, threadIdx.x);
    locate_windows(t, shared);
    WeightSums sums = {};
    for (int tile = first; tile < least(first + p.tiles, tiles); ++tile) {
        const Corner corner(t, tile);
        const int halo = locate(t, corner, t.kernel / 2, shared.inputs);
        locate_outputs(t, corner, shared.outputs);
        __syncthreads();
        fill<false, T>(source.x, source.ci, c0, octets, shared.maps[0], shared.inputs, halo, shared.halo, Layout<P>::PIXEL);
        fill_gradient<T>(p.dy, p.co, column0, used, shared.maps[1], shared.outputs, pixels, shared.side, Layout<P>::ROW);
        __syncthreads();
        with_tiles(used, [&](auto tiles) { multiply_pixels<decltype(tiles)::VALUE>(shared, all_octets, pixels, sums); });
    }
    float* part = p.parts + static_cast<long long>(blockIdx.z) * all_taps * source.ci * p.co + column0;
#pragma unroll
    for (int i = 0; i < PAIRS; ++i)
        for (int t8 = 0; t8 < COLUMNS / 8; ++t8)
            for (int m = 0; m < 4; ++m) {
                const int octet = 2 * (warp() + 4 * i) + m / 2, column = 8 * t8 + 2 * quad() + m % 2;
                const int c = c0 + octet % octets * 8 + group();
                if (octet >= all_octets || c >= source.ci || column >= columns) continue;
                part[static_cast<long long>((tap + octet / octets) * source.ci + c) * p.co + column] = sums[i][t8][m];
            }
}
EXPORT_PRODUCT(conv_weight, ConvParams, 3)
