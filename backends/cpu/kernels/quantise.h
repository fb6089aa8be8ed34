// SPDX-License-Identifier: Apache-2.0
// quantise.h: activations to 8 bits with an F32 scale a block of 32, and the sums that offsets need,
// in the words of f32x8_avx2.h or f32x8_neon.h, which come first. A block that is not finite gets a
// NaN scale, so that every product with it is NaN.
#ifndef GREGALE_BACKENDS_CPU_QUANTISE_H
#define GREGALE_BACKENDS_CPU_QUANTISE_H

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

CPU_INLINE void cpu_quantise_f32(const float *x, uint64_t first, uint64_t n, cpu_quantised *row,
                                 uint64_t stride) {
    for (uint64_t at = first; at < first + n; at += 32, x += 32) {
        cpu_quantised *a = row + at / CPU_CHUNK * stride;
        const uint64_t b = at % CPU_CHUNK / 32;
        cpu_f32x8 v[4];
        int32_t sums[2];
        CPU_UNROLL
        for (int i = 0; i < 4; i++)
            v[i] = f32x8_load(x + i * 8);
        const uint32_t bits = f32x8_largest_bits(v);
        float largest;
        memcpy(&largest, &bits, sizeof largest);
        const bool finite = bits < 0x7f800000u, zero = !finite || largest < 1e-36f;
        const float scale = !finite ? NAN : zero ? 0.0f : largest / 127.0f;
        const cpu_f32x8 inverse = f32x8_set(zero ? 0.0f : 127.0f / largest);
        CPU_UNROLL
        for (int i = 0; i < 4; i++)
            v[i] = zero ? f32x8_zero() : f32x8_mul(v[i], inverse);
        f32x8_to_bytes(v, a->q + b * 32, sums);
        a->scale[b] = scale;
        a->sum32[b] = sums[0] + sums[1];
        a->total32[b] = scale * (float)(sums[0] + sums[1]);
        a->sum16[2 * b] = (int16_t)sums[0];
        a->sum16[2 * b + 1] = (int16_t)sums[1];
    }
}

#endif
