// SPDX-License-Identifier: Apache-2.0
// Activations to 8 bits with an F32 scale a block of 32, and the sums that offsets need.
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

// A block that is not finite gets a NaN scale, so that every product with it is NaN.
static float block_scale(const float *x, float *out_inverse) {
    float largest = 0.0f;
    bool finite = true;
    for (int j = 0; j < 32; j++) {
        finite = finite && isfinite(x[j]);
        largest = fmaxf(largest, fabsf(x[j]));
    }
    *out_inverse = finite && largest >= 1e-36f ? 127.0f / largest : 0.0f;
    if (!finite)
        return NAN;
    return *out_inverse != 0.0f ? largest / 127.0f : 0.0f;
}

void quantise_f32_baseline(const float *x, uint64_t k, uint8_t *row) {
    cpu_quantised a = cpu_quantised_at(row, k);
    int8_t *q = (int8_t *)row;
    for (uint64_t b = 0; b < k / 32; b++) {
        float inverse, scale = block_scale(x + b * 32, &inverse);
        int32_t sums[2] = {0, 0};
        for (int j = 0; j < 32; j++) {
            int32_t v = inverse != 0.0f ? (int32_t)rintf(x[b * 32 + (uint64_t)j] * inverse) : 0;
            q[b * 32 + (uint64_t)j] = (int8_t)v;
            sums[j / 16] += v;
        }
        ((float *)(uintptr_t)a.scale)[b] = scale;
        ((int32_t *)(uintptr_t)a.bias32)[b] = -128 * (sums[0] + sums[1]);
        ((float *)(uintptr_t)a.sum32)[b] = scale * (float)(sums[0] + sums[1]);
        for (int h = 0; h < 2; h++) {
            ((int32_t *)(uintptr_t)a.bias16)[2 * b + (uint64_t)h] = -128 * sums[h];
            ((float *)(uintptr_t)a.sum16)[2 * b + (uint64_t)h] = scale * (float)sums[h];
        }
    }
}
