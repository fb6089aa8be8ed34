// SPDX-License-Identifier: Apache-2.0
// dtype.c: what a stored element means, one element at a time, straight from the format's
// description. Written apart from any backend: a type is a function from (block, index) to a
// number.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

const gr_dtype cf_weight_dtypes[CF_WEIGHT_DTYPES] = {
    GR_DTYPE_F32,  GR_DTYPE_F16,  GR_DTYPE_BF16, GR_DTYPE_Q4_0,   GR_DTYPE_Q4_1,
    GR_DTYPE_Q5_0, GR_DTYPE_Q5_1, GR_DTYPE_Q8_0, GR_DTYPE_Q2_K,   GR_DTYPE_Q3_K,
    GR_DTYPE_Q4_K, GR_DTYPE_Q5_K, GR_DTYPE_Q6_K, GR_DTYPE_IQ4_NL, GR_DTYPE_IQ4_XS,
};

static double half(const uint8_t *at) {
    unsigned bits = at[0] | (unsigned)at[1] << 8, exponent = bits >> 10 & 31,
             mantissa = bits & 1023;
    double sign = bits >> 15 ? -1.0 : 1.0;
    if (exponent == 31)
        return mantissa ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + mantissa, (int)exponent - 25) : ldexp(mantissa, -24));
}

// Bit field of `width` bits at bit `start` of `bytes`, least significant first.
static unsigned field(const uint8_t *bytes, unsigned start, unsigned width) {
    unsigned value = 0;
    for (unsigned i = 0; i < width; i++)
        value |= (unsigned)(bytes[(start + i) / 8] >> ((start + i) % 8) & 1) << i;
    return value;
}

// Element i of a 32-block's nibbles: the first half of the block lies in the low nibbles.
static unsigned nibble(const uint8_t *qs, unsigned i) {
    return field(qs, (i % 16) * 8 + (i / 16) * 4, 4);
}

static double level(unsigned code) {
    static const short levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
    return levels[code];
}

// The 6-bit scale (min = false) or minimum of group g in the 12 bytes of Q4_K and Q5_K.
static unsigned packed6(const uint8_t *s, unsigned g, bool min) {
    if (g < 4)
        return field(s + (min ? 4 : 0) + g, 0, 6);
    return field(s + 4 + g, min ? 4 : 0, 4) | field(s + (min ? 0 : -4) + g, 6, 2) << 4;
}

static double k_element(gr_dtype dtype, const uint8_t *b, unsigned i) {
    unsigned g32 = i / 32, g16 = i / 16, in32 = i % 32, half_block = i / 128;
    switch (dtype) {
    case GR_DTYPE_Q2_K: // scales 16, qs 64, d, dmin
        return half(b + 80) * (b[g16] & 15) *
                   field(b + 16 + half_block * 32 + in32, (g32 % 4) * 2, 2) -
               half(b + 82) * (b[g16] >> 4);
    case GR_DTYPE_Q3_K: { // hmask 32, qs 64, scales 12, d
        const uint8_t *s = b + 96;
        int scale = (int)(field(s + g16 % 8, g16 / 8 * 4, 4) |
                          field(s + 8 + g16 % 4, g16 / 4 * 2, 2) << 4) -
                    32;
        int q = (int)field(b + 32 + half_block * 32 + in32, (g32 % 4) * 2, 2) +
                (int)field(b + in32, g32, 1) * 4 - 4;
        return half(b + 108) * scale * q;
    }
    case GR_DTYPE_Q4_K: // d, dmin, scales 12, qs 128
        return half(b) * packed6(b + 4, g32, false) *
                   field(b + 16 + g32 / 2 * 32 + in32, g32 % 2 * 4, 4) -
               half(b + 2) * packed6(b + 4, g32, true);
    case GR_DTYPE_Q5_K: // d, dmin, scales 12, qh 32, qs 128
        return half(b) * packed6(b + 4, g32, false) *
                   (field(b + 48 + g32 / 2 * 32 + in32, g32 % 2 * 4, 4) +
                    16 * field(b + 16 + in32, g32, 1)) -
               half(b + 2) * packed6(b + 4, g32, true);
    case GR_DTYPE_Q6_K: { // ql 128, qh 64, scales 16, d
        unsigned quarter = g32 % 4;
        int q = (int)(field(b + half_block * 64 + quarter % 2 * 32 + in32, quarter / 2 * 4, 4) |
                      field(b + 128 + half_block * 32 + in32, quarter * 2, 2) << 4) -
                32;
        return half(b + 208) * (int8_t)b[192 + g16] * q;
    }
    default: { // IQ4_XS: d, scales_h 2, scales_l 4, qs 128
        int scale = (int)(field(b + 4, g32 * 4, 4) | field(b + 2, g32 * 2, 2) << 4) - 32;
        return half(b) * scale * level(nibble(b + 8 + g32 * 16, in32));
    }
    }
}

