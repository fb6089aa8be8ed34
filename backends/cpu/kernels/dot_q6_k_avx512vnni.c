// SPDX-License-Identifier: Apache-2.0
// Q6_K rows against few activation rows.
#include "kernels/dot_rows_avx512vnni.h"

// Values [64*part, 64*part+64) of a block: parts 0 and 2 take low nibbles of ql, 1 and 3 high ones.
CPU_INLINE __m512i load_part(const uint8_t *row, const unsigned part) {
    const gr_block_q6_k *block = (const gr_block_q6_k *)(const void *)row;
    const unsigned half = part / 2;
    const __m512i shifts = part % 2 ? _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2)
                                    : _mm512_setr_epi64(4, 4, 4, 4, 2, 2, 2, 2);
    __m512i low = _mm512_loadu_si512(block->ql + half * 64);
    __m512i high = _mm512_broadcast_i64x4(
        _mm256_loadu_si256((const __m256i *)(const void *)(block->qh + half * 32)));
    if (part % 2) {
        low = _mm512_srli_epi16(low, 4);
        high = _mm512_srlv_epi64(high, shifts);
    } else {
        high = _mm512_sllv_epi64(high, shifts);
    }
    low = _mm512_and_si512(low, _mm512_set1_epi8(15));
    return _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi8(0x30),
                                     0xf8); // low | (high & 0x30)
}

CPU_INLINE __m512i load0(const uint8_t *row) {
    return load_part(row, 0);
}
CPU_INLINE __m512i load1(const uint8_t *row) {
    return load_part(row, 1);
}
CPU_INLINE __m512i load2(const uint8_t *row) {
    return load_part(row, 2);
}
CPU_INLINE __m512i load3(const uint8_t *row) {
    return load_part(row, 3);
}

// One part of a block: four groups, whose scales stand in the bytes of `scales`.
CPU_INLINE void part(const cpu_panel_rows *rows, uint64_t at, const cpu_quantised *a,
                     uint64_t group, const uint32_t tokens, cpu_load64 load, __m512i scales,
                     __m512 d, __m512 *sums) {
    __m512i quads[CPU_ROWS_TOKENS][4];
    __m512 scale[4];
    cpu_dot64(rows, at, a, group * 16, tokens, load, quads);
#pragma GCC unroll 4
    for (unsigned i = 0; i < 4; i++)
        scale[i] = _mm512_mul_ps(
            _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(scales, 24 - 8 * i), 24)), d);
    for (uint32_t t = 0; t < tokens; t++) {
        __m512i dots[4];
        cpu_groups_of(quads[t], dots);
        for (unsigned i = 0; i < 4; i++) // a value is 32 too large: a quarter of the bias by 128
            sums[t] = cpu_apply(sums[t], dots[i], a[t].bias16[group + i] / 4,
                                a[t].scale[(group + i) / 2], scale[i]);
    }
}

CPU_INLINE void body(const cpu_dot_rows_args *args, const uint32_t tokens) {
    cpu_panel_rows rows;
    cpu_quantised a[CPU_ROWS_TOKENS];
    __m512 sums[CPU_ROWS_TOKENS];
    cpu_rows_begin(args, tokens, &rows, a, sums);
    for (uint64_t g = 0, at = 0; g < args->k / 16; g += 16, at += sizeof(gr_block_q6_k)) {
        __m512i scales[4];
        cpu_columns4(&rows, at + offsetof(gr_block_q6_k, scales), scales);
        __m512 d = cpu_high_halves(cpu_column(&rows, at + offsetof(gr_block_q6_k, d) - 2));
        cpu_panel_ahead(args, at, 52);
        part(&rows, at, a, g, tokens, load0, scales[0], d, sums);
        cpu_panel_ahead(args, at + 52, 52);
        part(&rows, at, a, g + 4, tokens, load1, scales[1], d, sums);
        cpu_panel_ahead(args, at + 104, 52);
        part(&rows, at, a, g + 8, tokens, load2, scales[2], d, sums);
        cpu_panel_ahead(args, at + 156, 54);
        part(&rows, at, a, g + 12, tokens, load3, scales[3], d, sums);
    }
    cpu_rows_end(args, tokens, sums);
}

void dot_q6_k_avx512vnni(const cpu_dot_rows_args *args) {
    cpu_dot_rows(args, body);
}
