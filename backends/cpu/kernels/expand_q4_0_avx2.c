// SPDX-License-Identifier: Apache-2.0
// Q4_0: w = d*(q-8).
#include "kernels/expand_avx2.h"

void expand_q4_0_avx2(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q4_0 *block = (const gr_block_q4_0 *)(const void *)source;
    (void)c;
    for (uint32_t i = 0; i < n; i += 32, block++, s += CPU_PANEL) {
        *s = _cvtsh_ss(block->d);
        cpu_store32(q + i, _mm256_sub_epi8(cpu_nibbles(block->qs), _mm256_set1_epi8(8)));
    }
}
