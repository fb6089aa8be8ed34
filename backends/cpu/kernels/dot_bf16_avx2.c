// SPDX-License-Identifier: Apache-2.0
// BF16 weights against F32 activations.
#include "kernels/dot_float_avx2.h"

CPU_INLINE __m256 load(const uint8_t *row, uint64_t i) {
    __m256i wide =
        _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(row + i * 2)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

CPU_INLINE float one(const uint8_t *row, uint64_t i) {
    uint32_t bits = (uint32_t)((const uint16_t *)(const void *)row)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void dot_bf16_avx2(const cpu_dot_float_args *args) {
    cpu_dot_float(args, load, one);
}
