// Attention of whole sequences in one kernel: scores, softmax and the weighted sum of values, without a matrix of scores in
// memory (Dao et al., FlashAttention-2). Operands are in the format of the weights, sums in 32 bits.
//
// A block of four warps takes 64 queries of one head of one sequence, a warp 16 of them, and goes through the keys 64 at a
// time, in ascending order. What a query sees does not depend on the other sequences, nor on how many there are.
#include "common.cuh"

#define QUERIES 64
#define KEYS 64
// Values behind each row in shared memory, so that the lanes of a warp meet different banks.
#define PAD 8

// Who asks: every row, of all rows; every row, of itself and those before it; one query a sequence, the same for all, of all
// rows. Numbered as in nexis-gpu/src/kernels/attention.rs.
enum Asking { EACH = 0, CAUSAL = 1, ONE = 2 };

// `qkv` holds queries, keys and values side by side, `[sequences * length, 3 * heads * size]`, without their bias, which is
// added here. `size` is even and at most SIZE, which is what the products are padded to with zeros. The result is
// `[sequences * length, heads * size]`. Of ONE, the query is its bias alone: `qkv` holds keys and values,
// `[sequences * length, 2 * heads * size]`, and the result is `[sequences, heads * size]`.
template <typename T, int SIZE>
__device__ inline void attend(const T *qkv, const float *bias, uint32_t length, uint32_t heads, uint32_t size, uint32_t asking,
                              float scale, T *out) {
    // Keys row by row, values column by column: in both, what a product takes in pairs lies side by side.
    __shared__ uint32_t keys[KEYS][(SIZE + PAD) / 2];
    __shared__ uint32_t values[SIZE][(KEYS + PAD) / 2];
    constexpr int STEPS = SIZE / 16, COLUMNS = SIZE / 8;

    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, group = lane / 4, place = lane % 4;
    const uint32_t head = blockIdx.y, width = heads * size;
    const uint32_t queries = asking == ONE ? 1 : length, absent = asking == ONE ? 1 : 0;
    const uint64_t stride = (3 - absent) * (uint64_t)width;
    const T *sequence = qkv + blockIdx.z * length * stride + head * size;
    const float *head_bias = bias + head * size;
    // A pair of neighbours of a row of queries (0), keys (1) or values (2), with the bias, rounded; zeros outside of the sequence
    // and of the head.
    auto load = [&](uint32_t part, uint32_t row, uint32_t column) -> uint32_t {
        if (row >= (part ? length : queries) || column >= size) return 0;
        const float *b = head_bias + part * width + column;
        if (part < absent) return pair<T>(b[0], b[1]);
        const uint32_t both = *(const uint32_t *)(sequence + row * stride + (part - absent) * width + column);
        return pair<T>(to_float(T{(uint16_t)(both & 0xffff)}) + b[0], to_float(T{(uint16_t)(both >> 16)}) + b[1]);
    };

    // The warp's two rows of this lane.
    const uint32_t first = blockIdx.x * QUERIES;
    const uint32_t rows[2] = {first + warp * 16 + group, first + warp * 16 + group + 8};
    uint32_t query[STEPS][4];
    for (int s = 0; s < STEPS; s++) {
        query[s][0] = load(0, rows[0], s * 16 + place * 2);
        query[s][1] = load(0, rows[1], s * 16 + place * 2);
        query[s][2] = load(0, rows[0], s * 16 + place * 2 + 8);
        query[s][3] = load(0, rows[1], s * 16 + place * 2 + 8);
    }
    float sums[COLUMNS][4] = {};
    float most[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
    // Softmax in powers of two.
    const float factor = scale * 1.44269504f;

    const uint32_t last = first + QUERIES < length ? first + QUERIES : length;
    const uint32_t end = asking == CAUSAL ? last : length;
    for (uint32_t begin = 0; begin < end; begin += KEYS) {
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < KEYS * SIZE / 2; i += blockDim.x) {
            const uint32_t row = i / (SIZE / 2), column = i % (SIZE / 2);
            keys[row][column] = load(1, begin + row, column * 2);
        }
        for (uint32_t i = threadIdx.x; i < KEYS / 2 * SIZE / 2; i += blockDim.x) {
            const uint32_t row = i / (SIZE / 2), column = i % (SIZE / 2);
            const uint32_t one = load(2, begin + row * 2, column * 2), two = load(2, begin + row * 2 + 1, column * 2);
            values[column * 2][row] = (one & 0xffff) | two << 16;
            values[column * 2 + 1][row] = one >> 16 | (two & 0xffff0000u);
        }
        __syncthreads();
        // Behind the last query, a warp has loaded for the others and has nothing to ask.
        if (first + warp * 16 >= queries) continue;

        // Scores of 16 queries with 64 keys, eight keys at a time.
        float scores[KEYS / 8][4] = {};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int s = 0; s < STEPS; s++) {
                const uint32_t b[2] = {keys[n * 8 + group][s * 8 + place], keys[n * 8 + group][s * 8 + place + 4]};
                multiply_add<T>(scores[n], query[s], b);
            }
        }
        // What a query does not see; and the most of what it does, over the four lanes of its row.
        float now[2] = {most[0], most[1]};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const uint32_t key = begin + n * 8 + place * 2 + i % 2;
                if (key >= length || (asking == CAUSAL && key > rows[i / 2])) scores[n][i] = -INFINITY;
                now[i / 2] = fmaxf(now[i / 2], scores[n][i]);
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            for (int lanes = 1; lanes < 4; lanes *= 2) now[r] = fmaxf(now[r], __shfl_xor_sync(0xffffffffu, now[r], lanes));
            // Key 0 comes first and is seen by all, so `now` is a number here.
            const float shrink = exp2f((most[r] - now[r]) * factor);
            most[r] = now[r];
            total[r] *= shrink;
            for (int c = 0; c < COLUMNS; c++) {
                sums[c][r * 2] *= shrink;
                sums[c][r * 2 + 1] *= shrink;
            }
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                scores[n][i] = exp2f((scores[n][i] - most[i / 2]) * factor);
                total[i / 2] += scores[n][i];
            }
        }
        // The scores of two groups of eight keys are, as they lie, the left side of the product with 16 values.
