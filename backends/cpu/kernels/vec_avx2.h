// SPDX-License-Identifier: Apache-2.0
// vec_avx2.h: the words in which products of block-quantised weights are written (dot.h, unpack.h),
// for vectors of 256 bits. vec_avx512.h and vec_neon.h say the same for 512 and 128 bits.
//
// A lane is a weight row. CPU_VNNI (AVX-VNNI) multiplies and adds four bytes of a lane in one
// instruction. Without it vpmaddubsw sums pairs in 16 bits, which holds `cpu_run` steps: eight of
// 4-bit weights, as 2*8*15*127 < 2^15. Unsigned weights of 8 bits would overflow at once. For few rows
// they are split into two planes of four bits; tiles hold them signed.
#ifndef GREGALE_BACKENDS_CPU_VEC_AVX2_H
#define GREGALE_BACKENDS_CPU_VEC_AVX2_H

#include <immintrin.h>

#include "kernels/vec.h"

typedef __m256i cpu_vi;
typedef __m256 cpu_vf;

#define CPU_LANES 8       // weight rows in a vector
#define CPU_TILE_TOKENS 4 // activation rows at once, so that their sums stay in registers

CPU_INLINE cpu_vi cpu_load(const void *from) {
    return _mm256_loadu_si256((const __m256i *)from);
}
CPU_INLINE void cpu_store(void *to, cpu_vi v) {
    _mm256_storeu_si256((__m256i *)to, v);
}
CPU_INLINE cpu_vi cpu_set8(char v) {
    return _mm256_set1_epi8(v);
}
CPU_INLINE cpu_vi cpu_set32(int32_t v) {
    return _mm256_set1_epi32(v);
}
CPU_INLINE cpu_vi cpu_and(cpu_vi a, cpu_vi b) {
    return _mm256_and_si256(a, b);
}
CPU_INLINE cpu_vi cpu_or(cpu_vi a, cpu_vi b) {
    return _mm256_or_si256(a, b);
}
CPU_INLINE cpu_vi cpu_add8(cpu_vi a, cpu_vi b) {
    return _mm256_add_epi8(a, b);
}
CPU_INLINE cpu_vi cpu_srl(cpu_vi v, int bits) {
    return _mm256_srli_epi32(v, bits);
}
CPU_INLINE cpu_vi cpu_sll(cpu_vi v, int bits) {
    return _mm256_slli_epi32(v, bits);
}
CPU_INLINE cpu_vi cpu_sra(cpu_vi v, int bits) {
    return _mm256_srai_epi32(v, bits);
}
CPU_INLINE cpu_vi cpu_add32(cpu_vi a, cpu_vi b) {
    return _mm256_add_epi32(a, b);
}
CPU_INLINE cpu_vi cpu_sub32(cpu_vi a, cpu_vi b) {
    return _mm256_sub_epi32(a, b);
}
CPU_INLINE cpu_vf cpu_to_float(cpu_vi v) {
    return _mm256_cvtepi32_ps(v);
}
CPU_INLINE cpu_vf cpu_setf(float v) {
    return _mm256_set1_ps(v);
}
CPU_INLINE cpu_vf cpu_loadf(const float *from) {
    return _mm256_loadu_ps(from);
}
CPU_INLINE void cpu_storef(float *to, cpu_vf v) {
    _mm256_storeu_ps(to, v);
}
CPU_INLINE cpu_vf cpu_mulf(cpu_vf a, cpu_vf b) {
    return _mm256_mul_ps(a, b);
}
CPU_INLINE cpu_vf cpu_negf(cpu_vf a) {
    return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f));
}
CPU_INLINE cpu_vf cpu_fma(cpu_vf a, cpu_vf b, cpu_vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
// The F16 in the low half of each lane.
CPU_INLINE cpu_vf cpu_low_halves(cpu_vi v) {
    v = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
    v = _mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(v));
}
CPU_INLINE cpu_vf cpu_load_halves(const uint8_t *halves) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)halves));
}
// The F16 at the start of each row.
CPU_INLINE cpu_vf cpu_halves(const uint8_t *rows, uint64_t stride) {
    return _mm256_cvtph_ps(_mm_set_epi64x((long long)cpu_four_halves(rows + 4 * stride, stride),
                                          (long long)cpu_four_halves(rows, stride)));
}

