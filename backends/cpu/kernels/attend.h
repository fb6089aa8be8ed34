// SPDX-License-Identifier: Apache-2.0
// attend.h: the products of attention, once for every vector width. An attend_ISA.c includes a
// vec_ISA.h, says how many queries' sums fit its registers (CPU_ATTEND_MOST) and how vectors of
// bytes and BF16 are read, and makes an instance with CPU_ATTEND_FILL.
//
// A panel (kernels.h) is read as it lies in the cache: each row becomes vectors of F32 once for up
// to CPU_ATTEND_MOST queries, whose sums stay in registers over all rows. A sum adds its rows in
// ascending order, one multiply-add each, so its bits depend on neither the vectors' width nor the
// other queries.
#ifndef GREGALE_BACKENDS_CPU_ATTEND_H
#define GREGALE_BACKENDS_CPU_ATTEND_H

#include "kernels/kernels.h"

#define CPU_ATTEND_VECTORS (CPU_COLUMNS / CPU_LANES)
#define CPU_ATTEND_ROWS 64 // of Q8_0 values at a time; a multiple of every vector's lanes

// Vector v of row j of a panel.
typedef cpu_vf (*cpu_attend_row)(const uint8_t *panel, size_t j, uint32_t v);

CPU_INLINE cpu_vf cpu_attend_f32(const uint8_t *panel, size_t j, uint32_t v) {
    return cpu_loadf((const float *)(const void *)panel + j * CPU_COLUMNS + v * CPU_LANES);
}
CPU_INLINE cpu_vf cpu_attend_f16(const uint8_t *panel, size_t j, uint32_t v) {
    return cpu_load_halves(panel + (j * CPU_COLUMNS + v * CPU_LANES) * 2);
}
CPU_INLINE cpu_vf cpu_attend_bf16(const uint8_t *panel, size_t j, uint32_t v) {
    return cpu_attend_load_bf16(panel + (j * CPU_COLUMNS + v * CPU_LANES) * 2);
}
CPU_INLINE cpu_vf cpu_attend_bytes16(const uint8_t *panel, size_t j, uint32_t v) {
    return cpu_attend_load_bytes(panel + j * 16 + v * CPU_LANES);
}
CPU_INLINE cpu_vf cpu_attend_bytes32(const uint8_t *panel, size_t j, uint32_t v) {
    return cpu_attend_load_bytes(panel + j * 32 + v * CPU_LANES);
}

// What happens to a block's sums: they take the place of what was there, go on from it, or are
// multiplied by a scale a column and added to it.
typedef enum cpu_attend_end { CPU_ATTEND_SET, CPU_ATTEND_ADD, CPU_ATTEND_SCALE } cpu_attend_end;

// With `ahead`, what is read next is asked for beside it.
CPU_INLINE void cpu_attend_block(const cpu_attend_args *a, const uint32_t queries,
                                 const cpu_attend_end end, const bool ahead, cpu_attend_row row,
                                 const float *x, float *out) {
    cpu_vf sums[CPU_ATTEND_MOST][CPU_ATTEND_VECTORS];
    const float *factors[CPU_ATTEND_MOST];
    CPU_UNROLL
    for (uint32_t i = 0; i < queries; i++) {
        factors[i] = x + (size_t)i * a->x_stride;
        CPU_UNROLL
        for (uint32_t v = 0; v < CPU_ATTEND_VECTORS; v++)
            sums[i][v] = end == CPU_ATTEND_ADD
                             ? cpu_loadf(out + (size_t)i * a->sums_stride + v * CPU_LANES)
                             : cpu_setf(0.0f);
    }
    for (size_t j = 0, rows = a->rows; j < rows; j++) {
        cpu_vf column[CPU_ATTEND_VECTORS];
        CPU_UNROLL
        for (uint32_t v = 0; v < CPU_ATTEND_VECTORS; v++)
            column[v] = row(a->panel, j, v);
        if (ahead)
            __builtin_prefetch(a->ahead + j * a->ahead_step);
        CPU_UNROLL
        for (uint32_t i = 0; i < queries; i++) {
            const cpu_vf factor = cpu_setf(factors[i][j]);
            CPU_UNROLL
            for (uint32_t v = 0; v < CPU_ATTEND_VECTORS; v++)
                sums[i][v] = cpu_fma(factor, column[v], sums[i][v]);
        }
    }
    CPU_UNROLL
    for (uint32_t i = 0; i < queries; i++) {
        CPU_UNROLL
        for (uint32_t v = 0; v < CPU_ATTEND_VECTORS; v++) {
            float *place = out + (size_t)i * a->sums_stride + v * CPU_LANES;
            if (end == CPU_ATTEND_SCALE)
                sums[i][v] = cpu_fma(cpu_load_halves(a->scales + v * CPU_LANES * 2), sums[i][v],
                                     cpu_loadf(place));
            cpu_storef(place, sums[i][v]);
        }
    }
}

