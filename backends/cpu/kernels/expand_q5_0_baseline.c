// SPDX-License-Identifier: Apache-2.0
// Q5_0: w = d*(q-16); bit j of qh is the fifth bit of value j.
#include "kernels/kernels.h"

void expand_q5_0_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    (void)c;
    for (uint32_t i = 0; i < n; i += 32, s += CPU_PANEL, q += 32) {
        const gr_block_q5_0 *block = (const gr_block_q5_0 *)(const void *)source + i / 32;
        *s = cpu_half_to_float(block->d);
        for (int j = 0; j < 16; j++) {
            int low = block->qh[j / 8] >> (j % 8) & 1, high = block->qh[2 + j / 8] >> (j % 8) & 1;
            q[j] = (int8_t)(((block->qs[j] & 15) | low << 4) - 16);
            q[j + 16] = (int8_t)((block->qs[j] >> 4 | high << 4) - 16);
        }
    }
}
