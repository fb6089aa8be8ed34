// SPDX-License-Identifier: Apache-2.0
// matmul_float.c: MATMUL with activations in F32: F32, F16 and BF16 weights straight from the file,
// any other dtype expanded to F32 four rows at a time. Where activation rows are many, some of them
// pass at a time, and meet a panel of 16 weight rows after the other, a chunk of 256 values at a
// time: its weights stay in the first-level cache while they pass. Activations are laid out by
// chunks first, so that they come as one stream.
#include <ctype.h>
#include <stdio.h>

#include "ops/matmul.h"

#define PASS 16 // activation rows that pass before the next weight rows, so that they stay in cache

#define BLOCKED 8 // activation rows from which panels pay, and how many
#define PANEL_PASS 96 // pass at a time

// Weight rows [row, row+count), expanded into `space` when the dtype asks for it.
static void load_rows(const cpu_call *call, uint64_t row, uint32_t count, float *space,
                      cpu_dot_float_args *args) {
    const gr_weight *w = call->weight[CPU_MATMUL_W];
    args->weights = w->data + row * w->row_bytes;
    args->weight_stride = w->row_bytes;
    args->rows = count;
    if (call->kernels->dot[w->dtype])
        return;
    for (uint32_t r = 0; r < count; r++)
        cpu_decode_row(call->kernels, w->dtype, args->weights + r * w->row_bytes, args->k,
                       space + r * args->k);
    args->weights = (const uint8_t *)space;
    args->weight_stride = args->k * sizeof(float);
}

// Columns [n, end) of activation rows [m, m_end), all of one matrix.
static void run_block(const cpu_call *call, float *space, uint64_t expert, uint64_t m,
                      uint64_t m_end, uint64_t n, uint64_t end) {
    uint64_t width = cpu_width(&call->node.out[0]);
    cpu_dot_float_args args = {.k = cpu_width(&call->node.in[CPU_MATMUL_W]), .out_stride = width};
    args.x_stride = args.k;
    gr_dtype dtype = call->weight[CPU_MATMUL_W]->dtype;
    if (!call->kernels->dot[dtype])
        dtype = GR_DTYPE_F32; // as load_rows leaves them
    const float *bias = cpu_in_f32(call, CPU_MATMUL_BIAS);
    for (; n < end; n += CPU_FLOAT_ROWS) {
        uint32_t count = end - n < CPU_FLOAT_ROWS ? (uint32_t)(end - n) : CPU_FLOAT_ROWS;
        load_rows(call, expert * width + n, count, space, &args);
        for (uint64_t t = m; t < m_end; t += CPU_FLOAT_TOKENS) {
            args.tokens = m_end - t < CPU_FLOAT_TOKENS ? (uint32_t)(m_end - t) : CPU_FLOAT_TOKENS;
            args.x = cpu_in_f32(call, 0) + t * args.k;
            args.out = cpu_out_f32(call, 0) + t * width + n;
            call->kernels->dot[dtype](&args);
            for (uint32_t i = 0; bias && i < args.tokens * count; i++)
                args.out[i / count * width + i % count] += bias[expert * width + n + i % count];
        }
    }
}

// A worker's scratch for panels.
typedef struct workspace {
    float w[CPU_PANEL * CPU_CHUNK];
    float sums[PANEL_PASS * CPU_PANEL * 8];
} workspace;

// Whether the call's rows are laid by chunks: those of cpu_matmul_float_emit without an index.
static bool laid(const cpu_call *call) {
    return call->run == cpu_matmul_float_run && !call->node.has_in[CPU_MATMUL_INDEX];
}

// Helper: lays the rows of x out as [chunk][row][256], when there are enough of them.
static void lay(const cpu_call *call, const cpu_task *task) {
    uint64_t k = cpu_width(&call->node.in[0]), begin, end;
    uint64_t rows = cpu_rows(&call->node.in[0], &task->run->step);
    float *to = (float *)(void *)(task->run->scratch + call->scratch);
    cpu_slice(rows < BLOCKED ? 0 : rows, task, &begin, &end);
    for (uint64_t m = begin; m < end; m++) {
        for (uint64_t at = 0; at < k; at += CPU_CHUNK)
            memcpy(to + (at / CPU_CHUNK * rows + m) * CPU_CHUNK, cpu_in_f32(call, 0) + m * k + at,
                   (k - at < CPU_CHUNK ? k - at : CPU_CHUNK) * sizeof *to);
    }
}

