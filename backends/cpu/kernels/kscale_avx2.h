// SPDX-License-Identifier: Apache-2.0
// kscale_avx2.h: the scales of Q4_K and Q5_K as floats at the stride of a panel.
#ifndef GREGALE_BACKENDS_CPU_KSCALE_AVX2_H
#define GREGALE_BACKENDS_CPU_KSCALE_AVX2_H

#include "kernels/expand_avx2.h"
#include "kernels/kscale.h"

static inline void cpu_k_factors(uint16_t d, uint16_t dmin, const uint8_t *packed, float *s,
                                 float *c) {
    uint8_t scales[16];
    cpu_k_scales(packed, scales);
    __m128i bytes = cpu_load16(scales);
    __m256 scale = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    __m256 min = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)));
    cpu_scatter8(s, _mm256_mul_ps(scale, _mm256_set1_ps(_cvtsh_ss(d))));
    cpu_scatter8(c, _mm256_mul_ps(min, _mm256_set1_ps(-_cvtsh_ss(dmin))));
}

#endif
