// SPDX-License-Identifier: Apache-2.0
// matmul_tile.c: MATMUL for block-quantised weights. A panel of 16 weight rows is expanded from the
// file's own bytes once and used for all activation rows: a chunk at a time for up to 8 of them,
// else the whole panel first, so that it stays in the second-level cache. Either way each sum grows
// in the same order.
#include <ctype.h>
#include <stdio.h>

#include "ops/matmul.h"

// A worker's scratch: expanded rows, then the panel's tiles.
typedef struct workspace {
    int8_t rows[CPU_PANEL * CPU_CHUNK];
    cpu_tile tiles[];
} workspace;

// Helper: quantises the rows of x.
static void quantise(const cpu_call *call, const cpu_task *task) {
    uint64_t k = cpu_width(&call->node.in[0]), stride = cpu_quantised_bytes(k), begin, end;
    cpu_slice(cpu_rows(&call->node.in[0], &task->run->step), task, &begin, &end);
    for (uint64_t m = begin; m < end; m++)
        call->kernels->quantise(cpu_in_f32(call, 0) + m * k, k,
                                task->run->scratch + call->scratch + m * stride);
}

// What the kernels need to know about one span of one panel.
typedef struct panel {
    const cpu_call *call;
    const uint8_t *weights; // its first row
    uint64_t row_bytes, chunk_bytes, k;
    uint32_t rows; // 1 to 16
    cpu_dtype_form form;
    workspace *space;
    cpu_dot_tile_args args;
} panel;

static uint32_t chunk_values(const panel *p, uint64_t at) {
    return p->k - at < CPU_CHUNK ? (uint32_t)(p->k - at) : CPU_CHUNK;
}

// Expands values [at, at+256) of the panel's rows. Rows that do not exist repeat the last one. The
// next panel's bytes are asked for meanwhile.
static void expand(const panel *p, uint64_t at, cpu_tile *tile) {
    gr_dtype dtype = p->call->weight[CPU_MATMUL_W]->dtype;
    cpu_expand function = p->call->kernels->expand[dtype];
    uint32_t n = chunk_values(p, at);
    const uint8_t *from = p->weights + at / CPU_CHUNK * p->chunk_bytes;
    for (uint32_t r = 0; r < CPU_PANEL; r++) {
        const uint8_t *row = from + (r < p->rows ? r : p->rows - 1) * p->row_bytes;
        uintptr_t ahead = (uintptr_t)row + CPU_PANEL * p->row_bytes;
        for (uint64_t i = 0; i < p->chunk_bytes; i += 64)
            __builtin_prefetch((const void *)(ahead + i), 0, 2);
        function(row, n, p->space->rows + r * CPU_CHUNK, tile->s + r, tile->c + r);
    }
    p->call->kernels->pack_tile(p->space->rows, n, tile->q);
}

// Adds one tile's products to the sums of `tokens` rows from `first`.
static void dot(panel *p, uint64_t at, const cpu_tile *tile, const uint8_t *activations,
                uint32_t tokens, float *sums) {
    p->args.tile = tile;
    p->args.blocks = chunk_values(p, at) / 32;
    p->args.block = at / 32;
    p->args.tokens = tokens;
    p->args.activations = activations;
    p->args.sums = sums;
    p->call->kernels->dot_tile(&p->args);
}

static void store(const panel *p, const float *sums, uint64_t m, uint32_t tokens, uint64_t n,
                  const float *bias) {
    uint64_t width = cpu_width(&p->call->node.out[0]);
    for (uint32_t t = 0; t < tokens; t++) {
        float *y = cpu_out_f32(p->call, 0) + (m + t) * width + n;
        for (uint32_t r = 0; r < p->rows; r++)
            y[r] = bias ? sums[t * CPU_PANEL + r] + bias[r] : sums[t * CPU_PANEL + r];
    }
}

// Columns [n, n+rows) of one span, by the dtype's direct kernel.
static void run_rows(panel *p, const cpu_matmul_span *span, const uint8_t *activations, uint64_t n,
                     const float *bias) {
    float sums[CPU_ROWS_TOKENS * CPU_PANEL];
    uint32_t tokens = (uint32_t)(span->end - span->begin);
    const cpu_dot_rows_args args = {.weights = p->weights,
                                    .row_bytes = p->row_bytes,
                                    .k = p->k,
                                    .rows = p->rows,
                                    .tokens = tokens,
                                    .activation_stride = p->args.activation_stride,
                                    .activations =
                                        activations + span->begin * p->args.activation_stride,
                                    .sums = sums};
    p->call->kernels->dot_rows[p->call->weight[CPU_MATMUL_W]->dtype](&args);
    store(p, sums, span->begin, tokens, n, bias);
}

