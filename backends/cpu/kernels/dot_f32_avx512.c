// SPDX-License-Identifier: Apache-2.0
// F32 weights against F32 activations.
#include "kernels/dot_float_avx512.h"

CPU_INLINE __m512 load(const uint8_t *row, uint64_t i, __mmask16 mask) {
    return _mm512_maskz_loadu_ps(mask, row + i * 4);
}

void dot_f32_avx512(const cpu_dot_float_args *args) {
    cpu_dot_float(args, 4, load);
}