// ---- Products of unsigned weights and signed activations

#ifdef CPU_VNNI
CPU_INLINE void cpu_mul_add(cpu_vi *sum, cpu_vi w, cpu_vi x) {
    *sum = _mm256_dpbusd_avx_epi32(*sum, w, x);
}
#include "kernels/vec_vnni.h"
#else
#define CPU_DELAY 1
CPU_INLINE uint32_t cpu_planes(uint32_t bits) {
    return bits > 6 ? 2 : 1;
}
CPU_INLINE uint32_t cpu_run(uint32_t bits) {
    return bits == 5 ? 4 : bits == 6 ? 2 : 8;
}
// One instruction each, kept in the order written: the compilers' own schedule of a whole group
// runs out of registers and is a third slower.
CPU_INLINE cpu_vi cpu_mul(cpu_vi w, cpu_vi x) {
    cpu_vi pairs;
    __asm__ volatile("vpmaddubsw %2, %1, %0" : "=x"(pairs) : "x"(w), "x"(x));
    return pairs;
}
CPU_INLINE void cpu_add_products(cpu_vi *sum, cpu_vi pairs) {
    __asm__ volatile("vpaddw %1, %0, %0" : "+x"(*sum) : "x"(pairs));
}
CPU_INLINE void cpu_mul_add(cpu_vi *sum, cpu_vi w, cpu_vi x) {
    cpu_add_products(sum, cpu_mul(w, x));
}
CPU_INLINE cpu_vi cpu_close(cpu_vi sum) {
    return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}
// Products of signed weights: magnitudes times activations that take the weights' signs. They fill 16
// bits, so they are summed in 32.
#define CPU_SIGNED_BITS 8
CPU_INLINE cpu_vi cpu_magnitude(cpu_vi w) {
    return _mm256_abs_epi8(w);
}
CPU_INLINE cpu_vi cpu_mul_signed(cpu_vi magnitude, cpu_vi w, cpu_vi x) {
    cpu_vi v;
    __asm__ volatile("vpsignb %2, %3, %0\n\t"
                     "vpmaddubsw %0, %1, %0\n\t"
                     "vpmaddwd %4, %0, %0"
                     : "=&x"(v)
                     : "x"(magnitude), "x"(w), "x"(x), "x"(_mm256_set1_epi16(1)));
    return v;
}
CPU_INLINE void cpu_add_signed(cpu_vi *sum, cpu_vi products) {
    __asm__ volatile("vpaddd %1, %0, %0" : "+x"(*sum) : "x"(products));
}
#endif

// Four activations in every lane.
CPU_INLINE cpu_vi cpu_four(const int8_t *from) {
    int32_t word;
    memcpy(&word, from, 4);
    return _mm256_set1_epi32(word);
}

// 16 bytes of each row, `stride` apart, become four vectors: out[j] holds bytes 4j to 4j+3, a lane a
// row.
CPU_INLINE void cpu_weave(const uint8_t *rows, uint64_t stride, cpu_vi out[4]) {
    cpu_vi r[4];
    CPU_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        r[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(cpu_load16(rows + i * stride)),
                                       cpu_load16(rows + (4 + i) * stride), 1);
    cpu_vi a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpackhi_epi32(r[0], r[1]);
    cpu_vi c = _mm256_unpacklo_epi32(r[2], r[3]), d = _mm256_unpackhi_epi32(r[2], r[3]);
    out[0] = _mm256_unpacklo_epi64(a, c);
    out[1] = _mm256_unpackhi_epi64(a, c);
    out[2] = _mm256_unpacklo_epi64(b, d);
    out[3] = _mm256_unpackhi_epi64(b, d);
}

#endif
