// SPDX-License-Identifier: Apache-2.0
// Tile products by the 256-bit vpdpbusd of AVX-VNNI.
#include "kernels/dot_tile_avx2.h"

CPU_INLINE __m256i dot4(__m256i sum, __m256i weights, __m256i activations) {
    return _mm256_dpbusd_avx_epi32(sum, weights, activations);
}

void dot_u8_avxvnni(const cpu_dot_tile_args *args) {
    cpu_dot_tile(args, true, dot4);
}
