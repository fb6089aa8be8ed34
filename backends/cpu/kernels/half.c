// SPDX-License-Identifier: Apache-2.0
// half.c: IEEE 754 binary16 and bfloat16 in plain C, one number and many.
#include "kernels/kernels.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the block layouts are read as little-endian"
#endif

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float cpu_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t rest = half & 0x7fffu;
    if (rest >= 0x7c00u)
        return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    // Exponents move by 112; multiplying by 2^112 also brings subnormals in order.
    return float_of(sign | bits_of(float_of(rest << 13) * 0x1p112f));
}

// Nearest, ties to even; NaN stays NaN, too large becomes infinity.
uint16_t cpu_float_to_half(float value) {
    uint32_t bits = bits_of(value), rest = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (rest > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (rest >> 13 & 0x3ffu));
    if (rest >= 0x47800000u)
        return (uint16_t)(sign | 0x7c00u);
    if (rest < 0x38800000u) // the last bit of 0.5 counts 2^-24, so adding it rounds there
        return (uint16_t)(sign | (bits_of(float_of(rest) + 0.5f) - bits_of(0.5f)));
    rest += 0xfffu + (rest >> 13 & 1u);
    return (uint16_t)(sign | ((rest >> 13) - (112u << 10)));
}

void f16_to_f32_baseline(const uint16_t *from, uint64_t n, float *to) {
    for (uint64_t i = 0; i < n; i++)
        to[i] = cpu_half_to_float(from[i]);
}

void bf16_to_f32_baseline(const uint16_t *from, uint64_t n, float *to) {
    for (uint64_t i = 0; i < n; i++)
        to[i] = float_of((uint32_t)from[i] << 16);
}

void f32_to_f16_baseline(const float *from, uint64_t n, uint16_t *to) {
    for (uint64_t i = 0; i < n; i++)
        to[i] = cpu_float_to_half(from[i]);
}

void f32_to_bf16_baseline(const float *from, uint64_t n, uint16_t *to) {
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits = bits_of(from[i]);
        bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
        to[i] = (uint16_t)(nan ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    }
}

void i8_to_f32_baseline(const int8_t *from, uint32_t n, float s, float c, float *to) {
    for (uint32_t i = 0; i < n; i++)
        to[i] = s * (float)from[i] + c;
}
