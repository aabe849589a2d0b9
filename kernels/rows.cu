// What a transformer does between its large products, row by row: embeddings, normalisation, activation, pooling.
//
// The residual stream is kept in 32 bits; what a product reads is rounded to the format of the weights. A warp takes a row
// and adds it up in an order that depends on the row's width alone, so that a row has the same bits whatever is beside it.
//
// A row is spread over its warp by vectors of eight values: lane l has the vectors l, l + 32, ..., and adds them up in this
// order, each as a tree. A kernel whose name has a number keeps as many vectors of a lane in registers; the one without
// takes rows of any width, anywhere in memory, and gives the same bits. Multiplications with additions are fused where
// it says so and nowhere else.
#include "common.cuh"

// One warp a row: the row of this warp, or `rows` or more where there is none left.
__device__ inline uint32_t warp_row() { return blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; }

// What a lane has of the row that begins at `x`, in registers: `VECTORS` vectors, the last of them where the row is as long.
template <int VECTORS> struct Held {
    static constexpr bool WHOLE = true;
    float *x;
    uint32_t width, lane;
    float values[VECTORS][EIGHT];

    __device__ Held(float *x, uint32_t width) : x(x), width(width), lane(threadIdx.x % WARP) {}

    // Calls `f` with the place of each vector in the row, how many values it has, and these.
    template <typename F> __device__ void each(F f) {
#pragma unroll
        for (uint32_t v = 0; v < VECTORS; v++) {
            const uint32_t at = (v * WARP + lane) * EIGHT;
            if (v + 1 < VECTORS || at < width) f(at, (uint32_t)EIGHT, values[v]);
        }
    }
    // The same where `f` changes the values.
    template <typename F> __device__ void change(F f) { each(f); }
    // The same where `f` sets the values. A lane without a last vector gets another's, of which it makes no use: a
    // branch would keep its loads waiting for those before.
    template <typename F> __device__ void set(F f) {
#pragma unroll
        for (uint32_t v = 0; v < VECTORS; v++) {
            const uint32_t at = (v * WARP + lane) * EIGHT;
            f(v + 1 < VECTORS || at < width ? at : width - EIGHT, (uint32_t)EIGHT, values[v]);
        }
    }
    // Writes the row.
    __device__ void keep() {
        each([&](uint32_t at, uint32_t count, float (&to)[EIGHT]) { write_eight<true>(x + at, count, to); });
    }
};

// The same of a row of any width that begins anywhere: it stays in memory, where each lane reads what it wrote.
struct Lying {
    static constexpr bool WHOLE = false;
    float *x;
    uint32_t width, lane;

    __device__ Lying(float *x, uint32_t width) : x(x), width(width), lane(threadIdx.x % WARP) {}

    template <bool READ, bool WRITE, typename F> __device__ void sweep(F f) {
        for (uint32_t at = lane * EIGHT; at < width; at += WARP * EIGHT) {
            const uint32_t count = width - at < EIGHT ? width - at : EIGHT;
            float values[EIGHT];
            if (READ) read_eight<false>(x + at, count, values);
            f(at, count, values);
            if (WRITE) write_eight<false>(x + at, count, values);
        }
    }
    template <typename F> __device__ void each(F f) { sweep<true, false>(f); }
    template <typename F> __device__ void set(F f) { sweep<false, true>(f); }
    template <typename F> __device__ void change(F f) { sweep<true, true>(f); }
    __device__ void keep() {}
};

// Layer normalisation: what is taken from the values of a row, and what the rest is multiplied by, before weight and bias.
struct Normal {
    float mean, factor;
    const float *weight, *bias;

    template <typename Row>
    __device__ Normal(Row &row, const float *weight, const float *bias, float eps) : weight(weight), bias(bias) {
        float sum = 0;
        row.each([&](uint32_t, uint32_t, float (&x)[EIGHT]) {
            sum += ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
        });
        mean = warp_sum(sum) / (float)row.width;
        float squares = 0;
        row.each([&](uint32_t, uint32_t count, float (&x)[EIGHT]) {
            float d[EIGHT];
            for (uint32_t i = 0; i < EIGHT; i++) d[i] = i < count ? x[i] - mean : 0.0f;
            for (uint32_t i = 0; i < EIGHT; i += 2) d[i] = fmaf(d[i + 1], d[i + 1], d[i] * d[i]);
            squares += (d[0] + d[2]) + (d[4] + d[6]);
        });
        factor = 1.0f / sqrtf(warp_sum(squares) / (float)row.width + eps);
    }

    // Of `count` values from place `at` on.
    template <bool WHOLE>
    __device__ void apply(uint32_t at, uint32_t count, const float (&from)[EIGHT], float (&to)[EIGHT]) const {
        float weights[EIGHT], biases[EIGHT];
        read_eight<WHOLE>(weight + at, count, weights);
        read_eight<WHOLE>(bias + at, count, biases);
        for (uint32_t i = 0; i < EIGHT; i++) to[i] = fmaf((from[i] - mean) * factor, weights[i], biases[i]);
    }
};

