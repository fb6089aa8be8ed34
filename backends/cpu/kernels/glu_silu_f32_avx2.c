// SPDX-License-Identifier: Apache-2.0
// silu(gate) * up.
#include <string.h>

#include "kernels/exp_avx2.h"
#include "kernels/kernels.h"

static inline void eight(const float *gate, const float *up, float *out) {
    __m256 g = _mm256_loadu_ps(gate);
    __m256 below =
        _mm256_add_ps(_mm256_set1_ps(1.0f), cpu_exp8(_mm256_sub_ps(_mm256_setzero_ps(), g)));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_div_ps(g, below), _mm256_loadu_ps(up)));
}

void glu_silu_f32_avx2(const float *gate, const float *up, uint64_t n, float *out) {
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8)
        eight(gate + i, up + i, out + i);
    if (i < n) { // the same arithmetic, so that an element's place does not matter
        float a[8] = {0}, b[8] = {0}, c[8];
        memcpy(a, gate + i, (n - i) * sizeof *a);
        memcpy(b, up + i, (n - i) * sizeof *b);
        eight(a, b, c);
        memcpy(out + i, c, (n - i) * sizeof *c);
    }
}
