// SPDX-License-Identifier: Apache-2.0
// Activations to 8 bits with an F32 scale a block of 32, and the sums that offsets need. A block
// that is not finite gets a NaN scale, so that every product with it is NaN.
#include <immintrin.h>
#include <math.h>

#include "kernels/kernels.h"

static inline uint32_t largest_bits(const __m256 v[4]) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i m = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++)
        m = _mm256_max_epu32(m, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
    __m128i n = _mm_max_epu32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    n = _mm_max_epu32(n, _mm_shuffle_epi32(n, 0x4e));
    n = _mm_max_epu32(n, _mm_shuffle_epi32(n, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(n);
}

static inline int32_t sum8(__m256i v) {
    __m128i n = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    n = _mm_add_epi32(n, _mm_shuffle_epi32(n, 0x4e));
    n = _mm_add_epi32(n, _mm_shuffle_epi32(n, 0xb1));
    return _mm_cvtsi128_si32(n);
}

// 32 integers of at most 8 bits to bytes.
static inline __m256i narrow(const __m256i v[4]) {
    __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

void quantise_f32_avx2(const float *x, uint64_t first, uint64_t count, cpu_quantised *row,
                       uint64_t stride) {
    for (uint64_t at = first; at < first + count; at += 32, x += 32) {
        cpu_quantised *a = row + at / CPU_CHUNK * stride;
        const uint64_t b = at % CPU_CHUNK / 32;
        __m256 v[4];
        __m256i n[4];
        for (int i = 0; i < 4; i++)
            v[i] = _mm256_loadu_ps(x + i * 8);
        union {
            uint32_t bits;
            float value;
        } largest = {largest_bits(v)};
        bool finite = largest.bits < 0x7f800000u, zero = !finite || largest.value < 1e-36f;
        float scale = !finite ? NAN : zero ? 0.0f : largest.value / 127.0f;
        __m256 inverse = _mm256_set1_ps(zero ? 0.0f : 127.0f / largest.value);
        for (int i = 0; i < 4; i++)
            n[i] = zero ? _mm256_setzero_si256() : _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
        _mm256_storeu_si256((__m256i *)(void *)(a->q + b * 32), narrow(n));
        int32_t low = sum8(_mm256_add_epi32(n[0], n[1])), high = sum8(_mm256_add_epi32(n[2], n[3]));
        a->scale[b] = scale;
        a->sum32[b] = low + high;
        a->total32[b] = scale * (float)(low + high);
        a->sum16[2 * b] = (int16_t)low;
        a->sum16[2 * b + 1] = (int16_t)high;
    }
}
