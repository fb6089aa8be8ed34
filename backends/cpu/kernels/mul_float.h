// SPDX-License-Identifier: Apache-2.0
// mul_float.h: many activation rows against a panel of float weights, a chunk of K at a time, in the
// words of f32x8_avx2.h or f32x8_neon.h, which come first. The running sums are those that
// dot_float.h keeps, and are added up in its order, so both give the same bits.
#ifndef GREGALE_BACKENDS_CPU_MUL_FLOAT_H
#define GREGALE_BACKENDS_CPU_MUL_FLOAT_H

#include "kernels/kernels.h"

// Four weight rows and a few activation rows, whose sums stay in registers.
CPU_INLINE void cpu_mul_block(const float *w, const float *x, uint64_t x_stride,
                              const uint32_t tokens, uint32_t n, float *sums) {
    cpu_f32x8 acc[CPU_FLOAT_TILE_TOKENS][4];
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        CPU_UNROLL
        for (uint32_t r = 0; r < 4; r++)
            acc[t][r] = f32x8_load(sums + (t * CPU_PANEL + r) * 8);
    }
    for (uint32_t i = 0; i < n; i += 8) {
        cpu_f32x8 v[CPU_FLOAT_TILE_TOKENS];
        CPU_UNROLL
        for (uint32_t t = 0; t < tokens; t++)
            v[t] = f32x8_load(x + t * x_stride + i);
        CPU_UNROLL
        for (uint32_t r = 0; r < 4; r++) {
            const cpu_f32x8 weight = f32x8_load(w + r * CPU_CHUNK + i);
            CPU_UNROLL
            for (uint32_t t = 0; t < tokens; t++)
                acc[t][r] = f32x8_fma(weight, v[t], acc[t][r]);
        }
    }
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        CPU_UNROLL
        for (uint32_t r = 0; r < 4; r++)
            f32x8_store(sums + (t * CPU_PANEL + r) * 8, acc[t][r]);
    }
}

// All rows of the panel; the next activation rows are asked for meanwhile.
CPU_INLINE void cpu_mul_rows(const cpu_mul_float_args *a, uint32_t t, const uint32_t tokens) {
    const float *x = a->x + t * a->x_stride;
    for (uint32_t i = 0; i < tokens; i++) {
        const char *ahead = (const char *)(x + (tokens + i) * a->x_stride);
        for (uint32_t j = 0; j < a->n * sizeof *x && t + tokens + i < a->tokens; j += 64)
            __builtin_prefetch(ahead + j);
    }
    for (uint32_t r = 0; r < CPU_PANEL; r += 4)
        cpu_mul_block(a->w + r * CPU_CHUNK, x, a->x_stride, tokens, a->n,
                      a->sums + (t * CPU_PANEL + r) * 8);
}

CPU_INLINE void cpu_mul_float(const cpu_mul_float_args *args) {
    uint32_t t = 0;
    for (; t + CPU_FLOAT_TILE_TOKENS <= args->tokens; t += CPU_FLOAT_TILE_TOKENS)
        cpu_mul_rows(args, t, CPU_FLOAT_TILE_TOKENS);
    if (args->tokens - t == 2)
        cpu_mul_rows(args, t, 2);
    else if (args->tokens - t == 1)
        cpu_mul_rows(args, t, 1);
}

CPU_INLINE void cpu_add_lanes(const float *sums, uint32_t count, float *out) {
    for (uint32_t i = 0; i < count; i += 4, sums += 32)
        f32x4_store(out + i, f32x8_sums(f32x8_load(sums), f32x8_load(sums + 8),
                                        f32x8_load(sums + 16), f32x8_load(sums + 24)));
}

#endif
