// SPDX-License-Identifier: Apache-2.0
// dot_float.h: dot products of float weights, in the words of f32x8_avx2.h or f32x8_neon.h, which
// come first: up to 4 weight rows against up to 2 activation rows at a time, eight running sums
// each.
#ifndef GREGALE_BACKENDS_CPU_DOT_FLOAT_H
#define GREGALE_BACKENDS_CPU_DOT_FLOAT_H

#include "kernels/load_float.h"

// Bytes between what is multiplied of a row and what is asked for.
#define CPU_DOT_AHEAD 1024

// A line of each row is asked for; behind a row's end, of the row that follows in its place.
CPU_INLINE void cpu_dot_ahead(const cpu_dot_float_args *a, const uint32_t rows, uint64_t at,
                              uint64_t row_bytes) {
    uintptr_t next = (uintptr_t)a->weights + at + CPU_DOT_AHEAD;
    if (at + CPU_DOT_AHEAD >= row_bytes)
        next += rows * a->weight_stride - row_bytes;
    CPU_UNROLL
    for (uint32_t r = 0; r < rows; r++)
        __builtin_prefetch((const void *)(next + r * a->weight_stride));
}

// `bytes`: of a weight.
CPU_INLINE void cpu_dot_block(const cpu_dot_float_args *a, uint32_t first, const uint32_t rows,
                              const uint32_t tokens, const uint32_t bytes, cpu_load_float load,
                              cpu_load_one one) {
    cpu_f32x8 sums[2][CPU_FLOAT_ROWS];
    uint64_t i = 0;
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        CPU_UNROLL
        for (uint32_t r = 0; r < rows; r++)
            sums[t][r] = f32x8_zero();
    }
    for (; i + 8 <= a->k; i += 8) {
        cpu_f32x8 x[2];
        if (!first && i * bytes % 64 == 0)
            cpu_dot_ahead(a, rows, i * bytes, a->k * bytes);
        CPU_UNROLL
        for (uint32_t t = 0; t < tokens; t++)
            x[t] = f32x8_load(a->x + (first + t) * a->x_stride + i);
        CPU_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            const cpu_f32x8 w = load(a->weights + r * a->weight_stride, i);
            CPU_UNROLL
            for (uint32_t t = 0; t < tokens; t++)
                sums[t][r] = f32x8_fma(w, x[t], sums[t][r]);
        }
    }
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        CPU_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            float sum = f32x8_sum(sums[t][r]);
            for (uint64_t j = i; j < a->k; j++)
                sum +=
                    one(a->weights + r * a->weight_stride, j) * a->x[(first + t) * a->x_stride + j];
            a->out[(first + t) * a->out_stride + r] = sum;
        }
    }
}

CPU_INLINE void cpu_dot_rows(const cpu_dot_float_args *a, uint32_t first, const uint32_t tokens,
                             const uint32_t bytes, cpu_load_float load, cpu_load_one one) {
    switch (a->rows) {
    case 1: cpu_dot_block(a, first, 1, tokens, bytes, load, one); break;
    case 2: cpu_dot_block(a, first, 2, tokens, bytes, load, one); break;
    case 3: cpu_dot_block(a, first, 3, tokens, bytes, load, one); break;
    default: cpu_dot_block(a, first, 4, tokens, bytes, load, one); break;
    }
}

CPU_INLINE void cpu_dot_float(const cpu_dot_float_args *a, const uint32_t bytes,
                              cpu_load_float load, cpu_load_one one) {
    for (uint32_t first = 0; first < a->tokens; first += 2) {
        if (a->tokens - first >= 2)
            cpu_dot_rows(a, first, 2, bytes, load, one);
        else
            cpu_dot_rows(a, first, 1, bytes, load, one);
    }
}

#endif
