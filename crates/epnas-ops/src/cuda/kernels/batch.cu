// Batches drawn from images that lie on the device as bytes: crop, mirror, cutout and normalization, a thread per number.
//
// Random numbers are functions of seed, position and channel alone, so that any device draws the same: `draw` and `below`
// are those of splitmix64 (Steele, Lea and Flood, 2014).
#include "kernel.cuh"

struct BatchParams {
    const unsigned char* pixels;  // [images, h, w, c]
    const uint32_t* all_labels;   // [images]
    const float* table;           // [c, 256]
    const uint32_t* order;        // [positions]
    long long* cursor;            // [2]: seed of the stream, position of the first image
    void* x;                      // [n, h, w, c]
    uint32_t* labels;             // [n]
    long long images, positions;
    int n, h, w, channels, pad, mirror, cutout, augment;
};

__device__ inline uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

__device__ inline uint64_t draw(uint64_t seed, uint64_t position, uint64_t channel) {
    constexpr uint64_t step = 0x9e3779b97f4a7c15ull;
    return mix(mix(seed + step * (position + 1)) + step * (channel + 1));
}

__device__ inline int below(uint64_t bits, int bound) { return static_cast<int>(((bits >> 32) * static_cast<uint64_t>(bound)) >> 32); }

template <class T>
__device__ void draw_batch(const BatchParams& p) {
    const long long to = element(), len = static_cast<long long>(p.h) * p.w * p.channels;
    if (to >= p.n * len) return;
    const Position at(to, p.h, p.w, p.channels);
    const uint64_t seed = p.cursor[0], position = p.cursor[1] + at.n;
    T* x = static_cast<T*>(p.x) + to;
    const bool known = position < static_cast<uint64_t>(p.positions) && p.order[position] < p.images;
    if (!known) {
        // Nothing to draw: a number and a class that show.
        store(x, NAN);
        if (to % len == 0) p.labels[at.n] = 0xffffffffu;
        return;
    }
    const long long image = p.order[position];
    if (to % len == 0) p.labels[at.n] = p.all_labels[image];
    int i = at.i, j = at.j;
    if (p.augment) {
        const int top = below(draw(seed, position, 0), 2 * p.pad + 1) - p.pad;
        const int left = below(draw(seed, position, 1), 2 * p.pad + 1) - p.pad;
        if (p.cutout > 0) {
            const int first = below(draw(seed, position, 3), p.h) - p.cutout / 2;
            const int column = below(draw(seed, position, 4), p.w) - p.cutout / 2;
            if (i >= first && i < first + p.cutout && j >= column && j < column + p.cutout) {
                store(x, 0.0f);
                return;
            }
        }
        if (p.mirror && draw(seed, position, 2) >> 63) j = p.w - 1 - j;
        i += top;
        j += left;
    }
    const bool inside = i >= 0 && i < p.h && j >= 0 && j < p.w;
    const int value = inside ? p.pixels[((image * p.h + i) * p.w + j) * p.channels + at.c] : 0;
    store(x, p.table[at.c * 256 + value]);
}
EXPORT(draw_batch, BatchParams)

// One thread: the cursor behind the batch that was drawn.
template <class T>
__device__ void advance(const BatchParams& p) {
    if (element() == 0) p.cursor[1] += p.n;
}
EXPORT_PLAIN(advance, BatchParams)
