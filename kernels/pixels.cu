// Decoded pictures to the network's input: bytes equal to the processor's, in integers until the last step.
//
// The formulas are those at the top of nexis-core/src/media/yuv.rs and nexis-core/src/media/resize.rs. Coefficients, taps
// and the value of each byte come from there as numbers; nothing is computed twice.
//
// A picture takes two passes to the network: `rows_from_rgb` resizes each row, `columns_to_input` resizes the columns, cuts the tiles,
// and writes the network's input. One that comes as YUV is converted before (`yuv_to_rgb`): evidence wants the picture itself.
#include "common.cuh"

// A picture as a decoder holds it, and the integers of its conversion. Mirrored in nexis-gpu/src/kernels/pixels.rs.
struct Yuv {
    // Addresses of the planes; `v` is 0 where U and V alternate, both are 0 where there is no chroma.
    uint64_t y, u, v;
    uint32_t width, height;
    // Bytes from a row to the next, of luma and of chroma.
    uint32_t stride, chroma_stride;
    // Bytes of a sample, and the bits to shift it right by before the mask of ten bits.
    uint32_t sample_bytes, down;
    // Log2 of the chroma subsampling.
    uint32_t log2_x, log2_y;
    int32_t cy, crv, cgu, cgv, cbu, y0, c0, shift;
};

__device__ inline int sample(const Yuv &p, uint64_t plane, uint32_t stride, uint32_t row, uint32_t column) {
    const uint8_t *line = (const uint8_t *)plane + (uint64_t)row * stride;
    if (p.sample_bytes == 1) return line[column];
    // Two bytes, little-endian. Rows begin at even addresses: the caller has seen to it.
    return (((const uint16_t *)line)[column] >> p.down) & 0x3ff;
}

__device__ inline uint8_t to_byte(int x) { return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x); }

__device__ inline void convert(const Yuv &p, uint32_t x, uint32_t y, uint8_t rgb[3]) {
    const int luma = p.cy * (sample(p, p.y, p.stride, y, x) - p.y0);
    const int half = 1 << (p.shift - 1);
    int red = half, green = half, blue = half;
    if (p.u) {
        const uint32_t column = x >> p.log2_x, row = y >> p.log2_y;
        int u, v;
        if (p.v) {
            u = sample(p, p.u, p.chroma_stride, row, column);
            v = sample(p, p.v, p.chroma_stride, row, column);
        } else {
            u = sample(p, p.u, p.chroma_stride, row, 2 * column);
            v = sample(p, p.u, p.chroma_stride, row, 2 * column + 1);
        }
        red = p.crv * (v - p.c0) + half;
        green = half - p.cgu * (u - p.c0) - p.cgv * (v - p.c0);
        blue = p.cbu * (u - p.c0) + half;
    }
    rgb[0] = to_byte((luma + red) >> p.shift);
    rgb[1] = to_byte((luma + green) >> p.shift);
    rgb[2] = to_byte((luma + blue) >> p.shift);
}

// Packed RGB, turned clockwise by `turns` right angles. One thread a pixel of the source.
KERNEL yuv_to_rgb(Yuv p, uint32_t turns, uint8_t *rgb) {
    const uint32_t x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    if (x >= p.width || y >= p.height) return;
    uint8_t pixel[3];
    convert(p, x, y, pixel);
    uint64_t at;
    switch (turns & 3) {
    case 1: at = (uint64_t)x * p.height + (p.height - 1 - y); break;
    case 2: at = (uint64_t)(p.height - 1 - y) * p.width + (p.width - 1 - x); break;
    case 3: at = (uint64_t)(p.width - 1 - x) * p.height + y; break;
    default: at = (uint64_t)y * p.width + x;
    }
    for (int c = 0; c < 3; c++) rgb[at * 3 + c] = pixel[c];
}

