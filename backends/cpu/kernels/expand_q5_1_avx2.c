// SPDX-License-Identifier: Apache-2.0
// Q5_1: w = d*q + m.
#include "kernels/expand_avx2.h"

void expand_q5_1_avx2(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q5_1 *block = (const gr_block_q5_1 *)(const void *)source;
    for (uint32_t i = 0; i < n; i += 32, block++, s += CPU_PANEL, c += CPU_PANEL) {
        *s = _cvtsh_ss(block->d);
        *c = _cvtsh_ss(block->m);
        cpu_store32(q + i, _mm256_or_si256(cpu_nibbles(block->qs), cpu_fifth_bits(block->qh)));
    }
}