// As many queries at a time as registers hold; what is left over comes first.
CPU_INLINE void cpu_attend_product(const cpu_attend_args *a, const cpu_attend_end end,
                                   cpu_attend_row row) {
    const float *x = a->x;
    float *out = a->sums;
    uint32_t left = a->queries;
#define CPU_ATTEND_BLOCK(n, ahead)                                                                 \
    (cpu_attend_block(a, n, end, ahead, row, x, out), left -= (n), x += (size_t)(n)*a->x_stride,   \
     out += (size_t)(n)*a->sums_stride)
    if (left && left % CPU_ATTEND_MOST == 0)
        CPU_ATTEND_BLOCK(CPU_ATTEND_MOST, true);
    while (left % CPU_ATTEND_MOST >= 4)
        CPU_ATTEND_BLOCK(4, true);
    if (left % CPU_ATTEND_MOST == 3)
        CPU_ATTEND_BLOCK(3, true);
    else if (left % CPU_ATTEND_MOST == 2)
        CPU_ATTEND_BLOCK(2, true);
    else if (left % CPU_ATTEND_MOST)
        CPU_ATTEND_BLOCK(1, true);
    while (left)
        CPU_ATTEND_BLOCK(CPU_ATTEND_MOST, false);
#undef CPU_ATTEND_BLOCK
}

#define CPU_ATTEND_KERNEL(name, end, row)                                                          \
    static void name(const cpu_attend_args *a) {                                                   \
        cpu_attend_product(a, end, row);                                                           \
    }
CPU_ATTEND_KERNEL(keys_f32, CPU_ATTEND_SET, cpu_attend_f32)
CPU_ATTEND_KERNEL(keys_f16, CPU_ATTEND_SET, cpu_attend_f16)
CPU_ATTEND_KERNEL(keys_bf16, CPU_ATTEND_SET, cpu_attend_bf16)
CPU_ATTEND_KERNEL(values_f32, CPU_ATTEND_ADD, cpu_attend_f32)
CPU_ATTEND_KERNEL(values_f16, CPU_ATTEND_ADD, cpu_attend_f16)
CPU_ATTEND_KERNEL(values_bf16, CPU_ATTEND_ADD, cpu_attend_bf16)
CPU_ATTEND_KERNEL(keys_scaled, CPU_ATTEND_SCALE, cpu_attend_f32)
CPU_ATTEND_KERNEL(keys_bytes, CPU_ATTEND_SCALE, cpu_attend_bytes16)
CPU_ATTEND_KERNEL(values_bytes, CPU_ATTEND_ADD, cpu_attend_bytes32)
#undef CPU_ATTEND_KERNEL

// Rows of bytes as F32, where many queries read them. They are whole numbers, so no bit depends on
// it.
CPU_INLINE const uint8_t *cpu_attend_widen(const uint8_t *panel, size_t rows, cpu_attend_row row,
                                           float *out) {
    for (size_t j = 0; j < rows; j++) {
        CPU_UNROLL
        for (uint32_t v = 0; v < CPU_ATTEND_VECTORS; v++)
            cpu_storef(out + j * CPU_COLUMNS + v * CPU_LANES, row(panel, j, v));
    }
    return (const uint8_t *)out;
}