#pragma unroll
        for (int s = 0; s < KEYS / 16; s++) {
            const uint32_t a[4] = {pair<T>(scores[2 * s][0], scores[2 * s][1]), pair<T>(scores[2 * s][2], scores[2 * s][3]),
                                   pair<T>(scores[2 * s + 1][0], scores[2 * s + 1][1]),
                                   pair<T>(scores[2 * s + 1][2], scores[2 * s + 1][3])};
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) {
                const uint32_t b[2] = {values[c * 8 + group][s * 8 + place], values[c * 8 + group][s * 8 + place + 4]};
                multiply_add<T>(sums[c], a, b);
            }
        }
    }
    for (int r = 0; r < 2; r++) {
        for (int lanes = 1; lanes < 4; lanes *= 2) total[r] += __shfl_xor_sync(0xffffffffu, total[r], lanes);
        if (rows[r] >= queries) continue;
        T *to = out + (blockIdx.z * (uint64_t)queries + rows[r]) * width + head * size;
        for (int c = 0; c < COLUMNS; c++) {
            const uint32_t column = c * 8 + place * 2;
            if (column < size)
                *(uint32_t *)(to + column) = pair<T>(sums[c][r * 2] / total[r], sums[c][r * 2 + 1] / total[r]);
        }
    }
}

#define ATTEND(T, suffix, SIZE)                                                                                       \
    KERNEL __launch_bounds__(128) attend_##SIZE##_##suffix(const T *qkv, const float *bias, uint32_t length,          \
                                                           uint32_t heads, uint32_t size, uint32_t asking,            \
                                                           float scale, T *out) {                                     \
        attend<T, SIZE>(qkv, bias, length, heads, size, asking, scale, out);                                          \
    }

ATTEND(Bf16, bf16, 32)
ATTEND(Bf16, bf16, 64)
ATTEND(Bf16, bf16, 80)
ATTEND(Bf16, bf16, 96)
ATTEND(Bf16, bf16, 128)
ATTEND(Half, f16, 32)
ATTEND(Half, f16, 64)
ATTEND(Half, f16, 80)
ATTEND(Half, f16, 96)
ATTEND(Half, f16, 128)
