// SPDX-License-Identifier: Apache-2.0
// dot_float_avx512.h: the shared body of the 512-bit dot products of float weights: up to 4 weight
// rows against up to 4 activation rows, one running sum each.
#ifndef GREGALE_BACKENDS_CPU_DOT_FLOAT_AVX512_H
#define GREGALE_BACKENDS_CPU_DOT_FLOAT_AVX512_H

#include <immintrin.h>

#include "kernels/kernels.h"

#define CPU_INLINE static inline __attribute__((always_inline))

// Reads values [i, i+16) of a weight row as F32, those outside `mask` as zero.
typedef __m512 (*cpu_load_float)(const uint8_t *row, uint64_t i, __mmask16 mask);

// Values [i, i+16) of all rows, weights of `bytes` each; a constant mask of all ones costs nothing.
CPU_INLINE void cpu_dot_step(const cpu_dot_float_args *a, uint64_t i, const __mmask16 mask,
                             const uint32_t bytes, const uint32_t rows, const uint32_t tokens,
                             cpu_load_float load, __m512 sums[CPU_FLOAT_TOKENS][CPU_FLOAT_ROWS]) {
    __m512 x[CPU_FLOAT_TOKENS];
#pragma GCC unroll 4
    for (uint32_t t = 0; t < tokens; t++)
        x[t] = _mm512_maskz_loadu_ps(mask, a->x + t * a->x_stride + i);
#pragma GCC unroll 4
    for (uint32_t r = 0; r < rows; r++) {
        const __m512 w = load(a->weights + r * a->weight_stride, i, mask);
        if (tokens == 1) // the next call reads as many rows further on
            __builtin_prefetch(
                (const void *)((uintptr_t)a->weights + (rows + r) * a->weight_stride + i * bytes),
                0, 2);
#pragma GCC unroll 4
        for (uint32_t t = 0; t < tokens; t++)
            sums[t][r] = _mm512_fmadd_ps(w, x[t], sums[t][r]);
    }
}

CPU_INLINE void cpu_dot_block(const cpu_dot_float_args *a, const uint32_t bytes,
                              const uint32_t rows, const uint32_t tokens, cpu_load_float load) {
    __m512 sums[CPU_FLOAT_TOKENS][CPU_FLOAT_ROWS];
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t r = 0; r < rows; r++)
            sums[t][r] = _mm512_setzero_ps();
    }
    uint64_t i = 0;
    for (; i + 16 <= a->k; i += 16)
        cpu_dot_step(a, i, 0xffff, bytes, rows, tokens, load, sums);
    if (i < a->k)
        cpu_dot_step(a, i, (__mmask16)((1u << (a->k - i)) - 1), bytes, rows, tokens, load, sums);
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t r = 0; r < rows; r++)
            a->out[t * a->out_stride + r] = _mm512_reduce_add_ps(sums[t][r]);
    }
}

CPU_INLINE void cpu_dot_rows(const cpu_dot_float_args *a, const uint32_t bytes,
                             const uint32_t tokens, cpu_load_float load) {
    switch (a->rows) {
    case 1: cpu_dot_block(a, bytes, 1, tokens, load); break;
    case 2: cpu_dot_block(a, bytes, 2, tokens, load); break;
    case 3: cpu_dot_block(a, bytes, 3, tokens, load); break;
    default: cpu_dot_block(a, bytes, 4, tokens, load); break;
    }
}

CPU_INLINE void cpu_dot_float(const cpu_dot_float_args *a, const uint32_t bytes,
                              cpu_load_float load) {
    switch (a->tokens) {
    case 1: cpu_dot_rows(a, bytes, 1, load); break;
    case 2: cpu_dot_rows(a, bytes, 2, load); break;
    case 3: cpu_dot_rows(a, bytes, 3, load); break;
    default: cpu_dot_rows(a, bytes, 4, load); break;
    }
}

#endif
