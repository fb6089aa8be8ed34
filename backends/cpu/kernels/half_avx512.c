// SPDX-License-Identifier: Apache-2.0
// half_avx512.c: F16 and BF16 to F32.
#include <immintrin.h>

#include "kernels/kernels.h"

void f16_to_f32_avx512(const uint16_t *from, uint64_t n, float *to) {
    uint64_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(
            to + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(from + i))));
    if (i < n) {
        __mmask16 mask = (__mmask16)((1u << (n - i)) - 1);
        _mm512_mask_storeu_ps(to + i, mask,
                              _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from + i)));
    }
}

void bf16_to_f32_avx512(const uint16_t *from, uint64_t n, float *to) {
    uint64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i wide =
            _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(from + i)));
        _mm512_storeu_si512(to + i, _mm512_slli_epi32(wide, 16));
    }
    if (i < n) {
        __mmask16 mask = (__mmask16)((1u << (n - i)) - 1);
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from + i));
        _mm512_mask_storeu_epi32(to + i, mask, _mm512_slli_epi32(wide, 16));
    }
}
