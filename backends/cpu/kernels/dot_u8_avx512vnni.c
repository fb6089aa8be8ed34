// SPDX-License-Identifier: Apache-2.0
// One tile of 16 weight rows against up to 8 activation rows, by vpdpbusd. A lane is a weight row;
// the accumulator of a group starts from -128 times the activations' sum, which takes the weights'
// bias off.
#include <immintrin.h>

#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

// sum += weights (unsigned) * the four activations at `from` (signed), in every lane.
INLINE void dot4(__m512i *sum, __m512i weights, const int8_t *from) {
    __asm__("vpdpbusd %2%{1to16%}, %1, %0"
            : "+v"(*sum)
            : "v"(weights), "m"(*(const int(*)[1])(const void *)from));
}

INLINE void run(const cpu_dot_tile_args *args, const uint32_t tokens, const uint32_t group,
                const bool offset) {
    const uint32_t halves = 32 / group;
    cpu_quantised a[CPU_TOKENS];
    __m512 sums[CPU_TOKENS];
    for (uint32_t t = 0; t < tokens; t++) {
        a[t] = cpu_quantised_at(args->activations + t * args->activation_stride, args->k);
        sums[t] = _mm512_loadu_ps(args->sums + t * CPU_PANEL);
    }
    const uint8_t *w = args->tile->q;
    const float *s = args->tile->s, *c = args->tile->c;
    for (uint64_t b = args->block; b < args->block + args->blocks; b++) {
        for (uint32_t h = 0; h < halves; h++) {
            const uint64_t g = b * halves + h, at = g * group;
            __m512i dots[CPU_TOKENS];
            for (uint32_t t = 0; t < tokens; t++)
                dots[t] = _mm512_set1_epi32(group == 32 ? a[t].bias32[g] : a[t].bias16[g]);
#pragma GCC unroll 8
            for (uint32_t step = 0; step < group / 4; step++, w += 64) {
                const __m512i weights = _mm512_loadu_si512(w);
                for (uint32_t t = 0; t < tokens; t++)
                    dot4(&dots[t], weights, a[t].q + at + step * 4);
            }
            const __m512 scale = _mm512_loadu_ps(s);
            for (uint32_t t = 0; t < tokens; t++) {
                __m512 dot =
                    _mm512_mul_ps(_mm512_cvtepi32_ps(dots[t]), _mm512_set1_ps(a[t].scale[b]));
                sums[t] = _mm512_fmadd_ps(dot, scale, sums[t]);
            }
            s += CPU_PANEL;
            if (offset) {
                const __m512 add = _mm512_loadu_ps(c);
                for (uint32_t t = 0; t < tokens; t++) {
                    __m512 sum = _mm512_set1_ps(group == 32 ? a[t].sum32[g] : a[t].sum16[g]);
                    sums[t] = _mm512_fmadd_ps(sum, add, sums[t]);
                }
                c += CPU_PANEL;
            }
        }
    }
    for (uint32_t t = 0; t < tokens; t++)
        _mm512_storeu_ps(args->sums + t * CPU_PANEL, sums[t]);
}

INLINE void run_tokens(const cpu_dot_tile_args *args, const uint32_t group, const bool offset) {
    switch (args->tokens) {
    case 1: run(args, 1, group, offset); break;
    case 2: run(args, 2, group, offset); break;
    case 3: run(args, 3, group, offset); break;
    case 4: run(args, 4, group, offset); break;
    case 5: run(args, 5, group, offset); break;
    case 6: run(args, 6, group, offset); break;
    case 7: run(args, 7, group, offset); break;
    default: run(args, 8, group, offset); break;
    }
}

void dot_u8_avx512vnni(const cpu_dot_tile_args *args) {
    if (args->group == 32 && !args->offset)
        run_tokens(args, 32, false);
    else if (args->group == 32)
        run_tokens(args, 32, true);
    else if (!args->offset)
        run_tokens(args, 16, false);
    else
        run_tokens(args, 16, true);
}
