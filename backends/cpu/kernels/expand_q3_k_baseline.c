// SPDX-License-Identifier: Apache-2.0
// Q3_K: sixteen groups of 16, w = d*(scale-32)*(q-4); two bits of q as in Q2_K, the third in hmask.
#include "kernels/kernels.h"

// Scale `group`: six bits, the low four in bytes 0-7, the high two in bytes 8-11.
static int scale_of(const uint8_t *scales, int group) {
    int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
    return (low | (scales[8 + group % 4] >> (2 * (group / 4)) & 3) << 4) - 32;
}

void expand_q3_k_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_q3_k *block = (const gr_block_q3_k *)(const void *)source;
    (void)n; // one block
    (void)c;
    float d = cpu_half_to_float(block->d);
    for (int g = 0; g < 16; g++)
        s[g * CPU_PANEL] = d * (float)scale_of(block->scales, g);
    for (int half = 0; half < 2; half++) {
        for (int layer = 0; layer < 4; layer++) {
            for (int j = 0; j < 32; j++) {
                int low = block->qs[half * 32 + j] >> (2 * layer) & 3;
                int high = block->hmask[j] >> (half * 4 + layer) & 1;
                *q++ = (int8_t)((low | high << 2) - 4);
            }
        }
    }
}
