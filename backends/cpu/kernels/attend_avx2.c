// SPDX-License-Identifier: Apache-2.0
// The products of attention for AVX2: six queries by sixteen columns make twelve sums.
#include "kernels/vec_avx2.h"

#define CPU_ATTEND_MOST 6

CPU_INLINE cpu_vf cpu_attend_load_bf16(const uint8_t *from) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(cpu_load16(from)), 16));
}
CPU_INLINE cpu_vf cpu_attend_load_bytes(const uint8_t *from) {
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)from);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}
#include "kernels/attend.h"

void cpu_attend_avx2(cpu_kernels *kernels) {
    cpu_attend_fill(kernels);
}
