// SPDX-License-Identifier: Apache-2.0
// load_float.h: reads float weights as F32, in the words of f32x8_avx2.h or f32x8_neon.h, which come
// first.
#ifndef GREGALE_BACKENDS_CPU_LOAD_FLOAT_H
#define GREGALE_BACKENDS_CPU_LOAD_FLOAT_H

#include <string.h>

#include "kernels/kernels.h"

// Reads values [i, i+8) of a weight row as F32; and value i alone.
typedef cpu_f32x8 (*cpu_load_float)(const uint8_t *row, uint64_t i);
typedef float (*cpu_load_one)(const uint8_t *row, uint64_t i);

CPU_INLINE cpu_f32x8 cpu_load_f32(const uint8_t *row, uint64_t i) {
    return f32x8_load((const float *)(const void *)row + i);
}
CPU_INLINE float cpu_one_f32(const uint8_t *row, uint64_t i) {
    return ((const float *)(const void *)row)[i];
}
CPU_INLINE cpu_f32x8 cpu_load_f16(const uint8_t *row, uint64_t i) {
    return f32x8_load_f16((const uint16_t *)(const void *)row + i);
}
CPU_INLINE float cpu_one_f16(const uint8_t *row, uint64_t i) {
    return f32_of_f16(((const uint16_t *)(const void *)row)[i]);
}
CPU_INLINE cpu_f32x8 cpu_load_bf16(const uint8_t *row, uint64_t i) {
    return f32x8_load_bf16((const uint16_t *)(const void *)row + i);
}
CPU_INLINE float cpu_one_bf16(const uint8_t *row, uint64_t i) {
    uint32_t bits = (uint32_t)((const uint16_t *)(const void *)row)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
