// SPDX-License-Identifier: Apache-2.0
// matmul_tile.c: MATMUL for block-quantised weights. A worker takes panels of 16 weight rows. For up
// to four activation rows a panel is packed, once, and multiplied as it lies. For more, a chunk of
// 256 values of the panel, packed or in the file's own form, is woven into a tile that stays in the
// first-level cache while all activation rows pass; their sums wait in the worker's scratch. Either
// way each sum grows in the same order.
//
// Eight bits a block do not serve a row in which a few blocks are far larger than the rest: their
// rounding drowns the others. What rounding left over of such a row is quantised too, as a row of its
// own, a remainder, and its products are added. Whether a row has one depends on that row alone.
#include <ctype.h>
#include <stdio.h>

#include "ops/matmul.h"

#define UNEVEN 1.25f // see uneven()

// A worker's scratch. `sums` holds [rows][16] for the step's rows.
typedef struct workspace {
    cpu_tile tile;
    uint8_t panel[CPU_PANEL * CPU_CHUNK * 2]; // rows, when they are fewer than 16
    int8_t bytes[CPU_PANEL * CPU_CHUNK];  // expanded, for dtypes without a weave of their own
    float sums[];
} workspace;

// The quantised form of M rows: records [chunk][2*M], rows first, then remainders in any order; then
// the row that each remainder belongs to.
static uint64_t form_bytes(uint64_t k) {
    return (k + CPU_CHUNK - 1) / CPU_CHUNK * 2 * sizeof(cpu_quantised) + sizeof(uint64_t);
}
static uint32_t *remainder_rows(cpu_quantised *form, uint64_t k, uint64_t rows) {
    return (uint32_t *)(void *)(form + (k + CPU_CHUNK - 1) / CPU_CHUNK * 2 * rows);
}

// Whether the largest blocks' scales stand out: the mean of the squares against the square of the
// mean. 1.03 for Gaussian rows, 1.1 for Laplace, 4 for one value in 512 at 30 times the others.
static bool uneven(const cpu_quantised *row, uint64_t stride, uint64_t k) {
    float sum = 0.0f, squares = 0.0f;
    for (uint64_t b = 0; b < k / 32; b++) {
        float scale = row[b / 8 * stride].scale[b % 8];
        sum += scale;
        squares += scale * scale;
    }
    return squares * (float)(k / 32) > UNEVEN * sum * sum;
}

// What quantising left of a row, into `out`.
static void remainder_of(const float *x, uint64_t k, const cpu_quantised *row, uint64_t stride,
                         float *out) {
    for (uint64_t i = 0; i < k; i++) {
        const cpu_quantised *a = row + i / CPU_CHUNK * stride;
        out[i] = fmaf(-a->scale[i % CPU_CHUNK / 32], a->q[i % CPU_CHUNK], x[i]);
    }
}

// Helper: quantises the rows of x. Its counter counts remainders.
static void quantise(const cpu_call *call, const cpu_task *task) {
    uint64_t k = cpu_width(&call->node.in[0]), begin, end;
    uint64_t rows = cpu_rows(&call->node.in[0], &task->run->step), stride = 2 * rows;
    cpu_quantised *to = (cpu_quantised *)(void *)(task->run->scratch + call->scratch);
    cpu_slice(rows, task, &begin, &end);
    for (uint64_t m = begin; m < end; m++) {
        const float *x = cpu_in_f32(call, 0) + m * k;
        float *rest = (float *)(void *)task->scratch;
        call->kernels->quantise(x, k, to + m, stride);
        if (!uneven(to + m, stride, k))
            continue;
        uint64_t slot = atomic_fetch_add_explicit(call->counter, 1, memory_order_relaxed);
        remainder_rows(to, k, rows)[slot] = (uint32_t)m;
        remainder_of(x, k, to + m, stride, rest);
        call->kernels->quantise(rest, k, to + rows + slot, stride);
    }
}

