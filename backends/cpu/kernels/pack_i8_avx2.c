// SPDX-License-Identifier: Apache-2.0
// Tiles of signed bytes, for dot_i8_avx2.
#include "kernels/pack_avx2.h"

void pack_i8_avx2(const int8_t *rows, uint32_t n, uint8_t *tile) {
    cpu_pack_avx2(rows, n, tile, 0);
}
