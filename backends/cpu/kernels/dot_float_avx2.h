// SPDX-License-Identifier: Apache-2.0
// dot_float_avx2.h: the shared body of the 256-bit dot products of float weights: up to 4 weight
// rows against up to 2 activation rows at a time, one running sum each.
#ifndef GREGALE_BACKENDS_CPU_DOT_FLOAT_AVX2_H
#define GREGALE_BACKENDS_CPU_DOT_FLOAT_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

#define CPU_INLINE static inline __attribute__((always_inline))

// Reads values [i, i+8) of a weight row as F32; and value i alone.
typedef __m256 (*cpu_load_float)(const uint8_t *row, uint64_t i);
typedef float (*cpu_load_one)(const uint8_t *row, uint64_t i);

CPU_INLINE float cpu_add8(__m256 v) {
    __m128 n = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    n = _mm_add_ps(n, _mm_movehl_ps(n, n));
    return _mm_cvtss_f32(_mm_add_ss(n, _mm_movehdup_ps(n)));
}

CPU_INLINE void cpu_dot_block(const cpu_dot_float_args *a, uint32_t first, const uint32_t rows,
                              const uint32_t tokens, cpu_load_float load, cpu_load_one one) {
    __m256 sums[2][CPU_FLOAT_ROWS];
    uint64_t i = 0;
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t r = 0; r < rows; r++)
            sums[t][r] = _mm256_setzero_ps();
    }
    for (; i + 8 <= a->k; i += 8) {
        __m256 x[2];
        for (uint32_t t = 0; t < tokens; t++)
            x[t] = _mm256_loadu_ps(a->x + (first + t) * a->x_stride + i);
        for (uint32_t r = 0; r < rows; r++) {
            __m256 w = load(a->weights + r * a->weight_stride, i);
            for (uint32_t t = 0; t < tokens; t++)
                sums[t][r] = _mm256_fmadd_ps(w, x[t], sums[t][r]);
        }
    }
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t r = 0; r < rows; r++) {
            float sum = cpu_add8(sums[t][r]);
            for (uint64_t j = i; j < a->k; j++)
                sum +=
                    one(a->weights + r * a->weight_stride, j) * a->x[(first + t) * a->x_stride + j];
            a->out[(first + t) * a->out_stride + r] = sum;
        }
    }
}

CPU_INLINE void cpu_dot_rows(const cpu_dot_float_args *a, uint32_t first, const uint32_t tokens,
                             cpu_load_float load, cpu_load_one one) {
    switch (a->rows) {
    case 1: cpu_dot_block(a, first, 1, tokens, load, one); break;
    case 2: cpu_dot_block(a, first, 2, tokens, load, one); break;
    case 3: cpu_dot_block(a, first, 3, tokens, load, one); break;
    default: cpu_dot_block(a, first, 4, tokens, load, one); break;
    }
}

CPU_INLINE void cpu_dot_float(const cpu_dot_float_args *a, cpu_load_float load, cpu_load_one one) {
    for (uint32_t first = 0; first < a->tokens; first += 2) {
        if (a->tokens - first >= 2)
            cpu_dot_rows(a, first, 2, load, one);
        else
            cpu_dot_rows(a, first, 1, load, one);
    }
}

#endif
