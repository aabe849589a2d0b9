// The part of CUDA that the kernels use, on a processor: every thread of a block is a fibre, run in turn, and a barrier
// hands on to the next. Slow and exact, so that tests see what a kernel computes where there is no device: its indices,
// its shared memory, its shuffles and the layout of its matrix operands, not only its formulas.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#define __device__
#define __global__
#define __launch_bounds__(threads)
#define __grid_constant__
// A block's threads are fibres of one thread of the host, and blocks run one after another.
#define __shared__ static thread_local

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

namespace emulator {

struct Index {
    uint32_t x, y, z;
};

// What the running thread sees.
struct View {
    Index thread, block, block_size, grid;
};
extern thread_local View view;

// Waits for all threads of the block.
void wait_for_block();
// Publishes up to 24 bytes, waits for the warp, and gives what each of its lanes has published.
const uint32_t (*exchange(const uint32_t *words, int count))[6];
uint32_t lane();
// See common.cuh. A copy takes place when its thread waits for it, so that whoever reads too early reads what was there before.
void copy_later(void *to, const void *from, bool there);
void copies_done();
void load_matrices(uint32_t (&to)[2][2], const void *line, bool turned);
// Sixteen bytes at once; a launch fails where their address is no multiple of sixteen.
uint4 read_sixteen(const void *from);
void write_sixteen(void *to, uint4 bytes);

float half_to_float(uint16_t bits);
uint16_t float_to_half(float x);
uint16_t float_to_bf16(float x);

// See `multiply_add` in common.cuh; sums run in ascending order.
template <typename Convert>
void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Convert convert) {
    uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const uint32_t(*all)[6] = exchange(words, 6);
    const uint32_t group = lane() / 4, place = lane() % 4;
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t lower = i / 2, column = place * 2 + i % 2;
        for (uint32_t k = 0; k < 16; k++) {
            // Which lane and register hold column k of the row, and row k of the column.
            const uint32_t at = k % 8 / 2, upper = k / 8, shift = k % 2 * 16;
            const uint32_t left = all[group * 4 + at][upper * 2 + lower], right = all[column * 4 + at][4 + upper];
            d[i] += convert((uint16_t)(left >> shift)) * convert((uint16_t)(right >> shift));
        }
    }
}

} // namespace emulator

#define threadIdx (emulator::view.thread)
#define blockIdx (emulator::view.block)
#define blockDim (emulator::view.block_size)
#define gridDim (emulator::view.grid)

inline void __syncthreads() { emulator::wait_for_block(); }

inline float __uint_as_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

inline uint32_t __float_as_uint(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

inline float __shfl_xor_sync(uint32_t, float x, int lanes) {
    uint32_t word;
    memcpy(&word, &x, 4);
    return __uint_as_float(emulator::exchange(&word, 1)[emulator::lane() ^ (uint32_t)lanes][0]);
}
