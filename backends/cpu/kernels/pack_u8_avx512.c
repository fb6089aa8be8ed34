// SPDX-License-Identifier: Apache-2.0
// Tiles of bytes biased by 128, for dot_u8_avx512vnni: sixteen by sixteen words of four bytes.
#include <immintrin.h>

#include "kernels/kernels.h"

// Rows r[0..15] of sixteen words become columns.
static inline void transpose16(__m512i r[16]) {
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
        __m512i low = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x88), high = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xdd);
        __m512i low2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x88);
        __m512i high2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xdd);
        r[j] = _mm512_shuffle_i32x4(low, low2, 0x88);
        r[8 + j] = _mm512_shuffle_i32x4(low, low2, 0xdd);
        r[4 + j] = _mm512_shuffle_i32x4(high, high2, 0x88);
        r[12 + j] = _mm512_shuffle_i32x4(high, high2, 0xdd);
    }
}

void pack_u8_avx512(const int8_t *rows, uint32_t n, uint8_t *tile) {
    const __m512i bias = _mm512_set1_epi8((char)0x80);
    for (uint32_t i = 0; i < n; i += 64) {
        __mmask16 here = n - i >= 64 ? (__mmask16)0xffff : (__mmask16)0xff;
        int words = n - i >= 64 ? 16 : 8;
        __m512i r[16];
        for (int j = 0; j < 16; j++)
            r[j] = _mm512_xor_si512(_mm512_maskz_loadu_epi32(here, rows + j * CPU_CHUNK + i), bias);
        transpose16(r);
        for (int j = 0; j < words; j++)
            _mm512_storeu_si512(tile + i * CPU_PANEL + j * 64, r[j]);
    }
}
