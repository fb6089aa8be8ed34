// SPDX-License-Identifier: Apache-2.0
// The products of attention in plain C: a row of a panel becomes sixteen floats.
#include <string.h>

#include "kernels/kernels.h"

static void row_f32(const cpu_attend_args *a, uint32_t j, float *out) {
    memcpy(out, a->panel + j * sizeof(float[CPU_COLUMNS]), sizeof(float[CPU_COLUMNS]));
}

static void row_f16(const cpu_attend_args *a, uint32_t j, float *out) {
    f16_to_f32_baseline((const uint16_t *)(const void *)a->panel + j * CPU_COLUMNS, CPU_COLUMNS,
                        out);
}

static void row_bf16(const cpu_attend_args *a, uint32_t j, float *out) {
    bf16_to_f32_baseline((const uint16_t *)(const void *)a->panel + j * CPU_COLUMNS, CPU_COLUMNS,
                         out);
}

static float half_at(const uint8_t *halves, size_t i) {
    uint16_t half;
    memcpy(&half, halves + i * 2, 2);
    return cpu_half_to_float(half);
}

static void keys_row_q8_0(const cpu_attend_args *a, uint32_t j, float *out) {
    const uint8_t *group = a->panel + j / 32 * (CPU_COLUMNS * 34);
    const int8_t *bytes = (const int8_t *)group + CPU_COLUMNS * 2 + j % 32 * CPU_COLUMNS;
    for (uint32_t c = 0; c < CPU_COLUMNS; c++)
        out[c] = (float)bytes[c] * half_at(group, c);
}

static void values_row_q8_0(const cpu_attend_args *a, uint32_t j, float *out) {
    const int8_t *bytes = (const int8_t *)a->panel + (size_t)j * 32;
    for (uint32_t c = 0; c < CPU_COLUMNS; c++)
        out[c] = (float)bytes[c] * half_at(a->scales, j);
}

static void add_products(const cpu_attend_args *a,
                         void (*row)(const cpu_attend_args *, uint32_t, float *)) {
    float column[CPU_COLUMNS];
    for (uint32_t j = 0; j < a->rows; j++) {
        row(a, j, column);
        for (uint32_t i = 0; i < a->queries; i++) {
            float *sums = a->sums + (size_t)i * a->sums_stride,
                  x = a->x[(size_t)i * a->x_stride + j];
            for (uint32_t c = 0; c < CPU_COLUMNS; c++)
                sums[c] += x * column[c];
        }
    }
}

static void products(const cpu_attend_args *a,
                     void (*row)(const cpu_attend_args *, uint32_t, float *)) {
    for (uint32_t i = 0; i < a->queries; i++)
        memset(a->sums + (size_t)i * a->sums_stride, 0, sizeof(float[CPU_COLUMNS]));
    add_products(a, row);
}

void attend_keys_f32_baseline(const cpu_attend_args *a) {
    products(a, row_f32);
}
void attend_keys_f16_baseline(const cpu_attend_args *a) {
    products(a, row_f16);
}
void attend_keys_bf16_baseline(const cpu_attend_args *a) {
    products(a, row_bf16);
}
void attend_keys_q8_0_baseline(const cpu_attend_args *a) {
    products(a, keys_row_q8_0);
}
void attend_values_f32_baseline(const cpu_attend_args *a) {
    add_products(a, row_f32);
}
void attend_values_f16_baseline(const cpu_attend_args *a) {
    add_products(a, row_f16);
}
void attend_values_bf16_baseline(const cpu_attend_args *a) {
    add_products(a, row_bf16);
}
void attend_values_q8_0_baseline(const cpu_attend_args *a) {
    add_products(a, values_row_q8_0);
}
