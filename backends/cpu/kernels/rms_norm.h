// SPDX-License-Identifier: Apache-2.0
// rms_norm.h: x / sqrt(mean(x^2) + eps) * weight, in the words of f32x8_avx2.h or f32x8_neon.h, which
// come first; the sum of squares is taken in F64.
#ifndef GREGALE_BACKENDS_CPU_RMS_NORM_H
#define GREGALE_BACKENDS_CPU_RMS_NORM_H

#include <math.h>

CPU_INLINE void cpu_rms_norm(const float *x, const float *weight, uint64_t n, float eps,
                             float *out) {
    cpu_squares squares = f32x8_squares_none();
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8)
        f32x8_squares_add(&squares, f32x8_load(x + i));
    double tail = 0.0;
    for (uint64_t j = i; j < n; j++)
        tail += (double)x[j] * (double)x[j];
    const double mean = (f32x8_squares_total(squares) + tail) / (double)n;
    const float scale = (float)(1.0 / sqrt(mean + (double)eps));
    const cpu_f32x8 factor = f32x8_set(scale);
    for (i = 0; i + 8 <= n; i += 8)
        f32x8_store(out + i,
                    f32x8_mul(f32x8_mul(f32x8_load(x + i), factor), f32x8_load(weight + i)));
    for (; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}

#endif
