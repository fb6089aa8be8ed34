// SPDX-License-Identifier: Apache-2.0
// avx512_emulated.h: AVX-512 intrinsics in plain C, for testing the AVX-512 products on a processor
// without them. Most come from SIMDe (a Debian package); what its version lacks is written out.
#ifndef GREGALE_BACKENDS_CPU_AVX512_EMULATED_H
#define GREGALE_BACKENDS_CPU_AVX512_EMULATED_H

#include <immintrin.h>
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#define __m512i simde__m512i
#define __m512 simde__m512

#define EMULATED static inline
#define cpu_products_avx512vnni cpu_products_emulated // beside the real ones
#define cpu_dot_tile_avx512vnni cpu_dot_tile_emulated
#define cpu_products_avx512amx cpu_products_amx_emulated
#define cpu_attend_avx512 cpu_attend_emulated

EMULATED simde__m512 emulated_cvtepi32_ps(simde__m512i v) {
    union {
        simde__m512i v;
        int32_t lane[16];
    } from = {v};
    union {
        float lane[16];
        simde__m512 v;
    } to;
    for (int i = 0; i < 16; i++)
        to.lane[i] = (float)from.lane[i];
    return to.v;
}

EMULATED __m256i emulated_cvtepi32_epi16(simde__m512i v) {
    union {
        simde__m512i v;
        uint32_t lane[16];
    } from = {v};
    union {
        uint16_t lane[16];
        __m256i v;
    } to;
    for (int i = 0; i < 16; i++)
        to.lane[i] = (uint16_t)from.lane[i];
    return to.v;
}

EMULATED simde__m512 emulated_cvtph_ps(__m256i v) {
    union {
        __m256 half[2];
        simde__m512 v;
    } to = {{_mm256_cvtph_ps(_mm256_castsi256_si128(v)),
             _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1))}};
    return to.v;
}

EMULATED simde__m512i emulated_srai_epi32(simde__m512i v, unsigned bits) {
    union {
        simde__m512i v;
        int32_t lane[16];
    } u = {v};
    for (int i = 0; i < 16; i++)
        u.lane[i] >>= bits;
    return u.v;
}

EMULATED simde__m512i emulated_cvtepu16_epi32(__m256i v) {
    union {
        __m256i half[2];
        simde__m512i v;
    } to = {{_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)),
             _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1))}};
    return to.v;
}

EMULATED simde__m512i emulated_cvtepi8_epi32(__m128i v) {
    union {
        __m256i half[2];
        simde__m512i v;
    } to = {{_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))}};
    return to.v;
}

#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16 emulated_cvtepi32_epi16
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps emulated_cvtph_ps
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32 emulated_cvtepu16_epi32
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 emulated_srai_epi32

#endif
