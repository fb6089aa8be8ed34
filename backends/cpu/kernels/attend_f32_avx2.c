// SPDX-License-Identifier: Apache-2.0
// Scores, exponentials and weighted sums of attention. dim is a multiple of 16.
#include <math.h>
#include <string.h>

#include "kernels/exp_avx2.h"
#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

// Both additions below take a vector's lanes in this order: ((0+2)+(1+3)) + ((4+6)+(5+7)).
INLINE float add8(__m256 v) {
    __m256 n = _mm256_add_ps(v, _mm256_permute_ps(v, 0x4e));
    n = _mm256_add_ps(n, _mm256_permute_ps(n, 0xb1));
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(n), _mm256_extractf128_ps(n, 1)));
}
INLINE __m128 add8x4(__m256 a, __m256 b, __m256 c, __m256 d) {
    __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256 n = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_add_ps(_mm256_castps256_ps128(n), _mm256_extractf128_ps(n, 1));
}

// Four queries against two keys: eight sums hide the latency of the multiply-add.
INLINE void scores4x2(const float *q, const float *k, uint32_t dim, __m128 scale, float *s,
                      uint32_t stride) {
    __m256 sums[4][2];
    for (uint32_t i = 0; i < 4; i++)
        sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    for (uint32_t d = 0; d < dim; d += 8) {
        const __m256 k0 = _mm256_loadu_ps(k + d), k1 = _mm256_loadu_ps(k + dim + d);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++) {
            const __m256 query = _mm256_loadu_ps(q + (size_t)i * dim + d);
            sums[i][0] = _mm256_fmadd_ps(k0, query, sums[i][0]);
            sums[i][1] = _mm256_fmadd_ps(k1, query, sums[i][1]);
        }
    }
#pragma GCC unroll 2
    for (uint32_t i = 0; i < 4; i += 2) {
        __m128 four = _mm_mul_ps(
            add8x4(sums[i][0], sums[i][1], sums[i + 1][0], sums[i + 1][1]), scale);
        _mm_storel_pi((__m64 *)(void *)(s + (size_t)i * stride), four);
        _mm_storeh_pi((__m64 *)(void *)(s + (size_t)(i + 1) * stride), four);
    }
}

INLINE void score(const float *q, const float *k, uint32_t dim, float scale, float *s) {
    __m256 sum = _mm256_setzero_ps();
    for (uint32_t d = 0; d < dim; d += 8)
        sum = _mm256_fmadd_ps(_mm256_loadu_ps(k + d), _mm256_loadu_ps(q + d), sum);
    *s = add8(sum) * scale;
}

void attend_scores_f32_avx2(const float *q, uint32_t queries, const float *k, uint32_t keys,
                            uint32_t dim, float scale, float *s, uint32_t stride) {
    uint32_t i = 0;
    for (; i + 4 <= queries; i += 4, q += (size_t)4 * dim, s += (size_t)4 * stride) {
        uint32_t j = 0;
        for (; j + 2 <= keys; j += 2)
            scores4x2(q, k + (size_t)j * dim, dim, _mm_set1_ps(scale), s + j, stride);
        for (uint32_t r = 0; r < 4 && j < keys; r++)
            score(q + (size_t)r * dim, k + (size_t)j * dim, dim, scale, s + (size_t)r * stride + j);
    }
    for (; i < queries; i++, q += dim, s += stride) {
        for (uint32_t j = 0; j < keys; j++)
            score(q, k + (size_t)j * dim, dim, scale, s + j);
    }
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

// `queries` queries and `width` vectors of 8 values from one place of the rows.
INLINE void values_block(const float *p, const uint32_t queries, uint32_t stride, const float *v,
                         uint32_t keys, uint32_t dim, const uint32_t width, float *sums) {
    __m256 sum[4][4];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < queries; i++) {
#pragma GCC unroll 4
        for (uint32_t d = 0; d < width; d++)
            sum[i][d] = _mm256_loadu_ps(sums + (size_t)i * dim + d * 8);
    }
    for (uint32_t j = 0; j < keys; j++, v += dim) {
        __m256 value[4];
#pragma GCC unroll 4
        for (uint32_t d = 0; d < width; d++)
            value[d] = _mm256_loadu_ps(v + d * 8);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < queries; i++) {
            const __m256 weight = _mm256_set1_ps(p[(size_t)i * stride + j]);
#pragma GCC unroll 4
            for (uint32_t d = 0; d < width; d++)
                sum[i][d] = _mm256_fmadd_ps(weight, value[d], sum[i][d]);
        }
    }
#pragma GCC unroll 4
    for (uint32_t i = 0; i < queries; i++) {
#pragma GCC unroll 4
        for (uint32_t d = 0; d < width; d++)
            _mm256_storeu_ps(sums + (size_t)i * dim + d * 8, sum[i][d]);
    }
}

void attend_values_f32_avx2(const float *p, uint32_t queries, uint32_t stride, const float *v,
                            uint32_t keys, uint32_t dim, float *sums) {
    uint32_t i = 0;
    for (; i + 4 <= queries; i += 4) {
        for (uint32_t d = 0; d < dim; d += 16)
            values_block(p + (size_t)i * stride, 4, stride, v + d, keys, dim, 2,
                         sums + (size_t)i * dim + d);
    }
    for (; i < queries; i++) {
        uint32_t d = 0;
        for (; d + 32 <= dim; d += 32)
            values_block(p + (size_t)i * stride, 1, stride, v + d, keys, dim, 4,
                         sums + (size_t)i * dim + d);
        for (; d < dim; d += 16)
            values_block(p + (size_t)i * stride, 1, stride, v + d, keys, dim, 2,
                         sums + (size_t)i * dim + d);
    }
}
