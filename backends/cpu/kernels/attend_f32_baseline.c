// SPDX-License-Identifier: Apache-2.0
// Scores, exponentials and weighted sums of attention in plain C. dim is a multiple of 16.
#include <math.h>

#include "kernels/kernels.h"

static float dot(const float *a, const float *b, uint32_t n) {
    float sums[8] = {0};
    for (uint32_t i = 0; i < n; i += 8) {
        for (uint32_t j = 0; j < 8; j++)
            sums[j] += a[i + j] * b[i + j];
    }
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) +
           ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

void attend_scores_f32_baseline(const float *q, uint32_t queries, const float *k, uint32_t keys,
                                uint32_t dim, float scale, float *s, uint32_t stride) {
    for (uint32_t i = 0; i < queries; i++) {
        for (uint32_t j = 0; j < keys; j++)
            s[(size_t)i * stride + j] = dot(q + (size_t)i * dim, k + (size_t)j * dim, dim) * scale;
    }
}

float attend_exp_f32_baseline(float *s, uint32_t n, float largest) {
    float sum = 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        s[i] = expf(s[i] - largest);
        sum += s[i];
    }
    return sum;
}

void attend_values_f32_baseline(const float *p, uint32_t queries, uint32_t stride, const float *v,
                                uint32_t keys, uint32_t dim, float *sums) {
    for (uint32_t i = 0; i < queries; i++) {
        float *sum = sums + (size_t)i * dim;
        for (uint32_t j = 0; j < keys; j++) {
            float weight = p[(size_t)i * stride + j];
            for (uint32_t d = 0; d < dim; d++)
                sum[d] += weight * v[(size_t)j * dim + d];
        }
    }
}

float attend_largest_f32_baseline(const float *s, uint32_t n) {
    float largest = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        if (isnan(s[i]))
            return NAN;
        largest = s[i] > largest ? s[i] : largest;
    }
    return largest;
}