// The taps of a resize along one axis: output `i` is the sum over `counts[i]` inputs from `starts[i]` on, of which the one `k`
// places behind has the weight `weights[k * outputs + i]`, so that neighbours read neighbours. Mirrored in
// nexis-gpu/src/kernels/pixels.rs.
struct Taps {
    const uint32_t *starts;
    const uint32_t *counts;
    const int32_t *weights;
    uint32_t outputs;
};

#define PRECISION_BITS 22

// Taps whose inputs are on the way together.
#define TAPS_AT_ONCE 4

// `SUMS` bytes of output `i`, each from the inputs that lie `step` bytes apart from where `lines` says for input 0 on: they share
// the weights, and their loads are on the way together.
template <int SUMS>
__device__ inline void resized(const Taps &taps, uint32_t i, const uint8_t *const (&lines)[SUMS], uint64_t step,
                               uint8_t (&out)[SUMS]) {
    const uint32_t start = taps.starts[i], count = taps.counts[i];
    int sums[SUMS];
    for (int s = 0; s < SUMS; s++) sums[s] = 1 << (PRECISION_BITS - 1);
    for (uint32_t first = 0; first < count; first += TAPS_AT_ONCE) {
        int bytes[TAPS_AT_ONCE][SUMS], weights[TAPS_AT_ONCE];
#pragma unroll
        for (uint32_t k = 0; k < TAPS_AT_ONCE; k++) {
            // Behind the last, it is the last again, and adds nothing.
            const uint32_t tap = first + k < count ? first + k : count - 1;
            weights[k] = first + k < count ? taps.weights[(uint64_t)tap * taps.outputs + i] : 0;
#pragma unroll
            for (int s = 0; s < SUMS; s++) bytes[k][s] = lines[s][(start + tap) * step];
        }
#pragma unroll
        for (uint32_t k = 0; k < TAPS_AT_ONCE; k++) {
#pragma unroll
            for (int s = 0; s < SUMS; s++) sums[s] += bytes[k][s] * weights[k];
        }
    }
    for (int s = 0; s < SUMS; s++) out[s] = to_byte(sums[s] >> PRECISION_BITS);
}
__device__ inline uint8_t resized(const Taps &taps, uint32_t i, const uint8_t *line, uint64_t step) {
    const uint8_t *const lines[1] = {line};
    uint8_t out[1];
    resized(taps, i, lines, step, out);
    return out[0];
}

// Rows that a thread resizes at once.
#define RESIZED_ROWS 4

// Resizes the rows of packed RGB, `[height, taps.outputs, 3]`. Blocks along x take RESIZED_ROWS rows, those along y values.
KERNEL rows_from_rgb(const uint8_t *rgb, uint32_t width, uint32_t height, Taps taps, uint8_t *out) {
    const uint32_t i = blockIdx.y * blockDim.x + threadIdx.x, first = blockIdx.x * RESIZED_ROWS;
    if (i >= taps.outputs * 3) return;
    const uint8_t *rows[RESIZED_ROWS];
    uint8_t bytes[RESIZED_ROWS];
    for (uint32_t r = 0; r < RESIZED_ROWS; r++) {
        // Where there are fewer rows, the last again.
        const uint32_t y = first + r < height ? first + r : height - 1;
        rows[r] = rgb + (uint64_t)y * width * 3 + i % 3;
    }
    resized(taps, i / 3, rows, 3, bytes);
    for (uint32_t r = 0; r < RESIZED_ROWS; r++) {
        if (first + r < height) out[(uint64_t)(first + r) * taps.outputs * 3 + i] = bytes[r];
    }
}

// Resizes the columns of `[.., width, 3]` and leaves bytes, `[taps.outputs, width, 3]`.
KERNEL columns_to_bytes(const uint8_t *rows, uint32_t width, Taps taps, uint8_t *out) {
    const uint64_t line = (uint64_t)width * 3;
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < line) out[blockIdx.y * line + i] = resized(taps, blockIdx.y, rows + i, line);
}

