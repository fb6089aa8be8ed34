// SPDX-License-Identifier: Apache-2.0
// vec.h: what vec_avx2.h, vec_avx512.h and vec_neon.h say alike, whatever the vectors' width. They
// include it after the intrinsics.
#ifndef GREGALE_BACKENDS_CPU_VEC_H
#define GREGALE_BACKENDS_CPU_VEC_H

#include <stdint.h>
#include <string.h>

#include "kernels/inline.h"

#if defined(__x86_64__)
CPU_INLINE __m128i cpu_load16(const uint8_t *from) {
    return _mm_loadu_si128((const __m128i *)(const void *)from);
}
#endif

// What stands for zero in the bytes that are multiplied, of weights whose zero is `zero`. x86
// multiplies unsigned by signed bytes. ARM multiplies signed ones, so weights of 8 bits lose their
// zero there.
CPU_INLINE uint32_t cpu_zero(uint32_t zero) {
#if defined(__x86_64__)
    return zero;
#else
    return zero < 128 ? zero : 0;
#endif
}

// The F16 values of four rows side by side. Inserting them into vectors one by one would compete
// with the weave for shuffles.
CPU_INLINE uint64_t cpu_four_halves(const uint8_t *rows, uint64_t stride) {
    uint16_t h[4];
    CPU_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        memcpy(&h[i], rows + i * stride, 2);
    return (uint64_t)h[0] | (uint64_t)h[1] << 16 | (uint64_t)h[2] << 32 | (uint64_t)h[3] << 48;
}

#endif
