// SPDX-License-Identifier: Apache-2.0
// f32x8_neon.h: the words of f32x8_avx2.h as two vectors of four.
#ifndef GREGALE_BACKENDS_CPU_F32X8_NEON_H
#define GREGALE_BACKENDS_CPU_F32X8_NEON_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/inline.h"

#define CPU_FLOAT_TILE_TOKENS 2 // three would just fit, but compilers then spill

typedef struct cpu_f32x8 {
    float32x4_t low, high;
} cpu_f32x8;
typedef float32x4_t cpu_f32x4;

CPU_INLINE cpu_f32x8 f32x8_load(const float *from) {
    return (cpu_f32x8){vld1q_f32(from), vld1q_f32(from + 4)};
}
CPU_INLINE cpu_f32x8 f32x8_keep(cpu_f32x8 v) {
    return v; // nothing multiplies from memory
}
CPU_INLINE void f32x8_store(float *to, cpu_f32x8 v) {
    vst1q_f32(to, v.low);
    vst1q_f32(to + 4, v.high);
}
CPU_INLINE cpu_f32x8 f32x8_load_f16(const uint16_t *from) {
    const float16x8_t half = vreinterpretq_f16_u16(vld1q_u16(from));
    return (cpu_f32x8){vcvt_f32_f16(vget_low_f16(half)), vcvt_high_f32_f16(half)};
}
CPU_INLINE float f32_of_f16(uint16_t half) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}
CPU_INLINE void f32x8_store_f16(uint16_t *to, cpu_f32x8 v) {
    vst1q_u16(to, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(v.low), v.high)));
}
CPU_INLINE cpu_f32x8 f32x8_load_bf16(const uint16_t *from) {
    const uint16x8_t half = vld1q_u16(from);
    return (cpu_f32x8){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(half), 16)),
                       vreinterpretq_f32_u32(vshll_high_n_u16(half, 16))};
}
CPU_INLINE cpu_f32x8 f32x8_load_i8(const int8_t *from) {
    const int16x8_t wide = vmovl_s8(vld1_s8(from));
    return (cpu_f32x8){vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))),
                       vcvtq_f32_s32(vmovl_high_s16(wide))};
}
CPU_INLINE void f32x8_load_pairs(const float *from, cpu_f32x8 *first, cpu_f32x8 *second) {
    const float32x4x2_t a = vld2q_f32(from), b = vld2q_f32(from + 8);
    *first = (cpu_f32x8){a.val[0], b.val[0]};
    *second = (cpu_f32x8){a.val[1], b.val[1]};
}
CPU_INLINE void f32x8_store_pairs(float *to, cpu_f32x8 first, cpu_f32x8 second) {
    const float32x4x2_t a = {{first.low, second.low}}, b = {{first.high, second.high}};
    vst2q_f32(to, a);
    vst2q_f32(to + 8, b);
}
CPU_INLINE cpu_f32x8 f32x8_set(float v) {
    return (cpu_f32x8){vdupq_n_f32(v), vdupq_n_f32(v)};
}
CPU_INLINE cpu_f32x8 f32x8_zero(void) {
    return f32x8_set(0.0f);
}
CPU_INLINE cpu_f32x8 f32x8_add(cpu_f32x8 a, cpu_f32x8 b) {
    return (cpu_f32x8){vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)};
}
CPU_INLINE cpu_f32x8 f32x8_sub(cpu_f32x8 a, cpu_f32x8 b) {
    return (cpu_f32x8){vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)};
}
CPU_INLINE cpu_f32x8 f32x8_mul(cpu_f32x8 a, cpu_f32x8 b) {
    return (cpu_f32x8){vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)};
}
CPU_INLINE cpu_f32x8 f32x8_div(cpu_f32x8 a, cpu_f32x8 b) {
    return (cpu_f32x8){vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)};
}
CPU_INLINE cpu_f32x8 f32x8_fma(cpu_f32x8 a, cpu_f32x8 b, cpu_f32x8 c) {
    return (cpu_f32x8){vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}
CPU_INLINE cpu_f32x8 f32x8_fnma(cpu_f32x8 a, cpu_f32x8 b, cpu_f32x8 c) {
    return (cpu_f32x8){vfmsq_f32(c.low, a.low, b.low), vfmsq_f32(c.high, a.high, b.high)};
}
CPU_INLINE cpu_f32x8 f32x8_max(cpu_f32x8 a, cpu_f32x8 b) {
    return (cpu_f32x8){vmaxq_f32(a.low, b.low), vmaxq_f32(a.high, b.high)};
}
CPU_INLINE cpu_f32x8 f32x8_min(cpu_f32x8 a, cpu_f32x8 b) {
    return (cpu_f32x8){vminq_f32(a.low, b.low), vminq_f32(a.high, b.high)};
}
CPU_INLINE cpu_f32x8 f32x8_round(cpu_f32x8 v) {
    return (cpu_f32x8){vrndnq_f32(v.low), vrndnq_f32(v.high)};
}
CPU_INLINE float32x4_t f32x4_power(int32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}
CPU_INLINE float32x4_t f32x4_shift(float32x4_t v, float32x4_t n) {
    const int32x4_t whole = vcvtnq_s32_f32(n), half = vshrq_n_s32(whole, 1);
    return vmulq_f32(vmulq_f32(v, f32x4_power(half)), f32x4_power(vsubq_s32(whole, half)));
}
CPU_INLINE cpu_f32x8 f32x8_scale(cpu_f32x8 v, cpu_f32x8 n) {
    return (cpu_f32x8){f32x4_shift(v.low, n.low), f32x4_shift(v.high, n.high)};
}
CPU_INLINE float32x4_t f32x4_exponent(float32x4_t v) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(v), 23));
}
CPU_INLINE cpu_f32x8 f32x8_exponent(cpu_f32x8 v) {
    return (cpu_f32x8){f32x4_exponent(v.low), f32x4_exponent(v.high)};
}
typedef cpu_f32x8 cpu_nans; // the largest so far, NaN once there was one
CPU_INLINE cpu_nans f32x8_nans_none(void) {
    return f32x8_zero();
}
CPU_INLINE cpu_nans f32x8_nans(cpu_nans before, cpu_f32x8 v) {
    return f32x8_max(before, v);
}
CPU_INLINE bool f32x8_any(cpu_nans nans) {
    const float largest = vmaxvq_f32(vmaxq_f32(nans.low, nans.high));
    return largest != largest;
}

