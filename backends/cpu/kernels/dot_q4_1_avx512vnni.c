// SPDX-License-Identifier: Apache-2.0
// Q4_1 rows against few activation rows.
#include "kernels/dot_rows_avx512vnni.h"

CPU_INLINE __m512i load(const uint8_t *row) {
    return cpu_nibbles2(row + 4, row + 24);
}

CPU_INLINE void body(const cpu_dot_rows_args *args, const uint32_t tokens) {
    cpu_panel_rows rows;
    cpu_quantised a[CPU_ROWS_TOKENS];
    __m512 sums[CPU_ROWS_TOKENS];
    cpu_rows_begin(args, tokens, &rows, a, sums);
    for (uint64_t b = 0, at = 0; b < args->k / 32; b += 2, at += 40) {
        __m512i quads[CPU_ROWS_TOKENS][4];
        cpu_panel_ahead(args, at, 40);
        cpu_dot64(&rows, at, a, b * 32, tokens, load, quads);
        __m512i factors[2] = {cpu_column(&rows, at), cpu_column(&rows, at + 20)};
        __m512 scale[2], add[2];
        for (int i = 0; i < 2; i++) {
            scale[i] = cpu_low_halves(factors[i]);
            add[i] = cpu_high_halves(factors[i]);
        }
        for (uint32_t t = 0; t < tokens; t++) {
            __m512i dots[2];
            cpu_blocks_of(quads[t], dots);
            for (int i = 0; i < 2; i++) {
                uint64_t block = b + (uint64_t)i;
                sums[t] = cpu_apply(sums[t], dots[i], 0, a[t].scale[block], scale[i]);
                sums[t] = _mm512_fmadd_ps(_mm512_set1_ps(a[t].sum32[block]), add[i], sums[t]);
            }
        }
    }
    cpu_rows_end(args, tokens, sums);
}

void dot_q4_1_avx512vnni(const cpu_dot_rows_args *args) {
    cpu_dot_rows(args, body);
}
