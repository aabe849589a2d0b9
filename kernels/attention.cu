// Attention of whole sequences in one kernel: scores, softmax and the weighted sum of values, without a matrix of scores in
// memory (Dao et al., FlashAttention-2). Operands are in the format of the weights, sums in 32 bits.
//
// The queries of a sequence are cut into tiles of 16, which its blocks share out evenly. A warp takes one tile of its block or
// two, and goes through the keys a step at a time, in ascending order; while it does, the keys and values of the next step
// are on their way. What a query sees, and in which order, depends on the length of its sequence alone: not on which warp
// or block it came to, nor on the other sequences.
//
// Of the three biases of queries, keys and values, only the first has to be added to what it belongs to. That of the keys adds
// the same to all scores of a query, which softmax takes away again; that of the values is in the weighted sum once, since
// the weights add up to one, and is added to it at the end, in 32 bits.
#include "common.cuh"

#define WARPS 4
// Values behind each row in a block's memory, so that the rows of a small matrix lie in different banks.
#define PAD 8

// Who asks: every row, of all rows; every row, of itself and those before it; one query a sequence, the same for all, of all
// rows. Numbered as in nexis-gpu/src/kernels/attention.rs.
enum Asking { EACH = 0, CAUSAL = 1, ONE = 2 };

// What is kept where, for heads of up to SIZE values.
template <int SIZE> struct Plan {
    // Keys of a step.
    static constexpr int KEYS = SIZE <= 64 ? 64 : 32;
    // Products along the values of a head, and columns of eight of its values.
    static constexpr int STEPS = SIZE / 16, COLUMNS = SIZE / 8;
    typedef uint16_t Rows[KEYS][SIZE + PAD];
};

// What a warp keeps of a tile of 16 queries; of each lane's two rows, the most that was scored so far and the sum of weights.
template <int SIZE> struct Tile {
    uint32_t rows[2];
    uint32_t query[Plan<SIZE>::STEPS][4];
    float sums[Plan<SIZE>::COLUMNS][4];
    float most[2], total[2];
};

// Goes through the keys from `begin` on, of which there are `end`, for TILES tiles. What a query does not see is looked for
// only where PARTIAL.
template <typename T, int SIZE, int TILES, bool PARTIAL, int ROOM>
__device__ inline void step(Tile<SIZE> (&tiles)[ROOM], const typename Plan<SIZE>::Rows &keys,
                            const typename Plan<SIZE>::Rows &values, uint32_t begin, uint32_t end, bool causal,
                            float factor) {
    constexpr int KEYS = Plan<SIZE>::KEYS;
    const uint32_t lane = threadIdx.x % WARP, place = lane % 4, line = lane % 8, matrix = lane / 8;
    // Scores of 16 queries a tile with eight keys a column.
    float scores[TILES][KEYS / 8][4] = {};
#pragma unroll
    for (int n = 0; n < KEYS / 16; n++) {
        if (PARTIAL && begin + n * 16 >= end) break;
#pragma unroll
        for (int s = 0; s < Plan<SIZE>::STEPS; s++) {
            uint32_t b[2][2];
            load_matrices(b, &keys[n * 16 + matrix / 2 * 8 + line][s * 16 + matrix % 2 * 8]);
#pragma unroll
            for (int t = 0; t < TILES; t++) {
                multiply_add<T>(scores[t][2 * n], tiles[t].query[s], b[0]);
                multiply_add<T>(scores[t][2 * n + 1], tiles[t].query[s], b[1]);
            }
        }
    }
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        Tile<SIZE> &tile = tiles[t];
        // The most of what a query sees, over the four lanes of its row.
        float now[2] = {tile.most[0], tile.most[1]};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const uint32_t key = begin + n * 8 + place * 2 + i % 2;
                if (PARTIAL && (key >= end || (causal && key > tile.rows[i / 2]))) scores[t][n][i] = -INFINITY;
                now[i / 2] = fmaxf(now[i / 2], scores[t][n][i]);
            }
        }
        float offset[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            for (int lanes = 1; lanes < 4; lanes *= 2) now[r] = fmaxf(now[r], __shfl_xor_sync(0xffffffffu, now[r], lanes));
            // Key 0 comes first and is seen by all, so that `now` is a number here.
            const float shrink = power_of_two((tile.most[r] - now[r]) * factor);
            tile.most[r] = now[r];
            tile.total[r] *= shrink;
            offset[r] = -now[r] * factor;
#pragma unroll
            for (int c = 0; c < Plan<SIZE>::COLUMNS; c++) {
                tile.sums[c][r * 2] *= shrink;
                tile.sums[c][r * 2 + 1] *= shrink;
            }
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                scores[t][n][i] = power_of_two(fmaf(scores[t][n][i], factor, offset[i / 2]));
                tile.total[i / 2] += scores[t][n][i];
            }
        }
    }
    // The weights of two columns of eight keys are, as they lie, the left side of the product with 16 values.
