// SPDX-License-Identifier: Apache-2.0
// dtype_float.c: half precision (IEEE 754 binary16 and bfloat16), the choice of decoder, and
// encoding.
#include "ref.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the block layouts are read as little-endian"
#endif

static uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float bits_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float ref_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0x1f) // infinity, NaN
        return bits_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) { // zero, subnormal: mantissa * 2^-24, exact
        float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

// Rounds to nearest, ties to even; NaN stays NaN, too large becomes infinity.
uint16_t ref_float_to_half(float value) {
    uint32_t bits = float_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x47800000u) // 65536 and above
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { // below 2^-14: a multiple of 2^-24
        // 0.5 has its last mantissa bit at 2^-24, so adding it rounds there.
        uint32_t shifted = float_bits(bits_float(magnitude) + 0.5f);
        return (uint16_t)(sign | (shifted - float_bits(0.5f)));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((rounded >> 13) - (112u << 10)));
}

float ref_bfloat_to_float(uint16_t bfloat) {
    return bits_float((uint32_t)bfloat << 16);
}

uint16_t ref_float_to_bfloat(float value) {
    uint32_t bits = float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static void decode_f32(const void *source, uint64_t n, float *out) {
    memcpy(out, source, n * sizeof *out);
}

static void decode_f16(const void *source, uint64_t n, float *out) {
    const uint16_t *from = source;
    for (uint64_t i = 0; i < n; i++)
        out[i] = ref_half_to_float(from[i]);
}

static void decode_bf16(const void *source, uint64_t n, float *out) {
    const uint16_t *from = source;
    for (uint64_t i = 0; i < n; i++)
        out[i] = ref_bfloat_to_float(from[i]);
}

static void decode_f64(const void *source, uint64_t n, float *out) {
    const double *from = source;
    for (uint64_t i = 0; i < n; i++)
        out[i] = (float)from[i];
}

static void decode_i8(const void *source, uint64_t n, float *out) {
    const int8_t *from = source;
    for (uint64_t i = 0; i < n; i++)
        out[i] = (float)from[i];
}

static void decode_i32(const void *source, uint64_t n, float *out) {
    const int32_t *from = source;
    for (uint64_t i = 0; i < n; i++)
        out[i] = (float)from[i];
}

typedef void (*decoder)(const void *source, uint64_t n, float *out);

static decoder decoder_of(gr_dtype dtype) {
    switch (dtype) {
    case GR_DTYPE_F32: return decode_f32;
    case GR_DTYPE_F16: return decode_f16;
    case GR_DTYPE_BF16: return decode_bf16;
    case GR_DTYPE_F64: return decode_f64;
    case GR_DTYPE_I8: return decode_i8;
    case GR_DTYPE_I32: return decode_i32;
    case GR_DTYPE_Q4_0: return ref_decode_q4_0;
    case GR_DTYPE_Q4_1: return ref_decode_q4_1;
    case GR_DTYPE_Q5_0: return ref_decode_q5_0;
    case GR_DTYPE_Q5_1: return ref_decode_q5_1;
    case GR_DTYPE_Q8_0: return ref_decode_q8_0;
    case GR_DTYPE_Q2_K: return ref_decode_q2_k;
    case GR_DTYPE_Q3_K: return ref_decode_q3_k;
    case GR_DTYPE_Q4_K: return ref_decode_q4_k;
    case GR_DTYPE_Q5_K: return ref_decode_q5_k;
    case GR_DTYPE_Q6_K: return ref_decode_q6_k;
    case GR_DTYPE_IQ4_NL: return ref_decode_iq4_nl;
    case GR_DTYPE_IQ4_XS: return ref_decode_iq4_xs;
    default: return NULL;
    }
}

bool ref_can_decode(gr_dtype dtype) {
    return decoder_of(dtype) != NULL;
}

void ref_decode_row(gr_dtype dtype, const void *source, uint64_t n, float *out) {
    if (n)
        decoder_of(dtype)(source, n, out);
}

// The scale is the largest magnitude over 127; values are divided by it before it is rounded to
// F16.
static void encode_q8_0(const float *source, uint64_t n, void *out) {
    gr_block_q8_0 *block = out;
    for (uint64_t i = 0; i < n; i += 32, block++, source += 32) {
        float largest = 0.0f;
        for (int j = 0; j < 32; j++)
            largest = fmaxf(largest, fabsf(source[j]));
        float scale = largest / 127.0f;
        float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
        if (!isfinite(scale) || !isfinite(inverse))
            inverse = 0.0f;
        block->d = ref_float_to_half(scale);
        for (int j = 0; j < 32; j++) {
            float scaled = roundf(source[j] * inverse);
            block->qs[j] = isnan(scaled) ? 0 : (int8_t)fmaxf(-127.0f, fminf(127.0f, scaled));
        }
    }
}

bool ref_can_encode(gr_dtype dtype) {
    return dtype == GR_DTYPE_F32 || dtype == GR_DTYPE_F16 || dtype == GR_DTYPE_BF16 ||
           dtype == GR_DTYPE_Q8_0;
}

void ref_encode_row(gr_dtype dtype, const float *source, uint64_t n, void *out) {
    uint16_t *to = out;
    if (dtype == GR_DTYPE_F32) {
        memcpy(out, source, n * sizeof *source);
    } else if (dtype == GR_DTYPE_Q8_0) {
        encode_q8_0(source, n, out);
    } else {
        for (uint64_t i = 0; i < n; i++)
            to[i] = dtype == GR_DTYPE_F16 ? ref_float_to_half(source[i])
                                          : ref_float_to_bfloat(source[i]);
    }
}

// Eight running sums, so that the processor need not wait for each addition; added up in one order.
double ref_dot(const float *a, const float *b, uint64_t n) {
    double sums[8] = {0};
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int j = 0; j < 8; j++)
            sums[j] += (double)a[i + j] * (double)b[i + j];
    }
    for (; i < n; i++)
        sums[i % 8] += (double)a[i] * (double)b[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}
