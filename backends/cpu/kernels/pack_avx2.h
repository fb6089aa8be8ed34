// SPDX-License-Identifier: Apache-2.0
// pack_avx2.h: weaves 16 rows of bytes into a tile, eight by eight words of four bytes.
#ifndef GREGALE_BACKENDS_CPU_PACK_AVX2_H
#define GREGALE_BACKENDS_CPU_PACK_AVX2_H

#include <immintrin.h>

#include "kernels/kernels.h"

// Rows r[0..7] of eight words become columns.
static inline void cpu_transpose8(__m256i r[8]) {
    __m256i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        r[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

// `flip` is exclusive-ored into every byte: 0 keeps them signed, 0x80 biases them by 128.
static inline void cpu_pack_avx2(const int8_t *rows, uint32_t n, uint8_t *tile, char flip) {
    const __m256i mask = _mm256_set1_epi8(flip);
    for (uint32_t i = 0; i < n; i += 32) {
        for (int half = 0; half < 2; half++) {
            __m256i r[8];
            for (int j = 0; j < 8; j++) {
                const int8_t *from = rows + (half * 8 + j) * CPU_CHUNK + i;
                r[j] =
                    _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)from), mask);
            }
            cpu_transpose8(r);
            for (int j = 0; j < 8; j++)
                _mm256_storeu_si256((__m256i *)(void *)(tile + i * CPU_PANEL + j * 64 + half * 32),
                                    r[j]);
        }
    }
}

#endif
