// SPDX-License-Identifier: Apache-2.0
// The products of attention for AVX-512: twelve queries by sixteen columns make twelve sums.
#include "kernels/vec_avx512.h"

#define CPU_ATTEND_MOST 12

CPU_INLINE cpu_vf cpu_attend_load_bf16(const uint8_t *from) {
    const __m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)from);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
CPU_INLINE cpu_vf cpu_attend_load_bytes(const uint8_t *from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(cpu_load16(from)));
}
#include "kernels/attend.h"

void cpu_attend_avx512(cpu_kernels *kernels) {
    cpu_attend_fill(kernels);
}
