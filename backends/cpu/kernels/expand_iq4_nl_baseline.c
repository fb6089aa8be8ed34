// SPDX-License-Identifier: Apache-2.0
// IQ4_NL: w = d*level[q], low nibbles first.
#include "kernels/iq4.h"
#include "kernels/kernels.h"

void expand_iq4_nl_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    (void)c;
    for (uint32_t i = 0; i < n; i += 32, s += CPU_PANEL, q += 32) {
        const gr_block_iq4_nl *block = (const gr_block_iq4_nl *)(const void *)source + i / 32;
        *s = cpu_half_to_float(block->d);
        for (int j = 0; j < 16; j++) {
            q[j] = cpu_iq4_levels[block->qs[j] & 15];
            q[j + 16] = cpu_iq4_levels[block->qs[j] >> 4];
        }
    }
}
