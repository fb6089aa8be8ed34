// SPDX-License-Identifier: Apache-2.0
// x / sqrt(mean(x^2) + eps) * weight.
#include "kernels/f32x8_neon.h"
#include "kernels/kernels.h"
#include "kernels/rms_norm.h"

void rms_norm_f32_neon(const float *x, const float *weight, uint64_t n, float eps, float *out) {
    cpu_rms_norm(x, weight, n, eps, out);
}
