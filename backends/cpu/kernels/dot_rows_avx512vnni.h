// SPDX-License-Identifier: Apache-2.0
// dot_rows_avx512vnni.h: what the direct kernels for few activation rows share. They unpack a
// panel's rows into registers, 64 values at a time, and give the same bits as dot_u8_avx512vnni
// does on a tile: the integer dots are exact, and the sums of floats grow in the same order.
#ifndef GREGALE_BACKENDS_CPU_DOT_ROWS_AVX512VNNI_H
#define GREGALE_BACKENDS_CPU_DOT_ROWS_AVX512VNNI_H

#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

#define CPU_INLINE static inline __attribute__((always_inline))

// Where the rows of a panel start, the last one repeated.
typedef struct cpu_panel_rows {
    const uint8_t *at[CPU_PANEL];
} cpu_panel_rows;

CPU_INLINE void cpu_panel_open(const cpu_dot_rows_args *a, cpu_panel_rows *rows) {
    for (uint32_t r = 0; r < CPU_PANEL; r++)
        rows->at[r] = a->weights + (r < a->rows ? r : a->rows - 1) * a->row_bytes;
}

// Asks for bytes [at*16, (at+bytes)*16) of the next panel, which lies behind this one.
CPU_INLINE void cpu_panel_ahead(const cpu_dot_rows_args *a, uint64_t at, const uint32_t bytes) {
    uintptr_t from = (uintptr_t)a->weights + CPU_PANEL * (a->row_bytes + at);
    for (uint32_t i = 0; i < CPU_PANEL * bytes; i += 64)
        __builtin_prefetch((const void *)(from + i), 0, 2);
}

