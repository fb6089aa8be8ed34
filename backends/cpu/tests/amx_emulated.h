// SPDX-License-Identifier: Apache-2.0
// amx_emulated.h: the instructions of tile registers that products use, in plain C. Registers are a thread's own, as they
// are in a processor, and nothing works before their shapes are loaded.
#ifndef GREGALE_BACKENDS_CPU_AMX_EMULATED_H
#define GREGALE_BACKENDS_CPU_AMX_EMULATED_H

#include <stdlib.h>
#include <string.h>

static _Thread_local struct emulated_tile {
    uint32_t rows, row_bytes;
    uint8_t data[16][64];
} emulated_tiles[8];

// The register, which must have a shape: what has none is an invalid instruction in a processor.
static inline struct emulated_tile *emulated_tile_of(int number) {
    struct emulated_tile *tile = &emulated_tiles[number];
    if (!tile->rows || !tile->row_bytes)
        abort();
    return tile;
}

static inline void emulated_loadconfig(const void *shapes) {
    const uint8_t *from = shapes;
    for (int i = 0; i < 8; i++) {
        emulated_tiles[i].row_bytes = (uint32_t)from[16 + 2 * i] | (uint32_t)from[17 + 2 * i] << 8;
        emulated_tiles[i].rows = from[48 + i];
        memset(emulated_tiles[i].data, 0, sizeof emulated_tiles[i].data);
    }
}

static inline void emulated_loadd(int number, const void *from, size_t stride) {
    struct emulated_tile *tile = emulated_tile_of(number);
    for (uint32_t r = 0; r < tile->rows; r++)
        memcpy(tile->data[r], (const uint8_t *)from + r * stride, tile->row_bytes);
}

static inline void emulated_stored(int number, void *to, size_t stride) {
    const struct emulated_tile *tile = emulated_tile_of(number);
    for (uint32_t r = 0; r < tile->rows; r++)
        memcpy((uint8_t *)to + r * stride, tile->data[r], tile->row_bytes);
}

// Signed bytes of a times unsigned bytes of b, four neighbours a sum.
static inline void emulated_dpbsud(int into, int a, int b) {
    struct emulated_tile *sums = emulated_tile_of(into);
    const struct emulated_tile *x = emulated_tile_of(a), *w = emulated_tile_of(b);
    if (x->row_bytes / 4 != w->rows || x->rows != sums->rows || w->row_bytes != sums->row_bytes)
        abort();
    for (uint32_t r = 0; r < sums->rows; r++) {
        for (uint32_t c = 0; c < sums->row_bytes / 4; c++) {
            int32_t sum;
            memcpy(&sum, sums->data[r] + 4 * c, 4);
            for (uint32_t k = 0; k < x->row_bytes; k++)
                sum += (int8_t)x->data[r][k] * w->data[k / 4][4 * c + k % 4];
            memcpy(sums->data[r] + 4 * c, &sum, 4);
        }
    }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#define _tile_loadconfig emulated_loadconfig
#define _tile_release() memset(emulated_tiles, 0, sizeof emulated_tiles)
#define _tile_zero(tile) memset(emulated_tile_of(tile)->data, 0, sizeof emulated_tiles[0].data)
#define _tile_loadd emulated_loadd
#define _tile_stored emulated_stored
#define _tile_dpbsud emulated_dpbsud

#endif
