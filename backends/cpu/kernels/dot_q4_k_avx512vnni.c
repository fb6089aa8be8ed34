// SPDX-License-Identifier: Apache-2.0
// Q4_K rows against few activation rows. The 16 bytes that open a block (d, dmin, eight scales and
// minima of six bits) are taken as four columns, so that one instruction serves all rows of the
// panel.
#include "kernels/dot_rows_avx512vnni.h"

CPU_INLINE __m512i load(const uint8_t *row) {
    const __m512i shifts = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4);
    __m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)row));
    return _mm512_and_si512(_mm512_srlv_epi64(v, shifts), _mm512_set1_epi8(15));
}

// The factors of a panel's block.
typedef struct factors {
    __m512 d, dmin;
    __m512i scales[2], minima[2]; // of groups 0-3 and 4-7, a byte each
} factors;

CPU_INLINE void open_block(const cpu_panel_rows *rows, uint64_t at, factors *f) {
    __m512i c[4];
    cpu_columns4(rows, at, c);
    const __m512i six = _mm512_set1_epi32(0x3f3f3f3f), four = _mm512_set1_epi32(0x0f0f0f0f);
    const __m512i two = _mm512_set1_epi32(0x30303030);
    f->d = cpu_low_halves(c[0]);
    f->dmin = _mm512_sub_ps(_mm512_setzero_ps(), cpu_high_halves(c[0]));
    f->scales[0] = _mm512_and_si512(c[1], six);
    f->minima[0] = _mm512_and_si512(c[2], six);
    f->scales[1] = _mm512_or_si512(_mm512_and_si512(c[3], four),
                                   _mm512_and_si512(_mm512_srli_epi32(c[1], 2), two));
    f->minima[1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(c[3], 4), four),
                                   _mm512_and_si512(_mm512_srli_epi32(c[2], 2), two));
}

// Byte `i` of each lane times `factor`.
CPU_INLINE __m512 factor_of(__m512i bytes, const unsigned i, __m512 factor) {
    __m512i byte = _mm512_and_si512(_mm512_srli_epi32(bytes, 8 * i), _mm512_set1_epi32(255));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(byte), factor);
}

CPU_INLINE void body(const cpu_dot_rows_args *args, const uint32_t tokens) {
    cpu_panel_rows rows;
    cpu_quantised a[CPU_ROWS_TOKENS];
    __m512 sums[CPU_ROWS_TOKENS];
    cpu_rows_begin(args, tokens, &rows, a, sums);
    for (uint64_t b = 0, at = 0; b < args->k / 32; b += 8, at += sizeof(gr_block_q4_k)) {
        factors f;
        open_block(&rows, at, &f);
#pragma GCC unroll 4
        for (unsigned pair = 0; pair < 4; pair++) {
            __m512i quads[CPU_ROWS_TOKENS][4];
            cpu_panel_ahead(args, at + pair * 36, 36);
            cpu_dot64(&rows, at + 16 + pair * 32, a, b * 32 + pair * 64, tokens, load, quads);
            for (uint32_t t = 0; t < tokens; t++) {
                __m512i dots[2];
                cpu_blocks_of(quads[t], dots);
#pragma GCC unroll 2
                for (unsigned i = 0; i < 2; i++) {
                    const unsigned group = pair * 2 + i;
                    sums[t] = cpu_apply(sums[t], dots[i], 0, a[t].scale[b + group],
                                        factor_of(f.scales[group / 4], group % 4, f.d));
                    sums[t] =
                        _mm512_fmadd_ps(_mm512_set1_ps(a[t].sum32[b + group]),
                                        factor_of(f.minima[group / 4], group % 4, f.dmin), sums[t]);
                }
            }
        }
    }
    cpu_rows_end(args, tokens, sums);
}

void dot_q4_k_avx512vnni(const cpu_dot_rows_args *args) {
    cpu_dot_rows(args, body);
}
