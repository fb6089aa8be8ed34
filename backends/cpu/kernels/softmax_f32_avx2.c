// SPDX-License-Identifier: Apache-2.0
// Largest score and exponentials of attention.
#include <math.h>
#include <string.h>

#include <immintrin.h>

#include "kernels/kernels.h"

// ((0+2)+(1+3)) + ((4+6)+(5+7))
static inline float add8(__m256 v) {
    __m256 n = _mm256_add_ps(v, _mm256_permute_ps(v, 0x4e));
    n = _mm256_add_ps(n, _mm256_permute_ps(n, 0xb1));
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(n), _mm256_extractf128_ps(n, 1)));
}

float attend_largest_f32_avx2(const float *s, uint32_t n) {
    __m256 top = _mm256_set1_ps(-INFINITY), odd = _mm256_setzero_ps();
    float lanes[8], largest = -INFINITY;
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_loadu_ps(s + i);
        top = _mm256_max_ps(v, top);
        odd = _mm256_or_ps(odd, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    }
    _mm256_storeu_ps(lanes, top);
    for (int j = 0; j < 8; j++)
        largest = lanes[j] > largest ? lanes[j] : largest;
    bool nan = _mm256_movemask_ps(odd) != 0;
    for (; i < n; i++) {
        nan = nan || isnan(s[i]);
        largest = s[i] > largest ? s[i] : largest;
    }
    return nan ? NAN : largest;
}

// exp(x) for x <= 0, never below 2^-126: 2^n * e^r with n the whole number nearest to x/ln 2, |r|
// <= ln 2 / 2, and e^r by its Taylor polynomial of degree 6 (the next term is 1.2e-7). NaN stays
// NaN. Adding 1.5 * 2^23 rounds to a whole number, whose last bits become the exponent.
static inline __m256 exp8(__m256 x) {
    const __m256 big = _mm256_set1_ps(12582912.0f + 127.0f);
    x = _mm256_max_ps(_mm256_set1_ps(-87.0f), x); // the second operand is kept when it is NaN
    __m256 n = _mm256_fmadd_ps(x, _mm256_set1_ps(1.44269504f), big);
    __m256 power = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(n), 23));
    __m256 r = _mm256_fnmadd_ps(_mm256_sub_ps(n, big), _mm256_set1_ps(0.693147181f), x);
    __m256 p = _mm256_set1_ps(1.0f / 720);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    return _mm256_mul_ps(p, power);
}

float attend_exp_f32_avx2(float *s, uint32_t n, float largest) {
    const __m256 top = _mm256_set1_ps(largest);
    __m256 sum = _mm256_setzero_ps();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(s + i), top));
        _mm256_storeu_ps(s + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    float total = add8(sum), rest[8] = {0};
    memcpy(rest, s + i, (n - i) * sizeof *rest);
    _mm256_storeu_ps(rest, exp8(_mm256_sub_ps(_mm256_loadu_ps(rest), top)));
    memcpy(s + i, rest, (n - i) * sizeof *rest);
    for (; i < n; i++)
        total += s[i];
    return total;
}
