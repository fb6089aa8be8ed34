// SPDX-License-Identifier: Apache-2.0
// Largest score and exponentials of attention.
#include <math.h>
#include <string.h>

#include "kernels/exp_avx2.h"
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

float attend_exp_f32_avx2(float *s, uint32_t n, float largest) {
    const __m256 top = _mm256_set1_ps(largest);
    __m256 sum = _mm256_setzero_ps();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 e = cpu_exp8(_mm256_sub_ps(_mm256_loadu_ps(s + i), top));
        _mm256_storeu_ps(s + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    float total = add8(sum), rest[8] = {0};
    memcpy(rest, s + i, (n - i) * sizeof *rest);
    _mm256_storeu_ps(rest, cpu_exp8(_mm256_sub_ps(_mm256_loadu_ps(rest), top)));
    memcpy(s + i, rest, (n - i) * sizeof *rest);
    for (; i < n; i++)
        total += s[i];
    return total;
}
