// SPDX-License-Identifier: Apache-2.0
// Q4_K: eight groups of 32, w = d*scale*q - dmin*min; 32 bytes of qs hold two groups, low nibbles
// first.
#include "kernels/kscale.h"

void expand_q4_k_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q4_k *block = (const gr_block_q4_k *)(const void *)source;
    (void)n; // one block
    float d = cpu_half_to_float(block->d), dmin = cpu_half_to_float(block->dmin);
    uint8_t scales[16];
    cpu_k_scales(block->scales, scales);
    for (int g = 0; g < 8; g++) {
        s[g * CPU_PANEL] = d * (float)scales[g];
        c[g * CPU_PANEL] = -(dmin * (float)scales[8 + g]);
        for (int j = 0; j < 32; j++)
            *q++ = (int8_t)(block->qs[g / 2 * 32 + j] >> (g % 2 * 4) & 15);
    }
}
