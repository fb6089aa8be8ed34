// SPDX-License-Identifier: Apache-2.0
// BF16 weights against F32 activations.
#include "kernels/dot_float_avx512.h"

CPU_INLINE __m512 load(const uint8_t *row, uint64_t i, __mmask16 mask) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row + i * 2));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

void dot_bf16_avx512(const cpu_dot_float_args *args) {
    cpu_dot_float(args, 2, load);
}
