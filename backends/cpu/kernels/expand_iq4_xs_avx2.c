// SPDX-License-Identifier: Apache-2.0
// IQ4_XS: eight groups of 32, w = d*(scale-32)*level[q].
#include "kernels/expand_avx2.h"
#include "kernels/iq4.h"

void expand_iq4_xs_avx2(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_iq4_xs *block = (const gr_block_iq4_xs *)(const void *)source;
    const __m256i levels = _mm256_broadcastsi128_si256(cpu_load16(cpu_iq4_levels));
    (void)n; // one block
    (void)c;
    float d = _cvtsh_ss(block->d);
    for (int g = 0; g < 8; g++) {
        int low = block->scales_l[g / 2] >> (g % 2 * 4) & 15, high = block->scales_h >> (2 * g) & 3;
        s[g * CPU_PANEL] = d * (float)((low | high << 4) - 32);
        cpu_store32(q + 32 * g, _mm256_shuffle_epi8(levels, cpu_nibbles(block->qs + 16 * g)));
    }
}
