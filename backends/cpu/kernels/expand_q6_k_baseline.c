// SPDX-License-Identifier: Apache-2.0
// Q6_K: sixteen groups of 16, w = d*scale*(q-32). Within each half of 128 values, quarters 0 and 1
// take the low nibbles of 64 bytes of ql, quarters 2 and 3 the high ones; two more bits come from
// qh.
#include "kernels/kernels.h"

void expand_q6_k_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q6_k *block = (const gr_block_q6_k *)(const void *)source;
    (void)n; // one block
    (void)c;
    float d = cpu_half_to_float(block->d);
    for (int g = 0; g < 16; g++)
        s[g * CPU_PANEL] = d * (float)block->scales[g];
    for (int half = 0; half < 2; half++) {
        const uint8_t *ql = block->ql + half * 64, *qh = block->qh + half * 32;
        for (int quarter = 0; quarter < 4; quarter++) {
            for (int j = 0; j < 32; j++) {
                int low = ql[quarter % 2 * 32 + j] >> (quarter / 2 * 4) & 15;
                *q++ = (int8_t)((low | (qh[j] >> (2 * quarter) & 3) << 4) - 32);
            }
        }
    }
}
