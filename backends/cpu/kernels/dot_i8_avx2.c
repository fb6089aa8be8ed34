// SPDX-License-Identifier: Apache-2.0
// Tile products by vpmaddubsw. Its first operand is unsigned, so the weights' signs move to the
// activations; two products are at most 2*128*127 and fit 16 bits.
#include "kernels/dot_tile_avx2.h"

CPU_INLINE __m256i dot4(__m256i sum, __m256i weights, __m256i activations) {
    __m256i pairs =
        _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(activations, weights));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

void dot_i8_avx2(const cpu_dot_tile_args *args) {
    cpu_dot_tile(args, false, dot4);
}
