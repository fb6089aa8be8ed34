// SPDX-License-Identifier: Apache-2.0
// Q5_K: as Q4_K; bit `group` of qh[j] is the fifth bit.
#include "kernels/kscale.h"

void expand_q5_k_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q5_k *block = (const gr_block_q5_k *)(const void *)source;
    (void)n; // one block
    float d = cpu_half_to_float(block->d), dmin = cpu_half_to_float(block->dmin);
    uint8_t scales[16];
    cpu_k_scales(block->scales, scales);
    for (int g = 0; g < 8; g++) {
        s[g * CPU_PANEL] = d * (float)scales[g];
        c[g * CPU_PANEL] = -(dmin * (float)scales[8 + g]);
        for (int j = 0; j < 32; j++) {
            int low = block->qs[g / 2 * 32 + j] >> (g % 2 * 4) & 15;
            *q++ = (int8_t)(low | (block->qh[j] >> g & 1) << 4);
        }
    }
}
