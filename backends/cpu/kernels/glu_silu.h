// SPDX-License-Identifier: Apache-2.0
// glu_silu.h: silu(gate) * up, in the words of f32x8_avx2.h or f32x8_neon.h, which come first.
#ifndef GREGALE_BACKENDS_CPU_GLU_SILU_H
#define GREGALE_BACKENDS_CPU_GLU_SILU_H

#include <string.h>

#include "kernels/exp.h"

CPU_INLINE void cpu_silu8(const float *gate, const float *up, float *out) {
    const cpu_f32x8 g = f32x8_load(gate);
    const cpu_f32x8 below = f32x8_add(f32x8_set(1.0f), f32x8_exp(f32x8_sub(f32x8_zero(), g)));
    f32x8_store(out, f32x8_mul(f32x8_div(g, below), f32x8_load(up)));
}

CPU_INLINE void cpu_glu_silu(const float *gate, const float *up, uint64_t n, float *out) {
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8)
        cpu_silu8(gate + i, up + i, out + i);
    if (i < n) { // the same arithmetic, so that an element's place does not matter
        float a[8] = {0}, b[8] = {0}, c[8];
        memcpy(a, gate + i, (n - i) * sizeof *a);
        memcpy(b, up + i, (n - i) * sizeof *b);
        cpu_silu8(a, b, c);
        memcpy(out + i, c, (n - i) * sizeof *c);
    }
}

#endif
