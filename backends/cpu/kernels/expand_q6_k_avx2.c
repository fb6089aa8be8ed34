// SPDX-License-Identifier: Apache-2.0
// Q6_K: sixteen groups of 16, w = d*scale*(q-32).
#include "kernels/expand_avx2.h"

// One half of a block: 128 values.
static inline void expand_half(const uint8_t *ql, const uint8_t *qh, int8_t *q) {
    const __m256i low = _mm256_set1_epi8(15), high = _mm256_set1_epi8(0x30),
                  bias = _mm256_set1_epi8(32);
    __m256i a = cpu_load32(ql), b = cpu_load32(ql + 32), h = cpu_load32(qh);
    __m256i parts[4] = {_mm256_and_si256(a, low), _mm256_and_si256(b, low),
                        _mm256_and_si256(_mm256_srli_epi16(a, 4), low),
                        _mm256_and_si256(_mm256_srli_epi16(b, 4), low)};
    __m256i bits[4] = {_mm256_slli_epi16(h, 4), _mm256_slli_epi16(h, 2), h,
                       _mm256_srli_epi16(h, 2)};
    for (int i = 0; i < 4; i++) {
        __m256i value = _mm256_or_si256(parts[i], _mm256_and_si256(bits[i], high));
        cpu_store32(q + 32 * i, _mm256_sub_epi8(value, bias));
    }
}

void expand_q6_k_avx2(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q6_k *block = (const gr_block_q6_k *)(const void *)source;
    (void)n; // one block
    (void)c;
    __m256 d = _mm256_set1_ps(_cvtsh_ss(block->d));
    __m128i scales = cpu_load16(block->scales);
    cpu_scatter8(s, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(scales)), d));
    scales = _mm_srli_si128(scales, 8);
    cpu_scatter8(s + 8 * CPU_PANEL,
                 _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(scales)), d));
    expand_half(block->ql, block->qh, q);
    expand_half(block->ql + 64, block->qh + 32, q + 128);
}
