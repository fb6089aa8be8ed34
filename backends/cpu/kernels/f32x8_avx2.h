// SPDX-License-Identifier: Apache-2.0
// f32x8_avx2.h: eight floats, the words in which kernels of floats are written once for AVX2 and
// NEON. NEON's 32 registers of 128 bits hold as much as AVX2's 16 of 256, so what fills the
// registers of one fills those of the other.
#ifndef GREGALE_BACKENDS_CPU_F32X8_AVX2_H
#define GREGALE_BACKENDS_CPU_F32X8_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/inline.h"

#define CPU_FLOAT_TILE_TOKENS 3 // activation rows at once against four weight rows (mul_float.h)

typedef __m256 cpu_f32x8;
typedef __m128 cpu_f32x4;

CPU_INLINE cpu_f32x8 f32x8_load(const float *from) {
    return _mm256_loadu_ps(from);
}
// The same in a register: compilers read what two instructions use from memory twice.
CPU_INLINE cpu_f32x8 f32x8_keep(cpu_f32x8 v) {
    __asm__("" : "+x"(v));
    return v;
}
CPU_INLINE void f32x8_store(float *to, cpu_f32x8 v) {
    _mm256_storeu_ps(to, v);
}
CPU_INLINE cpu_f32x8 f32x8_load_f16(const uint16_t *from) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)from));
}
CPU_INLINE float f32_of_f16(uint16_t half) {
    return _cvtsh_ss(half);
}
CPU_INLINE void f32x8_store_f16(uint16_t *to, cpu_f32x8 v) {
    _mm_storeu_si128((__m128i *)(void *)to, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
CPU_INLINE cpu_f32x8 f32x8_load_bf16(const uint16_t *from) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
CPU_INLINE cpu_f32x8 f32x8_load_i8(const int8_t *from) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from)));
}
// Eight pairs that lie side by side.
CPU_INLINE void f32x8_load_pairs(const float *from, cpu_f32x8 *first, cpu_f32x8 *second) {
    __m256 a = _mm256_loadu_ps(from), b = _mm256_loadu_ps(from + 8);
    __m256 low = _mm256_permute2f128_ps(a, b, 0x20), high = _mm256_permute2f128_ps(a, b, 0x31);
    *first = _mm256_shuffle_ps(low, high, 0x88);
    *second = _mm256_shuffle_ps(low, high, 0xdd);
}
CPU_INLINE void f32x8_store_pairs(float *to, cpu_f32x8 first, cpu_f32x8 second) {
    __m256 a = _mm256_unpacklo_ps(first, second), b = _mm256_unpackhi_ps(first, second);
    _mm256_storeu_ps(to, _mm256_permute2f128_ps(a, b, 0x20));
    _mm256_storeu_ps(to + 8, _mm256_permute2f128_ps(a, b, 0x31));
}
CPU_INLINE cpu_f32x8 f32x8_set(float v) {
    return _mm256_set1_ps(v);
}
CPU_INLINE cpu_f32x8 f32x8_zero(void) {
    return _mm256_setzero_ps();
}
CPU_INLINE cpu_f32x8 f32x8_add(cpu_f32x8 a, cpu_f32x8 b) {
    return _mm256_add_ps(a, b);
}
CPU_INLINE cpu_f32x8 f32x8_sub(cpu_f32x8 a, cpu_f32x8 b) {
    return _mm256_sub_ps(a, b);
}
CPU_INLINE cpu_f32x8 f32x8_mul(cpu_f32x8 a, cpu_f32x8 b) {
    return _mm256_mul_ps(a, b);
}
CPU_INLINE cpu_f32x8 f32x8_div(cpu_f32x8 a, cpu_f32x8 b) {
    return _mm256_div_ps(a, b);
}
// a * b + c, and c - a * b, rounded once.
CPU_INLINE cpu_f32x8 f32x8_fma(cpu_f32x8 a, cpu_f32x8 b, cpu_f32x8 c) {
    return _mm256_fmadd_ps(a, b, c);
}
CPU_INLINE cpu_f32x8 f32x8_fnma(cpu_f32x8 a, cpu_f32x8 b, cpu_f32x8 c) {
    return _mm256_fnmadd_ps(a, b, c);
}
// The larger and the smaller; NaN where b is.
CPU_INLINE cpu_f32x8 f32x8_max(cpu_f32x8 a, cpu_f32x8 b) {
    return _mm256_max_ps(a, b);
}
CPU_INLINE cpu_f32x8 f32x8_min(cpu_f32x8 a, cpu_f32x8 b) {
    return _mm256_min_ps(a, b);
}
// Nearest whole numbers, ties to even.
CPU_INLINE cpu_f32x8 f32x8_round(cpu_f32x8 v) {
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// v * 2^n for whole n from -252 to 254, in two factors, so that neither leaves the range of floats.
CPU_INLINE cpu_f32x8 f32x8_scale(cpu_f32x8 v, cpu_f32x8 n) {
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half), bias = _mm256_set1_epi32(127);
    __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(v, a), b);
}
// The powers of two whose exponents, 127 more, are the last bits of v.
CPU_INLINE cpu_f32x8 f32x8_exponent(cpu_f32x8 v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 23));
}
// Whether any was NaN, gathered over many vectors.
typedef __m256 cpu_nans;
CPU_INLINE cpu_nans f32x8_nans_none(void) {
    return f32x8_zero();
}
CPU_INLINE cpu_nans f32x8_nans(cpu_nans before, cpu_f32x8 v) {
    return _mm256_or_ps(before, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
}
CPU_INLINE bool f32x8_any(cpu_nans nans) {
    return _mm256_movemask_ps(nans) != 0;
}

// The sum of the lanes; and those of four vectors, in the same order:
// ((0+2)+(1+3)) + ((4+6)+(5+7)).
CPU_INLINE float f32x8_sum(cpu_f32x8 v) {
    __m256 n = _mm256_add_ps(v, _mm256_permute_ps(v, 0x4e));
    n = _mm256_add_ps(n, _mm256_permute_ps(n, 0xb1));
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(n), _mm256_extractf128_ps(n, 1)));
}
CPU_INLINE cpu_f32x4 f32x8_sums(cpu_f32x8 a, cpu_f32x8 b, cpu_f32x8 c, cpu_f32x8 d) {
    __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256 n = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_add_ps(_mm256_castps256_ps128(n), _mm256_extractf128_ps(n, 1));
}
CPU_INLINE cpu_f32x4 f32x4_scale(cpu_f32x4 v, float by) {
    return _mm_mul_ps(v, _mm_set1_ps(by));
}
CPU_INLINE void f32x4_store(float *to, cpu_f32x4 v) {
    _mm_storeu_ps(to, v);
}
CPU_INLINE void f32x4_store_halves(float *low, float *high, cpu_f32x4 v) {
    _mm_storel_pi((__m64 *)(void *)low, v);
    _mm_storeh_pi((__m64 *)(void *)high, v);
}

