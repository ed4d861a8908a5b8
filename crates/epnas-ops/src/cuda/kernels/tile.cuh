// Tiles of images in shared memory, with their margins: where they begin, which pixels they hold, and how those are loaded,
// normalized and rounded. What is made of them, and the layout in bytes, is in `conv.cu`.
#pragma once
#include "product.cuh"

constexpr int PIXELS = 128;  // of a tile
constexpr int TAPS = 9;      // whose weights lie in shared memory at a time

// How factors lie in shared memory: distances in elements.
template <class P>
struct Layout;
template <>
struct Layout<bf16> {
    static constexpr int OCTETS = 3, PIXEL = 24, ROW = 40;
};
template <>
struct Layout<float> {
    static constexpr int OCTETS = 2, PIXEL = 20, ROW = 32;
};
constexpr int MOST_READ = 308;  // pixels that a tile reads, with its margin
constexpr int MOST_OCTETS = TAPS * 3 + 1, STAGE = 40;

// Images, and a tile of them, whose window is of odd side and padded by half of it.
struct Tiling {
    int n, h, w, kernel;
    int images, rows, columns;  // of a tile
    int across, down;           // tiles of an image, side by side and one below the other
};

// Quotients of small numbers: right where number times divisor is below 65,536.
struct Divisor {
    int by;
    unsigned inverse;
    __device__ explicit Divisor(int by) : by(by), inverse(65536u / by + 1) {}
    __device__ int quotient(int number) const { return static_cast<int>(number * inverse >> 16); }
};

// Where a tile begins.
struct Corner {
    int n, i, j;
    __device__ Corner(const Tiling& t, int tile) {
        j = tile % t.across * t.columns;
        tile /= t.across;
        i = tile % t.down * t.rows;
        n = tile / t.down * t.images;
    }
    // Pixels of the tile that are pixels of the images.
    __device__ int count(const Tiling& t) const {
        return least(t.images, t.n - n) * least(t.rows, t.h - i) * least(t.columns, t.w - j);
    }
};

// Maps of channels (`Channel`), number by number.
struct Maps {
    float mean[COLUMNS], slope[COLUMNS], shift[COLUMNS], offset[COLUMNS], tilt[COLUMNS];
};

// What a block has in shared memory.
template <class P>
struct Shared {
    int* outputs;  // [PIXELS]: pixels of the result; -1 where the tile reaches beyond it
    int* starts;   // [PIXELS]: where their windows begin in the halo
    int* offsets;  // [MOST_OCTETS]: where octets of a window lie from there
    Maps* maps;    // [2]
    int* inputs;   // [MOST_READ]: pixels of the images; -1 outside of them
    P* side;       // weights, or a tile of dy
    P* halo;
    float* stage;  // [PIXELS, STAGE]: the result, in the place of `side` and `halo`

    __device__ Shared(unsigned char* memory, int side_bytes) {
        outputs = reinterpret_cast<int*>(memory);
        starts = outputs + PIXELS;
        offsets = starts + PIXELS;
        maps = reinterpret_cast<Maps*>(offsets + 32);
        inputs = reinterpret_cast<int*>(maps + 2);
        unsigned char* products = reinterpret_cast<unsigned char*>(inputs + MOST_READ);
        side = reinterpret_cast<P*>(products);
        halo = reinterpret_cast<P*>(products + side_bytes);
        stage = reinterpret_cast<float*>(products);
    }
};

// Pixels of the tile that begins at `corner`, with `margin` pixels around it.
__device__ inline int locate(const Tiling& t, const Corner& corner, int margin, int* pixels) {
    const int rows = t.rows + 2 * margin, columns = t.columns + 2 * margin, count = t.images * rows * columns;
    const Divisor by_rows(rows), by_columns(columns);
#pragma unroll 1
    for (int at = threadIdx.x; at < count; at += THREADS) {
        const int line = by_columns.quotient(at), image = by_rows.quotient(line);
        const int n = corner.n + image, i = corner.i + line - image * rows - margin;
        const int j = corner.j + at - line * columns - margin;
        pixels[at] = n < t.n && i >= 0 && i < t.h && j >= 0 && j < t.w ? (n * t.h + i) * t.w + j : -1;
    }
    return count;
}

// Pixels of the result that the tile at `corner` makes.
__device__ inline void locate_outputs(const Tiling& t, const Corner& corner, int* outputs) {
    const int used = locate(t, corner, 0, outputs), at = threadIdx.x;
    if (at >= used) outputs[at] = -1;
}

// Where the windows of a tile's pixels begin in its halo.
template <class P>
__device__ inline void locate_windows(const Tiling& t, const Shared<P>& shared) {
    const int at = threadIdx.x, used = t.images * t.rows * t.columns;
    const Divisor by_rows(t.rows), by_columns(t.columns);
    const int line = by_columns.quotient(at), image = by_rows.quotient(line);
    const int start = (line + image * (t.kernel - 1)) * (t.columns + t.kernel - 1) + at - line * t.columns;
    shared.starts[at] = at < used ? start * Layout<P>::PIXEL : 0;
}

// Where octet `at` of the taps from `tap` on lies in the halo, from the start of a window.
template <class P>
__device__ inline int octet_offset(const Tiling& t, int tap, int octets, int at) {
    tap += at / octets;
    return (tap / t.kernel * (t.columns + t.kernel - 1) + tap % t.kernel) * Layout<P>::PIXEL + 8 * (at % octets);
}

