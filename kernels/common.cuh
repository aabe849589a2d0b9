// What all kernels share: number formats, sums over a warp, and the product of small matrices.
//
// The same source is compiled by nvcc for a device and by a C++ compiler for the tests (tests/emulator), which run each
// block's threads in turn. So a kernel uses no library but this header, takes shared memory as static arrays only,
// and reaches every barrier with all of its threads.
#pragma once

#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include "device.hpp"
#endif

#define WARP 32

// A bfloat16 and an IEEE half, as the bits that they are. Sums are never kept in them.
struct Bf16 {
    uint16_t bits;
};
struct Half {
    uint16_t bits;
};

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(Bf16 x) { return __uint_as_float((uint32_t)x.bits << 16); }
__device__ inline float to_float(Half x) {
#ifdef __CUDACC__
    return __half2float(__ushort_as_half(x.bits));
#else
    return emulator::half_to_float(x.bits);
#endif
}

// To nearest, ties to even.
template <typename T> __device__ T rounded(float x);
template <> __device__ inline float rounded<float>(float x) { return x; }
template <> __device__ inline Bf16 rounded<Bf16>(float x) {
#ifdef __CUDACC__
    return Bf16{__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
    return Bf16{emulator::float_to_bf16(x)};
#endif
}
template <> __device__ inline Half rounded<Half>(float x) {
#ifdef __CUDACC__
    return Half{__half_as_ushort(__float2half_rn(x))};
#else
    return Half{emulator::float_to_half(x)};
#endif
}

// Two neighbours in one register, the first in the lower half.
template <typename T> __device__ inline uint32_t pair(float first, float second) {
    return (uint32_t)rounded<T>(first).bits | (uint32_t)rounded<T>(second).bits << 16;
}

// The two again, the first in the lower half.
template <typename T> __device__ inline void unpaired(uint32_t word, float &first, float &second) {
    first = to_float(T{(uint16_t)(word & 0xffff)});
    second = to_float(T{(uint16_t)(word >> 16)});
}

// Sixteen bytes at once, from or to an address that is a multiple of sixteen.
__device__ inline uint4 read_sixteen(const void *from) {
#ifdef __CUDACC__
    return *(const uint4 *)from;
#else
    return emulator::read_sixteen(from);
#endif
}
__device__ inline void write_sixteen(void *to, uint4 bytes) {
#ifdef __CUDACC__
    *(uint4 *)to = bytes;
#else
    emulator::write_sixteen(to, bytes);
#endif
}

// Values of a row that a thread takes at once.
#define EIGHT 8

// Eight neighbours as numbers. Where they are `WHOLE`, all are there and begin at a multiple of sixteen bytes; else `count` of
// them are there, anywhere, and zeros stand for the rest.
template <bool WHOLE, typename T>
__device__ inline void read_eight(const T *from, uint32_t count, float (&to)[EIGHT]) {
    if constexpr (!WHOLE) {
        for (uint32_t i = 0; i < EIGHT; i++) to[i] = i < count ? to_float(from[i]) : 0.0f;
    } else if constexpr (sizeof(T) == 4) {
        const uint4 halves[2] = {read_sixteen(from), read_sixteen(from + 4)};
        for (int i = 0; i < 2; i++) {
            to[4 * i] = __uint_as_float(halves[i].x);
            to[4 * i + 1] = __uint_as_float(halves[i].y);
            to[4 * i + 2] = __uint_as_float(halves[i].z);
            to[4 * i + 3] = __uint_as_float(halves[i].w);
        }
    } else {
        const uint4 all = read_sixteen(from);
        unpaired<T>(all.x, to[0], to[1]);
        unpaired<T>(all.y, to[2], to[3]);
        unpaired<T>(all.z, to[4], to[5]);
        unpaired<T>(all.w, to[6], to[7]);
    }
}
template <bool WHOLE, typename T>
__device__ inline void write_eight(T *to, uint32_t count, const float (&from)[EIGHT]) {
    if constexpr (!WHOLE) {
        for (uint32_t i = 0; i < EIGHT; i++)
            if (i < count) to[i] = rounded<T>(from[i]);
    } else if constexpr (sizeof(T) == 4) {
        for (int i = 0; i < EIGHT; i += 4) {
            write_sixteen(to + i, {__float_as_uint(from[i]), __float_as_uint(from[i + 1]), __float_as_uint(from[i + 2]),
                                   __float_as_uint(from[i + 3])});
        }
    } else {
        write_sixteen(to, {pair<T>(from[0], from[1]), pair<T>(from[2], from[3]), pair<T>(from[4], from[5]),
                           pair<T>(from[6], from[7])});
    }
}

// The sum over a warp, the same in all of its lanes; added in the same order whatever else runs.
__device__ inline float warp_sum(float x) {
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
    return x;
}

// d += a b over a warp, for a of 16x16, b of 16x8 and d of 16x8, spread over the lanes as PTX says of
// mma.m16n8k16: with g = lane / 4 and t = lane % 4,
//     a[0] = rows g,     columns 2t, 2t+1       b[0] = rows 2t, 2t+1,   column g
//     a[1] = rows g + 8, columns 2t, 2t+1       b[1] = rows 2t+8, 2t+9, column g
//     a[2] = rows g,     columns 2t+8, 2t+9     d[0], d[1] = row g,     columns 2t, 2t+1
//     a[3] = rows g + 8, columns 2t+8, 2t+9     d[2], d[3] = row g + 8, columns 2t, 2t+1
template <typename T>
__device__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

#ifdef __CUDACC__
#define MULTIPLY_ADD(type, name)                                                                                      \
    template <>                                                                                                       \
    __device__ inline void multiply_add<type>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {        \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." name "." name ".f32 "                                   \
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                                          \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                 \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                             \
    }
MULTIPLY_ADD(Bf16, "bf16")
MULTIPLY_ADD(Half, "f16")
#else
template <> inline void multiply_add<Bf16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    emulator::multiply_add(d, a, b, [](uint16_t x) { return to_float(Bf16{x}); });
}
template <> inline void multiply_add<Half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    emulator::multiply_add(d, a, b, [](uint16_t x) { return to_float(Half{x}); });
}
#endif

