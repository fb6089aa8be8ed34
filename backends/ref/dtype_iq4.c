// SPDX-License-Identifier: Apache-2.0
// dtype_iq4.c: four bits that index a fixed, uneven set of 16 levels: IQ4_NL and IQ4_XS.
#include "ref.h"

// The levels that the GGUF format fixes for these types.
static const int8_t levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

// 32 values out of 16 bytes, low nibbles first.
static void expand(const uint8_t *qs, float d, float *out) {
    for (int j = 0; j < 16; j++) {
        out[j] = d * (float)levels[qs[j] & 15];
        out[j + 16] = d * (float)levels[qs[j] >> 4];
    }
}

void ref_decode_iq4_nl(const void *source, uint64_t n, float *out) {
    const gr_block_iq4_nl *block = source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32)
        expand(block->qs, ref_half_to_float(block->d), out);
}

// Eight groups of 32 with six-bit scales biased by 32: four low bits in scales_l, two in scales_h.
void ref_decode_iq4_xs(const void *source, uint64_t n, float *out) {
    const gr_block_iq4_xs *block = source;
    for (uint64_t i = 0; i < n; i += 256, block++) {
        float d = ref_half_to_float(block->d);
        for (int group = 0; group < 8; group++, out += 32) {
            int low = block->scales_l[group / 2] >> (group % 2 * 4) & 15;
            int high = block->scales_h >> (2 * group) & 3;
            expand(block->qs + group * 16, d * (float)((low | high << 4) - 32), out);
        }
    }
}