#pragma unroll
    for (int s = 0; s < KEYS / 16; s++) {
        if (PARTIAL && begin + s * 16 >= end) break;
        uint32_t a[TILES][4];
#pragma unroll
        for (int t = 0; t < TILES; t++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float(&weights)[4] = scores[t][2 * s + i / 2];
                a[t][i] = pair<T>(weights[i % 2 * 2], weights[i % 2 * 2 + 1]);
            }
        }
#pragma unroll
        for (int c = 0; c < Plan<SIZE>::COLUMNS / 2; c++) {
            uint32_t b[2][2];
            load_turned_matrices(b, &values[s * 16 + matrix % 2 * 8 + line][c * 16 + matrix / 2 * 8]);
#pragma unroll
            for (int t = 0; t < TILES; t++) {
                multiply_add<T>(tiles[t].sums[2 * c], a[t], b[0]);
                multiply_add<T>(tiles[t].sums[2 * c + 1], a[t], b[1]);
            }
        }
    }
}

// `qkv` holds queries, keys and values side by side, `[sequences * length, 3 * heads * size]`, without their bias, which is
// added here. `size` is even and at most SIZE, which is what the products are padded to with zeros; where `pieces`, every
// row of a head begins and ends with a whole piece of 16 bytes. The result is `[sequences * length, heads * size]`. Of ONE,
// the query is its bias alone: `qkv` holds keys and values, `[sequences * length, 2 * heads * size]`, and the result is
// `[sequences, heads * size]`.
//
// A warp has up to TILES tiles: what it keeps of two has room in its registers where heads are small, and takes it from others
// where there is no second one.
template <typename T, int SIZE, int TILES>
__device__ inline void attend(const T *qkv, const float *bias, uint32_t length, uint32_t heads, uint32_t size, uint32_t asking,
                              uint32_t pieces, float scale, T *out) {
    using P = Plan<SIZE>;
    // Two halves that take turns: one is read while the other is filled.
    alignas(16) __shared__ typename P::Rows keys[2];
    alignas(16) __shared__ typename P::Rows values[2];

    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, group = lane / 4, place = lane % 4;
    const uint32_t head = blockIdx.y, width = heads * size;
    const uint32_t queries = asking == ONE ? 1 : length, absent = asking == ONE ? 1 : 0;
    const uint64_t stride = (3 - absent) * (uint64_t)width;
    const T *sequence = qkv + blockIdx.z * length * stride + head * size;
    const float *query_bias = bias + head * size, *value_bias = query_bias + 2 * width;

    // A step's keys and values; zeros outside of the sequence and of the head.
    auto fill = [&](uint32_t half, uint32_t begin) {
        if (pieces) {
            // A thread has the same piece of every row that it copies.
            constexpr uint32_t PIECES = SIZE / 8, AT_ONCE = WARPS * WARP / PIECES;
            const uint32_t column = threadIdx.x % PIECES * 8, line = threadIdx.x / PIECES;
            const T *from = sequence + (begin + line) * stride + (1 - absent) * width + column;
#pragma unroll
            for (uint32_t i = 0; i < P::KEYS; i += AT_ONCE, from += AT_ONCE * stride) {
                const uint32_t row = i + line;
                if (line >= AT_ONCE || row >= P::KEYS) break;
                const bool there = begin + row < length && column < size;
                copy_later(&keys[half][row][column], there ? from : qkv, there);
                copy_later(&values[half][row][column], there ? from + width : qkv, there);
            }
        } else {
            for (uint32_t i = threadIdx.x; i < P::KEYS * SIZE / 2; i += WARPS * WARP) {
                const uint32_t row = i / (SIZE / 2), column = i % (SIZE / 2) * 2;
                const bool there = begin + row < length && column < size;
                const T *from = sequence + (begin + row) * stride + (1 - absent) * width + column;
                const uint32_t key = there ? *(const uint32_t *)from : 0;
                const uint32_t value = there ? *(const uint32_t *)(from + width) : 0;
                for (uint32_t k = 0; k < 2; k++) {
                    keys[half][row][column + k] = (uint16_t)(key >> 16 * k);
                    values[half][row][column + k] = (uint16_t)(value >> 16 * k);
                }
            }
        }
    };
    fill(0, 0);

    // The block's tiles, and the warp's among them.
    const uint32_t all = (queries + 15) / 16;
    const uint32_t first = blockIdx.x * all / gridDim.x, behind = (blockIdx.x + 1) * all / gridDim.x;
    const uint32_t mine = first + warp;
    const uint32_t count = mine >= behind ? 0 : TILES > 1 && mine + WARPS < behind ? 2 : 1;
    Tile<SIZE> tiles[TILES];
#pragma unroll
    for (uint32_t t = 0; t < TILES; t++) {
        Tile<SIZE> &tile = tiles[t];
        tile.rows[0] = (mine + t * WARPS) * 16 + group;
        tile.rows[1] = tile.rows[0] + 8;
        // No load waits for a condition, so that all are under way at once: a row behind the last is the last again, and written
        // by nobody, and a column behind the last is made zero.
#pragma unroll
        for (int i = 0; i < 2 * P::STEPS; i++) {
            const uint32_t column = i * 8 + place * 2, loaded = column < size ? column : 0;
            const float b[2] = {query_bias[loaded], query_bias[loaded + 1]};
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const uint32_t row = tile.rows[r] < queries ? tile.rows[r] : queries - 1;
                const uint32_t both = *(const uint32_t *)(sequence + row * stride + loaded);
                const float first = absent ? 0.0f : to_float(T{(uint16_t)(both & 0xffff)});
                const float second = absent ? 0.0f : to_float(T{(uint16_t)(both >> 16)});
                tile.query[i / 2][i % 2 * 2 + r] = column < size ? pair<T>(first + b[0], second + b[1]) : 0;
            }
        }
#pragma unroll
        for (int c = 0; c < P::COLUMNS; c++) {
#pragma unroll
            for (int i = 0; i < 4; i++) tile.sums[c][i] = 0;
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            tile.most[r] = -INFINITY;
            tile.total[r] = 0;
        }
    }

    // Softmax in powers of two.
    const float factor = scale * 1.44269504f;
    const bool causal = asking == CAUSAL;
    const uint32_t end = causal && behind * 16 < length ? behind * 16 : length;
    uint32_t half = 0;
    for (uint32_t begin = 0; begin < end; begin += P::KEYS, half ^= 1) {
        copies_done();
        // This half is there for all, and all are done with the other.
        __syncthreads();
        if (begin + P::KEYS < end) fill(half ^ 1, begin + P::KEYS);
        const bool partial = causal || begin + P::KEYS > end;
        if (TILES > 1 && count == 2) {
            if (partial)
                step<T, SIZE, TILES, true>(tiles, keys[half], values[half], begin, end, causal, factor);
            else
                step<T, SIZE, TILES, false>(tiles, keys[half], values[half], begin, end, causal, factor);
        } else if (count) {
            if (partial)
                step<T, SIZE, 1, true>(tiles, keys[half], values[half], begin, end, causal, factor);
            else
                step<T, SIZE, 1, false>(tiles, keys[half], values[half], begin, end, causal, factor);
        }
    }
