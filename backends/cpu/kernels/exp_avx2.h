// SPDX-License-Identifier: Apache-2.0
// exp_avx2.h: exp of eight floats.
#ifndef GREGALE_BACKENDS_CPU_EXP_AVX2_H
#define GREGALE_BACKENDS_CPU_EXP_AVX2_H

#include <immintrin.h>

// exp(x) = 2^n * e^r with n = round(x/ln 2), |r| <= ln 2 / 2, and e^r by its Taylor polynomial of
// degree 7 (the next term is below 6e-9). NaN stays NaN. 2^n is applied in two factors, so that
// neither leaves the range of floats.
static inline __m256 cpu_exp8(__m256 x) {
    x = _mm256_max_ps(_mm256_set1_ps(-150.0f), x); // the second operand is kept when it is NaN
    x = _mm256_min_ps(_mm256_set1_ps(129.0f), x);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half), bias = _mm256_set1_epi32(127);
    __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(p, a), b);
}

#endif
