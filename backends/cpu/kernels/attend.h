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

// Vector v of row j of a panel.
typedef cpu_vf (*cpu_attend_row)(const uint8_t *panel, uint32_t j, uint32_t v);

CPU_INLINE cpu_vf cpu_attend_f32(const uint8_t *panel, uint32_t j, uint32_t v) {
    return cpu_loadf((const float *)(const void *)panel + j * CPU_COLUMNS + v * CPU_LANES);
}
CPU_INLINE cpu_vf cpu_attend_f16(const uint8_t *panel, uint32_t j, uint32_t v) {
    return cpu_load_halves(panel + (j * CPU_COLUMNS + v * CPU_LANES) * 2);
}
CPU_INLINE cpu_vf cpu_attend_bf16(const uint8_t *panel, uint32_t j, uint32_t v) {
    return cpu_attend_load_bf16(panel + (j * CPU_COLUMNS + v * CPU_LANES) * 2);
}
CPU_INLINE cpu_vf cpu_attend_keys_q8_0(const uint8_t *panel, uint32_t j, uint32_t v) {
    const uint8_t *group = panel + j / 32 * (CPU_COLUMNS * 34), *bytes = group + CPU_COLUMNS * 2;
    return cpu_mulf(cpu_attend_load_bytes(bytes + j % 32 * CPU_COLUMNS + v * CPU_LANES),
                    cpu_load_halves(group + v * CPU_LANES * 2));
}
CPU_INLINE cpu_vf cpu_attend_values_q8_0(const uint8_t *block, uint32_t half, uint32_t j,
                                         uint32_t v) {
    block += j * 34;
    return cpu_mulf(cpu_attend_load_bytes(block + 2 + half * CPU_COLUMNS + v * CPU_LANES),
                    cpu_attend_set_half(block));
}
CPU_INLINE cpu_vf cpu_attend_values_q8_0_low(const uint8_t *block, uint32_t j, uint32_t v) {
    return cpu_attend_values_q8_0(block, 0, j, v);
}
CPU_INLINE cpu_vf cpu_attend_values_q8_0_high(const uint8_t *block, uint32_t j, uint32_t v) {
    return cpu_attend_values_q8_0(block, 1, j, v);
}

CPU_INLINE void cpu_attend_block(const cpu_attend_args *a, const uint32_t queries, const bool add,
                                 cpu_attend_row row, const float *x, float *out) {
    cpu_vf sums[CPU_ATTEND_MOST][CPU_ATTEND_VECTORS];
    CPU_UNROLL
    for (uint32_t i = 0; i < queries; i++) {
        CPU_UNROLL
        for (uint32_t v = 0; v < CPU_ATTEND_VECTORS; v++)
            sums[i][v] =
                add ? cpu_loadf(out + (size_t)i * a->sums_stride + v * CPU_LANES) : cpu_setf(0.0f);
    }
    for (uint32_t j = 0; j < a->rows; j++) {
        cpu_vf column[CPU_ATTEND_VECTORS];
        CPU_UNROLL
        for (uint32_t v = 0; v < CPU_ATTEND_VECTORS; v++)
            column[v] = row(a->panel, j, v);
        CPU_UNROLL
        for (uint32_t i = 0; i < queries; i++) {
            const cpu_vf factor = cpu_setf(x[(size_t)i * a->x_stride + j]);
            CPU_UNROLL
            for (uint32_t v = 0; v < CPU_ATTEND_VECTORS; v++)
                sums[i][v] = cpu_fma(factor, column[v], sums[i][v]);
        }
    }
    CPU_UNROLL
    for (uint32_t i = 0; i < queries; i++) {
        CPU_UNROLL
        for (uint32_t v = 0; v < CPU_ATTEND_VECTORS; v++)
            cpu_storef(out + (size_t)i * a->sums_stride + v * CPU_LANES, sums[i][v]);
    }
}

// As many queries at a time as registers hold, then what is left in one or a few blocks.
CPU_INLINE void cpu_attend_product(const cpu_attend_args *a, const bool add, cpu_attend_row row) {
    const float *x = a->x;
    float *out = a->sums;
    uint32_t left = a->queries;
#define CPU_ATTEND_BLOCK(n)                                                                        \
    (cpu_attend_block(a, n, add, row, x, out), left -= (n), x += (size_t)(n)*a->x_stride,          \
     out += (size_t)(n)*a->sums_stride)
    while (left >= CPU_ATTEND_MOST)
        CPU_ATTEND_BLOCK(CPU_ATTEND_MOST);
    while (left >= 4)
        CPU_ATTEND_BLOCK(4);
    if (left == 3)
        CPU_ATTEND_BLOCK(3);
    else if (left == 2)
        CPU_ATTEND_BLOCK(2);
    else if (left)
        CPU_ATTEND_BLOCK(1);
#undef CPU_ATTEND_BLOCK
}

#define CPU_ATTEND_KERNEL(name, add, row)                                                          \
    static void name(const cpu_attend_args *a) {                                                   \
        cpu_attend_product(a, add, row);                                                           \
    }
CPU_ATTEND_KERNEL(keys_f32, false, cpu_attend_f32)
CPU_ATTEND_KERNEL(keys_f16, false, cpu_attend_f16)
CPU_ATTEND_KERNEL(keys_bf16, false, cpu_attend_bf16)
CPU_ATTEND_KERNEL(keys_q8_0, false, cpu_attend_keys_q8_0)
CPU_ATTEND_KERNEL(values_f32, true, cpu_attend_f32)
CPU_ATTEND_KERNEL(values_f16, true, cpu_attend_f16)
CPU_ATTEND_KERNEL(values_bf16, true, cpu_attend_bf16)
static void values_q8_0(const cpu_attend_args *a) {
    if (a->half)
        cpu_attend_product(a, true, cpu_attend_values_q8_0_high);
    else
        cpu_attend_product(a, true, cpu_attend_values_q8_0_low);
}
#undef CPU_ATTEND_KERNEL

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
