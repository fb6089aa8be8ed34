// SPDX-License-Identifier: Apache-2.0
// silu(gate) * up.
#include "kernels/exp_avx512.h"
#include "kernels/kernels.h"

void glu_silu_f32_avx512(const float *gate, const float *up, uint64_t n, float *out) {
    const __m512 one = _mm512_set1_ps(1.0f);
    for (uint64_t i = 0; i < n; i += 16) {
        __mmask16 mask = n - i >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << (n - i)) - 1);
        __m512 g = _mm512_maskz_loadu_ps(mask, gate + i);
        __m512 below = _mm512_add_ps(one, cpu_exp16(_mm512_sub_ps(_mm512_setzero_ps(), g)));
        __m512 value = _mm512_mul_ps(_mm512_div_ps(g, below), _mm512_maskz_loadu_ps(mask, up + i));
        _mm512_mask_storeu_ps(out + i, mask, value);
    }
}
