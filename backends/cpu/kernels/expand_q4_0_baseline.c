// SPDX-License-Identifier: Apache-2.0
// Q4_0: w = d*(q-8).
#include "kernels/kernels.h"

void expand_q4_0_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    (void)c;
    for (uint32_t i = 0; i < n; i += 32, s += CPU_PANEL, q += 32) {
        const gr_block_q4_0 *block = (const gr_block_q4_0 *)(const void *)source + i / 32;
        *s = cpu_half_to_float(block->d);
        for (int j = 0; j < 16; j++) {
            q[j] = (int8_t)((block->qs[j] & 15) - 8);
            q[j + 16] = (int8_t)((block->qs[j] >> 4) - 8);
        }
    }
}
