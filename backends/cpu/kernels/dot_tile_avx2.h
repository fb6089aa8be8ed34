// SPDX-License-Identifier: Apache-2.0
// dot_tile_avx2.h: the shared body of the 256-bit tile products: eight weight rows, up to 4
// activation rows.
#ifndef GREGALE_BACKENDS_CPU_DOT_TILE_AVX2_H
#define GREGALE_BACKENDS_CPU_DOT_TILE_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

#define CPU_INLINE static inline __attribute__((always_inline))

// Adds the products of weights and four activations, repeated in every lane, to sum.
typedef __m256i (*cpu_dot4)(__m256i sum, __m256i weights, __m256i activations);

CPU_INLINE __m256i cpu_four(const int8_t *from) {
    int32_t word;
    memcpy(&word, from, 4);
    return _mm256_set1_epi32(word);
}

// Rows [half*8, half*8+8) of the panel, activation rows [first, first+tokens). `biased`: the tile's
// bytes are 128 too large, which the start value of each sum takes off.
CPU_INLINE void cpu_dot_half(const cpu_dot_tile_args *args, int half, uint32_t first,
                             const uint32_t tokens, const uint32_t group, const bool offset,
                             const bool biased, cpu_dot4 dot4) {
    const uint32_t halves = 32 / group;
    cpu_quantised a[4];
    __m256 sums[4];
    for (uint32_t t = 0; t < tokens; t++) {
        a[t] = cpu_quantised_at(args->activations + (first + t) * args->activation_stride, args->k);
        sums[t] = _mm256_loadu_ps(args->sums + (first + t) * CPU_PANEL + half * 8);
    }
    const uint8_t *w = args->tile->q + half * 32;
    const float *s = args->tile->s + half * 8, *c = args->tile->c + half * 8;
    for (uint64_t g = args->block * halves; g < (args->block + args->blocks) * halves; g++) {
        __m256i dots[4];
        for (uint32_t t = 0; t < tokens; t++)
            dots[t] = biased ? _mm256_set1_epi32(group == 32 ? a[t].bias32[g] : a[t].bias16[g])
                             : _mm256_setzero_si256();
        for (uint32_t step = 0; step < group / 4; step++, w += 64) {
            __m256i weights = _mm256_loadu_si256((const __m256i *)(const void *)w);
            for (uint32_t t = 0; t < tokens; t++)
                dots[t] = dot4(dots[t], weights, cpu_four(a[t].q + g * group + step * 4));
        }
        __m256 scale = _mm256_loadu_ps(s), add = offset ? _mm256_loadu_ps(c) : scale;
        for (uint32_t t = 0; t < tokens; t++) {
            __m256 dot =
                _mm256_mul_ps(_mm256_cvtepi32_ps(dots[t]), _mm256_set1_ps(a[t].scale[g / halves]));
            sums[t] = _mm256_fmadd_ps(dot, scale, sums[t]);
            if (offset) {
                float sum = group == 32 ? a[t].sum32[g] : a[t].sum16[g];
                sums[t] = _mm256_fmadd_ps(_mm256_set1_ps(sum), add, sums[t]);
            }
        }
        s += CPU_PANEL;
        c += CPU_PANEL;
    }
    for (uint32_t t = 0; t < tokens; t++)
        _mm256_storeu_ps(args->sums + (first + t) * CPU_PANEL + half * 8, sums[t]);
}

CPU_INLINE void cpu_dot_groups(const cpu_dot_tile_args *args, int half, uint32_t first,
                               const uint32_t tokens, const bool biased, cpu_dot4 dot4) {
    if (args->group == 32 && !args->offset)
        cpu_dot_half(args, half, first, tokens, 32, false, biased, dot4);
    else if (args->group == 32)
        cpu_dot_half(args, half, first, tokens, 32, true, biased, dot4);
    else if (!args->offset)
        cpu_dot_half(args, half, first, tokens, 16, false, biased, dot4);
    else
        cpu_dot_half(args, half, first, tokens, 16, true, biased, dot4);
}

CPU_INLINE void cpu_dot_tile(const cpu_dot_tile_args *args, const bool biased, cpu_dot4 dot4) {
    for (uint32_t first = 0; first < args->tokens; first += 4) {
        uint32_t tokens = args->tokens - first;
        for (int half = 0; half < 2; half++) {
            switch (tokens) {
            case 1: cpu_dot_groups(args, half, first, 1, biased, dot4); break;
            case 2: cpu_dot_groups(args, half, first, 2, biased, dot4); break;
            case 3: cpu_dot_groups(args, half, first, 3, biased, dot4); break;
            default: cpu_dot_groups(args, half, first, 4, biased, dot4); break;
            }
        }
    }
}

#endif