// Writes the residual stream of a row, and what the next product reads of it.
template <typename Row, typename T>
__device__ inline void finish(Row &row, const float *weight, const float *bias, float eps, T *h) {
    row.keep();
    const Normal normal(row, weight, bias, eps);
    row.each([&](uint32_t at, uint32_t count, float (&values)[EIGHT]) {
        float out[EIGHT];
        normal.template apply<Row::WHOLE>(at, count, values, out);
        write_eight<Row::WHOLE>(h + at, count, out);
    });
}

// The first states of pictures: `patches` holds the products, `per` rows a picture, without `skip` first rows that have no patch
// (the class). Adds positions; normalises where `pre_weight` is there; writes the residual stream `x` and what the
// first block reads, `h`.
template <typename Row, typename T>
__device__ inline void embed_pictures(const T *patches, const float *patch_bias, const float *first, const float *positions,
                                      const float *pre_weight, const float *pre_bias, const float *weight,
                                      const float *bias, float eps, uint32_t rows, uint32_t per, uint32_t width, float *x,
                                      T *h) {
    constexpr bool WHOLE = Row::WHOLE;
    const uint32_t number = warp_row();
    if (number >= rows) return;
    const uint32_t skip = first ? 1 : 0, place = number % per, picture = number / per;
    const uint64_t start = (uint64_t)number * width;
    const T *patch = patches + ((uint64_t)picture * (per - skip) + place - skip) * width;
    const float *position = positions + (uint64_t)place * width;
    Row row(x + start, width);
    row.set([&](uint32_t at, uint32_t count, float (&values)[EIGHT]) {
        float more[EIGHT];
        if (place < skip) {
            read_eight<WHOLE>(first + at, count, values);
        } else {
            read_eight<WHOLE>(patch + at, count, values);
            if (patch_bias) {
                read_eight<WHOLE>(patch_bias + at, count, more);
                for (uint32_t i = 0; i < EIGHT; i++) values[i] += more[i];
            }
        }
        read_eight<WHOLE>(position + at, count, more);
        for (uint32_t i = 0; i < EIGHT; i++) values[i] += more[i];
    });
    if (pre_weight) {
        const Normal normal(row, pre_weight, pre_bias, eps);
        row.change([&](uint32_t at, uint32_t count, float (&values)[EIGHT]) {
            normal.template apply<WHOLE>(at, count, values, values);
        });
    }
    finish(row, weight, bias, eps, h + start);
}

// The first states of texts, `per` tokens each.
template <typename Row, typename T>
__device__ inline void embed_texts(const uint32_t *tokens, const T *table, const float *positions, const float *weight,
                                   const float *bias, float eps, uint32_t rows, uint32_t per, uint32_t width, float *x,
                                   T *h) {
    constexpr bool WHOLE = Row::WHOLE;
    const uint32_t number = warp_row();
    if (number >= rows) return;
    const uint64_t start = (uint64_t)number * width;
    const T *token = table + (uint64_t)tokens[number] * width;
    const float *position = positions + (uint64_t)(number % per) * width;
    Row row(x + start, width);
    row.set([&](uint32_t at, uint32_t count, float (&values)[EIGHT]) {
        float more[EIGHT];
        read_eight<WHOLE>(token + at, count, values);
        read_eight<WHOLE>(position + at, count, more);
        for (uint32_t i = 0; i < EIGHT; i++) values[i] += more[i];
    });
    finish(row, weight, bias, eps, h + start);
}

// Adds a product and its bias to the residual stream and normalises it for the next product, in one sweep.
template <typename Row, typename T>
__device__ inline void add_and_norm(const T *product, const float *product_bias, const float *weight, const float *bias,
                                    float eps, uint32_t rows, uint32_t width, float *x, T *h) {
    constexpr bool WHOLE = Row::WHOLE;
    const uint32_t number = warp_row();
    if (number >= rows) return;
    const uint64_t start = (uint64_t)number * width;
    Row row(x + start, width);
    row.set([&](uint32_t at, uint32_t count, float (&values)[EIGHT]) {
        float added[EIGHT], more[EIGHT];
        read_eight<WHOLE>(x + start + at, count, values);
        read_eight<WHOLE>(product + start + at, count, added);
        read_eight<WHOLE>(product_bias + at, count, more);
        for (uint32_t i = 0; i < EIGHT; i++) values[i] += added[i] + more[i];
    });
    finish(row, weight, bias, eps, h + start);
}

