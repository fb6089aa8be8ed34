// SPDX-License-Identifier: Apache-2.0
// Q8_0 rows against few activation rows.
#include "kernels/dot_rows_avx512vnni.h"

CPU_INLINE __m512i load(const uint8_t *row) {
    __m512i v =
        _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)(row + 2)));
    v = _mm512_inserti64x4(v, _mm256_loadu_si256((const __m256i *)(const void *)(row + 36)), 1);
    return _mm512_xor_si512(v, _mm512_set1_epi8((char)0x80));
}

CPU_INLINE void body(const cpu_dot_rows_args *args, const uint32_t tokens) {
    cpu_panel_rows rows;
    cpu_quantised a[CPU_ROWS_TOKENS];
    __m512 sums[CPU_ROWS_TOKENS];
    cpu_rows_begin(args, tokens, &rows, a, sums);
    for (uint64_t b = 0, at = 0; b < args->k / 32; b += 2, at += 68) {
        __m512i quads[CPU_ROWS_TOKENS][4];
        cpu_panel_ahead(args, at, 68);
        cpu_dot64(&rows, at, a, b * 32, tokens, load, quads);
        __m512 scale[2] = {cpu_low_halves(cpu_column(&rows, at)),
                           cpu_low_halves(cpu_column(&rows, at + 34))};
        for (uint32_t t = 0; t < tokens; t++) {
            __m512i dots[2];
            cpu_blocks_of(quads[t], dots);
            for (int i = 0; i < 2; i++)
                sums[t] = cpu_apply(sums[t], dots[i], a[t].bias32[b + (uint64_t)i],
                                    a[t].scale[b + (uint64_t)i], scale[i]);
        }
    }
    cpu_rows_end(args, tokens, sums);
}

void dot_q8_0_avx512vnni(const cpu_dot_rows_args *args) {
    cpu_dot_rows(args, body);
}
