// SPDX-License-Identifier: Apache-2.0
// Q5_0: w = d*(q-16).
#include "kernels/expand_avx2.h"

void expand_q5_0_avx2(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q5_0 *block = (const gr_block_q5_0 *)(const void *)source;
    (void)c;
    for (uint32_t i = 0; i < n; i += 32, block++, s += CPU_PANEL) {
        *s = _cvtsh_ss(block->d);
        __m256i value = _mm256_or_si256(cpu_nibbles(block->qs), cpu_fifth_bits(block->qh));
        cpu_store32(q + i, _mm256_sub_epi8(value, _mm256_set1_epi8(16)));
    }
}
