// SPDX-License-Identifier: Apache-2.0
// Q4_K: eight groups of 32, w = d*scale*q - dmin*min.
#include "kernels/kscale_avx2.h"

void expand_q4_k_avx2(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q4_k *block = (const gr_block_q4_k *)(const void *)source;
    const __m256i low = _mm256_set1_epi8(15);
    (void)n; // one block
    cpu_k_factors(block->d, block->dmin, block->scales, s, c);
    for (int pair = 0; pair < 4; pair++, q += 64) {
        __m256i bytes = cpu_load32(block->qs + pair * 32);
        cpu_store32(q, _mm256_and_si256(bytes, low));
        cpu_store32(q + 32, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low));
    }
}
