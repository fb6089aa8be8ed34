// SPDX-License-Identifier: Apache-2.0
// mul_float.h: many activation rows against a panel of float weights, a chunk of K at a time, in the
// words of f32x8_avx2.h or f32x8_neon.h, which come first. The running sums are those that
// dot_float.h keeps, and are added up in its order, so both give the same bits.
#ifndef GREGALE_BACKENDS_CPU_MUL_FLOAT_H
#define GREGALE_BACKENDS_CPU_MUL_FLOAT_H

#include "kernels/load_float.h"

// Four weight rows and a few activation rows, whose sums stay in registers. With `load` the weights
// are read as they stand in the file, and laid in the panel for the activation rows that follow.
CPU_INLINE void cpu_mul_block(const cpu_mul_float_args *a, uint32_t r, uint32_t t,
                              const uint32_t tokens, cpu_load_float load) {
    float *sums = a->sums + (t * CPU_PANEL + r) * 8, *w = a->w + r * CPU_CHUNK;
    const float *x[CPU_FLOAT_TILE_TOKENS];
    const uint8_t *rows[4];
    cpu_f32x8 acc[CPU_FLOAT_TILE_TOKENS][4];
    CPU_UNROLL
    for (uint32_t i = 0; i < 4; i++) // rows that do not exist repeat the last one
        rows[i] = a->weights + (r + i < a->rows ? r + i : a->rows - 1) * a->weight_stride;
    CPU_UNROLL
    for (uint32_t i = 0; i < tokens; i++) {
        x[i] = a->x + (t + i) * a->x_stride;
        CPU_UNROLL
        for (uint32_t j = 0; j < 4; j++)
            acc[i][j] = f32x8_load(sums + (i * CPU_PANEL + j) * 8);
    }
    for (uint64_t k = 0; k < a->n; k += 8) {
        cpu_f32x8 v[CPU_FLOAT_TILE_TOKENS];
        CPU_UNROLL
        for (uint32_t i = 0; i < tokens; i++)
            v[i] = f32x8_load(x[i] + k);
        CPU_UNROLL
        for (uint32_t j = 0; j < 4; j++) {
            const cpu_f32x8 weight =
                f32x8_keep(load ? load(rows[j], k) : f32x8_load(w + j * CPU_CHUNK + k));
            if (load)
                f32x8_store(w + j * CPU_CHUNK + k, weight);
            CPU_UNROLL
            for (uint32_t i = 0; i < tokens; i++)
                acc[i][j] = f32x8_fma(weight, v[i], acc[i][j]);
        }
    }
    CPU_UNROLL
    for (uint32_t i = 0; i < tokens; i++) {
        CPU_UNROLL
        for (uint32_t j = 0; j < 4; j++)
            f32x8_store(sums + (i * CPU_PANEL + j) * 8, acc[i][j]);
    }
}

// The weights that come next, of which a few lines are asked for with each block: all of them at
// once would wait for each other.
typedef struct cpu_ahead {
    const uint8_t *row;
    uint32_t rows, byte, lines;
} cpu_ahead;

CPU_INLINE void cpu_ask_ahead(const cpu_mul_float_args *a, cpu_ahead *ahead) {
    for (uint32_t i = 0; i < ahead->lines && ahead->rows; i++) {
        __builtin_prefetch(ahead->row + ahead->byte, 0, 2);
        ahead->byte += 64;
        if (ahead->byte < a->ahead_bytes)
            continue;
        ahead->byte = 0;
        ahead->row += --ahead->rows ? a->weight_stride : 0;
    }
}

// All rows of the panel against activation rows [t, t+tokens); the next ones are asked for meanwhile.
CPU_INLINE void cpu_mul_rows(const cpu_mul_float_args *a, cpu_ahead *ahead, uint32_t t,
                             const uint32_t tokens, cpu_load_float load) {
    for (uint32_t r = 0; r < CPU_PANEL; r += 4) {
        cpu_ask_ahead(a, ahead);
        const uint32_t first = r * (CPU_CHUNK / CPU_PANEL); // a quarter of them with each block
        for (uint32_t i = t + tokens; i < t + 2 * tokens && i < a->tokens; i++) {
            for (uint32_t j = first; j < first + CPU_CHUNK / 4 && j < a->n; j += 16)
                __builtin_prefetch(a->x + i * a->x_stride + j);
        }
        if (t)
            cpu_mul_block(a, r, t, tokens, NULL);
        else
            cpu_mul_block(a, r, t, tokens, load);
    }
}

// One activation row alone would wait for its own sums: where a tile and one more are left, two go
// at a time.
CPU_INLINE void cpu_mul_float(const cpu_mul_float_args *a, cpu_load_float load) {
    const uint32_t most = CPU_FLOAT_TILE_TOKENS, lines = (a->ahead_bytes + 63) / 64 * a->ahead_rows;
    const uint32_t blocks = (a->tokens + most - 1) / most * (CPU_PANEL / 4);
    cpu_ahead ahead = {a->ahead, lines ? a->ahead_rows : 0, 0, (lines + blocks - 1) / blocks};
    uint32_t t = 0;
    for (; t + most <= a->tokens && a->tokens - t != most + 1; t += most)
        cpu_mul_rows(a, &ahead, t, most, load);
    for (; t + 2 <= a->tokens; t += 2)
        cpu_mul_rows(a, &ahead, t, 2, load);
    if (t < a->tokens)
        cpu_mul_rows(a, &ahead, t, 1, load);
}

CPU_INLINE void cpu_add_lanes(const float *sums, uint32_t count, float *out) {
    for (uint32_t i = 0; i < count; i += 4, sums += 32)
        f32x4_store(out + i, f32x8_sums(f32x8_load(sums), f32x8_load(sums + 8),
                                        f32x8_load(sums + 16), f32x8_load(sums + 24)));
}

#endif