// Where the tiles of a picture lie and what the network wants of them. Mirrored in nexis-gpu/src/kernels/pixels.rs.
struct Tiles {
    // Edge of a tile, of a patch in it, and patches along an edge. A patch as large as the tile leaves the whole
    // picture in order of channel, line, column.
    uint32_t size, patch, grid;
    // Values from a patch to the next: 3 * patch * patch and what fills it up with zeros.
    uint32_t row;
    // Width of what the rows became, and bytes from one picture to the next.
    uint32_t width;
    uint64_t picture;
    // Tiles of one picture, and where each begins.
    uint32_t count;
    uint32_t left[8], top[8];
    // Where a block keeps a line of patches, and these go out as whole vectors: bytes from a line of it to the next, an odd
    // number of sixteens so that lines begin in different banks. And whether lines come in as whole vectors that no tap
    // changes.
    uint32_t kept, as_is;
};

// Resizes the columns, cuts the tiles and writes the input value of each byte, `[pictures * count, grid * grid, row]`.
//
// `levels` holds 3 * 256 values. A block takes a line of a tile, whose number is `blockIdx.y`. For patches of any size, and
// memory of any alignment.
template <typename T>
__device__ inline void columns_to_input(const uint8_t *rows, const Taps &taps, const Tiles &tiles, const float *levels, T *out) {
    const uint32_t tile = blockIdx.y % tiles.count, picture = blockIdx.y / tiles.count, line = blockIdx.x;
    const uint32_t patch = tiles.patch;
    const uint8_t *from = rows + picture * tiles.picture;
    T *to = out + (uint64_t)blockIdx.y * tiles.grid * tiles.grid * tiles.row;
    // Lines and columns beyond the last whole patch are not seen by a network.
    const uint32_t edge = tiles.grid * patch;
    for (uint32_t i = threadIdx.x; i < edge * 3; i += blockDim.x) {
        const uint32_t channel = i / edge, x = i % edge;
        const uint64_t column = (uint64_t)(tiles.left[tile] + x) * 3 + channel;
        const uint8_t byte = resized(taps, tiles.top[tile] + line, from + column, (uint64_t)tiles.width * 3);
        const uint32_t at = (line / patch) * tiles.grid + x / patch;
        const uint32_t inside = (channel * patch + line % patch) * patch + x % patch;
        to[(uint64_t)at * tiles.row + inside] = rounded<T>(levels[channel * 256 + byte]);
    }
    // The values behind each patch of this line of patches, written by its first line.
    const uint32_t used = 3 * patch * patch, spare = tiles.row - used;
    if (line % patch == 0) {
        for (uint32_t i = threadIdx.x; i < spare * tiles.grid; i += blockDim.x) {
            const uint32_t at = (line / patch) * tiles.grid + i / spare;
            to[(uint64_t)at * tiles.row + used + i % spare] = rounded<T>(0.0f);
        }
    }
}

// Bytes of the lines that a block keeps. Several blocks fit a multiprocessor.
#define KEPT_BYTES 26624
// Bytes of a line that a lane resizes at once.
#define RESIZED_BYTES 4

