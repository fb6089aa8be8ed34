// SPDX-License-Identifier: Apache-2.0
// vec_avx512.h: the words of vec_avx2.h for vectors of 512 bits, with VNNI.
#ifndef GREGALE_BACKENDS_CPU_VEC_AVX512_H
#define GREGALE_BACKENDS_CPU_VEC_AVX512_H

#ifdef CPU_EMULATED // tests, on a processor without AVX-512
#include "tests/avx512_emulated.h"
#else
#include <immintrin.h>
#endif

#include "kernels/vec.h"

typedef __m512i cpu_vi;
typedef __m512 cpu_vf;

#define CPU_LANES 16
#define CPU_TILE_TOKENS 8

CPU_INLINE cpu_vi cpu_load(const void *from) {
    return _mm512_loadu_si512(from);
}
CPU_INLINE void cpu_store(void *to, cpu_vi v) {
    _mm512_storeu_si512(to, v);
}
CPU_INLINE cpu_vi cpu_set8(char v) {
    return _mm512_set1_epi8(v);
}
CPU_INLINE cpu_vi cpu_set32(int32_t v) {
    return _mm512_set1_epi32(v);
}
CPU_INLINE cpu_vi cpu_and(cpu_vi a, cpu_vi b) {
    return _mm512_and_si512(a, b);
}
CPU_INLINE cpu_vi cpu_or(cpu_vi a, cpu_vi b) {
    return _mm512_or_si512(a, b);
}
CPU_INLINE cpu_vi cpu_add8(cpu_vi a, cpu_vi b) {
    return _mm512_add_epi8(a, b);
}
CPU_INLINE cpu_vi cpu_srl(cpu_vi v, unsigned bits) {
    return _mm512_srli_epi32(v, bits);
}
CPU_INLINE cpu_vi cpu_sll(cpu_vi v, unsigned bits) {
    return _mm512_slli_epi32(v, bits);
}
CPU_INLINE cpu_vi cpu_sra(cpu_vi v, unsigned bits) {
    return _mm512_srai_epi32(v, bits);
}
CPU_INLINE cpu_vi cpu_add32(cpu_vi a, cpu_vi b) {
    return _mm512_add_epi32(a, b);
}
CPU_INLINE cpu_vi cpu_sub32(cpu_vi a, cpu_vi b) {
    return _mm512_sub_epi32(a, b);
}
CPU_INLINE cpu_vf cpu_to_float(cpu_vi v) {
    return _mm512_cvtepi32_ps(v);
}
CPU_INLINE cpu_vf cpu_setf(float v) {
    return _mm512_set1_ps(v);
}
CPU_INLINE cpu_vf cpu_loadf(const float *from) {
    return _mm512_loadu_ps(from);
}
CPU_INLINE void cpu_storef(float *to, cpu_vf v) {
    _mm512_storeu_ps(to, v);
}
CPU_INLINE cpu_vf cpu_mulf(cpu_vf a, cpu_vf b) {
    return _mm512_mul_ps(a, b);
}
CPU_INLINE cpu_vf cpu_negf(cpu_vf a) {
    return _mm512_castsi512_ps(
        _mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int32_t)0x80000000)));
}
CPU_INLINE cpu_vf cpu_fma(cpu_vf a, cpu_vf b, cpu_vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
CPU_INLINE cpu_vf cpu_low_halves(cpu_vi v) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}
CPU_INLINE cpu_vf cpu_load_halves(const uint8_t *halves) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)halves));
}
CPU_INLINE cpu_vf cpu_halves(const uint8_t *rows, uint64_t stride) {
    uint64_t h[4];
    CPU_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        h[i] = cpu_four_halves(rows + 4 * i * stride, stride);
    return _mm512_cvtph_ps(_mm256_set_epi64x((long long)h[3], (long long)h[2], (long long)h[1],
                                             (long long)h[0]));
}

// One instruction, kept in the order written (see vec_avx2.h).
CPU_INLINE void cpu_mul_add(cpu_vi *sum, cpu_vi w, cpu_vi x) {
#ifdef CPU_EMULATED
    *sum = _mm512_dpbusd_epi32(*sum, w, x);
#else
    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(w), "v"(x));
#endif
}
// The same with four activations from memory, which spares an instruction.
#define CPU_MUL_ADD_WORD
CPU_INLINE void cpu_mul_add_word(cpu_vi *sum, cpu_vi w, const int8_t *x, cpu_vi four) {
#ifdef CPU_EMULATED
    (void)x;
    cpu_mul_add(sum, w, four);
#else
    typedef int32_t word __attribute__((may_alias, aligned(1)));
    (void)four;
    __asm__ volatile("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(w), "m"(*(const word *)(const void *)x));
#endif
}
#include "kernels/vec_vnni.h"

CPU_INLINE cpu_vi cpu_four(const int8_t *from) {
    int32_t word;
    memcpy(&word, from, 4);
    return _mm512_set1_epi32(word);
}

CPU_INLINE void cpu_weave(const uint8_t *rows, uint64_t stride, cpu_vi out[4]) {
    cpu_vi r[4];
    CPU_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
        cpu_vi v = _mm512_castsi128_si512(cpu_load16(rows + i * stride));
        v = _mm512_inserti32x4(v, cpu_load16(rows + (4 + i) * stride), 1);
        v = _mm512_inserti32x4(v, cpu_load16(rows + (8 + i) * stride), 2);
        r[i] = _mm512_inserti32x4(v, cpu_load16(rows + (12 + i) * stride), 3);
    }
    cpu_vi a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
    cpu_vi c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    out[0] = _mm512_unpacklo_epi64(a, c);
    out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d);
    out[3] = _mm512_unpackhi_epi64(b, d);
}

#endif
