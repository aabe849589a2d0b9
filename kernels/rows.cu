// What a transformer does between its large products, row by row: embeddings, normalisation, activation, pooling.
//
// The residual stream is kept in 32 bits; what a product reads is rounded to the format of the weights. A warp takes a row
// and adds it up in an order that depends on the row's width alone, so that a row has the same bits whatever is beside it.
#include "common.cuh"

// Layer normalisation of a row of 32-bit values, which a warp has written before. Each lane reads what it wrote.
template <typename Out>
__device__ inline void normalise(const float *x, uint32_t width, const float *weight, const float *bias, float eps,
                                 uint32_t lane, Out out) {
    float sum = 0;
    for (uint32_t i = lane; i < width; i += WARP) sum += x[i];
    const float mean = warp_sum(sum) / (float)width;
    float squares = 0;
    for (uint32_t i = lane; i < width; i += WARP) squares += (x[i] - mean) * (x[i] - mean);
    const float factor = 1.0f / sqrtf(warp_sum(squares) / (float)width + eps);
    for (uint32_t i = lane; i < width; i += WARP) out(i, (x[i] - mean) * factor * weight[i] + bias[i]);
}

// One warp a row: the row of this warp, or `rows` where there is none left.
__device__ inline uint32_t warp_row() { return blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; }

// The first states of pictures: `patches` holds the products, `per` rows a picture, without `skip` first rows that have no patch
// (the class). Adds positions; normalises where `pre_weight` is there; writes the residual stream `x` and what the
// first block reads, `h`.
template <typename T>
__device__ inline void embed_pictures(const T *patches, const float *patch_bias, const float *first, const float *positions,
                                      const float *pre_weight, const float *pre_bias, const float *weight,
                                      const float *bias, float eps, uint32_t rows, uint32_t per, uint32_t width, float *x,
                                      T *h) {
    const uint32_t row = warp_row(), lane = threadIdx.x % WARP;
    if (row >= rows) return;
    const uint32_t skip = first ? 1 : 0, place = row % per, picture = row / per;
    float *to = x + (uint64_t)row * width;
    const T *patch = patches + ((uint64_t)picture * (per - skip) + place - skip) * width;
    for (uint32_t i = lane; i < width; i += WARP) {
        float value = 0;
        if (place < skip) {
            value = first[i];
        } else {
            value = to_float(patch[i]);
            if (patch_bias) value += patch_bias[i];
        }
        to[i] = value + positions[(uint64_t)place * width + i];
    }
    if (pre_weight) normalise(to, width, pre_weight, pre_bias, eps, lane, [&](uint32_t i, float v) { to[i] = v; });
    T *out = h + (uint64_t)row * width;
    normalise(to, width, weight, bias, eps, lane, [&](uint32_t i, float v) { out[i] = rounded<T>(v); });
}

// The first states of texts, `per` tokens each.
template <typename T>
__device__ inline void embed_texts(const uint32_t *tokens, const T *table, const float *positions, const float *weight,
                                   const float *bias, float eps, uint32_t rows, uint32_t per, uint32_t width, float *x,
                                   T *h) {
    const uint32_t row = warp_row(), lane = threadIdx.x % WARP;
    if (row >= rows) return;
    float *to = x + (uint64_t)row * width;
    const T *token = table + (uint64_t)tokens[row] * width;
    for (uint32_t i = lane; i < width; i += WARP) to[i] = to_float(token[i]) + positions[(uint64_t)(row % per) * width + i];
    T *out = h + (uint64_t)row * width;
    normalise(to, width, weight, bias, eps, lane, [&](uint32_t i, float v) { out[i] = rounded<T>(v); });
}

// Adds a product and its bias to the residual stream and normalises it for the next product, in one sweep.
template <typename T>
__device__ inline void add_and_norm(const T *product, const float *product_bias, const float *weight, const float *bias,
                                    float eps, uint32_t rows, uint32_t width, float *x, T *h) {
    const uint32_t row = warp_row(), lane = threadIdx.x % WARP;
    if (row >= rows) return;
    float *to = x + (uint64_t)row * width;
    const T *from = product + (uint64_t)row * width;
    for (uint32_t i = lane; i < width; i += WARP) to[i] += to_float(from[i]) + product_bias[i];
    T *out = h + (uint64_t)row * width;
    normalise(to, width, weight, bias, eps, lane, [&](uint32_t i, float v) { out[i] = rounded<T>(v); });
}

// Row `wanted[i]` of the states and of what was attended to becomes row `i`: after the last attention, no other row counts.
template <typename T>
__device__ inline void pick(const float *x, const T *attended, const uint32_t *wanted, uint32_t rows, uint32_t width,
                            float *x_out, T *attended_out) {
    const uint32_t row = warp_row(), lane = threadIdx.x % WARP;
    if (row >= rows) return;
    const uint64_t from = (uint64_t)wanted[row] * width, to = (uint64_t)row * width;
    for (uint32_t i = lane; i < width; i += WARP) {
        x_out[to + i] = x[from + i];
        attended_out[to + i] = attended[from + i];
    }
}

// Numbered as in nexis-gpu/src/kernels/rows.rs.
enum Activation { QUICK_GELU = 0, GELU = 1, GELU_TANH = 2 };

