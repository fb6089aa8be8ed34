// SPDX-License-Identifier: Apache-2.0
// IQ4_NL: w = d*level[q].
#include "kernels/expand_avx2.h"
#include "kernels/iq4.h"

void expand_iq4_nl_avx2(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c) {
    const gr_block_iq4_nl *block = (const gr_block_iq4_nl *)(const void *)source;
    const __m256i levels = _mm256_broadcastsi128_si256(cpu_load16(cpu_iq4_levels));
    (void)c;
    for (uint32_t i = 0; i < n; i += 32, block++, s += CPU_PANEL) {
        *s = _cvtsh_ss(block->d);
        cpu_store32(q + i, _mm256_shuffle_epi8(levels, cpu_nibbles(block->qs)));
    }
}
