// SPDX-License-Identifier: Apache-2.0
// softmax.h: largest score and exponentials of attention, in the words of f32x8_avx2.h or
// f32x8_neon.h, which come first.
#ifndef GREGALE_BACKENDS_CPU_SOFTMAX_H
#define GREGALE_BACKENDS_CPU_SOFTMAX_H

#include <math.h>
#include <string.h>

#include "kernels/exp.h"

CPU_INLINE float cpu_attend_largest(const float *s, uint32_t n) {
    cpu_f32x8 top = f32x8_set(-INFINITY);
    cpu_nans nans = f32x8_nans_none();
    float lanes[8], largest = -INFINITY;
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const cpu_f32x8 v = f32x8_load(s + i);
        top = f32x8_max(v, top);
        nans = f32x8_nans(nans, v);
    }
    bool nan = f32x8_any(nans);
    f32x8_store(lanes, top);
    for (int j = 0; j < 8; j++)
        largest = lanes[j] > largest ? lanes[j] : largest;
    for (; i < n; i++) {
        nan = nan || isnan(s[i]);
        largest = s[i] > largest ? s[i] : largest;
    }
    return nan ? NAN : largest;
}

CPU_INLINE float cpu_attend_exp(float *s, uint32_t n, float largest) {
    const cpu_f32x8 top = f32x8_set(largest);
    cpu_f32x8 sum = f32x8_zero();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const cpu_f32x8 e = f32x8_exp_down(f32x8_sub(f32x8_load(s + i), top));
        f32x8_store(s + i, e);
        sum = f32x8_add(sum, e);
    }
    float total = f32x8_sum(sum), rest[8] = {0};
    memcpy(rest, s + i, (n - i) * sizeof *rest);
    f32x8_store(rest, f32x8_exp_down(f32x8_sub(f32x8_load(rest), top)));
    memcpy(s + i, rest, (n - i) * sizeof *rest);
    for (; i < n; i++)
        total += s[i];
    return total;
}

#endif
