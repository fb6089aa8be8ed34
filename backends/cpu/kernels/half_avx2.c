// SPDX-License-Identifier: Apache-2.0
// half_avx2.c: conversions by F16C, and integers to F32.
#include <immintrin.h>

#include "kernels/kernels.h"

void f16_to_f32_avx2(const uint16_t *from, uint64_t n, float *to) {
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(
            to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(from + i))));
    for (; i < n; i++)
        to[i] = _cvtsh_ss(from[i]);
}

void f32_to_f16_avx2(const float *from, uint64_t n, uint16_t *to) {
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(void *)(to + i), half);
    }
    for (; i < n; i++)
        to[i] = _cvtss_sh(from[i], _MM_FROUND_TO_NEAREST_INT);
}

void i8_to_f32_avx2(const int8_t *from, uint32_t n, float s, float c, float *to) {
    __m256 scale = _mm256_set1_ps(s), offset = _mm256_set1_ps(c);
    for (uint32_t i = 0; i + 8 <= n; i += 8) { // n is a multiple of 16
        __m256i wide =
            _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(from + i)));
        __m256 value = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(wide), scale), offset);
        _mm256_storeu_ps(to + i, value);
    }
}