// Columns [n, n+count) of activation rows [m, m_end), all of one matrix, PANEL_PASS and a panel at
// most; `more` columns follow.
static void run_panel(const cpu_call *call, const cpu_task *task, uint64_t expert, uint64_t m,
                      uint64_t m_end, uint64_t n, uint32_t count, uint64_t more) {
    workspace *space = (workspace *)(void *)task->scratch;
    const gr_weight *w = call->weight[CPU_MATMUL_W];
    uint64_t width = cpu_width(&call->node.out[0]), k = cpu_width(&call->node.in[CPU_MATMUL_W]);
    uint32_t tokens = (uint32_t)(m_end - m);
    const float *bias = cpu_in_f32(call, CPU_MATMUL_BIAS);
    const float *x = cpu_in_f32(call, 0) + m * k; // rows of k values, or laid by chunks
    uint64_t x_next = CPU_CHUNK;
    cpu_mul_float_args args = {.weights = w->data + (expert * width + n) * w->row_bytes,
                               .weight_stride = w->row_bytes,
                               .rows = count,
                               .w = space->w,
                               .x_stride = k,
                               .tokens = tokens,
                               .sums = space->sums};
    if (laid(call)) {
        x = (const float *)(const void *)(task->run->scratch + call->scratch) + m * CPU_CHUNK;
        args.x_stride = CPU_CHUNK;
        x_next = cpu_rows(&call->node.in[0], &task->run->step) * CPU_CHUNK;
    }
    memset(space->sums, 0, (uint64_t)tokens * CPU_PANEL * 8 * sizeof *space->sums);
    for (uint64_t left = k; left; left -= args.n, x += x_next, args.weights = args.ahead) {
        args.n = left < CPU_CHUNK ? (uint32_t)left : CPU_CHUNK;
        args.x = x;
        args.ahead = args.weights + gr_dtype_row_bytes(w->dtype, args.n);
        args.ahead_rows = count;
        uint64_t next = left - args.n;
        if (!next) { // the panel that follows
            args.ahead = w->data + (expert * width + n + (more ? count : 0)) * w->row_bytes;
            args.ahead_rows = more < CPU_PANEL ? (uint32_t)more : CPU_PANEL;
            next = k;
        }
        next = next < CPU_CHUNK ? next : CPU_CHUNK;
        args.ahead_bytes = (uint32_t)gr_dtype_row_bytes(w->dtype, next);
        call->kernels->mul[w->dtype](&args);
    }
    for (uint32_t t = 0; t < tokens; t++) {
        float line[CPU_PANEL], *y = cpu_out_f32(call, 0) + (m + t) * width + n;
        call->kernels->add_lanes(space->sums + (uint64_t)t * CPU_PANEL * 8, CPU_PANEL, line);
        for (uint32_t r = 0; r < count; r++)
            y[r] = bias ? line[r] + bias[expert * width + n + r] : line[r];
    }
}

// Columns [n, end) of such rows.
static void run_panels(const cpu_call *call, const cpu_task *task, uint64_t expert, uint64_t m,
                       uint64_t m_end, uint64_t n, uint64_t end) {
    for (uint32_t count; n < end; n += count) {
        count = end - n < CPU_PANEL ? (uint32_t)(end - n) : CPU_PANEL;
        run_panel(call, task, expert, m, m_end, n, count, end - n - count);
    }
}

static bool blocked(const cpu_call *call, uint64_t rows) {
    uint64_t k = cpu_width(&call->node.in[CPU_MATMUL_W]);
    return call->kernels->mul[call->weight[CPU_MATMUL_W]->dtype] && rows >= BLOCKED &&
           k % 8 == 0;
}

void cpu_matmul_float_columns(const cpu_call *call, const cpu_task *task, uint64_t begin,
                              uint64_t end) {
    bool direct = call->kernels->dot[call->weight[CPU_MATMUL_W]->dtype] != NULL;
    cpu_matmul_span span;
    for (uint64_t m = 0; cpu_matmul_span_next(call, &task->run->step, m, &span); m = span.end) {
        if (cpu_matmul_unmatched(call, &span, begin, end))
            continue;
        if (blocked(call, span.end - span.begin)) {
            for (uint64_t t = span.begin; t < span.end; t += PANEL_PASS)
                run_panels(call, task, (uint64_t)span.expert, t,
                           span.end - t < PANEL_PASS ? span.end : t + PANEL_PASS, begin, end);
            continue;
        }
        // Expanding costs more than reading activations again.
        uint64_t pass = direct ? PASS : span.end - span.begin;
        for (uint64_t t = span.begin; t < span.end; t += pass)
            run_block(call, (float *)(void *)task->scratch, (uint64_t)span.expert, t,
                      span.end - t < pass ? span.end : t + pass, begin, end);
    }
}

void cpu_matmul_float_run(const cpu_call *call, const cpu_task *task) {
    uint64_t begin, end, width = cpu_width(&call->node.out[0]);
    uint64_t each = CPU_PANEL; // so that panels follow each other where there are panels
    if (cpu_rows(&call->node.in[0], &task->run->step) >= BLOCKED)
        each *= cpu_panels_each((width + CPU_PANEL - 1) / CPU_PANEL, task->count);
    cpu_allotment columns;
    cpu_allot(call, task, width, each, &columns);
    while (cpu_take(&columns, &begin, &end))
        cpu_matmul_float_columns(call, task, begin, end);
}

void cpu_matmul_float_name(cpu_call *call) {
    snprintf(call->implementation, sizeof call->implementation, "matmul_%s_%s",
             gr_dtype_name(call->weight[CPU_MATMUL_W]->dtype), call->kernels->isa);
    for (char *text = call->implementation; *text; text++)
        *text = (char)tolower((unsigned char)*text);
}

gr_status cpu_matmul_float_emit(cpu_builder *b, const cpu_call *bound, gr_error *error) {
    cpu_call call = *bound;
    call.run = cpu_matmul_float_run;
    if (!bound->kernels->dot[bound->weight[CPU_MATMUL_W]->dtype])
        cpu_build_private(b, CPU_FLOAT_ROWS * cpu_width(&bound->node.in[CPU_MATMUL_W]) *
                                 sizeof(float));
    cpu_access form;
    uint32_t forms = 0;
    if (bound->kernels->mul[bound->weight[CPU_MATMUL_W]->dtype]) {
        uint64_t chunks =
            (cpu_width(&bound->node.in[CPU_MATMUL_W]) + CPU_CHUNK - 1) / CPU_CHUNK;
        gr_status status = GR_OK;
        if (laid(&call)) {
            cpu_call helper = cpu_helper_of(bound, lay);
            status = cpu_build_form(b, &helper, chunks * CPU_CHUNK * sizeof(float), &b->laid,
                                    &form, error);
            call.scratch = form.begin;
            forms = 1;
        }
        if (status != GR_OK)
            return status;
        cpu_build_private(b, sizeof(workspace));
    }
    cpu_matmul_float_name(&call);
    return cpu_build_call(b, &call, &form, forms) ? GR_OK : cpu_no_memory(error);
}
