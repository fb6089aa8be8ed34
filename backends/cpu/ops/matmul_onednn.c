// SPDX-License-Identifier: Apache-2.0
// matmul_onednn.c: MATMUL for F32, BF16 and F16 weights and many activation rows, by oneDNN. Each
// worker takes columns for itself. Products are made for a few row counts; a step runs the next
// larger one, whose further rows are those of the bucket and mean nothing. F16 weights are expanded
// to F32 a slice at a time.
#include <stdio.h>

#include "onednn/onednn.h"
#include "ops/matmul.h"

#define ROWS_MIN 16      // fewer go through matmul_float.c
#define ROWS_MIN_F16 128 // expanding pays later
#define SIZES 16
#define COLUMNS 256
#define COLUMNS_F16 64

// The products of one call: for each row count, for a full slice of columns and for the last.
typedef struct plan {
    uint32_t sizes;
    uint64_t rows[SIZES];
    cpu_onednn_matmul *full[SIZES], *last[SIZES];
    uint64_t columns;
} plan;

bool cpu_matmul_onednn_wanted(const gr_device *device, const cpu_node *node) {
    gr_dtype dtype = node->in[CPU_MATMUL_W].dtype;
    if (!cpu_onednn_compiled() || device->deterministic ||
        !cpu_onednn_serves(&device->kernels) || node->has_in[CPU_MATMUL_INDEX])
        return false;
    if (dtype == GR_DTYPE_BF16) // emulated elsewhere
        return !strcmp(device->kernels.isa, "avx512") &&
               device->kernels.features & GR_CPU_AVX512_BF16;
    return dtype == GR_DTYPE_F32 || dtype == GR_DTYPE_F16;
}

// Helper: rounds the rows of x to BF16.
static void round_rows(const cpu_call *call, const cpu_task *task) {
    uint64_t k = cpu_width(&call->node.in[0]), begin, end;
    uint16_t *to = (uint16_t *)(void *)(task->run->scratch + call->scratch);
    cpu_slice(cpu_rows(&call->node.in[0], &task->run->step), task, &begin, &end);
    if (end > begin)
        call->kernels->f32_to_bf16(cpu_in_f32(call, 0) + begin * k, (end - begin) * k,
                                   to + begin * k);
}

// Columns [n, end): what product, and how many rows it takes.
static cpu_onednn_matmul *choose(const plan *p, uint64_t rows, uint64_t columns) {
    for (uint32_t i = 0; i < p->sizes; i++) {
        if (p->rows[i] >= rows)
            return columns == p->columns ? p->full[i] : p->last[i];
    }
    return NULL;
}

static void add_bias(const cpu_call *call, uint64_t rows, uint64_t begin, uint64_t end) {
    const float *bias = cpu_in_f32(call, CPU_MATMUL_BIAS);
    uint64_t width = cpu_width(&call->node.out[0]);
    for (uint64_t m = 0; m < rows && bias; m++) {
        for (uint64_t n = begin; n < end; n++)
            cpu_out_f32(call, 0)[m * width + n] += bias[n];
    }
}

static void run_columns(const cpu_call *call, const cpu_task *task, uint64_t rows, uint64_t begin,
                        uint64_t end) {
    const gr_weight *weight = call->weight[CPU_MATMUL_W];
    const plan *p = call->onednn;
    uint64_t k = cpu_width(&call->node.in[0]);
    const void *w = weight->data + begin * weight->row_bytes, *x = call->in[0];
    uint8_t *space = task->scratch;
    if (weight->dtype == GR_DTYPE_F16) {
        call->kernels->f16_to_f32(w, (end - begin) * k, (float *)(void *)space);
        w = space;
        space += (COLUMNS_F16 * k * sizeof(float) + 63) / 64 * 64;
    } else if (weight->dtype == GR_DTYPE_BF16) {
        x = task->run->scratch + call->scratch;
    }
    cpu_onednn_matmul *matmul = choose(p, rows, end - begin);
    if (!cpu_onednn_matmul_run(matmul, task->id, x, w, cpu_out_f32(call, 0) + begin, space))
        cpu_matmul_float_columns(call, task, begin, end); // slower, but the result is there
    else
        add_bias(call, rows, begin, end);
}