// The maps of 8 `octets` channels from `c0` on. Beyond the last they make zeros of zeros.
__device__ inline void prepare(const Image& image, int channels, int c0, int octets, Maps& to) {
    const int at = threadIdx.x, c = c0 + at;
    if (!image.norm.scale || at >= 8 * octets) return;
    const Channel channel = c < channels ? Channel(image, channels, c) : Channel{};
    to.mean[at] = channel.mean;
    to.slope[at] = channel.slope;
    to.shift[at] = channel.shift;
    to.offset[at] = channel.offset;
    to.tilt[at] = channel.tilt;
}

// Eight channels of a pixel as they lie in memory, those beyond the last as zeros.
template <class T>
struct Eight {
    static constexpr int PARTS = sizeof(T) / 2;  // of 16 bytes
    Words<4> parts[PARTS];

    template <bool VECTOR>
    __device__ void load(const T* from, int valid) {
        if constexpr (VECTOR) {
            for (int i = 0; i < PARTS; ++i) parts[i] = load_words<4>(from + i * (8 / PARTS));
        } else {
            float values[8];
            for (int i = 0; i < 8; ++i) values[i] = i < valid ? ::load(from + i) : 0.0f;
            set(values);
        }
    }
    template <bool VECTOR>
    __device__ void store(T* to, int valid) const {
        if constexpr (VECTOR) {
            for (int i = 0; i < PARTS; ++i) store_words(to + i * (8 / PARTS), parts[i]);
        } else {
            float values[8];
            get(values);
            for (int i = 0; i < 8; ++i)
                if (i < valid) ::store(to + i, values[i]);
        }
    }
    __device__ void get(float (&to)[8]) const { load_side(reinterpret_cast<const T*>(parts), to); }
    __device__ void set(const float (&values)[8]) { store_side(reinterpret_cast<T*>(parts), values); }
};

// Makes factors of what lies in memory; with THROUGH of gradients that pass a batch norm.
template <bool THROUGH, class T>
__device__ inline void normalize(const Image& image, const Maps& maps, int octet, const Eight<T>& data, const Eight<T>& through,
                                 float (&values)[8]) {
    float x[8];
    data.get(values);
    if (!image.norm.scale) return;
    if (THROUGH) through.get(x);
    for (int part = 0; part < 8; part += 4) {
        const int at = 8 * octet + part;
        float mean[4], slope[4], shift[4], offset[4], tilt[4];
        load_side(maps.mean + at, mean);
        load_side(maps.slope + at, slope);
        load_side(maps.shift + at, shift);
        if (THROUGH) {
            load_side(maps.offset + at, offset);
            load_side(maps.tilt + at, tilt);
        }
        for (int i = 0; i < 4; ++i) {
            Channel map;
            map.mean = mean[i], map.slope = slope[i], map.shift = shift[i], map.relu = image.norm.relu;
            float& value = values[part + i];
            if (THROUGH) {
                map.offset = offset[i], map.tilt = tilt[i];
                value = map.backward(x[part + i], value);
            } else {
                value = map.normalized(value);
            }
        }
    }
}

// Factors of 8 `octets` channels from `c0` on of these pixels, `pitch` apart.
template <bool THROUGH, class T, class P>
__device__ inline void fill(const Image& image, int channels, int c0, int octets, const Maps& maps, const int* pixels,
                            int count, P* to, int pitch) {
    const int lines = THREADS / octets, line = threadIdx.x / octets, octet = threadIdx.x - line * octets;
    if (line >= lines) return;
    const int c = c0 + 8 * octet, valid = channels - c;
    const bool vector = valid >= 8 && channels * sizeof(T) % 16 == 0 && is_aligned(image.data) && is_aligned(image.through);
    with_flag(vector, [&](auto flag) {
        constexpr bool VECTOR = decltype(flag)::VALUE;
        constexpr int BATCH = !THROUGH && sizeof(T) == 2 ? 2 : 1;  // to have 32 bytes under way
        for (int first = line; first < count; first += BATCH * lines) {
            Eight<T> data[BATCH], through[BATCH];
            bool inside[BATCH];
            for (int b = 0; b < BATCH; ++b) {
                const int pixel = first + b * lines < count ? pixels[first + b * lines] : -1;
                const long long at = static_cast<long long>(pixel) * channels + c;
                inside[b] = pixel >= 0;
                if (!inside[b]) continue;
                data[b].template load<VECTOR>(static_cast<const T*>(image.data) + at, valid);
                if (THROUGH) through[b].template load<VECTOR>(static_cast<const T*>(image.through) + at, valid);
            }
            for (int b = 0; b < BATCH; ++b) {
                if (first + b * lines >= count) break;
                float values[8] = {};
                if (inside[b]) normalize<THROUGH>(image, maps, octet, data[b], through[b], values);
                store_side(to + (first + b * lines) * pitch + 8 * octet, values);
            }
        }
    });
}

// The same of images that may be gradients that pass a batch norm.
template <class T, class P>
__device__ inline void fill_gradient(const Image& dy, int channels, int c0, int octets, const Maps& maps, const int* pixels,
                                     int count, P* to, int pitch) {
    with_flag(dy.through, [&](auto flag) {
        fill<decltype(flag)::VALUE, T>(dy, channels, c0, octets, maps, pixels, count, to, pitch);
    });
}
