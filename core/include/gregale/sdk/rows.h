// SPDX-License-Identifier: Apache-2.0
// rows.h: rows of every dtype to F32 and back, plainly: for a backend's first day, for its slow
// paths, and as the measure of its fast ones. Layouts are in gregale/dtype.h.
// For backend authors. Needs only libc headers; C11 and C++17. Pure functions: any thread.
#ifndef GREGALE_SDK_ROWS_H
#define GREGALE_SDK_ROWS_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "gregale/dtype.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the block layouts are read as little-endian"
#endif

#ifdef __cplusplus
extern "C" {
#endif

// ---- Half precision ----

static inline uint32_t gr_f32_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float gr_f32_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// IEEE 754 binary16 to F32, exact.
static inline float gr_f16_decode(uint16_t half) {
    // Without branches, for loops over rows: the exponent is moved by an exact product, which also makes subnormals normal.
    uint32_t bits = gr_f32_bits(gr_f32_of_bits((half & 0x7fffu) << 13) * 0x1p112f);
    bits |= (half & 0x7fffu) >= 0x7c00u ? 0x7f800000u : 0; // infinity, NaN
    return gr_f32_of_bits(bits | (uint32_t)(half & 0x8000u) << 16);
}

// Rounds to nearest, ties to even; NaN stays NaN, too large becomes infinity.
static inline uint16_t gr_f16_encode(float value) {
    uint32_t bits = gr_f32_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x47800000u) // 65536 and above
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { // below 2^-14: a multiple of 2^-24
        // 0.5 has its last mantissa bit at 2^-24, so adding it rounds there.
        uint32_t shifted = gr_f32_bits(gr_f32_of_bits(magnitude) + 0.5f);
        return (uint16_t)(sign | (shifted - gr_f32_bits(0.5f)));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((rounded >> 13) - (112u << 10)));
}

// bfloat16, the upper half of an F32, by the same rules.
static inline float gr_bf16_decode(uint16_t bfloat) {
    return gr_f32_of_bits((uint32_t)bfloat << 16);
}

static inline uint16_t gr_bf16_encode(float value) {
    uint32_t bits = gr_f32_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// ---- Unblocked types ----

#define GR_DECODE_EACH(name, type, expression)                                                     \
    static inline void gr_decode_##name(const void *source, uint64_t n, float *out) {              \
        const type *from = (const type *)source;                                                   \
        for (uint64_t i = 0; i < n; i++)                                                           \
            out[i] = (expression);                                                                 \
    }
GR_DECODE_EACH(f32, float, from[i])
GR_DECODE_EACH(f16, uint16_t, gr_f16_decode(from[i]))
GR_DECODE_EACH(bf16, uint16_t, gr_bf16_decode(from[i]))
GR_DECODE_EACH(f64, double, (float)from[i])
GR_DECODE_EACH(i8, int8_t, (float)from[i])
GR_DECODE_EACH(i32, int32_t, (float)from[i])
#undef GR_DECODE_EACH

// ---- Blocks of 32 values with one scale ----

static inline void gr_decode_q4_0(const void *source, uint64_t n, float *out) {
    const gr_block_q4_0 *block = (const gr_block_q4_0 *)source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32) {
        float d = gr_f16_decode(block->d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((block->qs[j] & 15) - 8);
            out[j + 16] = d * (float)((block->qs[j] >> 4) - 8);
        }
    }
}

static inline void gr_decode_q4_1(const void *source, uint64_t n, float *out) {
    const gr_block_q4_1 *block = (const gr_block_q4_1 *)source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32) {
        float d = gr_f16_decode(block->d), m = gr_f16_decode(block->m);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(block->qs[j] & 15) + m;
            out[j + 16] = d * (float)(block->qs[j] >> 4) + m;
        }
    }
}

// Value j of a 5-bit block: four bits from qs, the fifth is bit j of qh.
static inline int gr_q5_value(const uint8_t *qs, const uint8_t *qh, int j) {
    int low = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
    return low | (qh[j / 8] >> (j % 8) & 1) << 4;
}

