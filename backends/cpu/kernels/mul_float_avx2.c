// SPDX-License-Identifier: Apache-2.0
// Many activation rows against a panel of float weights, a chunk of K at a time. The running sums are
// the eight lanes that dot_float_avx2.h keeps, and are added up in its order, so both give the same
// bits.
#include <immintrin.h>

#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

// Four weight rows and up to three activation rows: twelve sums stay in registers.
INLINE void block(const float *w, const float *x, uint64_t x_stride, const uint32_t tokens,
                  uint32_t n, float *sums) {
    __m256 acc[3][4];
#pragma GCC unroll 3
    for (uint32_t t = 0; t < tokens; t++) {
#pragma GCC unroll 4
        for (uint32_t r = 0; r < 4; r++)
            acc[t][r] = _mm256_loadu_ps(sums + (t * CPU_PANEL + r) * 8);
    }
    for (uint32_t i = 0; i < n; i += 8) {
        __m256 v[3];
#pragma GCC unroll 3
        for (uint32_t t = 0; t < tokens; t++)
            v[t] = _mm256_loadu_ps(x + t * x_stride + i);
#pragma GCC unroll 4
        for (uint32_t r = 0; r < 4; r++) {
            const __m256 weight = _mm256_loadu_ps(w + r * CPU_CHUNK + i);
#pragma GCC unroll 3
            for (uint32_t t = 0; t < tokens; t++)
                acc[t][r] = _mm256_fmadd_ps(weight, v[t], acc[t][r]);
        }
    }
#pragma GCC unroll 3
    for (uint32_t t = 0; t < tokens; t++) {
#pragma GCC unroll 4
        for (uint32_t r = 0; r < 4; r++)
            _mm256_storeu_ps(sums + (t * CPU_PANEL + r) * 8, acc[t][r]);
    }
}

// All rows of the panel; the next activation rows are asked for meanwhile.
INLINE void rows(const cpu_mul_float_args *a, uint32_t t, const uint32_t tokens) {
    const float *x = a->x + t * a->x_stride;
    for (uint32_t i = 0; i < tokens; i++) {
        const char *ahead = (const char *)(x + (tokens + i) * a->x_stride);
        for (uint32_t j = 0; j < a->n * sizeof *x && t + tokens + i < a->tokens; j += 64)
            __builtin_prefetch(ahead + j);
    }
    for (uint32_t r = 0; r < CPU_PANEL; r += 4)
        block(a->w + r * CPU_CHUNK, x, a->x_stride, tokens, a->n,
              a->sums + (t * CPU_PANEL + r) * 8);
}

void mul_float_avx2(const cpu_mul_float_args *args) {
    uint32_t t = 0;
    for (; t + 3 <= args->tokens; t += 3)
        rows(args, t, 3);
    if (args->tokens - t == 2)
        rows(args, t, 2);
    else if (args->tokens - t == 1)
        rows(args, t, 1);
}

void add_lanes_avx2(const float *sums, uint32_t count, float *out) {
    for (uint32_t i = 0; i < count; i += 4, sums += 32) {
        __m128 h[4];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
            h[r] = _mm_add_ps(_mm_loadu_ps(sums + r * 8), _mm_loadu_ps(sums + r * 8 + 4));
        _MM_TRANSPOSE4_PS(h[0], h[1], h[2], h[3]);
        _mm_storeu_ps(out + i, _mm_add_ps(_mm_add_ps(h[0], h[2]), _mm_add_ps(h[1], h[3])));
    }
}
