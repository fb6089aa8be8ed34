// SPDX-License-Identifier: Apache-2.0
// Exponentials of attention.
#include "kernels/exp_avx512.h"
#include "kernels/kernels.h"

float attend_exp_f32_avx512(float *s, uint32_t n, float largest) {
    const __m512 top = _mm512_set1_ps(largest);
    __m512 sum = _mm512_setzero_ps();
    for (uint32_t i = 0; i < n; i += 16) {
        const __mmask16 mask = n - i >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << (n - i)) - 1);
        __m512 e = cpu_exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, s + i), top));
        _mm512_mask_storeu_ps(s + i, mask, e);
        sum = _mm512_mask_add_ps(sum, mask, sum, e);
    }
    return _mm512_reduce_add_ps(sum);
}
