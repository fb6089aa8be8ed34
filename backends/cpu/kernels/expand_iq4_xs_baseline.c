// SPDX-License-Identifier: Apache-2.0
// IQ4_XS: eight groups of 32, w = d*(scale-32)*level[q]; four bits of a scale in scales_l, two in
// scales_h.
#include "kernels/iq4.h"
#include "kernels/kernels.h"

void expand_iq4_xs_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_iq4_xs *block = (const gr_block_iq4_xs *)(const void *)source;
    (void)n; // one block
    (void)c;
    float d = cpu_half_to_float(block->d);
    for (int g = 0; g < 8; g++, q += 32) {
        int low = block->scales_l[g / 2] >> (g % 2 * 4) & 15, high = block->scales_h >> (2 * g) & 3;
        s[g * CPU_PANEL] = d * (float)((low | high << 4) - 32);
        for (int j = 0; j < 16; j++) {
            q[j] = cpu_iq4_levels[block->qs[g * 16 + j] & 15];
            q[j + 16] = cpu_iq4_levels[block->qs[g * 16 + j] >> 4];
        }
    }
}
