// SPDX-License-Identifier: Apache-2.0
// x / sqrt(mean(x^2) + eps) * weight.
#include <math.h>

#include "kernels/kernels.h"

void rms_norm_f32_baseline(const float *x, const float *weight, uint64_t n, float eps, float *out) {
    double sums[4] = {0};
    for (uint64_t i = 0; i < n; i++)
        sums[i % 4] += (double)x[i] * (double)x[i];
    double mean = ((sums[0] + sums[1]) + (sums[2] + sums[3])) / (double)n;
    float scale = (float)(1.0 / sqrt(mean + (double)eps));
    for (uint64_t i = 0; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}