// Whether so few activation rows go through the direct kernel.
static bool by_rows(const cpu_call *call, const cpu_matmul_span *span, uint64_t k) {
    return call->kernels->dot_rows[call->weight[CPU_MATMUL_W]->dtype] && k % 64 == 0 &&
           span->end - span->begin <= CPU_ROWS_TOKENS;
}

// Columns [n, n+rows) of one span, by tiles.
static void run_panel(panel *p, const cpu_matmul_span *span, const uint8_t *activations, uint64_t n,
                      const float *bias) {
    bool few = span->end - span->begin <= CPU_TOKENS;
    for (uint64_t at = 0; at < p->k && !few; at += CPU_CHUNK)
        expand(p, at, &p->space->tiles[at / CPU_CHUNK]);
    for (uint64_t m = span->begin; m < span->end; m += CPU_TOKENS) {
        uint32_t tokens = span->end - m < CPU_TOKENS ? (uint32_t)(span->end - m) : CPU_TOKENS;
        float sums[CPU_TOKENS * CPU_PANEL] = {0};
        for (uint64_t at = 0; at < p->k; at += CPU_CHUNK) {
            cpu_tile *tile = &p->space->tiles[few ? 0 : at / CPU_CHUNK];
            if (few)
                expand(p, at, tile);
            dot(p, at, tile, activations + m * p->args.activation_stride, tokens, sums);
        }
        store(p, sums, m, tokens, n, bias);
    }
}

static void run(const cpu_call *call, const cpu_task *task) {
    const gr_weight *w = call->weight[CPU_MATMUL_W];
    const gr_step *step = &task->run->step;
    uint64_t width = cpu_width(&call->node.out[0]), k = cpu_width(&call->node.in[CPU_MATMUL_W]);
    uint64_t panels = (width + CPU_PANEL - 1) / CPU_PANEL, begin, end;
    uint64_t each = panels / (task->count * 16u);
    panel p = {.call = call,
               .row_bytes = w->row_bytes,
               .k = k,
               .form = cpu_dtype_form_of(w->dtype),
               .space = (workspace *)(void *)task->scratch,
               .chunk_bytes = gr_dtype_row_bytes(w->dtype, CPU_CHUNK)};
    p.args = (cpu_dot_tile_args){.group = p.form.group,
                                 .offset = p.form.offset,
                                 .k = k,
                                 .activation_stride = cpu_quantised_bytes(k)};
    while (cpu_matmul_take(call, task, panels, each < 1 ? 1 : each > 8 ? 8 : each, &begin, &end)) {
        for (; begin < end; begin++) {
            uint64_t n = begin * CPU_PANEL;
            cpu_matmul_span span;
            p.rows = width - n < CPU_PANEL ? (uint32_t)(width - n) : CPU_PANEL;
            for (uint64_t m = 0; cpu_matmul_span_next(call, step, m, &span); m = span.end) {
                if (cpu_matmul_unmatched(call, &span, n, n + p.rows))
                    continue;
                uint64_t row = (uint64_t)span.expert * width + n;
                const float *bias = cpu_in_f32(call, CPU_MATMUL_BIAS);
                p.weights = w->data + row * w->row_bytes;
                (by_rows(call, &span, k) ? run_rows : run_panel)(
                    &p, &span, task->run->scratch + call->scratch, n, bias ? bias + row : NULL);
            }
        }
    }
}

// "matmul_q4_k_avx512vnni"
static void name(cpu_call *call) {
    char *text = call->implementation;
    snprintf(text, sizeof call->implementation, "matmul_%s_%s",
             gr_dtype_name(call->weight[CPU_MATMUL_W]->dtype), call->kernels->dot_isa);
    for (; *text; text++)
        *text = (char)tolower((unsigned char)*text);
}

gr_status cpu_matmul_tile_emit(cpu_builder *b, const cpu_call *bound, gr_error *error) {
    uint64_t k = cpu_width(&bound->node.in[CPU_MATMUL_W]),
             m = cpu_rows(&bound->node.in[0], &b->maxima);
    cpu_access form;
    gr_status status =
        cpu_build_form(b, bound, quantise, cpu_quantised_bytes(k), &b->quantised, &form, error);
    if (status != GR_OK)
        return status;
    uint64_t tiles = m > CPU_TOKENS ? (k + CPU_CHUNK - 1) / CPU_CHUNK : 1;
    cpu_build_private(b, sizeof(workspace) + tiles * sizeof(cpu_tile));
    cpu_call call = *bound;
    call.run = run;
    call.scratch = form.begin;
    name(&call);
    return cpu_build_call(b, &call, &form, 1) ? GR_OK : cpu_no_memory(error);
}
