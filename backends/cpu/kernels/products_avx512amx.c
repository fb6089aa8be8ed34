// SPDX-License-Identifier: Apache-2.0
// Products of block-quantised weights with tile registers: sixteen activation rows and a panel of sixteen weight rows at
// once. The tile in memory is AVX-512's, and so are packed panels, rows that are fewer, and remainders. Dots are exact and
// what follows them is computed in the same order, so the bits are AVX-512's too.
#include "kernels/vec_amx.h"

#include "kernels/tile.h"

#define GROUPS (CPU_CHUNK / 32) // of a tile
#define LEAST 5 // rows for which a block of sixteen takes less time than AVX-512

// Group g's dots of sixteen rows, which went on from `start`, added to their sums: see kernels.h.
CPU_INLINE void apply(const int32_t *dots, const cpu_tile *tile, uint32_t g, const cpu_quantised *x,
                      int32_t start[CPU_TILE_ROWS][GROUPS], const cpu_dtype_form form, cpu_vf *sums) {
    const cpu_vf s = cpu_loadf(tile->s + g * CPU_PANEL), c = form.offset ? cpu_loadf(tile->c + g * CPU_PANEL) : s;
    CPU_UNROLL
    for (uint32_t t = 0; t < CPU_TILE_ROWS; t++) {
        cpu_vi dot = cpu_load(dots + t * CPU_PANEL);
        if (form.zero)
            dot = cpu_add32(dot, cpu_set32(start[t][g]));
        sums[t] = cpu_fma(cpu_mulf(cpu_to_float(dot), cpu_setf(x[t].scale[g])), s, sums[t]);
        if (form.offset)
            sums[t] = cpu_fma(cpu_setf(x[t].total32[g]), c, sums[t]);
    }
}

// Sixteen rows. All dots come before the first is applied: what a tile register stores takes a while to reach the cache.
CPU_INLINE void sixteen(const cpu_dot_tile_args *args, const cpu_quantised *x, float *to, cpu_ahead *ahead,
                        const cpu_dtype_form form) {
    const uint32_t groups = cpu_tile_groups(args, form);
    int32_t dots[GROUPS][CPU_TILE_ROWS * CPU_PANEL] __attribute__((aligned(64)));
    int32_t start[CPU_TILE_ROWS][GROUPS];
    cpu_vf sums[CPU_TILE_ROWS];
    for (uint32_t g = 0; g < groups; g++)
        cpu_amx_dots(x->q + g * 32, sizeof *x, args->tile->q + g * 32 * CPU_PANEL, dots[g]);
    for (uint32_t t = 0; t < CPU_TILE_ROWS && form.zero; t++)
        cpu_starts(x + t, groups, form, start[t]);
    CPU_UNROLL
    for (uint32_t t = 0; t < CPU_TILE_ROWS; t++)
        sums[t] = cpu_loadf(to + t * CPU_PANEL);
    for (uint32_t g = 0; g < groups; g++) {
        cpu_ahead_turn(ahead);
        apply(dots[g], args->tile, g, x, start, form, sums);
    }
    CPU_UNROLL
    for (uint32_t t = 0; t < CPU_TILE_ROWS; t++)
        cpu_storef(to + t * CPU_PANEL, sums[t]);
}

CPU_INLINE void body(const cpu_dot_tile_args *args, const cpu_dtype_form form) {
    const cpu_quantised *x = args->records;
    float *sums = args->sums;
    uint32_t left = args->tokens;
    cpu_ahead ahead = cpu_tile_ahead(args, (left + CPU_TILE_ROWS - LEAST) / CPU_TILE_ROWS, form);
    for (; left >= CPU_TILE_ROWS; left -= CPU_TILE_ROWS, x += CPU_TILE_ROWS, sums += CPU_TILE_ROWS * CPU_PANEL)
        sixteen(args, x, sums, &ahead, form);
    if (left >= LEAST) { // beside rows that nobody asked for
        cpu_quantised rows[CPU_TILE_ROWS];
        float some[CPU_TILE_ROWS * CPU_PANEL];
        memcpy(rows, x, left * sizeof *x);
        memset(rows + left, 0, (CPU_TILE_ROWS - left) * sizeof *rows);
        memcpy(some, sums, left * CPU_PANEL * sizeof *some);
        memset(some + left * CPU_PANEL, 0, (CPU_TILE_ROWS - left) * CPU_PANEL * sizeof *some);
        sixteen(args, rows, some, &ahead, form);
        memcpy(sums, some, left * CPU_PANEL * sizeof *some);
        left = 0;
    }
    cpu_dot_tile_args rest = *args;
    if (left) {
        rest.records = x, rest.sums = sums, rest.tokens = left, rest.rest = NULL;
        rest.ahead = ahead.next;
        rest.ahead_bytes = ahead.next < ahead.end ? (uint64_t)(ahead.end - ahead.next) : 0;
        cpu_dot_tile_avx512vnni(&rest);
    }
    if (args->rest) {
        rest = *args;
        rest.tokens = 0, rest.ahead_bytes = 0;
        cpu_dot_tile_avx512vnni(&rest);
    }
}

// Groups of 16 fill half of what groups of 32 do, and take longer than with AVX-512.
static void dot_tile_amx(const cpu_dot_tile_args *args) {
    if (args->form.group == 32)
        cpu_tile_by_form(args, body);
    else
        cpu_dot_tile_avx512vnni(args);
}

void cpu_products_avx512amx(cpu_kernels *kernels) {
    kernels->dot_isa = "avx512amx";
    kernels->dot_tile = dot_tile_amx;
    kernels->tiles_begin = cpu_amx_begin;
    kernels->tiles_end = cpu_amx_end;
}
