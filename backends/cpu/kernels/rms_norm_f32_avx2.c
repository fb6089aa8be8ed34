// SPDX-License-Identifier: Apache-2.0
// x / sqrt(mean(x^2) + eps) * weight; the sum of squares is taken in F64.
#include <immintrin.h>
#include <math.h>

#include "kernels/kernels.h"

void rms_norm_f32_avx2(const float *x, const float *weight, uint64_t n, float eps, float *out) {
    __m256d low = _mm256_setzero_pd(), high = low;
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v)),
                b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
        low = _mm256_fmadd_pd(a, a, low);
        high = _mm256_fmadd_pd(b, b, high);
    }
    double parts[4], tail = 0.0;
    _mm256_storeu_pd(parts, _mm256_add_pd(low, high));
    for (uint64_t j = i; j < n; j++)
        tail += (double)x[j] * (double)x[j];
    double mean = ((parts[0] + parts[1]) + (parts[2] + parts[3]) + tail) / (double)n;
    float scale = (float)(1.0 / sqrt(mean + (double)eps));
    __m256 factor = _mm256_set1_ps(scale);
    for (i = 0; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), factor);
        _mm256_storeu_ps(out + i, _mm256_mul_ps(v, _mm256_loadu_ps(weight + i)));
    }
    for (; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}
