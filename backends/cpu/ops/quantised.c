// SPDX-License-Identifier: Apache-2.0
// quantised.c: activations in 8 bits, with a scale a block of 32.
//
// Eight bits do not serve a row in which a few blocks are far larger than the others: their rounding
// drowns what the others say. So what rounding left over of a large block is quantised too, as its
// remainder, and multiplied as well. Which blocks have one depends on the row alone.
#include "ops/quantised.h"

#define LARGE 1.5f // times the row's mean scale; Gaussian rows have hardly any such block

uint64_t cpu_quantised_bytes(uint64_t k) {
    return (k + CPU_CHUNK - 1) / CPU_CHUNK * (2 * sizeof(cpu_quantised) + 1);
}

cpu_activations cpu_quantised_view(uint8_t *form, uint64_t k, uint64_t rows) {
    uint64_t chunks = (k + CPU_CHUNK - 1) / CPU_CHUNK;
    cpu_quantised *records = (cpu_quantised *)(void *)form;
    return (cpu_activations){.records = records,
                             .rest = records + rows,
                             .marks = (uint8_t *)(records + chunks * 2 * rows),
                             .stride = 2 * rows,
                             .mark_stride = rows};
}

cpu_activations cpu_quantised_at(const cpu_activations *x, uint64_t chunk, uint64_t row) {
    cpu_activations at = *x;
    at.records += chunk * x->stride + row;
    at.rest += chunk * x->stride + row;
    at.marks += chunk * x->mark_stride + row;
    return at;
}

static void remainder_make(const cpu_kernels *kernels, const float *x, uint64_t at,
                           const cpu_activations *row) {
    const uint64_t b = at % CPU_CHUNK / 32;
    const cpu_quantised *a = row->records + at / CPU_CHUNK * row->stride;
    float rest[32];
    for (uint32_t i = 0; i < 32; i++)
        rest[i] = fmaf(-a->scale[b], a->q[b * 32 + i], x[at + i]);
    kernels->quantise(rest, at, 32, row->rest, row->stride);
    row->marks[at / CPU_CHUNK * row->mark_stride] |= (uint8_t)(1u << b);
}

void cpu_quantise_row(const cpu_kernels *kernels, const float *x, uint64_t k,
                      const cpu_activations *row) {
    float mean = 0.0f;
    kernels->quantise(x, 0, k, row->records, row->stride);
    for (uint64_t at = 0; at < k; at += 32)
        mean += row->records[at / CPU_CHUNK * row->stride].scale[at % CPU_CHUNK / 32];
    mean /= (float)(k / 32);
    for (uint64_t chunk = 0; chunk * CPU_CHUNK < k; chunk++)
        row->marks[chunk * row->mark_stride] = 0;
    for (uint64_t at = 0; at < k; at += 32) {
        if (row->records[at / CPU_CHUNK * row->stride].scale[at % CPU_CHUNK / 32] > LARGE * mean)
            remainder_make(kernels, x, at, row);
    }
}

void cpu_quantise(const cpu_call *call, const cpu_task *task) {
    uint64_t k = cpu_width(&call->node.in[0]), begin, end;
    uint64_t rows = cpu_rows(&call->node.in[0], &task->run->step);
    cpu_activations x = cpu_quantised_view(task->run->scratch + call->scratch, k, rows);
    cpu_slice(rows, task, &begin, &end);
    for (uint64_t m = begin; m < end; m++) {
        cpu_activations row = cpu_quantised_at(&x, 0, m);
        cpu_quantise_row(call->kernels, cpu_in_f32(call, 0) + m * k, k, &row);
    }
}