// Sums of four lanes each: of rows 0-3 side by side in every 128 bits.
CPU_INLINE __m512i cpu_add_quads(const __m512i d[4]) {
    __m512i a =
        _mm512_add_epi32(_mm512_unpacklo_epi32(d[0], d[1]), _mm512_unpackhi_epi32(d[0], d[1]));
    __m512i b =
        _mm512_add_epi32(_mm512_unpacklo_epi32(d[2], d[3]), _mm512_unpackhi_epi32(d[2], d[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

// Four such vectors (rows 0-3, 4-7, 8-11, 12-15) to the dots of two blocks of 32, a lane a row.
CPU_INLINE void cpu_blocks_of(const __m512i q[4], __m512i out[2]) {
    __m512i a = _mm512_add_epi32(_mm512_shuffle_i32x4(q[0], q[1], 0x88),
                                 _mm512_shuffle_i32x4(q[0], q[1], 0xdd));
    __m512i b = _mm512_add_epi32(_mm512_shuffle_i32x4(q[2], q[3], 0x88),
                                 _mm512_shuffle_i32x4(q[2], q[3], 0xdd));
    out[0] = _mm512_shuffle_i32x4(a, b, 0x88);
    out[1] = _mm512_shuffle_i32x4(a, b, 0xdd);
}

// The same to the dots of four groups of 16.
CPU_INLINE void cpu_groups_of(const __m512i q[4], __m512i out[4]) {
    __m512i a = _mm512_shuffle_i32x4(q[0], q[1], 0x88), b = _mm512_shuffle_i32x4(q[0], q[1], 0xdd);
    __m512i c = _mm512_shuffle_i32x4(q[2], q[3], 0x88), d = _mm512_shuffle_i32x4(q[2], q[3], 0xdd);
    out[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    out[1] = _mm512_shuffle_i32x4(b, d, 0x88);
    out[2] = _mm512_shuffle_i32x4(a, c, 0xdd);
    out[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

// Reads 64 values of one row as unsigned bytes.
typedef __m512i (*cpu_load64)(const uint8_t *row);

// The dots of 64 values, `at` bytes into each row, with each token's activations at value k.
CPU_INLINE void cpu_dot64(const cpu_panel_rows *rows, uint64_t at, const cpu_quantised *a,
                          uint64_t k, const uint32_t tokens, cpu_load64 load, __m512i quads[][4]) {
    __m512i x[CPU_ROWS_TOKENS];
    for (uint32_t t = 0; t < tokens; t++)
        x[t] = _mm512_loadu_si512(a[t].q + k);
#pragma GCC unroll 4
    for (uint32_t four = 0; four < 4; four++) {
        __m512i w[4];
        for (uint32_t r = 0; r < 4; r++)
            w[r] = load(rows->at[four * 4 + r] + at);
        for (uint32_t t = 0; t < tokens; t++) {
            __m512i d[4];
            for (uint32_t r = 0; r < 4; r++)
                d[r] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w[r], x[t]);
            quads[t][four] = cpu_add_quads(d);
        }
    }
}

// sums = fma(dot * activation scale, scale, sums), `bias` added to the dot first.
CPU_INLINE __m512 cpu_apply(__m512 sums, __m512i dot, int32_t bias, float activation,
                            __m512 scale) {
    __m512 value = _mm512_cvtepi32_ps(_mm512_add_epi32(dot, _mm512_set1_epi32(bias)));
    return _mm512_fmadd_ps(_mm512_mul_ps(value, _mm512_set1_ps(activation)), scale, sums);
}

// The 32 bits `at` bytes into each row, a lane a row.
CPU_INLINE __m512i cpu_column(const cpu_panel_rows *rows, uint64_t at) {
    int32_t v[CPU_PANEL];
    for (int r = 0; r < CPU_PANEL; r++)
        memcpy(&v[r], rows->at[r] + at, 4);
    return _mm512_setr_epi32(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10],
                             v[11], v[12], v[13], v[14], v[15]);
}

// The 128 bits `at` bytes into each row as four columns.
CPU_INLINE void cpu_columns4(const cpu_panel_rows *rows, uint64_t at, __m512i out[4]) {
    __m512i r[4];
    for (int j = 0; j < 4; j++) {
        __m512i v = _mm512_castsi128_si512(
            _mm_loadu_si128((const __m128i *)(const void *)(rows->at[j] + at)));
        v = _mm512_inserti32x4(
            v, _mm_loadu_si128((const __m128i *)(const void *)(rows->at[4 + j] + at)), 1);
        v = _mm512_inserti32x4(
            v, _mm_loadu_si128((const __m128i *)(const void *)(rows->at[8 + j] + at)), 2);
        r[j] = _mm512_inserti32x4(
            v, _mm_loadu_si128((const __m128i *)(const void *)(rows->at[12 + j] + at)), 3);
    }
    __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
    __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    out[0] = _mm512_unpacklo_epi64(a, c);
    out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d);
    out[3] = _mm512_unpackhi_epi64(b, d);
}

// F16 in the low or high half of each lane, as F32.
CPU_INLINE __m512 cpu_low_halves(__m512i v) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}
CPU_INLINE __m512 cpu_high_halves(__m512i v) {
    return cpu_low_halves(_mm512_srli_epi32(v, 16));
}

// A kernel's body, for a constant number of tokens.
typedef void (*cpu_rows_body)(const cpu_dot_rows_args *args, uint32_t tokens);

CPU_INLINE void cpu_dot_rows(const cpu_dot_rows_args *args, cpu_rows_body body) {
    switch (args->tokens) {
    case 1: body(args, 1); break;
    case 2: body(args, 2); break;
    case 3: body(args, 3); break;
    default: body(args, 4); break;
    }
}

CPU_INLINE void cpu_rows_begin(const cpu_dot_rows_args *args, const uint32_t tokens,
                               cpu_panel_rows *rows, cpu_quantised *a, __m512 *sums) {
    cpu_panel_open(args, rows);
    for (uint32_t t = 0; t < tokens; t++) {
        a[t] = cpu_quantised_at(args->activations + t * args->activation_stride, args->k);
        sums[t] = _mm512_setzero_ps();
    }
}

CPU_INLINE void cpu_rows_end(const cpu_dot_rows_args *args, const uint32_t tokens,
                             const __m512 *sums) {
    for (uint32_t t = 0; t < tokens; t++)
        _mm512_storeu_ps(args->sums + t * CPU_PANEL, sums[t]);
}

// 64 nibbles of two runs of 16 bytes, each run's low ones first.
CPU_INLINE __m512i cpu_nibbles2(const uint8_t *first, const uint8_t *second) {
    const __m512i shifts = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    __m512i v = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)first));
    v = _mm512_mask_broadcast_i32x4(v, 0xff00,
                                    _mm_loadu_si128((const __m128i *)(const void *)second));
    return _mm512_and_si512(_mm512_srlv_epi64(v, shifts), _mm512_set1_epi8(15));
}

#endif
