// SPDX-License-Identifier: Apache-2.0
// Q5_K: as Q4_K; bit `group` of qh[j] is the fifth bit.
#include "kernels/kscale_avx2.h"

void expand_q5_k_avx2(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q5_k *block = (const gr_block_q5_k *)(const void *)source;
    const __m256i low = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
    (void)n; // one block
    cpu_k_factors(block->d, block->dmin, block->scales, s, c);
    __m256i high = cpu_load32(block->qh); // the bits of the pair at hand lowest
    for (int pair = 0; pair < 4; pair++, q += 64) {
        __m256i bytes = cpu_load32(block->qs + pair * 32);
        __m256i a = _mm256_and_si256(_mm256_slli_epi16(high, 4), fifth);
        __m256i b = _mm256_and_si256(_mm256_slli_epi16(high, 3), fifth);
        cpu_store32(q, _mm256_or_si256(_mm256_and_si256(bytes, low), a));
        cpu_store32(q + 32, _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(bytes, 4), low), b));
        high = _mm256_srli_epi16(high, 2);
    }
}
