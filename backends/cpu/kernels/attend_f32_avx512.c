// SPDX-License-Identifier: Apache-2.0
// Scores, exponentials and weighted sums of attention. dim is a multiple of 16.
#include "kernels/exp_avx512.h"
#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

// The sums over all lanes of four vectors.
INLINE __m128 add_lanes(const __m512 v[4]) {
    __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    __m512 c = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    __m256 d = _mm256_add_ps(_mm512_castps512_ps256(c), _mm512_extractf32x8_ps(c, 1));
    return _mm_add_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps(d, 1));
}

// `queries` queries against `keys` keys, 1 to 4 each; a missing key's sum stays zero.
INLINE void scores_block(const float *q, const uint32_t queries, const float *k,
                         const uint32_t keys, uint32_t dim, float scale, float *s,
                         uint32_t stride) {
    __m512 sums[4][4];
    for (uint32_t i = 0; i < queries; i++) {
        for (uint32_t j = 0; j < 4; j++)
            sums[i][j] = _mm512_setzero_ps();
    }
    for (uint32_t d = 0; d < dim; d += 16) {
        __m512 key[4];
        for (uint32_t j = 0; j < keys; j++)
            key[j] = _mm512_loadu_ps(k + (size_t)j * dim + d);
        for (uint32_t i = 0; i < queries; i++) {
            const __m512 query = _mm512_loadu_ps(q + (size_t)i * dim + d);
            for (uint32_t j = 0; j < keys; j++)
                sums[i][j] = _mm512_fmadd_ps(key[j], query, sums[i][j]);
        }
    }
    for (uint32_t i = 0; i < queries; i++) {
        __m128 four = _mm_mul_ps(add_lanes(sums[i]), _mm_set1_ps(scale));
        if (keys == 4)
            _mm_storeu_ps(s + (size_t)i * stride, four);
        else
            _mm_store_ss(s + (size_t)i * stride, four);
    }
}

INLINE void scores_queries(const float *q, const uint32_t queries, const float *k, uint32_t keys,
                           uint32_t dim, float scale, float *s, uint32_t stride) {
    uint32_t j = 0;
    for (; j + 4 <= keys; j += 4)
        scores_block(q, queries, k + (size_t)j * dim, 4, dim, scale, s + j, stride);
    for (; j < keys; j++)
        scores_block(q, queries, k + (size_t)j * dim, 1, dim, scale, s + j, stride);
}

void attend_scores_f32_avx512(const float *q, uint32_t queries, const float *k, uint32_t keys,
                              uint32_t dim, float scale, float *s, uint32_t stride) {
    uint32_t i = 0;
    for (; i + 4 <= queries; i += 4)
        scores_queries(q + (size_t)i * dim, 4, k, keys, dim, scale, s + (size_t)i * stride, stride);
    for (; i < queries; i++)
        scores_queries(q + (size_t)i * dim, 1, k, keys, dim, scale, s + (size_t)i * stride, stride);
}

float attend_exp_f32_avx512(float *s, uint32_t n, float largest) {
    const __m512 top = _mm512_set1_ps(largest);
    __m512 sum = _mm512_setzero_ps();
    for (uint32_t i = 0; i < n; i += 16) {
        const __mmask16 mask = n - i >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << (n - i)) - 1);
        __m512 e = cpu_exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, s + i), top));
        _mm512_mask_storeu_ps(s + i, mask, e);
        sum = _mm512_mask_add_ps(sum, mask, sum, e);
    }
    return _mm512_reduce_add_ps(sum);
}

// `width` vectors of 16 values from one place of the rows, for `queries` queries.
INLINE void values_block(const float *p, const uint32_t queries, uint32_t stride, const float *v,
                         uint32_t keys, uint32_t dim, const uint32_t width, float *sums) {
    __m512 sum[2][8];
    for (uint32_t i = 0; i < queries; i++) {
        for (uint32_t d = 0; d < width; d++)
            sum[i][d] = _mm512_loadu_ps(sums + (size_t)i * dim + d * 16);
    }
    for (uint32_t j = 0; j < keys; j++) {
        __m512 weight[2];
        for (uint32_t i = 0; i < queries; i++)
            weight[i] = _mm512_set1_ps(p[(size_t)i * stride + j]);
        for (uint32_t d = 0; d < width; d++) {
            const __m512 value = _mm512_loadu_ps(v + (size_t)j * dim + d * 16);
            for (uint32_t i = 0; i < queries; i++)
                sum[i][d] = _mm512_fmadd_ps(weight[i], value, sum[i][d]);
        }
    }
    for (uint32_t i = 0; i < queries; i++) {
        for (uint32_t d = 0; d < width; d++)
            _mm512_storeu_ps(sums + (size_t)i * dim + d * 16, sum[i][d]);
    }
}

INLINE void values_queries(const float *p, const uint32_t queries, uint32_t stride, const float *v,
                           uint32_t keys, uint32_t dim, float *sums) {
    uint32_t d = 0;
    for (; d + 128 <= dim; d += 128)
        values_block(p, queries, stride, v + d, keys, dim, 8, sums + d);
    for (; d + 64 <= dim; d += 64)
        values_block(p, queries, stride, v + d, keys, dim, 4, sums + d);
    for (; d < dim; d += 16)
        values_block(p, queries, stride, v + d, keys, dim, 1, sums + d);
}

void attend_values_f32_avx512(const float *p, uint32_t queries, uint32_t stride, const float *v,
                              uint32_t keys, uint32_t dim, float *sums) {
    uint32_t i = 0;
    for (; i + 2 <= queries; i += 2)
        values_queries(p + (size_t)i * stride, 2, stride, v, keys, dim, sums + (size_t)i * dim);
    if (i < queries)
        values_queries(p + (size_t)i * stride, 1, stride, v, keys, dim, sums + (size_t)i * dim);
}