static inline void gr_decode_q5_0(const void *source, uint64_t n, float *out) {
    const gr_block_q5_0 *block = (const gr_block_q5_0 *)source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32) {
        float d = gr_f16_decode(block->d);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)(gr_q5_value(block->qs, block->qh, j) - 16);
    }
}

static inline void gr_decode_q5_1(const void *source, uint64_t n, float *out) {
    const gr_block_q5_1 *block = (const gr_block_q5_1 *)source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32) {
        float d = gr_f16_decode(block->d), m = gr_f16_decode(block->m);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)gr_q5_value(block->qs, block->qh, j) + m;
    }
}

static inline void gr_decode_q8_0(const void *source, uint64_t n, float *out) {
    const gr_block_q8_0 *block = (const gr_block_q8_0 *)source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32) {
        float d = gr_f16_decode(block->d);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)block->qs[j];
    }
}

// ---- Blocks of 256 values, two levels of scales ----

// Sixteen groups of 16 values; a byte of `scales` holds a 4-bit scale and a 4-bit minimum. Within
// each half of 128 values, 32 bytes of qs hold four layers of 2 bits.
static inline void gr_decode_q2_k(const void *source, uint64_t n, float *out) {
    const gr_block_q2_k *block = (const gr_block_q2_k *)source;
    for (uint64_t i = 0; i < n; i += 256, block++, out += 256) {
        float d = gr_f16_decode(block->d), dmin = gr_f16_decode(block->dmin);
        for (int j = 0; j < 256; j++) {
            int half = j / 128, layer = j % 128 / 32, byte = j % 32;
            int scale = block->scales[j / 16];
            int q = block->qs[half * 32 + byte] >> (2 * layer) & 3;
            out[j] = d * (float)(scale & 15) * (float)q - dmin * (float)(scale >> 4);
        }
    }
}

// Scale `group` of 16: six bits, low four in bytes 0-7, high two in bytes 8-11; biased by 32.
static inline int gr_q3_scale(const uint8_t *scales, int group) {
    int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
    int high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
    return (low | high << 4) - 32;
}

// As Q2_K, with a third bit in hmask: bit (half*4+layer) of byte j%32; where it is 0, 4 is taken
// off.
static inline void gr_decode_q3_k(const void *source, uint64_t n, float *out) {
    const gr_block_q3_k *block = (const gr_block_q3_k *)source;
    for (uint64_t i = 0; i < n; i += 256, block++, out += 256) {
        float d = gr_f16_decode(block->d);
        for (int j = 0; j < 256; j++) {
            int half = j / 128, layer = j % 128 / 32, byte = j % 32;
            int q = block->qs[half * 32 + byte] >> (2 * layer) & 3;
            if (!(block->hmask[byte] >> (half * 4 + layer) & 1))
                q -= 4;
            out[j] = d * (float)gr_q3_scale(block->scales, j / 16) * (float)q;
        }
    }
}

// Scale and minimum `group` of 8, six bits each, packed into 12 bytes (Q4_K and Q5_K).
static inline void gr_k_scale_min(const uint8_t *scales, int group, float *out_scale,
                                  float *out_min) {
    int scale, min;
    if (group < 4) {
        scale = scales[group] & 63;
        min = scales[group + 4] & 63;
    } else {
        scale = (scales[group + 4] & 15) | scales[group - 4] >> 6 << 4;
        min = scales[group + 4] >> 4 | scales[group] >> 6 << 4;
    }
    *out_scale = (float)scale;
    *out_min = (float)min;
}