// (0+4) + (1+5) + ..., neighbours first.
CPU_INLINE float f32x8_sum(cpu_f32x8 v) {
    return vaddvq_f32(vaddq_f32(v.low, v.high));
}
CPU_INLINE cpu_f32x4 f32x8_sums(cpu_f32x8 a, cpu_f32x8 b, cpu_f32x8 c, cpu_f32x8 d) {
    return vpaddq_f32(vpaddq_f32(vaddq_f32(a.low, a.high), vaddq_f32(b.low, b.high)),
                      vpaddq_f32(vaddq_f32(c.low, c.high), vaddq_f32(d.low, d.high)));
}
CPU_INLINE cpu_f32x4 f32x4_scale(cpu_f32x4 v, float by) {
    return vmulq_n_f32(v, by);
}
CPU_INLINE void f32x4_store(float *to, cpu_f32x4 v) {
    vst1q_f32(to, v);
}
CPU_INLINE void f32x4_store_halves(float *low, float *high, cpu_f32x4 v) {
    vst1_f32(low, vget_low_f32(v));
    vst1_f32(high, vget_high_f32(v));
}

typedef struct cpu_squares {
    float64x2_t part[4];
} cpu_squares;
CPU_INLINE cpu_squares f32x8_squares_none(void) {
    const float64x2_t zero = vdupq_n_f64(0.0);
    return (cpu_squares){{zero, zero, zero, zero}};
}
CPU_INLINE void f32x8_squares_add(cpu_squares *sum, cpu_f32x8 v) {
    const float64x2_t d[4] = {vcvt_f64_f32(vget_low_f32(v.low)), vcvt_high_f64_f32(v.low),
                              vcvt_f64_f32(vget_low_f32(v.high)), vcvt_high_f64_f32(v.high)};
    CPU_UNROLL
    for (int i = 0; i < 4; i++)
        sum->part[i] = vfmaq_f64(sum->part[i], d[i], d[i]);
}
CPU_INLINE double f32x8_squares_total(cpu_squares sum) {
    return vaddvq_f64(vaddq_f64(vaddq_f64(sum.part[0], sum.part[2]),
                                vaddq_f64(sum.part[1], sum.part[3])));
}

// ---- 32 floats to bytes

CPU_INLINE uint32_t f32x8_largest_bits(const cpu_f32x8 v[4]) {
    uint32x4_t m = vdupq_n_u32(0);
    CPU_UNROLL
    for (int i = 0; i < 4; i++) {
        m = vmaxq_u32(m, vreinterpretq_u32_f32(vabsq_f32(v[i].low)));
        m = vmaxq_u32(m, vreinterpretq_u32_f32(vabsq_f32(v[i].high)));
    }
    return vmaxvq_u32(m);
}
// Sixteen floats to bytes.
CPU_INLINE int8x16_t f32x8_narrow(cpu_f32x8 a, cpu_f32x8 b) {
    const int16x8_t first =
        vmovn_high_s32(vmovn_s32(vcvtnq_s32_f32(a.low)), vcvtnq_s32_f32(a.high));
    const int16x8_t second =
        vmovn_high_s32(vmovn_s32(vcvtnq_s32_f32(b.low)), vcvtnq_s32_f32(b.high));
    return vmovn_high_s16(vmovn_s16(first), second);
}
CPU_INLINE void f32x8_to_bytes(const cpu_f32x8 v[4], int8_t *to, int32_t sums[2]) {
    CPU_UNROLL
    for (int i = 0; i < 2; i++) {
        const int8x16_t bytes = f32x8_narrow(v[2 * i], v[2 * i + 1]);
        vst1q_s8(to + 16 * i, bytes);
        sums[i] = vaddlvq_s8(bytes);
    }
}

#endif
