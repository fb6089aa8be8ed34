// SPDX-License-Identifier: Apache-2.0
// kscale.h: the eight six-bit scales and minima that Q4_K and Q5_K pack into 12 bytes.
#ifndef GREGALE_BACKENDS_CPU_KSCALE_H
#define GREGALE_BACKENDS_CPU_KSCALE_H

#include <string.h>

#include "kernels/kernels.h"

// Unpacks them, a byte each: out[0..7] scales, out[8..15] minima. The first four of each lie in the
// low six bits of their bytes; the last four take their low nibbles from bytes 8-11 and two bits
// left over.
static inline void cpu_k_scales(const uint8_t *packed, uint8_t out[16]) {
    uint32_t a, b, c;
    memcpy(&a, packed, 4);
    memcpy(&b, packed + 4, 4);
    memcpy(&c, packed + 8, 4);
    uint32_t words[4] = {a & 0x3f3f3f3fu, (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u),
                         b & 0x3f3f3f3fu, (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u)};
    memcpy(out, words, 16);
}

#endif
