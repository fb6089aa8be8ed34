// SPDX-License-Identifier: Apache-2.0
// Scores, exponentials and weighted sums of attention. dim is a multiple of 16.
#include <string.h>

#include "kernels/exp_avx2.h"
#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

INLINE float add8(__m256 v) {
    __m128 n = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    n = _mm_add_ps(n, _mm_movehl_ps(n, n));
    return _mm_cvtss_f32(_mm_add_ss(n, _mm_movehdup_ps(n)));
}

INLINE void scores_block(const float *q, const uint32_t queries, const float *k, uint32_t keys,
                         uint32_t dim, float scale, float *s, uint32_t stride) {
    for (uint32_t j = 0; j < keys; j++) {
        __m256 sums[4];
        for (uint32_t i = 0; i < queries; i++)
            sums[i] = _mm256_setzero_ps();
        for (uint32_t d = 0; d < dim; d += 8) {
            const __m256 key = _mm256_loadu_ps(k + (size_t)j * dim + d);
            for (uint32_t i = 0; i < queries; i++)
                sums[i] = _mm256_fmadd_ps(key, _mm256_loadu_ps(q + (size_t)i * dim + d), sums[i]);
        }
        for (uint32_t i = 0; i < queries; i++)
            s[(size_t)i * stride + j] = add8(sums[i]) * scale;
    }
}

void attend_scores_f32_avx2(const float *q, uint32_t queries, const float *k, uint32_t keys,
                            uint32_t dim, float scale, float *s, uint32_t stride) {
    uint32_t i = 0;
    for (; i + 4 <= queries; i += 4)
        scores_block(q + (size_t)i * dim, 4, k, keys, dim, scale, s + (size_t)i * stride, stride);
    for (; i < queries; i++)
        scores_block(q + (size_t)i * dim, 1, k, keys, dim, scale, s + (size_t)i * stride, stride);
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

// `width` vectors of 8 values from one place of the rows.
INLINE void values_block(const float *p, const float *v, uint32_t keys, uint32_t dim,
                         const uint32_t width, float *sums) {
    __m256 sum[8];
    for (uint32_t d = 0; d < width; d++)
        sum[d] = _mm256_loadu_ps(sums + d * 8);
    for (uint32_t j = 0; j < keys; j++) {
        const __m256 weight = _mm256_set1_ps(p[j]);
        for (uint32_t d = 0; d < width; d++)
            sum[d] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(v + (size_t)j * dim + d * 8), sum[d]);
    }
    for (uint32_t d = 0; d < width; d++)
        _mm256_storeu_ps(sums + d * 8, sum[d]);
}

void attend_values_f32_avx2(const float *p, uint32_t queries, uint32_t stride, const float *v,
                            uint32_t keys, uint32_t dim, float *sums) {
    for (uint32_t i = 0; i < queries; i++) {
        uint32_t d = 0;
        for (; d + 64 <= dim; d += 64)
            values_block(p + (size_t)i * stride, v + d, keys, dim, 8, sums + (size_t)i * dim + d);
        for (; d < dim; d += 16)
            values_block(p + (size_t)i * stride, v + d, keys, dim, 2, sums + (size_t)i * dim + d);
    }
}
