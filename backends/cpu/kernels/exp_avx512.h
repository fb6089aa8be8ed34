// SPDX-License-Identifier: Apache-2.0
// exp_avx512.h: exp of sixteen floats.
#ifndef GREGALE_BACKENDS_CPU_EXP_AVX512_H
#define GREGALE_BACKENDS_CPU_EXP_AVX512_H

#include <immintrin.h>

// exp(x) = 2^n * e^r with n = round(x/ln 2), |r| <= ln 2 / 2, and e^r by its Taylor polynomial of
// degree 7 (the next term is below 6e-9). NaN stays NaN; results below 2^-149 are 0.
static inline __m512 cpu_exp16(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-150.0f), x); // the second operand is kept when it is NaN
    x = _mm512_min_ps(_mm512_set1_ps(129.0f), x);
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

#endif
