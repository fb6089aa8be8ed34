// SPDX-License-Identifier: Apache-2.0
// Largest score and exponentials of attention.
#include "kernels/f32x8_neon.h"
#include "kernels/kernels.h"
#include "kernels/softmax.h"

float attend_largest_f32_neon(const float *s, uint32_t n) {
    return cpu_attend_largest(s, n);
}

float attend_exp_f32_neon(float *s, uint32_t n, float largest) {
    return cpu_attend_exp(s, n, largest);
}