// What the kernels need to know about one span of one panel.
typedef struct panel {
    const cpu_call *call;
    const uint8_t *weights; // its first row
    const uint8_t *packed;  // NULL: not packed
    uint64_t row_bytes, chunk_bytes, k;
    uint32_t rows; // 1 to 16
    gr_dtype dtype;
    workspace *space;
    const cpu_quantised *activations; // of the span, chunk 0
    uint64_t stride;                  // from a chunk to the next
    uint32_t remainders;              // behind the span's rows, when that is the whole step
    const uint32_t *remainder_rows;
} panel;

static uint32_t chunk_values(const panel *p, uint64_t at) {
    return p->k - at < CPU_CHUNK ? (uint32_t)(p->k - at) : CPU_CHUNK;
}

// Asks for the next panel's share of what this chunk takes.
static void ask_ahead(const panel *p, uint64_t chunk) {
    uintptr_t ahead =
        (uintptr_t)p->weights + CPU_PANEL * (p->row_bytes + chunk * p->chunk_bytes);
    for (uint64_t i = 0; i < CPU_PANEL * p->chunk_bytes; i += 64)
        __builtin_prefetch((const void *)(ahead + i), 0, 2);
}

// The last panel of a matrix: rows that do not exist repeat the last one.
static const uint8_t *fill_panel(const panel *p, const uint8_t *from, uint64_t bytes) {
    for (uint32_t r = 0; r < CPU_PANEL; r++)
        memcpy(p->space->panel + r * bytes, from + (r < p->rows ? r : p->rows - 1) * p->row_bytes,
               bytes);
    return p->space->panel;
}

// Weaves values [at, at+256) of the panel.
static void weave(const panel *p, uint64_t at) {
    const cpu_kernels *kernels = p->call->kernels;
    uint32_t n = chunk_values(p, at);
    cpu_weave_args args = {.rows = p->weights + at / CPU_CHUNK * p->chunk_bytes,
                           .stride = p->row_bytes,
                           .chunk = at / CPU_CHUNK,
                           .blocks = n / 32};
    workspace *space = p->space;
    args.panel = p->packed;
    if (!p->packed && p->rows < CPU_PANEL) {
        args.stride = gr_dtype_row_bytes(p->dtype, n);
        args.rows = fill_panel(p, args.rows, args.stride);
    }
    if (kernels->weave[p->dtype]) {
        kernels->weave[p->dtype](&args, &space->tile);
        return;
    }
    for (uint32_t r = 0; r < CPU_PANEL; r++)
        kernels->expand[p->dtype](args.rows + r * args.stride, n, space->bytes + r * CPU_CHUNK,
                                  space->tile.s + r, space->tile.c + r);
    kernels->weave_bytes(space->bytes, n / 32, (int)cpu_dtype_form_of(p->dtype).zero,
                         space->tile.q);
}

static void store(const panel *p, uint64_t m, uint32_t tokens, uint64_t n, const float *bias) {
    uint64_t width = cpu_width(&p->call->node.out[0]);
    float *y = cpu_out_f32(p->call, 0) + m * width + n, *sums = p->space->sums;
    for (uint32_t i = 0; i < p->remainders; i++) {
        for (uint32_t r = 0; r < CPU_PANEL; r++)
            sums[p->remainder_rows[i] * CPU_PANEL + r] += sums[(tokens + i) * CPU_PANEL + r];
    }
    for (uint32_t t = 0; t < tokens; t++, y += width, sums += CPU_PANEL) {
        for (uint32_t r = 0; r < p->rows; r++)
            y[r] = bias ? sums[r] + bias[r] : sums[r];
    }
}

