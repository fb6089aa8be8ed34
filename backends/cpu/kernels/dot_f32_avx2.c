// SPDX-License-Identifier: Apache-2.0
// F32 weights against F32 activations.
#include "kernels/dot_float_avx2.h"

CPU_INLINE __m256 load(const uint8_t *row, uint64_t i) {
    return _mm256_loadu_ps((const float *)(const void *)row + i);
}

CPU_INLINE float one(const uint8_t *row, uint64_t i) {
    return ((const float *)(const void *)row)[i];
}

void dot_f32_avx2(const cpu_dot_float_args *args) {
    cpu_dot_float(args, load, one);
}