static double element(gr_dtype dtype, const uint8_t *b, unsigned i) {
    switch (dtype) {
    case GR_DTYPE_Q4_0: return half(b) * ((int)nibble(b + 2, i) - 8);
    case GR_DTYPE_Q4_1: return half(b) * nibble(b + 4, i) + half(b + 2);
    case GR_DTYPE_Q5_0: return half(b) * ((int)(nibble(b + 6, i) | field(b + 2, i, 1) << 4) - 16);
    case GR_DTYPE_Q5_1: return half(b) * (nibble(b + 8, i) | field(b + 4, i, 1) << 4) + half(b + 2);
    case GR_DTYPE_Q8_0: return half(b) * (int8_t)b[2 + i];
    case GR_DTYPE_IQ4_NL: return half(b) * level(nibble(b + 2, i));
    case GR_DTYPE_F16: return half(b);
    case GR_DTYPE_F32:
    case GR_DTYPE_BF16: {
        uint32_t bits = dtype == GR_DTYPE_F32 ? b[0] | (uint32_t)b[1] << 8 : 0;
        const uint8_t *top = dtype == GR_DTYPE_F32 ? b + 2 : b;
        float value;
        bits |= (uint32_t)top[0] << 16 | (uint32_t)top[1] << 24;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    case GR_DTYPE_I32: {
        int32_t value;
        memcpy(&value, b, sizeof value);
        return value;
    }
    case GR_DTYPE_I8: return (int8_t)b[0];
    default: return k_element(dtype, b, i);
    }
}

void cf_decode(gr_dtype dtype, const void *source, uint64_t n, double *out, cf_plant plant) {
    uint32_t block = gr_dtype_block(dtype), bytes = gr_dtype_block_bytes(dtype);
    for (uint64_t i = 0; i < n; i++) {
        unsigned at = (unsigned)(i % block);
        if (plant == CF_PLANT_NIBBLE && dtype == GR_DTYPE_Q4_0)
            at ^= 16;
        out[i] = element(dtype, (const uint8_t *)source + i / block * bytes, at);
    }
}

double cf_round(gr_dtype dtype, double value) {
    int mantissa = dtype == GR_DTYPE_F16 ? 11 : 8, lowest = dtype == GR_DTYPE_F16 ? -24 : -133,
        exponent;
    if (dtype == GR_DTYPE_F32)
        return (double)(float)value;
    if (!isfinite(value) || value == 0.0)
        return value;
    frexp(value, &exponent);
    int unit = exponent - mantissa < lowest ? lowest : exponent - mantissa; // of the last place
    double rounded = ldexp(nearbyint(ldexp(value, -unit)), unit);
    double largest = dtype == GR_DTYPE_F16 ? 65504.0 : 0x1.fep127;
    return fabs(rounded) > largest ? copysign(INFINITY, value) : rounded;
}

// Bits of a value that F16 can hold exactly.
uint16_t cf_half_bits(double value) {
    unsigned sign = signbit(value) ? 0x8000 : 0;
    int exponent;
    value = fabs(value);
    if (value < 0x1p-14)
        return (uint16_t)(sign | (unsigned)ldexp(value, 24));
    frexp(value, &exponent);
    return (uint16_t)(sign | (unsigned)(exponent + 14) << 10 |
                      ((unsigned)ldexp(value, 11 - exponent) & 1023));
}

static void put_half(cf_random *random, uint8_t *at, double scale) {
    uint16_t bits = cf_half_bits(cf_round(GR_DTYPE_F16, cf_uniform(random, 0.2, 1.0) * scale *
                                                            (cf_below(random, 2) ? 1.0 : -1.0)));
    memcpy(at, &bits, sizeof bits);
}

// Where the F16 scales of a block lie, and how large they may be for elements around 1.
typedef struct scale_place {
    gr_dtype dtype;
    int first, second; // byte offsets, -1: none
    double scale, minimum;
} scale_place;

static const scale_place places[] = {
    {GR_DTYPE_Q4_0, 0, -1, 0.2, 0},     {GR_DTYPE_Q4_1, 0, 2, 0.1, 0.7},
    {GR_DTYPE_Q5_0, 0, -1, 0.1, 0},     {GR_DTYPE_Q5_1, 0, 2, 0.06, 0.9},
    {GR_DTYPE_Q8_0, 0, -1, 0.015, 0},   {GR_DTYPE_Q2_K, 80, 82, 0.1, 0.1},
    {GR_DTYPE_Q3_K, 108, -1, 0.03, 0},  {GR_DTYPE_Q4_K, 0, 2, 0.004, 0.03},
    {GR_DTYPE_Q5_K, 0, 2, 0.002, 0.03}, {GR_DTYPE_Q6_K, 208, -1, 0.0008, 0},
    {GR_DTYPE_IQ4_NL, 0, -1, 0.015, 0}, {GR_DTYPE_IQ4_XS, 0, -1, 0.0008, 0},
};

static void fill_float(cf_random *random, gr_dtype dtype, uint8_t *target, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        double value = cf_round(dtype, cf_normal(random));
        float single = (float)value;
        uint32_t bits;
        memcpy(&bits, &single, sizeof bits);
        uint16_t top = dtype == GR_DTYPE_F16 ? cf_half_bits(value) : (uint16_t)(bits >> 16);
        if (dtype == GR_DTYPE_F32)
            memcpy(target + i * 4, &single, 4);
        else
            memcpy(target + i * 2, &top, 2);
    }
}

void cf_fill(cf_random *random, gr_dtype dtype, void *target, uint64_t n) {
    uint64_t bytes = gr_dtype_row_bytes(dtype, n), block_bytes = gr_dtype_block_bytes(dtype);
    uint8_t *to = target;
    if (gr_dtype_block(dtype) == 1) {
        fill_float(random, dtype, to, n);
        return;
    }
    for (uint64_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)cf_next(random);
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
        for (uint64_t at = 0; at < bytes && places[p].dtype == dtype; at += block_bytes) {
            put_half(random, to + at + places[p].first, places[p].scale);
            if (places[p].second >= 0)
                put_half(random, to + at + places[p].second, places[p].minimum);
        }
    }
}
