// SPDX-License-Identifier: Apache-2.0
// dot_float_baseline.h: the shared body of the plain C dot products of float weights.
#ifndef GREGALE_BACKENDS_CPU_DOT_FLOAT_BASELINE_H
#define GREGALE_BACKENDS_CPU_DOT_FLOAT_BASELINE_H

#include "kernels/kernels.h"

// Reads value i of a weight row.
typedef float (*cpu_load_float)(const uint8_t *row, uint64_t i);

// Eight running sums, added up in one order.
static inline float cpu_dot_one(const uint8_t *row, const float *x, uint64_t k,
                                cpu_load_float load) {
    float sums[8] = {0};
    uint64_t i = 0;
    for (; i + 8 <= k; i += 8) {
        for (uint64_t j = 0; j < 8; j++)
            sums[j] += load(row, i + j) * x[i + j];
    }
    for (; i < k; i++)
        sums[i % 8] += load(row, i) * x[i];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) +
           ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

static inline void cpu_dot_float(const cpu_dot_float_args *a, cpu_load_float load) {
    for (uint32_t t = 0; t < a->tokens; t++) {
        for (uint32_t r = 0; r < a->rows; r++)
            a->out[t * a->out_stride + r] =
                cpu_dot_one(a->weights + r * a->weight_stride, a->x + t * a->x_stride, a->k, load);
    }
}

#endif
