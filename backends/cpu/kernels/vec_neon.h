// SPDX-License-Identifier: Apache-2.0
// vec_neon.h: the words of vec_avx2.h for ARM's vectors of 128 bits.
//
// CPU_DOTPROD (Armv8.2) multiplies and adds four bytes of a lane in one instruction. Without it
// products become sums of pairs in 16 bits, which hold `cpu_run` steps: eight of 4-bit weights, as
// 2*8*15*127 < 2^15; one of 8-bit weights, which are signed, as 2*128*127 < 2^15.
#ifndef GREGALE_BACKENDS_CPU_VEC_NEON_H
#define GREGALE_BACKENDS_CPU_VEC_NEON_H

#include <arm_neon.h>

#include "kernels/vec.h"

typedef int32x4_t cpu_vi;
typedef float32x4_t cpu_vf;

#define CPU_LANES 4
#define CPU_TILE_TOKENS 4

CPU_INLINE cpu_vi cpu_load(const void *from) {
    return vreinterpretq_s32_u8(vld1q_u8(from));
}
CPU_INLINE void cpu_store(void *to, cpu_vi v) {
    vst1q_u8(to, vreinterpretq_u8_s32(v));
}
CPU_INLINE cpu_vi cpu_set8(char v) {
    return vreinterpretq_s32_s8(vdupq_n_s8((int8_t)v));
}
CPU_INLINE cpu_vi cpu_set32(int32_t v) {
    return vdupq_n_s32(v);
}
CPU_INLINE cpu_vi cpu_and(cpu_vi a, cpu_vi b) {
    return vandq_s32(a, b);
}
CPU_INLINE cpu_vi cpu_or(cpu_vi a, cpu_vi b) {
    return vorrq_s32(a, b);
}
CPU_INLINE cpu_vi cpu_add8(cpu_vi a, cpu_vi b) {
    return vreinterpretq_s32_s8(vaddq_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
}
// By operators, since the intrinsics want constants that no call hides.
CPU_INLINE cpu_vi cpu_srl(cpu_vi v, int bits) {
    return vreinterpretq_s32_u32(vreinterpretq_u32_s32(v) >> (uint32_t)bits);
}
CPU_INLINE cpu_vi cpu_sll(cpu_vi v, int bits) {
    return vreinterpretq_s32_u32(vreinterpretq_u32_s32(v) << (uint32_t)bits);
}
CPU_INLINE cpu_vi cpu_sra(cpu_vi v, int bits) {
    return v >> bits;
}
CPU_INLINE cpu_vi cpu_add32(cpu_vi a, cpu_vi b) {
    return vaddq_s32(a, b);
}
CPU_INLINE cpu_vi cpu_sub32(cpu_vi a, cpu_vi b) {
    return vsubq_s32(a, b);
}
CPU_INLINE cpu_vf cpu_to_float(cpu_vi v) {
    return vcvtq_f32_s32(v);
}
CPU_INLINE cpu_vf cpu_setf(float v) {
    return vdupq_n_f32(v);
}
CPU_INLINE cpu_vf cpu_loadf(const float *from) {
    return vld1q_f32(from);
}
CPU_INLINE void cpu_storef(float *to, cpu_vf v) {
    vst1q_f32(to, v);
}
CPU_INLINE cpu_vf cpu_mulf(cpu_vf a, cpu_vf b) {
    return vmulq_f32(a, b);
}
CPU_INLINE cpu_vf cpu_negf(cpu_vf a) {
    return vnegq_f32(a);
}
CPU_INLINE cpu_vf cpu_fma(cpu_vf a, cpu_vf b, cpu_vf c) {
    return vfmaq_f32(c, a, b);
}
CPU_INLINE cpu_vf cpu_low_halves(cpu_vi v) {
    return vcvt_f32_f16(vreinterpret_f16_s16(vmovn_s32(v)));
}
CPU_INLINE cpu_vf cpu_load_halves(const uint8_t *halves) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(halves)));
}
CPU_INLINE cpu_vf cpu_halves(const uint8_t *rows, uint64_t stride) {
    return vcvt_f32_f16(vcreate_f16(cpu_four_halves(rows, stride)));
}

// ---- Products of signed weights and signed activations

#ifdef CPU_DOTPROD
// One instruction, kept in the order written (see vec_avx2.h).
CPU_INLINE void cpu_mul_add(cpu_vi *sum, cpu_vi w, cpu_vi x) {
    __asm__ volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(*sum) : "w"(w), "w"(x));
}
#include "kernels/vec_vnni.h"
#else
#define CPU_DELAY 0
CPU_INLINE uint32_t cpu_planes(uint32_t bits) {
    (void)bits;
    return 1;
}
CPU_INLINE uint32_t cpu_run(uint32_t bits) {
    return bits == 5 ? 4 : bits == 6 ? 2 : bits == 8 ? 1 : 8;
}
CPU_INLINE cpu_vi cpu_mul(cpu_vi w, cpu_vi x) {
    const int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(x);
    return vreinterpretq_s32_s16(
        vpaddq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b)));
}
CPU_INLINE void cpu_add_products(cpu_vi *sum, cpu_vi pairs) {
    *sum = vreinterpretq_s32_s16(
        vaddq_s16(vreinterpretq_s16_s32(*sum), vreinterpretq_s16_s32(pairs)));
}
CPU_INLINE void cpu_mul_add(cpu_vi *sum, cpu_vi w, cpu_vi x) {
    cpu_add_products(sum, cpu_mul(w, x));
}
CPU_INLINE cpu_vi cpu_close(cpu_vi sum) {
    return vpaddlq_s16(vreinterpretq_s16_s32(sum));
}
#endif

CPU_INLINE cpu_vi cpu_four(const int8_t *from) {
    int32_t word;
    memcpy(&word, from, 4);
    return vdupq_n_s32(word);
}

CPU_INLINE cpu_vi cpu_low_words(cpu_vi a, cpu_vi b) {
    return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
CPU_INLINE cpu_vi cpu_high_words(cpu_vi a, cpu_vi b) {
    return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
CPU_INLINE void cpu_weave(const uint8_t *rows, uint64_t stride, cpu_vi out[4]) {
    cpu_vi r[4];
    CPU_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        r[i] = cpu_load(rows + i * stride);
    const cpu_vi a = vzip1q_s32(r[0], r[1]), b = vzip2q_s32(r[0], r[1]);
    const cpu_vi c = vzip1q_s32(r[2], r[3]), d = vzip2q_s32(r[2], r[3]);
    out[0] = cpu_low_words(a, c);
    out[1] = cpu_high_words(a, c);
    out[2] = cpu_low_words(b, d);
    out[3] = cpu_high_words(b, d);
}

#endif