// Eight groups of 32; 32 bytes of qs hold two groups, low nibbles first.
static inline void gr_decode_q4_k(const void *source, uint64_t n, float *out) {
    const gr_block_q4_k *block = (const gr_block_q4_k *)source;
    for (uint64_t i = 0; i < n; i += 256, block++) {
        float d = gr_f16_decode(block->d), dmin = gr_f16_decode(block->dmin);
        for (int group = 0; group < 8; group++) {
            float scale, min;
            gr_k_scale_min(block->scales, group, &scale, &min);
            for (int j = 0; j < 32; j++) {
                int q = block->qs[group / 2 * 32 + j] >> (group % 2 * 4) & 15;
                *out++ = d * scale * (float)q - dmin * min;
            }
        }
    }
}

// As Q4_K; bit `group` of qh[j] is the fifth bit.
static inline void gr_decode_q5_k(const void *source, uint64_t n, float *out) {
    const gr_block_q5_k *block = (const gr_block_q5_k *)source;
    for (uint64_t i = 0; i < n; i += 256, block++) {
        float d = gr_f16_decode(block->d), dmin = gr_f16_decode(block->dmin);
        for (int group = 0; group < 8; group++) {
            float scale, min;
            gr_k_scale_min(block->scales, group, &scale, &min);
            for (int j = 0; j < 32; j++) {
                int q = block->qs[group / 2 * 32 + j] >> (group % 2 * 4) & 15;
                q |= (block->qh[j] >> group & 1) << 4;
                *out++ = d * scale * (float)q - dmin * min;
            }
        }
    }
}

// Sixteen groups of 16 with signed 8-bit scales. Within each half of 128 values, quarter 0 and 1
// take the low nibbles of 64 bytes of ql, quarter 2 and 3 the high ones; two more bits come from
// qh.
static inline void gr_decode_q6_k(const void *source, uint64_t n, float *out) {
    const gr_block_q6_k *block = (const gr_block_q6_k *)source;
    for (uint64_t i = 0; i < n; i += 256, block++, out += 256) {
        float d = gr_f16_decode(block->d);
        for (int j = 0; j < 256; j++) {
            int half = j / 128, quarter = j % 128 / 32, byte = j % 32;
            int low = block->ql[half * 64 + quarter % 2 * 32 + byte] >> (quarter / 2 * 4) & 15;
            int high = block->qh[half * 32 + byte] >> (2 * quarter) & 3;
            out[j] = d * (float)block->scales[j / 16] * (float)((low | high << 4) - 32);
        }
    }
}

// ---- Four bits that index a fixed, uneven set of 16 levels ----

// 32 values out of 16 bytes, low nibbles first.
static inline void gr_iq4_expand(const uint8_t *qs, float d, float *out) {
    static const int8_t levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
    for (int j = 0; j < 16; j++) {
        out[j] = d * (float)levels[qs[j] & 15];
        out[j + 16] = d * (float)levels[qs[j] >> 4];
    }
}

static inline void gr_decode_iq4_nl(const void *source, uint64_t n, float *out) {
    const gr_block_iq4_nl *block = (const gr_block_iq4_nl *)source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32)
        gr_iq4_expand(block->qs, gr_f16_decode(block->d), out);
}

// Eight groups of 32 with six-bit scales biased by 32: four low bits in scales_l, two in scales_h.
static inline void gr_decode_iq4_xs(const void *source, uint64_t n, float *out) {
    const gr_block_iq4_xs *block = (const gr_block_iq4_xs *)source;
    for (uint64_t i = 0; i < n; i += 256, block++) {
        float d = gr_f16_decode(block->d);
        for (int group = 0; group < 8; group++, out += 32) {
            int low = block->scales_l[group / 2] >> (group % 2 * 4) & 15;
            int high = block->scales_h >> (2 * group) & 3;
            gr_iq4_expand(block->qs + group * 16, d * (float)((low | high << 4) - 32), out);
        }
    }
}

// ---- Any dtype ----

