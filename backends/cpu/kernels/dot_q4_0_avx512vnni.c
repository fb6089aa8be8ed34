// SPDX-License-Identifier: Apache-2.0
// Q4_0 rows against few activation rows.
#include "kernels/dot_rows_avx512vnni.h"

CPU_INLINE __m512i load(const uint8_t *row) {
    return cpu_nibbles2(row + 2, row + 20);
}

CPU_INLINE void body(const cpu_dot_rows_args *args, const uint32_t tokens) {
    cpu_panel_rows rows;
    cpu_quantised a[CPU_ROWS_TOKENS];
    __m512 sums[CPU_ROWS_TOKENS];
    cpu_rows_begin(args, tokens, &rows, a, sums);
    for (uint64_t b = 0, at = 0; b < args->k / 32; b += 2, at += 36) {
        __m512i quads[CPU_ROWS_TOKENS][4];
        cpu_panel_ahead(args, at, 36);
        cpu_dot64(&rows, at, a, b * 32, tokens, load, quads);
        __m512 scale[2] = {cpu_low_halves(cpu_column(&rows, at)),
                           cpu_low_halves(cpu_column(&rows, at + 18))};
        for (uint32_t t = 0; t < tokens; t++) {
            __m512i dots[2];
            cpu_blocks_of(quads[t], dots);
            for (int i = 0; i < 2; i++) // a value is 8 too large: 1/16 of the bias by 128
                sums[t] = cpu_apply(sums[t], dots[i], a[t].bias32[b + (uint64_t)i] / 16,
                                    a[t].scale[b + (uint64_t)i], scale[i]);
        }
    }
    cpu_rows_end(args, tokens, sums);
}

void dot_q4_0_avx512vnni(const cpu_dot_rows_args *args) {
    cpu_dot_rows(args, body);
}
