// SPDX-License-Identifier: Apache-2.0
// Largest score and exponentials of attention in plain C.
#include <math.h>

#include "kernels/kernels.h"

float attend_exp_f32_baseline(float *s, uint32_t n, float largest) {
    float sum = 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        s[i] = expf(s[i] - largest);
        sum += s[i];
    }
    return sum;
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
