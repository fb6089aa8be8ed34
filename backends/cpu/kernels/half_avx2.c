// SPDX-License-Identifier: Apache-2.0
// Conversions of 16-bit floats, and of integers to F32.
#include "kernels/f32x8_avx2.h"
#include "kernels/convert.h"

void f16_to_f32_avx2(const uint16_t *from, uint64_t n, float *to) {
    cpu_f16_to_f32(from, n, to);
}

void bf16_to_f32_avx2(const uint16_t *from, uint64_t n, float *to) {
    cpu_bf16_to_f32(from, n, to);
}

void f32_to_f16_avx2(const float *from, uint64_t n, uint16_t *to) {
    cpu_f32_to_f16(from, n, to);
}

void i8_to_f32_avx2(const int8_t *from, uint32_t n, float s, float c, float *to) {
    cpu_i8_to_f32(from, n, s, c, to);
}
