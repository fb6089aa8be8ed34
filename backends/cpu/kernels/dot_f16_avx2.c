// SPDX-License-Identifier: Apache-2.0
// F16 weights against F32 activations.
#include "kernels/dot_float_avx2.h"

CPU_INLINE __m256 load(const uint8_t *row, uint64_t i) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(row + i * 2)));
}

CPU_INLINE float one(const uint8_t *row, uint64_t i) {
    return _cvtsh_ss(((const uint16_t *)(const void *)row)[i]);
}

void dot_f16_avx2(const cpu_dot_float_args *args) {
    cpu_dot_float(args, load, one);
}
