// SPDX-License-Identifier: Apache-2.0
// Q4_1: w = d*q + m.
#include "kernels/kernels.h"

void expand_q4_1_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    for (uint32_t i = 0; i < n; i += 32, s += CPU_PANEL, c += CPU_PANEL, q += 32) {
        const gr_block_q4_1 *block = (const gr_block_q4_1 *)(const void *)source + i / 32;
        *s = cpu_half_to_float(block->d);
        *c = cpu_half_to_float(block->m);
        for (int j = 0; j < 16; j++) {
            q[j] = (int8_t)(block->qs[j] & 15);
            q[j + 16] = (int8_t)(block->qs[j] >> 4);
        }
    }
}
