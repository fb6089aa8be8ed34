// SPDX-License-Identifier: Apache-2.0
// Tiles of bytes biased by 128, for dot_u8_avx512vnni: sixteen by sixteen words of four bytes.
#include <immintrin.h>

#include "kernels/kernels.h"

// Rows r[0..15] of sixteen words become columns.
static inline __attribute__((always_inline)) void transpose16(__m512i r[16]) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { // b[i+j]: column 4*lane+j of rows i to i+3
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        __m512i low = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x88),
                high = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xdd);
        __m512i low2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x88);
        __m512i high2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xdd);
        r[j] = _mm512_shuffle_i32x4(low, low2, 0x88);
        r[8 + j] = _mm512_shuffle_i32x4(low, low2, 0xdd);
        r[4 + j] = _mm512_shuffle_i32x4(high, high2, 0x88);
        r[12 + j] = _mm512_shuffle_i32x4(high, high2, 0xdd);
    }
}

// 64 values of every row, or their first 32; `words` is a constant where this is inlined.
static inline __attribute__((always_inline)) void pack_block(const int8_t *rows, uint8_t *tile,
                                                             const int words) {
    const __m512i bias = _mm512_set1_epi8((char)0x80);
    __m512i r[16];
    for (int j = 0; j < 16; j++) {
        const int8_t *from = rows + j * CPU_CHUNK;
        __m512i values =
            words == 16
                ? _mm512_loadu_si512(from)
                : _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)from));
        r[j] = _mm512_xor_si512(values, bias);
    }
    transpose16(r);
#pragma GCC unroll 16
    for (int j = 0; j < words; j++)
        _mm512_storeu_si512(tile + j * 64, r[j]);
}

void pack_u8_avx512(const int8_t *rows, uint32_t n, uint8_t *tile) {
    uint32_t i = 0;
    for (; i + 64 <= n; i += 64)
        pack_block(rows + i, tile + i * CPU_PANEL, 16);
    if (i < n)
        pack_block(rows + i, tile + i * CPU_PANEL, 8);
}
