// SPDX-License-Identifier: Apache-2.0
// Q2_K: sixteen groups of 16, w = d*scale*q - dmin*min; within each half of 128 values, 32 bytes of
// qs hold four layers of two bits.
#include "kernels/kernels.h"

void expand_q2_k_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q2_k *block = (const gr_block_q2_k *)(const void *)source;
    (void)n; // one block
    float d = cpu_half_to_float(block->d), dmin = cpu_half_to_float(block->dmin);
    for (int g = 0; g < 16; g++) {
        s[g * CPU_PANEL] = d * (float)(block->scales[g] & 15);
        c[g * CPU_PANEL] = -(dmin * (float)(block->scales[g] >> 4));
    }
    for (int half = 0; half < 2; half++) {
        for (int layer = 0; layer < 4; layer++) {
            for (int j = 0; j < 32; j++)
                *q++ = (int8_t)(block->qs[half * 32 + j] >> (2 * layer) & 3);
        }
    }
}
