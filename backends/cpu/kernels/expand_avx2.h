// SPDX-License-Identifier: Apache-2.0
// expand_avx2.h: steps that the AVX2 expanders share.
#ifndef GREGALE_BACKENDS_CPU_EXPAND_AVX2_H
#define GREGALE_BACKENDS_CPU_EXPAND_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

static inline __m128i cpu_load16(const void *from) {
    return _mm_loadu_si128((const __m128i *)from);
}

static inline __m256i cpu_load32(const void *from) {
    return _mm256_loadu_si256((const __m256i *)from);
}

static inline void cpu_store32(void *to, __m256i value) {
    _mm256_storeu_si256((__m256i *)to, value);
}

// The 32 nibbles of 16 bytes: low ones first.
static inline __m256i cpu_nibbles(const uint8_t *from) {
    __m128i low = cpu_load16(from);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm_srli_epi16(low, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

// 16 in byte j where bit j of the four bytes is set, else 0.
static inline __m256i cpu_fifth_bits(const uint8_t *from) {
    int32_t bits;
    memcpy(&bits, from, 4);
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                            2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i one = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    __m256i bytes = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread), one);
    return _mm256_and_si256(_mm256_cmpeq_epi8(bytes, one), _mm256_set1_epi8(16));
}

// Eight factors at the stride of a panel.
static inline void cpu_scatter8(float *to, __m256 values) {
    float lanes[8];
    _mm256_storeu_ps(lanes, values);
    for (int i = 0; i < 8; i++)
        to[i * CPU_PANEL] = lanes[i];
}

#endif
