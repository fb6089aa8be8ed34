// SPDX-License-Identifier: Apache-2.0
// Tiles of bytes biased by 128, for dot_u8_avxvnni.
#include "kernels/pack_avx2.h"

void pack_u8_avxvnni(const int8_t *rows, uint32_t n, uint8_t *tile) {
    cpu_pack_avx2(rows, n, tile, (char)0x80);
}
