// SPDX-License-Identifier: Apache-2.0
// Scores and weighted sums of attention. dim is a multiple of 16.
#include "kernels/f32x8_neon.h"
#include "kernels/kernels.h"

// Four queries against two keys: eight sums hide the latency of the multiply-add.
CPU_INLINE void cpu_scores4x2(const float *q, const float *k, uint32_t dim, float scale, float *s,
                              uint32_t stride) {
    cpu_f32x8 sums[4][2];
    CPU_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        sums[i][0] = sums[i][1] = f32x8_zero();
    for (uint32_t d = 0; d < dim; d += 8) {
        const cpu_f32x8 k0 = f32x8_load(k + d), k1 = f32x8_load(k + dim + d);
        CPU_UNROLL
        for (uint32_t i = 0; i < 4; i++) {
            const cpu_f32x8 query = f32x8_load(q + (size_t)i * dim + d);
            sums[i][0] = f32x8_fma(k0, query, sums[i][0]);
            sums[i][1] = f32x8_fma(k1, query, sums[i][1]);
        }
    }
    CPU_UNROLL
    for (uint32_t i = 0; i < 4; i += 2)
        f32x4_store_halves(
            s + (size_t)i * stride, s + (size_t)(i + 1) * stride,
            f32x4_scale(f32x8_sums(sums[i][0], sums[i][1], sums[i + 1][0], sums[i + 1][1]), scale));
}

CPU_INLINE void cpu_score(const float *q, const float *k, uint32_t dim, float scale, float *s) {
    cpu_f32x8 sum = f32x8_zero();
    for (uint32_t d = 0; d < dim; d += 8)
        sum = f32x8_fma(f32x8_load(k + d), f32x8_load(q + d), sum);
    *s = f32x8_sum(sum) * scale;
}

void attend_scores_f32_neon(const float *q, uint32_t queries, const float *k, uint32_t keys,
                                  uint32_t dim, float scale, float *s, uint32_t stride) {
    uint32_t i = 0;
    for (; i + 4 <= queries; i += 4, q += (size_t)4 * dim, s += (size_t)4 * stride) {
        uint32_t j = 0;
        for (; j + 2 <= keys; j += 2)
            cpu_scores4x2(q, k + (size_t)j * dim, dim, scale, s + j, stride);
        for (uint32_t r = 0; r < 4 && j < keys; r++)
            cpu_score(q + (size_t)r * dim, k + (size_t)j * dim, dim, scale,
                      s + (size_t)r * stride + j);
    }
    for (; i < queries; i++, q += dim, s += stride) {
        for (uint32_t j = 0; j < keys; j++)
            cpu_score(q, k + (size_t)j * dim, dim, scale, s + j);
    }
}

// `queries` queries and `width` vectors of 8 values from one place of the rows.
CPU_INLINE void cpu_values_block(const float *p, const uint32_t queries, uint32_t stride,
                                 const float *v, uint32_t keys, uint32_t dim, const uint32_t width,
                                 float *sums) {
    cpu_f32x8 sum[4][4];
    CPU_UNROLL
    for (uint32_t i = 0; i < queries; i++) {
        CPU_UNROLL
        for (uint32_t d = 0; d < width; d++)
            sum[i][d] = f32x8_load(sums + (size_t)i * dim + d * 8);
    }
    for (uint32_t j = 0; j < keys; j++, v += dim) {
        cpu_f32x8 value[4];
        CPU_UNROLL
        for (uint32_t d = 0; d < width; d++)
            value[d] = f32x8_load(v + d * 8);
        CPU_UNROLL
        for (uint32_t i = 0; i < queries; i++) {
            const cpu_f32x8 weight = f32x8_set(p[(size_t)i * stride + j]);
            CPU_UNROLL
            for (uint32_t d = 0; d < width; d++)
                sum[i][d] = f32x8_fma(weight, value[d], sum[i][d]);
        }
    }
    CPU_UNROLL
    for (uint32_t i = 0; i < queries; i++) {
        CPU_UNROLL
        for (uint32_t d = 0; d < width; d++)
            f32x8_store(sums + (size_t)i * dim + d * 8, sum[i][d]);
    }
}

void attend_values_f32_neon(const float *p, uint32_t queries, uint32_t stride, const float *v,
                                  uint32_t keys, uint32_t dim, float *sums) {
    uint32_t i = 0;
    for (; i + 4 <= queries; i += 4) {
        for (uint32_t d = 0; d < dim; d += 16)
            cpu_values_block(p + (size_t)i * stride, 4, stride, v + d, keys, dim, 2,
                             sums + (size_t)i * dim + d);
    }
    for (; i < queries; i++) {
        uint32_t d = 0;
        for (; d + 32 <= dim; d += 32)
            cpu_values_block(p + (size_t)i * stride, 1, stride, v + d, keys, dim, 4,
                             sums + (size_t)i * dim + d);
        for (; d < dim; d += 16)
            cpu_values_block(p + (size_t)i * stride, 1, stride, v + d, keys, dim, 2,
                             sums + (size_t)i * dim + d);
    }
}
