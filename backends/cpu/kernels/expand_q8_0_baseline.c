// SPDX-License-Identifier: Apache-2.0
// Q8_0: w = d*q.
#include "kernels/kernels.h"

#include <string.h>

void expand_q8_0_baseline(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    (void)c;
    for (uint32_t i = 0; i < n; i += 32, s += CPU_PANEL, q += 32) {
        const gr_block_q8_0 *block = (const gr_block_q8_0 *)(const void *)source + i / 32;
        *s = cpu_half_to_float(block->d);
        memcpy(q, block->qs, 32);
    }
}
