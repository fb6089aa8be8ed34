// SPDX-License-Identifier: Apache-2.0
// convert.h: floats of 16 bits and integers to F32 and back, in the words of f32x8_avx2.h or
// f32x8_neon.h, which come first.
#ifndef GREGALE_BACKENDS_CPU_CONVERT_H
#define GREGALE_BACKENDS_CPU_CONVERT_H

#include "kernels/kernels.h"

CPU_INLINE void cpu_f16_to_f32(const uint16_t *from, uint64_t n, float *to) {
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8)
        f32x8_store(to + i, f32x8_load_f16(from + i));
    for (; i < n; i++)
        to[i] = f32_of_f16(from[i]);
}

CPU_INLINE void cpu_bf16_to_f32(const uint16_t *from, uint64_t n, float *to) {
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8)
        f32x8_store(to + i, f32x8_load_bf16(from + i));
    bf16_to_f32_baseline(from + i, n - i, to + i);
}

CPU_INLINE void cpu_f32_to_f16(const float *from, uint64_t n, uint16_t *to) {
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8)
        f32x8_store_f16(to + i, f32x8_load(from + i));
    for (; i < n; i++)
        to[i] = cpu_float_to_half(from[i]);
}

CPU_INLINE void cpu_i8_to_f32(const int8_t *from, uint32_t n, float s, float c, float *to) {
    const cpu_f32x8 scale = f32x8_set(s), offset = f32x8_set(c);
    for (uint32_t i = 0; i + 8 <= n; i += 8) // n is a multiple of 16
        f32x8_store(to + i, f32x8_add(f32x8_mul(f32x8_load_i8(from + i), scale), offset));
}

#endif