// Row `wanted[i]` of the states and of what was attended to becomes row `i`: after the last attention, no other row counts.
// A block takes a row.
template <bool WHOLE, typename T>
__device__ inline void pick(const float *x, const T *attended, const uint32_t *wanted, uint32_t width, float *x_out,
                            T *attended_out) {
    const uint64_t from = (uint64_t)wanted[blockIdx.x] * width, to = (uint64_t)blockIdx.x * width;
    for (uint32_t i = threadIdx.x * EIGHT; i < width; i += blockDim.x * EIGHT) {
        if (WHOLE) {
            const uint4 parts[3] = {read_sixteen(x + from + i), read_sixteen(x + from + i + 4), read_sixteen(attended + from + i)};
            write_sixteen(x_out + to + i, parts[0]);
            write_sixteen(x_out + to + i + 4, parts[1]);
            write_sixteen(attended_out + to + i, parts[2]);
        } else {
            for (uint32_t j = i; j < width && j < i + EIGHT; j++) {
                x_out[to + j] = x[from + j];
                attended_out[to + j] = attended[from + j];
            }
        }
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

// Rows that a thread takes: the values of several are on their way at once.
#define ACTIVATED_ROWS 4

template <typename T, bool WHOLE, Activation KIND>
__device__ inline void bias_and_activation(T *product, const float *bias, uint32_t rows, uint32_t width) {
    const uint32_t column = (blockIdx.y * blockDim.x + threadIdx.x) * EIGHT, first = blockIdx.x * ACTIVATED_ROWS;
    if (column >= width) return;
    const uint32_t count = WHOLE || width - column > EIGHT ? EIGHT : width - column;
    float values[ACTIVATED_ROWS][EIGHT], added[EIGHT];
    read_eight<WHOLE>(bias + column, count, added);
#pragma unroll
    for (uint32_t r = 0; r < ACTIVATED_ROWS; r++) {
        // Where there are fewer rows, the last again, and no branch between the loads.
        const uint32_t row = first + r < rows ? first + r : rows - 1;
        read_eight<WHOLE>(product + (uint64_t)row * width + column, count, values[r]);
    }
#pragma unroll
    for (uint32_t r = 0; r < ACTIVATED_ROWS; r++) {
        if (first + r >= rows) break;
        for (uint32_t i = 0; i < EIGHT; i++) values[r][i] = activated<KIND>(values[r][i] + added[i]);
        write_eight<WHOLE>(product + (uint64_t)(first + r) * width + column, count, values[r]);
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

// What a launch reads and nothing writes meanwhile, so that loads need not wait for what is written.
#define FIXED const float *__restrict__

// A number is that of the vectors of a lane, for widths that are a multiple of eight up to 256 times as many.
#define SWEEPS(Row, number, T, suffix)                                                                                \
    KERNEL embed_pictures##number##_##suffix(const T *patches, FIXED patch_bias, FIXED first, FIXED positions,        \
                                             FIXED pre_weight, FIXED pre_bias, FIXED weight, FIXED bias, float eps,   \
                                             uint32_t rows, uint32_t per, uint32_t width, float *x, T *h) {           \
        embed_pictures<Row>(patches, patch_bias, first, positions, pre_weight, pre_bias, weight, bias, eps, rows, per,\
                            width, x, h);                                                                             \
    }                                                                                                                 \
    KERNEL embed_texts##number##_##suffix(const uint32_t *tokens, const T *table, FIXED positions, FIXED weight,      \
                                          FIXED bias, float eps, uint32_t rows, uint32_t per, uint32_t width, float *x,\
                                          T *h) {                                                                     \
        embed_texts<Row>(tokens, table, positions, weight, bias, eps, rows, per, width, x, h);                        \
    }                                                                                                                 \
    KERNEL add_and_norm##number##_##suffix(const T *product, FIXED product_bias, FIXED weight, FIXED bias, float eps, \
                                           uint32_t rows, uint32_t width, float *x, T *h) {                           \
        add_and_norm<Row>(product, product_bias, weight, bias, eps, rows, width, x, h);                               \
    }
// An eight says that rows consist of whole vectors.
#define OTHERS(whole, number, T, suffix)                                                                              \
    KERNEL pick##number##_##suffix(const float *x, const T *attended, const uint32_t *wanted, uint32_t width,         \
                                   float *x_out, T *attended_out) {                                                   \
        pick<whole>(x, attended, wanted, width, x_out, attended_out);                                                 \
    }                                                                                                                 \
    KERNEL bias_and_activation##number##_##suffix(T *product, FIXED bias, uint32_t kind, uint32_t rows,               \
                                                  uint32_t width) {                                                   \
        bias_and_activation<T, whole>(product, bias, kind, rows, width);                                              \
    }

#define ROWS(T, suffix)                                                                                               \
    SWEEPS(Lying, , T, suffix)                                                                                        \
    SWEEPS(Held<1>, _1, T, suffix)                                                                                    \
    SWEEPS(Held<2>, _2, T, suffix)                                                                                    \
    SWEEPS(Held<3>, _3, T, suffix)                                                                                    \
    SWEEPS(Held<4>, _4, T, suffix)                                                                                    \
    SWEEPS(Held<5>, _5, T, suffix)                                                                                    \
    SWEEPS(Held<6>, _6, T, suffix)                                                                                    \
    OTHERS(false, , T, suffix)                                                                                        \
    OTHERS(true, _8, T, suffix)

ROWS(Bf16, bf16)
ROWS(Half, f16)
