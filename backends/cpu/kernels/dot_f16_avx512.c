// SPDX-License-Identifier: Apache-2.0
// F16 weights against F32 activations.
#include "kernels/dot_float_avx512.h"

CPU_INLINE __m512 load(const uint8_t *row, uint64_t i, __mmask16 mask) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, row + i * 2));
}

void dot_f16_avx512(const cpu_dot_float_args *args) {
    cpu_dot_float(args, 2, load);
}
