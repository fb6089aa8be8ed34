// SPDX-License-Identifier: Apache-2.0
// vec_amx.h: tile registers (Intel's AMX with 8-bit integers) beside the words of vec_avx512.h. A tile register holds up
// to 16 rows of 64 bytes; one instruction multiplies two of them as matrices.
#ifndef GREGALE_BACKENDS_CPU_VEC_AMX_H
#define GREGALE_BACKENDS_CPU_VEC_AMX_H

#include <stdbool.h>

#include "kernels/vec_avx512.h"
#ifdef CPU_EMULATED
#include "tests/amx_emulated.h"
#endif

#define CPU_TILE_ROWS 16 // activation rows at once

// The registers, by number: dots of 16 activation rows with 16 weight rows, and the activations and weights of a group of
// 32.
#define CPU_AMX_DOTS 0
#define CPU_AMX_X 1
#define CPU_AMX_W 2

// The form in which LDTILECFG takes the registers' shapes.
typedef struct cpu_amx_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} cpu_amx_shapes;

CPU_INLINE void cpu_amx_begin(void) {
    static const cpu_amx_shapes shapes = {
        .palette = 1,
        .row_bytes = {[CPU_AMX_DOTS] = 64, [CPU_AMX_X] = 32, [CPU_AMX_W] = 64},
        .rows = {[CPU_AMX_DOTS] = 16, [CPU_AMX_X] = 16, [CPU_AMX_W] = 8}};
    _tile_loadconfig(&shapes);
}
CPU_INLINE void cpu_amx_end(void) {
    _tile_release();
}

// dots[activation row][weight row] = the exact dots of a group's values, x[activation row] `stride` apart and signed, with
// its weights w[value / 4][weight row][4], unsigned.
CPU_INLINE void cpu_amx_dots(const int8_t *x, size_t stride, const uint8_t *w, int32_t *dots) {
    _tile_zero(CPU_AMX_DOTS);
    _tile_loadd(CPU_AMX_X, x, stride);
    _tile_loadd(CPU_AMX_W, w, 64);
    _tile_dpbsud(CPU_AMX_DOTS, CPU_AMX_X, CPU_AMX_W);
    _tile_stored(CPU_AMX_DOTS, dots, 64);
}

#endif