// Four matrices of 8x8 values of 16 bits out of a block's memory: lane l names line l % 8 of matrix l / 8, which begins at a
// multiple of 16 bytes. In the layout of `multiply_add`, the four as they lie are b[0] and b[1] of two right sides whose columns
// are the lines; turned, of two whose rows are the lines.
#ifdef __CUDACC__
#define LOAD(name, turned)                                                                                            \
    __device__ inline void name(uint32_t (&to)[2][2], const void *line) {                                             \
        asm volatile("ldmatrix.sync.aligned.m8n8.x4" turned ".shared.b16 {%0,%1,%2,%3}, [%4];"                        \
                     : "=r"(to[0][0]), "=r"(to[0][1]), "=r"(to[1][0]), "=r"(to[1][1])                                 \
                     : "r"((uint32_t)__cvta_generic_to_shared(line))                                                  \
                     : "memory");                                                                                     \
    }
LOAD(load_matrices, "")
LOAD(load_turned_matrices, ".trans")
#else
inline void load_matrices(uint32_t (&to)[2][2], const void *line) { emulator::load_matrices(to, line, false); }
inline void load_turned_matrices(uint32_t (&to)[2][2], const void *line) { emulator::load_matrices(to, line, true); }
#endif

// Sends 16 bytes, or as many zeros where `there` is false, to a block's memory: they are there once the thread that sent them
// has called `copies_done`. Both begin at a multiple of 16 bytes.
__device__ inline void copy_later(void *to, const void *from, bool there) {
#ifdef __CUDACC__
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
#else
    emulator::copy_later(to, from, there);
#endif
}
__device__ inline void copies_done() {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_all;" ::: "memory");
#else
    emulator::copies_done();
#endif
}

// 2 to the power of x, to within 2^-22 of it; zero where that is below the least normal number.
__device__ inline float power_of_two(float x) {
#ifdef __CUDACC__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}

// 1 / x to a unit in the last place; zero where that is below the least normal number.
__device__ inline float reciprocal(float x) {
#ifdef __CUDACC__
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1.0f / x;
#endif
}

// A kernel by its name, and by its name with a number format behind it.
#define KERNEL extern "C" __global__ void