// The same by a block for each line of patches, `blockIdx.x`, which keeps its bytes before it writes it.
template <typename T>
__device__ inline void patches_to_input(const uint8_t *rows, const Taps &taps, const Tiles &tiles, const float *levels, T *out) {
    __shared__ uint4 memory[KEPT_BYTES / sizeof(uint4)];
    __shared__ T values[3 * 256];
    uint8_t *const kept = (uint8_t *)memory;
    const uint32_t tile = blockIdx.y % tiles.count, picture = blockIdx.y / tiles.count, patch = tiles.patch;
    const uint32_t length = tiles.grid * patch * 3, top = tiles.top[tile] + blockIdx.x * patch;
    const uint64_t step = (uint64_t)tiles.width * 3;
    const uint8_t *from = rows + picture * tiles.picture + tiles.left[tile] * 3;
    for (uint32_t i = threadIdx.x; i < 3 * 256; i += blockDim.x) values[i] = rounded<T>(levels[i]);
    if (tiles.as_is) {
        const uint32_t vectors = (length + 15) / 16;
        for (uint32_t i = threadIdx.x; i < patch * vectors; i += blockDim.x) {
            const uint32_t line = i / vectors, at = i % vectors * 16;
            copy_later(kept + line * tiles.kept + at, from + (top + line) * step + at, true);
        }
        copies_done();
    } else {
        for (uint32_t line = threadIdx.x / WARP; line < patch; line += blockDim.x / WARP) {
            for (uint32_t at = threadIdx.x % WARP; at < length; at += RESIZED_BYTES * WARP) {
                const uint8_t *columns[RESIZED_BYTES];
                uint8_t bytes[RESIZED_BYTES];
                for (uint32_t i = 0; i < RESIZED_BYTES; i++) {
                    const uint32_t column = at + i * WARP;
                    columns[i] = from + (column < length ? column : length - 1);
                }
                resized(taps, top + line, columns, step, bytes);
                for (uint32_t i = 0; i < RESIZED_BYTES; i++) {
                    if (at + i * WARP < length) kept[line * tiles.kept + at + i * WARP] = bytes[i];
                }
            }
        }
    }
    __syncthreads();
    // A thread has the same vector of several patches, so that it finds its place once.
    const uint32_t vectors = tiles.row / EIGHT, used = 3 * patch * patch;
    const uint32_t together = blockDim.x > vectors ? blockDim.x / vectors : 1;
    T *to = out + ((uint64_t)blockIdx.y * tiles.grid + blockIdx.x) * tiles.grid * tiles.row;
    for (uint32_t i = threadIdx.x; i < together * vectors; i += blockDim.x) {
        const uint32_t place = i % vectors * EIGHT;
        uint32_t channel = place / (patch * patch), line = place / patch % patch, column = place % patch;
        uint32_t byte[EIGHT], level[EIGHT];
#pragma unroll
        for (uint32_t j = 0; j < EIGHT; j++) {
            byte[j] = line * tiles.kept + column * 3 + channel;
            level[j] = channel * 256;
            if (++column < patch) continue;
            column = 0;
            if (++line < patch) continue;
            line = 0;
            channel++;
        }
        for (uint32_t at = i / vectors; at < tiles.grid; at += together) {
            uint32_t words[EIGHT / 2] = {};
#pragma unroll
            for (uint32_t j = 0; j < EIGHT; j++) {
                // Zeros stand behind a patch.
                if (place + j >= used) continue;
                words[j / 2] |= (uint32_t)values[level[j] + kept[byte[j] + at * patch * 3]].bits << j % 2 * 16;
            }
            write_sixteen(to + (uint64_t)at * tiles.row + place, {words[0], words[1], words[2], words[3]});
        }
    }
}

// Arguments that are indexed stay where a launch puts them.
#define INPUT_SIZES const __grid_constant__ Taps taps, const __grid_constant__ Tiles tiles

KERNEL columns_to_input_f32(const uint8_t *rows, INPUT_SIZES, const float *levels, float *out) {
    columns_to_input(rows, taps, tiles, levels, out);
}
KERNEL columns_to_input_bf16(const uint8_t *rows, INPUT_SIZES, const float *levels, Bf16 *out) {
    columns_to_input(rows, taps, tiles, levels, out);
}
KERNEL columns_to_input_f16(const uint8_t *rows, INPUT_SIZES, const float *levels, Half *out) {
    columns_to_input(rows, taps, tiles, levels, out);
}
KERNEL patches_to_input_bf16(const uint8_t *rows, INPUT_SIZES, const float *levels, Bf16 *out) {
    patches_to_input(rows, taps, tiles, levels, out);
}
KERNEL patches_to_input_f16(const uint8_t *rows, INPUT_SIZES, const float *levels, Half *out) {
    patches_to_input(rows, taps, tiles, levels, out);
}