// 32 dimensions have one scale a position: each group's sum is multiplied by it.
static void keys_q8_0(const cpu_attend_args *args) {
    float wide[32 * CPU_COLUMNS];
    cpu_attend_args a = *args;
    a.rows = 32;
    for (uint32_t i = 0; i < a.queries; i++)
        memset(a.sums + (size_t)i * a.sums_stride, 0, sizeof(float[CPU_COLUMNS]));
    for (uint32_t g = 0; g < args->rows / 32; g++, a.x += 32, a.ahead += 32 * a.ahead_step) {
        a.scales = args->panel + (size_t)g * CPU_COLUMNS * 34;
        a.panel = a.scales + CPU_COLUMNS * 2;
        if (a.queries > CPU_ATTEND_MOST) {
            a.panel = cpu_attend_widen(a.panel, 32, cpu_attend_bytes16, wide);
            keys_scaled(&a);
        } else {
            keys_bytes(&a);
        }
    }
}

// A position has one scale, which goes into its weight: x[count][..] times scales[rows].
CPU_INLINE void cpu_attend_weights(const cpu_attend_args *a, const float *x, uint32_t count,
                                   float *out) {
    for (uint32_t q = 0; q < count; q++, x += a->x_stride, out += CPU_ATTEND_ROWS)
        for (uint32_t j = 0; j < a->rows; j += CPU_LANES)
            cpu_storef(out + j, cpu_mulf(cpu_loadf(x + j), cpu_load_halves(a->scales + j * 2)));
}

static void values_rows_q8_0(const cpu_attend_args *args) {
    float wide[CPU_ATTEND_ROWS * CPU_COLUMNS], weights[CPU_ATTEND_MOST * CPU_ATTEND_ROWS];
    bool many = args->queries > CPU_ATTEND_MOST;
    cpu_attend_args a = *args;
    if (many)
        a.panel = cpu_attend_widen(a.panel, a.rows, cpu_attend_bytes32, wide);
    a.x = weights;
    a.x_stride = CPU_ATTEND_ROWS;
    for (uint32_t i = 0; i < args->queries; i += a.queries) {
        a.queries = args->queries - i < CPU_ATTEND_MOST ? args->queries - i : CPU_ATTEND_MOST;
        a.sums = args->sums + (size_t)i * args->sums_stride;
        cpu_attend_weights(args, args->x + (size_t)i * args->x_stride, a.queries, weights);
        if (many)
            values_f32(&a);
        else
            values_bytes(&a);
    }
}

static void values_q8_0(const cpu_attend_args *args) {
    cpu_attend_args a = *args;
    for (uint32_t left = args->rows; left; left -= a.rows) {
        a.rows = left < CPU_ATTEND_ROWS ? left : CPU_ATTEND_ROWS;
        values_rows_q8_0(&a);
        a.panel += a.rows * 32;
        a.scales += a.rows * 2;
        a.x += a.rows;
        a.ahead += a.rows * a.ahead_step;
    }
}

static inline void cpu_attend_fill(cpu_kernels *k) {
    k->attend_keys[GR_DTYPE_F32] = keys_f32;
    k->attend_keys[GR_DTYPE_F16] = keys_f16;
    k->attend_keys[GR_DTYPE_BF16] = keys_bf16;
    k->attend_keys[GR_DTYPE_Q8_0] = keys_q8_0;
    k->attend_values[GR_DTYPE_F32] = values_f32;
    k->attend_values[GR_DTYPE_F16] = values_f16;
    k->attend_values[GR_DTYPE_BF16] = values_bf16;
    k->attend_values[GR_DTYPE_Q8_0] = values_q8_0;
}

#endif