// The panel's sums for `tokens` activation rows, from its packed form or by tiles.
static void multiply(const panel *p, uint32_t tokens) {
    const cpu_kernels *kernels = p->call->kernels;
    float *sums = p->space->sums;
    if (p->packed && tokens <= CPU_ROWS_TOKENS) {
        const cpu_dot_packed_args args = {p->packed,      p->k,      tokens,
                                          p->activations, p->stride, sums};
        kernels->dot_packed[p->dtype](&args);
        return;
    }
    memset(sums, 0, tokens * CPU_PANEL * sizeof *sums);
    for (uint64_t chunk = 0; chunk * CPU_CHUNK < p->k; chunk++) {
        const cpu_dot_tile_args args = {.tile = &p->space->tile,
                                        .blocks = chunk_values(p, chunk * CPU_CHUNK) / 32,
                                        .tokens = tokens,
                                        .form = cpu_dtype_form_of(p->dtype),
                                        .activations = p->activations + chunk * p->stride,
                                        .sums = sums};
        if (!p->packed)
            ask_ahead(p, chunk);
        weave(p, chunk * CPU_CHUNK);
        kernels->dot_tile(&args);
    }
}

// Columns [n, n+rows) of the output: every span of rows that share a matrix.
static void run_panel(panel *p, const cpu_task *task, const cpu_quantised *activations,
                      uint64_t n) {
    const cpu_call *call = p->call;
    const gr_step *step = &task->run->step;
    const gr_weight *w = call->weight[CPU_MATMUL_W];
    const float *bias = cpu_in_f32(call, CPU_MATMUL_BIAS);
    uint64_t width = cpu_width(&call->node.out[0]);
    cpu_matmul_span span;
    p->rows = width - n < CPU_PANEL ? (uint32_t)(width - n) : CPU_PANEL;
    for (uint64_t m = 0; cpu_matmul_span_next(call, step, m, &span); m = span.end) {
        if (cpu_matmul_unmatched(call, &span, n, n + p->rows))
            continue;
        uint64_t row = (uint64_t)span.expert * width + n;
        uint32_t tokens = (uint32_t)(span.end - span.begin);
        p->weights = w->data + row * w->row_bytes;
        p->activations = activations + span.begin;
        p->packed = cpu_weight_panel(call->kernels, task, w, row / CPU_PANEL);
        multiply(p, tokens + p->remainders);
        store(p, span.begin, tokens, n, bias ? bias + row : NULL);
    }
}

static void run(const cpu_call *call, const cpu_task *task) {
    const gr_weight *w = call->weight[CPU_MATMUL_W];
    const gr_step *step = &task->run->step;
    uint64_t width = cpu_width(&call->node.out[0]);
    uint64_t panels = (width + CPU_PANEL - 1) / CPU_PANEL, begin, end;
    uint64_t rows = cpu_rows(&call->node.in[0], step);
    panel p = {.call = call,
               .row_bytes = w->row_bytes,
               .chunk_bytes = gr_dtype_row_bytes(w->dtype, CPU_CHUNK),
               .k = cpu_width(&call->node.in[CPU_MATMUL_W]),
               .dtype = w->dtype,
               .space = (workspace *)(void *)task->scratch,
               .stride = 2 * rows};
    cpu_quantised *activations = (cpu_quantised *)(void *)(task->run->scratch + call->scratch);
    if (!call->node.has_in[CPU_MATMUL_INDEX]) { // rows of one matrix only
        p.remainders = (uint32_t)atomic_load_explicit(
            &task->run->program->counters[call->helper], memory_order_relaxed);
        p.remainder_rows = remainder_rows(activations, p.k, rows);
    }
    while (cpu_take(call, task, panels, cpu_panels_each(panels, task->count), &begin, &end)) {
        for (; begin < end; begin++)
            run_panel(&p, task, activations, begin * CPU_PANEL);
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
        cpu_build_form(b, bound, quantise, form_bytes(k), &b->quantised, &form, error);
    if (status != GR_OK)
        return status;
    cpu_build_private(b, sizeof(workspace) + 2 * m * CPU_PANEL * sizeof(float));
    cpu_build_private(b, k * sizeof(float)); // for quantise
    cpu_call call = *bound;
    call.run = run;
    call.helper = b->quantised.helper;
    call.scratch = form.begin;
    name(&call);
    return cpu_build_call(b, &call, &form, 1) ? GR_OK : cpu_no_memory(error);
}
