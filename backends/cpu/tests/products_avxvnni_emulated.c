// SPDX-License-Identifier: Apache-2.0
// The AVX-VNNI products with their one instruction in plain C: cpu_products_avxvnni_emulated.
#include <immintrin.h>
#include <stdint.h>

// Adds four products of unsigned and signed bytes to each lane.
static inline __m256i emulated_dpbusd(__m256i sum, __m256i w, __m256i x) {
    union {
        __m256i v;
        int32_t lane[8];
        uint8_t u[32];
        int8_t s[32];
    } a = {sum}, b = {w}, c = {x};
    for (int i = 0; i < 32; i++)
        a.lane[i / 4] += b.u[i] * c.s[i];
    return a.v;
}
#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32 emulated_dpbusd
#define cpu_products_avxvnni cpu_products_avxvnni_emulated // beside the real one

#define CPU_EMULATED
#include "kernels/products_avxvnni.c"
