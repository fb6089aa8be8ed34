// SPDX-License-Identifier: Apache-2.0
// x / sqrt(mean(x^2) + eps) * weight.
#include "kernels/f32x8_avx2.h"
#include "kernels/kernels.h"
#include "kernels/rms_norm.h"

void rms_norm_f32_avx2(const float *x, const float *weight, uint64_t n, float eps, float *out) {
    cpu_rms_norm(x, weight, n, eps, out);
}