static uint64_t rows_min(gr_dtype dtype) {
    return dtype == GR_DTYPE_F16 ? ROWS_MIN_F16 : ROWS_MIN;
}

bool cpu_matmul_onednn_used(const cpu_call *call, uint64_t rows) {
    return call->onednn && rows >= rows_min(call->weight[CPU_MATMUL_W]->dtype);
}

static void run(const cpu_call *call, const cpu_task *task) {
    uint64_t rows = cpu_rows(&call->node.in[0], &task->run->step), begin, end;
    cpu_allotment columns;
    if (!cpu_matmul_onednn_used(call, rows)) {
        cpu_matmul_float_run(call, task);
        return;
    }
    cpu_allot(call, task, cpu_width(&call->node.out[0]), ((const plan *)call->onednn)->columns,
              &columns);
    while (cpu_take(&columns, &begin, &end))
        run_columns(call, task, rows, begin, end);
}

// Makes the products; false when oneDNN declines one.
static bool plan_fill(cpu_builder *b, const cpu_call *bound, plan *p, uint64_t *out_scratch) {
    gr_dtype dtype = bound->weight[CPU_MATMUL_W]->dtype;
    uint64_t most = cpu_rows(&bound->node.in[0], &b->maxima),
             width = cpu_width(&bound->node.out[0]);
    p->columns = dtype == GR_DTYPE_F16 ? COLUMNS_F16 : COLUMNS;
    cpu_onednn_shape shape = {.bf16 = dtype == GR_DTYPE_BF16,
                              .workers = b->program->threads,
                              .k = cpu_width(&bound->node.in[0]),
                              .y_stride = width};
    for (uint64_t rows = rows_min(dtype); p->sizes < SIZES; rows *= 2) {
        uint32_t i = p->sizes++;
        p->rows[i] = shape.m = rows < most ? rows : most;
        for (int last = 0; last < 2; last++) {
            cpu_onednn_matmul **place = last ? &p->last[i] : &p->full[i];
            shape.n = last ? width % p->columns : p->columns;
            if (!shape.n || shape.n > width)
                continue;
            *place = cpu_onednn_matmul_get(b->device->onednn, &shape);
            if (!*place)
                return false;
            uint64_t bytes = cpu_onednn_matmul_scratch(*place);
            *out_scratch = bytes > *out_scratch ? bytes : *out_scratch;
        }
        if (rows >= most)
            return true;
    }
    return false;
}

bool cpu_matmul_onednn_emit(cpu_builder *b, const cpu_call *bound, gr_status *out_status,
                            gr_error *error) {
    uint64_t most = cpu_rows(&bound->node.in[0], &b->maxima), k = cpu_width(&bound->node.in[0]),
             scratch = 0;
    gr_dtype dtype = bound->weight[CPU_MATMUL_W]->dtype;
    if (most < rows_min(dtype) || !cpu_matmul_onednn_wanted(b->device, &bound->node))
        return false;
    cpu_onednn *onednn = cpu_device_onednn(b->device);
    plan p = {0};
    if (!onednn || !plan_fill(b, bound, &p, &scratch))
        return false;
    cpu_access form;
    cpu_call call = *bound;
    *out_status = GR_OK;
    if (dtype == GR_DTYPE_BF16) {
        cpu_call helper = cpu_helper_of(bound, round_rows);
        *out_status =
            cpu_build_form(b, &helper, k * sizeof(uint16_t), &b->rounded, &form, error);
        if (*out_status != GR_OK)
            return true;
        call.scratch = form.begin;
    }
    if (dtype == GR_DTYPE_F16)
        scratch += (COLUMNS_F16 * k * sizeof(float) + 63) / 64 * 64;
    cpu_build_private(b, scratch);
    call.onednn = cpu_build_keep(b, &p, sizeof p);
    call.run = run;
    cpu_matmul_float_name(&call);
    if (!call.onednn || !cpu_build_call(b, &call, &form, dtype == GR_DTYPE_BF16))
        *out_status = cpu_no_memory(error);
    return true;
}
