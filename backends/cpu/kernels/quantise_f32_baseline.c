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

void quantise_f32_baseline(const float *x, uint64_t first, uint64_t n, cpu_quantised *row,
                           uint64_t stride) {
    for (uint64_t at = first; at < first + n; at += 32, x += 32) {
        cpu_quantised *a = row + at / CPU_CHUNK * stride;
        const uint64_t b = at % CPU_CHUNK / 32;
        float inverse, scale = block_scale(x, &inverse);
        int32_t sums[2] = {0, 0};
        for (uint64_t j = 0; j < 32; j++) {
            int32_t v = inverse != 0.0f ? (int32_t)rintf(x[j] * inverse) : 0;
            a->q[b * 32 + j] = (int8_t)v;
            sums[j / 16] += v;
        }
        a->scale[b] = scale;
        a->sum32[b] = sums[0] + sums[1];
        a->total32[b] = scale * (float)(sums[0] + sums[1]);
        a->sum16[2 * b] = (int16_t)sums[0];
        a->sum16[2 * b + 1] = (int16_t)sums[1];
    }
}
