// SPDX-License-Identifier: Apache-2.0
#include "tensor/convert.h"

#include <math.h>
#include <string.h>

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Shifting exponent and mantissa into place leaves the exponent 112 short: one multiplication by
// 2^112 sets it right and turns subnormals into normals. Infinity and NaN are put back by hand.
float gr_f16_to_f32(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, rest = (uint32_t)(bits & 0x7fff) << 13;
    if (rest >= 0x0f800000u)
        return float_of(sign | rest | 0x7f800000u);
    return float_of(sign | bits_of(float_of(rest) * 0x1p112f));
}

// `bits` shifted right, rounded to nearest, ties to even; 1 <= shift <= 31.
static uint32_t shift_round(uint32_t bits, uint32_t shift) {
    uint32_t kept = bits >> shift, lost = bits & ((1u << shift) - 1u), half = 1u << (shift - 1);
    return kept + (lost > half || (lost == half && (kept & 1u)));
}

uint16_t gr_f16_from_f32(float value) {
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    int32_t exponent = (int32_t)(rest >> 23) - 112;
    if (exponent >= 31)
        return (uint16_t)(sign | 0x7c00u);
    if (exponent >= 1) // a carry out of the mantissa raises the exponent, up to infinity
        return (uint16_t)(sign | (shift_round(rest, 13) - (112u << 10)));
    if (exponent < -10)
        return (uint16_t)sign;
    uint32_t mantissa = (rest & 0x7fffffu) | 0x800000u;
    return (uint16_t)(sign | shift_round(mantissa, (uint32_t)(14 - exponent)));
}

float gr_bf16_to_f32(uint16_t bits) {
    return float_of((uint32_t)bits << 16);
}

uint16_t gr_bf16_from_f32(float value) {
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16 & 0x8000u) | 0x7fc0u);
    return (uint16_t)shift_round(bits, 16);
}

bool gr_tensor_can_convert(gr_dtype dtype) {
    return dtype == GR_DTYPE_F32 || dtype == GR_DTYPE_F16 || dtype == GR_DTYPE_BF16 ||
           dtype == GR_DTYPE_Q8_0;
}

static gr_status check(gr_dtype dtype, uint64_t n) {
    if (!gr_tensor_can_convert(dtype))
        return GR_ERROR_UNSUPPORTED;
    return n % gr_dtype_block(dtype) ? GR_ERROR_INVALID_ARGUMENT : GR_OK;
}

static void expand_halves(gr_dtype dtype, const char *source, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, source + i * sizeof bits, sizeof bits);
        out[i] = dtype == GR_DTYPE_F16 ? gr_f16_to_f32(bits) : gr_bf16_to_f32(bits);
    }
}

static void expand_q8_0(const char *source, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i += 32, source += sizeof(gr_block_q8_0)) {
        gr_block_q8_0 block;
        memcpy(&block, source, sizeof block);
        float scale = gr_f16_to_f32(block.d);
        for (uint64_t j = 0; j < 32; j++)
            out[i + j] = scale * (float)block.qs[j];
    }
}

gr_status gr_tensor_dequantise_row(gr_dtype dtype, const void *source, uint64_t n, float *out) {
    gr_status status = check(dtype, n);
    if (status != GR_OK || !n)
        return status;
    if (dtype == GR_DTYPE_F32)
        memcpy(out, source, n * sizeof *out);
    else if (dtype == GR_DTYPE_Q8_0)
        expand_q8_0(source, n, out);
    else
        expand_halves(dtype, source, n, out);
    return GR_OK;
}

static void shrink_halves(gr_dtype dtype, const float *source, uint64_t n, char *out) {
    for (uint64_t i = 0; i < n; i++) {
        uint16_t bits =
            dtype == GR_DTYPE_F16 ? gr_f16_from_f32(source[i]) : gr_bf16_from_f32(source[i]);
        memcpy(out + i * sizeof bits, &bits, sizeof bits);
    }
}

static void shrink_block(const float *source, gr_block_q8_0 *block) {
    float largest = 0.0f;
    bool finite = true;
    for (int j = 0; j < 32; j++) {
        largest = fmaxf(largest, fabsf(source[j]));
        finite &= isfinite(source[j]);
    }
    float scale = largest / 127.0f, inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    if (isinf(inverse) || isinf(scale))
        inverse = 0.0f;
    block->d = gr_f16_from_f32(!finite ? NAN : scale > 65504.0f ? 65504.0f : scale);
    for (int j = 0; j < 32; j++) {
        float level = roundf(source[j] * inverse);
        block->qs[j] = level >= 127.0f    ? 127
                       : level <= -127.0f ? -127
                       : level == level   ? (int8_t)level
                                          : 0;
    }
}

gr_status gr_tensor_quantise_row(gr_dtype dtype, const float *source, uint64_t n, void *out) {
    gr_status status = check(dtype, n);
    char *to = out;
    if (status != GR_OK || !n)
        return status;
    if (dtype == GR_DTYPE_F32) {
        memcpy(out, source, n * sizeof *source);
    } else if (dtype == GR_DTYPE_Q8_0) {
        for (uint64_t i = 0; i < n; i += 32, to += sizeof(gr_block_q8_0)) {
            gr_block_q8_0 block;
            shrink_block(source + i, &block);
            memcpy(to, &block, sizeof block);
        }
    } else {
        shrink_halves(dtype, source, n, to);
    }
    return GR_OK;
}