// A unit in the last place of bfloat16 is 2^-8 to 2^-7 of a number, and of half 2^-11 to 2^-10. What is computed here strays
// from the formula by less than 2^-15 of it, so that seldom another number is the nearest one. On the special function units,
// each takes one power and one reciprocal.
template <Activation KIND> __device__ inline float activated(float x) {
    if constexpr (KIND == GELU) {
        // x Phi(x) = max(x, 0) - |x| Phi(-|x|), and Phi(-a) = exp(-a^2 / 2) t p(t) with t = 1 / (1 + 0.31 a). The polynomial is
        // the one of its degree with the least relative error of Phi over 0 <= a <= 14, 4.7e-6, to three digits of it.
        const float a = fabsf(x), t = reciprocal(fmaf(0.31f, a, 1.0f));
        float p = -0.0739282307f;
        p = fmaf(p, t, 0.180447735f);
        p = fmaf(p, t, 0.0157475718f);
        p = fmaf(p, t, 0.133428295f);
        p = fmaf(p, t, 0.120441643f);
        p = fmaf(p, t, 0.123860668f);
        // log2(e) / 2.
        return fmaf(-(p * t * power_of_two(-0.721347520f * (x * x))), a, fmaxf(x, 0.0f));
    } else {
        // x / (1 + exp(-s)): (1 + tanh(u)) / 2 is that with s = 2u. Factors hold log2(e).
        const float s = KIND == QUICK_GELU ? 2.45546696f * x : x * fmaf(0.102943240f, x * x, 2.30220820f);
        return x * reciprocal(1.0f + power_of_two(-s));
    }
}

// Rows that a thread takes, whose values are all on their way before the first is used.
#define ACTIVATED_ROWS 4

template <typename T, bool WHOLE, Activation KIND>
__device__ inline void bias_and_activation(T *product, const float *bias, uint32_t rows, uint32_t width) {
    const uint32_t column = (blockIdx.y * blockDim.x + threadIdx.x) * EIGHT, first = blockIdx.x * ACTIVATED_ROWS;
    if (column >= width) return;
    const uint32_t count = WHOLE || width - column > EIGHT ? EIGHT : width - column;
    T *const from = product + (uint64_t)first * width + column;
    float values[ACTIVATED_ROWS][EIGHT], added[EIGHT];
#pragma unroll
    for (uint32_t r = 0; r < ACTIVATED_ROWS; r++) {
        if (first + r < rows) read_eight<WHOLE>(from + (uint64_t)r * width, count, values[r]);
    }
    read_eight<WHOLE>(bias + column, count, added);
#pragma unroll
    for (uint32_t r = 0; r < ACTIVATED_ROWS; r++) {
        if (first + r >= rows) break;
        for (uint32_t i = 0; i < EIGHT; i++) values[r][i] = activated<KIND>(values[r][i] + added[i]);
        write_eight<WHOLE>(from + (uint64_t)r * width, count, values[r]);
    }
}

// Adds the bias of a row of `width` values and applies the activation, in place. Blocks along x take rows, those along y columns.
template <typename T, bool WHOLE>
__device__ inline void bias_and_activation(T *product, const float *bias, uint32_t kind, uint32_t rows, uint32_t width) {
    switch (kind) {
    case QUICK_GELU: return bias_and_activation<T, WHOLE, QUICK_GELU>(product, bias, rows, width);
    case GELU: return bias_and_activation<T, WHOLE, GELU>(product, bias, rows, width);
    default: return bias_and_activation<T, WHOLE, GELU_TANH>(product, bias, rows, width);
    }
}

#define ROWS(T, suffix)                                                                                               \
    KERNEL embed_pictures_##suffix(const T *patches, const float *patch_bias, const float *first,                     \
                                   const float *positions, const float *pre_weight, const float *pre_bias,            \
                                   const float *weight, const float *bias, float eps, uint32_t rows, uint32_t per,    \
                                   uint32_t width, float *x, T *h) {                                                  \
        embed_pictures(patches, patch_bias, first, positions, pre_weight, pre_bias, weight, bias, eps, rows, per,     \
                       width, x, h);                                                                                  \
    }                                                                                                                 \
    KERNEL embed_texts_##suffix(const uint32_t *tokens, const T *table, const float *positions, const float *weight,  \
                                const float *bias, float eps, uint32_t rows, uint32_t per, uint32_t width, float *x,  \
                                T *h) {                                                                               \
        embed_texts(tokens, table, positions, weight, bias, eps, rows, per, width, x, h);                             \
    }                                                                                                                 \
    KERNEL add_and_norm_##suffix(const T *product, const float *product_bias, const float *weight, const float *bias, \
                                 float eps, uint32_t rows, uint32_t width, float *x, T *h) {                          \
        add_and_norm(product, product_bias, weight, bias, eps, rows, width, x, h);                                    \
    }                                                                                                                 \
    KERNEL pick_##suffix(const float *x, const T *attended, const uint32_t *wanted, uint32_t rows, uint32_t width,    \
                         float *x_out, T *attended_out) {                                                             \
        pick(x, attended, wanted, rows, width, x_out, attended_out);                                                  \
    }                                                                                                                 \
    KERNEL bias_and_activation_##suffix(T *product, const float *bias, uint32_t kind, uint32_t rows, uint32_t width) {  \
        bias_and_activation<T, false>(product, bias, kind, rows, width);                                              \
    }                                                                                                                 \
    KERNEL bias_and_activation_8_##suffix(T *product, const float *bias, uint32_t kind, uint32_t rows,                 \
                                          uint32_t width) {                                                           \
        bias_and_activation<T, true>(product, bias, kind, rows, width);                                               \
    }

ROWS(Bf16, bf16)
ROWS(Half, f16)