// Sums of squares in F64.
typedef struct cpu_squares {
    __m256d low, high;
} cpu_squares;
CPU_INLINE cpu_squares f32x8_squares_none(void) {
    return (cpu_squares){_mm256_setzero_pd(), _mm256_setzero_pd()};
}
CPU_INLINE void f32x8_squares_add(cpu_squares *sum, cpu_f32x8 v) {
    __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    __m256d b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    sum->low = _mm256_fmadd_pd(a, a, sum->low);
    sum->high = _mm256_fmadd_pd(b, b, sum->high);
}
CPU_INLINE double f32x8_squares_total(cpu_squares sum) {
    double parts[4];
    _mm256_storeu_pd(parts, _mm256_add_pd(sum.low, sum.high));
    return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

// ---- 32 floats to bytes

// The bits of the largest magnitude, as integers order them: past all others when one is not finite.
CPU_INLINE uint32_t f32x8_largest_bits(const cpu_f32x8 v[4]) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i m = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++)
        m = _mm256_max_epu32(m, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
    __m128i n = _mm_max_epu32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    n = _mm_max_epu32(n, _mm_shuffle_epi32(n, 0x4e));
    n = _mm_max_epu32(n, _mm_shuffle_epi32(n, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(n);
}
CPU_INLINE int32_t i32x8_sum(__m256i v) {
    __m128i n = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    n = _mm_add_epi32(n, _mm_shuffle_epi32(n, 0x4e));
    n = _mm_add_epi32(n, _mm_shuffle_epi32(n, 0xb1));
    return _mm_cvtsi128_si32(n);
}
// Rounds values of at most 127; sums[i] becomes the sum of bytes 16i to 16i+15.
CPU_INLINE void f32x8_to_bytes(const cpu_f32x8 v[4], int8_t *to, int32_t sums[2]) {
    __m256i n[4];
    for (int i = 0; i < 4; i++)
        n[i] = _mm256_cvtps_epi32(v[i]);
    __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)to, bytes);
    sums[0] = i32x8_sum(_mm256_add_epi32(n[0], n[1]));
    sums[1] = i32x8_sum(_mm256_add_epi32(n[2], n[3]));
}

#endif