#pragma unroll
    for (uint32_t t = 0; t < TILES; t++) {
        if (t >= count) break;
        Tile<SIZE> &tile = tiles[t];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float total = tile.total[r];
            for (int lanes = 1; lanes < 4; lanes *= 2) total += __shfl_xor_sync(0xffffffffu, total, lanes);
            if (tile.rows[r] >= queries) continue;
            const float share = 1.0f / total;
            T *to = out + (blockIdx.z * (uint64_t)queries + tile.rows[r]) * width + head * size;
#pragma unroll
            for (int c = 0; c < P::COLUMNS; c++) {
                const uint32_t column = c * 8 + place * 2;
                if (column >= size) continue;
                *(uint32_t *)(to + column) = pair<T>(fmaf(tile.sums[c][r * 2], share, value_bias[column]),
                                                     fmaf(tile.sums[c][r * 2 + 1], share, value_bias[column + 1]));
            }
        }
    }
}

#define ATTEND(name, T, SIZE, TILES)                                                                                  \
    KERNEL __launch_bounds__(WARPS *WARP) name(const T *qkv, const float *bias, uint32_t length, uint32_t heads,      \
                                               uint32_t size, uint32_t asking, uint32_t pieces, float scale,          \
                                               T *out) {                                                              \
        attend<T, SIZE, TILES>(qkv, bias, length, heads, size, asking, pieces, scale, out);                           \
    }
// Heads of which a warp takes two tiles, and the same for sequences with a block's tiles at most, of which it has one.
#define ATTEND_TWO(SIZE)                                                                                              \
    ATTEND(attend_##SIZE##_bf16, Bf16, SIZE, 2)                                                                       \
    ATTEND(attend_##SIZE##_f16, Half, SIZE, 2)                                                                        \
    ATTEND(attend_##SIZE##_short_bf16, Bf16, SIZE, 1)                                                                 \
    ATTEND(attend_##SIZE##_short_f16, Half, SIZE, 1)
#define ATTEND_ONE(SIZE)                                                                                              \
    ATTEND(attend_##SIZE##_bf16, Bf16, SIZE, 1)                                                                       \
    ATTEND(attend_##SIZE##_f16, Half, SIZE, 1)

ATTEND_TWO(32)
ATTEND_TWO(64)
ATTEND_TWO(80)
ATTEND_ONE(96)
ATTEND_ONE(128)
