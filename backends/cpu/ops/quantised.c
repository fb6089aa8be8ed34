// SPDX-License-Identifier: Apache-2.0
// quantised.c: activations in 8 bits, with a scale a block of 32.
//
// Eight bits do not serve a row in which a few blocks are far larger than the others: their rounding
// drowns what the others say. So what rounding left over of a large block is quantised too, as its
// remainder, and multiplied as well. Which blocks have one depends on the row alone.
#include "ops/quantised.h"

#include "ops/matmul.h"

#define LARGE 1.5f // times the row's mean scale; Gaussian rows have hardly any such block

uint64_t cpu_quantised_bytes(uint64_t k) {
    return (k + CPU_CHUNK - 1) / CPU_CHUNK *
           (sizeof(cpu_quantised) + 8 * sizeof(cpu_remainder) + 1);
}

cpu_activations cpu_quantised_view(uint8_t *form, uint64_t k, uint64_t rows) {
    uint64_t records = (k + CPU_CHUNK - 1) / CPU_CHUNK * rows;
    cpu_activations x = {.records = (cpu_quantised *)(void *)form, .stride = rows};
    x.rest = (cpu_remainder *)(void *)(x.records + records);
    x.marks = (uint8_t *)(x.rest + 8 * records);
    return x;
}

cpu_activations cpu_quantised_at(const cpu_activations *x, uint64_t chunk, uint64_t row) {
    uint64_t place = chunk * x->stride + row;
    return (cpu_activations){.records = x->records + place,
                             .rest = x->rest + 8 * place,
                             .marks = x->marks + place,
                             .stride = x->stride};
}

static void remainder_make(const cpu_kernels *kernels, const float *x, uint64_t at,
                           const cpu_activations *row) {
    const uint64_t b = at % CPU_CHUNK / 32, chunk = at / CPU_CHUNK * row->stride;
    const cpu_quantised *a = row->records + chunk;
    cpu_remainder *to = &row->rest[chunk * 8 + b];
    cpu_quantised record;
    float rest[32];
    for (uint32_t i = 0; i < 32; i++)
        rest[i] = fmaf(-a->scale[b], a->q[b * 32 + i], x[at + i]);
    kernels->quantise(rest, 0, 32, &record, 1);
    memcpy(to->q, record.q, sizeof to->q);
    memcpy(to->sum16, record.sum16, sizeof to->sum16);
    to->scale = record.scale[0];
    to->total32 = record.total32[0];
    to->sum32 = record.sum32[0];
    row->marks[chunk] |= (uint8_t)(1u << b);
}

void cpu_quantise_row(const cpu_kernels *kernels, const float *x, uint64_t k,
                      const cpu_activations *row) {
    float mean = 0.0f;
    kernels->quantise(x, 0, k, row->records, row->stride);
    for (uint64_t at = 0; at < k; at += 32)
        mean += row->records[at / CPU_CHUNK * row->stride].scale[at % CPU_CHUNK / 32];
    mean /= (float)(k / 32);
    for (uint64_t chunk = 0; chunk * CPU_CHUNK < k; chunk++)
        row->marks[chunk * row->stride] = 0;
    for (uint64_t at = 0; at < k; at += 32) {
        if (row->records[at / CPU_CHUNK * row->stride].scale[at % CPU_CHUNK / 32] > LARGE * mean)
            remainder_make(kernels, x, at, row);
    }
}

uint8_t *cpu_quantised_form(const cpu_call *call, const cpu_task *task) {
    return call->own ? task->form : task->run->scratch + call->scratch;
}

// A row on its way to 8 bits goes through the worker's scratch when it is normed first.
static void quantise(const cpu_call *call, const cpu_task *task) {
    const float *norm = cpu_in_f32(call, 1);
    uint64_t k = cpu_width(&call->node.in[0]), begin = 0;
    uint64_t rows = cpu_rows(&call->node.in[0], &task->run->step), end = rows;
    if (task->id >= task->count)
        return;
    if (!call->own)
        cpu_slice(rows, task, &begin, &end);
    cpu_activations x = cpu_quantised_view(cpu_quantised_form(call, task), k, rows);
    for (uint64_t m = begin; m < end; m++) {
        cpu_activations row = cpu_quantised_at(&x, 0, m);
        const float *from = cpu_in_f32(call, 0) + m * k;
        float *normed = (float *)(void *)task->scratch;
        if (norm)
            call->kernels->rms_norm(from, norm, k, call->node.attrs.norm.eps, normed);
        cpu_quantise_row(call->kernels, norm ? normed : from, k, &row);
    }
}

gr_status cpu_quantise_emit(cpu_builder *b, const cpu_call *bound, cpu_call *call,
                            cpu_access *out_form, gr_error *error) {
    uint64_t k = cpu_width(&bound->node.in[0]);
    cpu_call helper = cpu_helper_of(bound, quantise);
    if (bound->node.has_in[CPU_MATMUL_NORM]) {
        helper.in[1] = bound->in[CPU_MATMUL_NORM];
        helper.node.attrs.norm.eps = bound->node.attrs.block.eps;
        cpu_build_private(b, k * sizeof(float));
    }
    helper.own = call->own = cpu_rows(&bound->node.in[0], &b->maxima) == 1;
    gr_status status = cpu_build_form(b, &helper, cpu_quantised_bytes(k),
                                      helper.own ? &b->own : &b->quantised, out_form, error);
    call->scratch = out_form->begin;
    return status;
}

uint64_t cpu_rest_bytes(uint64_t rows) {
    return sizeof(cpu_rest_list) + 8 * rows * sizeof(cpu_rest_item);
}

const cpu_rest_list *cpu_rest_gather(const cpu_activations *x, uint32_t rows,
                                     cpu_rest_list *list) {
    uint32_t found = 0;
    memset(list->count, 0, sizeof list->count);
    list->capacity = rows;
    for (uint32_t m = 0; m < rows; m++) {
        for (uint32_t bits = x->marks[m]; bits; bits &= bits - 1, found++) {
            uint32_t b = (uint32_t)__builtin_ctz(bits);
            __builtin_prefetch(&x->rest[m * 8 + b], 0, 2); // read once the rows have passed
            list->of[b * rows + list->count[b]++] = (cpu_rest_item){&x->rest[m * 8 + b], m};
        }
    }
    return found ? list : NULL;
}