// Expands `n` values (whole blocks, of a dtype that gr_dtype_block knows) to F32. `source` is
// aligned as the dtype's C type is.
static inline void gr_row_decode(gr_dtype dtype, const void *source, uint64_t n, float *out) {
    if (!n)
        return;
    switch (dtype) {
    case GR_DTYPE_F32: gr_decode_f32(source, n, out); break;
    case GR_DTYPE_F16: gr_decode_f16(source, n, out); break;
    case GR_DTYPE_BF16: gr_decode_bf16(source, n, out); break;
    case GR_DTYPE_F64: gr_decode_f64(source, n, out); break;
    case GR_DTYPE_I8: gr_decode_i8(source, n, out); break;
    case GR_DTYPE_I32: gr_decode_i32(source, n, out); break;
    case GR_DTYPE_Q4_0: gr_decode_q4_0(source, n, out); break;
    case GR_DTYPE_Q4_1: gr_decode_q4_1(source, n, out); break;
    case GR_DTYPE_Q5_0: gr_decode_q5_0(source, n, out); break;
    case GR_DTYPE_Q5_1: gr_decode_q5_1(source, n, out); break;
    case GR_DTYPE_Q8_0: gr_decode_q8_0(source, n, out); break;
    case GR_DTYPE_Q2_K: gr_decode_q2_k(source, n, out); break;
    case GR_DTYPE_Q3_K: gr_decode_q3_k(source, n, out); break;
    case GR_DTYPE_Q4_K: gr_decode_q4_k(source, n, out); break;
    case GR_DTYPE_Q5_K: gr_decode_q5_k(source, n, out); break;
    case GR_DTYPE_Q6_K: gr_decode_q6_k(source, n, out); break;
    case GR_DTYPE_IQ4_NL: gr_decode_iq4_nl(source, n, out); break;
    case GR_DTYPE_IQ4_XS: gr_decode_iq4_xs(source, n, out); break;
    default: memset(out, 0, n * sizeof *out); break;
    }
}

// What gr_row_encode knows: the dtypes of a cache.
static inline bool gr_row_encodes(gr_dtype dtype) {
    return dtype == GR_DTYPE_F32 || dtype == GR_DTYPE_F16 || dtype == GR_DTYPE_BF16 ||
           dtype == GR_DTYPE_Q8_0;
}

// The scale is the largest magnitude over 127; values are divided by it before it is rounded to
// F16. A NaN makes its whole block NaN, as infinity does: none may vanish.
static inline void gr_encode_q8_0(const float *source, uint64_t n, void *out) {
    gr_block_q8_0 *block = (gr_block_q8_0 *)out;
    for (uint64_t i = 0; i < n; i += 32, block++, source += 32) {
        float largest = 0.0f;
        for (int j = 0; j < 32; j++)
            largest = source[j] != source[j] || largest != largest ? NAN : fmaxf(largest, fabsf(source[j]));
        float scale = largest / 127.0f;
        float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
        if (!(scale <= 3.4028235e38f) || !(inverse <= 3.4028235e38f)) // infinity, NaN
            inverse = 0.0f;
        block->d = gr_f16_encode(scale);
        for (int j = 0; j < 32; j++) {
            float scaled = roundf(source[j] * inverse);
            block->qs[j] = scaled != scaled ? 0 : (int8_t)fmaxf(-127.0f, fminf(127.0f, scaled));
        }
    }
}

// Rounds `n` F32 values (whole blocks) to F32, F16, BF16 or Q8_0.
static inline void gr_row_encode(gr_dtype dtype, const float *source, uint64_t n, void *out) {
    uint16_t *to = (uint16_t *)out;
    if (dtype == GR_DTYPE_F32) {
        memcpy(out, source, n * sizeof *source);
    } else if (dtype == GR_DTYPE_Q8_0) {
        gr_encode_q8_0(source, n, out);
    } else {
        for (uint64_t i = 0; i < n; i++)
            to[i] = dtype == GR_DTYPE_F16 ? gr_f16_encode(source[i]) : gr_bf16_encode(source[i]);
    }
}

#ifdef __cplusplus
}
#endif
#endif
