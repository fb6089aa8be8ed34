// SPDX-License-Identifier: Apache-2.0
// matmul_tile.c: MATMUL for block-quantised weights. A worker takes panels of 16 weight rows. For up
// to four activation rows a panel is packed, once, and multiplied as it lies. For more, a chunk of
// 256 values of the panel, packed or in the file's own form, is woven into a tile that stays in the
// first-level cache while all activation rows pass; their sums wait in the worker's scratch. Either
// way each sum grows in the same order.
#include <ctype.h>
#include <stdio.h>

#include "ops/matmul.h"
#include "ops/quantised.h"

#define TOGETHER 4 // panels in one pass over the activations

// A worker's scratch. `sums` holds [panel][rows][16] for the step's rows; a list of
// remainders follows.
typedef struct workspace {
    cpu_tile tile;
    uint8_t panel[CPU_PANEL * CPU_CHUNK * 2]; // rows, when they are fewer than 16
    int8_t bytes[CPU_PANEL * CPU_CHUNK];  // expanded, for dtypes without a weave of their own
    float sums[];
} workspace;

// What the kernels need to know about one span of one panel.
typedef struct panel {
    const cpu_call *call;
    const uint8_t *weights; // its first row
    const uint8_t *packed;  // NULL: not packed
    uint64_t row_bytes, chunk_bytes, k, most_rows;
    uint32_t rows; // 1 to 16
    gr_dtype dtype;
    workspace *space;
    cpu_activations x; // of the span, at chunk 0
} panel;

static uint32_t chunk_values(const panel *p, uint64_t at) {
    return p->k - at < CPU_CHUNK ? (uint32_t)(p->k - at) : CPU_CHUNK;
}

// What is read after this chunk of the panel: of a packed one the next chunk, and after the last one the first of the panel
// `next` places on; of rows in the file's form the same part of that panel.
static const uint8_t *what_follows(const panel *p, uint64_t chunk, uint32_t next) {
    const uint64_t bytes = CPU_PANEL * p->chunk_bytes, far = next * CPU_PANEL * p->row_bytes;
    if (!p->packed)
        return (const uint8_t *)((uintptr_t)p->weights + far + chunk * bytes);
    return (const uint8_t *)((uintptr_t)p->packed + ((chunk + 1) * CPU_CHUNK < p->k ? (chunk + 1) * bytes : far));
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
    kernels->weave_bytes(space->bytes, n / 32, cpu_dtype_form_of(p->dtype), space->tile.q);
}

// Rows [m, m+tokens) and columns [n, n+p->rows) of the output, from the sums of a panel, and what
// else a composite asks for while they are in cache.
static void store(const panel *p, const float *sums, uint64_t m, uint32_t tokens, uint64_t n,
                  const float *bias) {
    const cpu_call *call = p->call;
    uint64_t width = cpu_width(&call->node.out[0]), at = m * width + n;
    const float *add = cpu_in_f32(call, CPU_MATMUL_ADD);
    for (uint32_t t = 0; t < tokens; t++, at += width, sums += CPU_PANEL) {
        float *y = cpu_out_f32(call, 0) + at;
        for (uint32_t r = 0; r < p->rows; r++)
            y[r] = bias ? sums[r] + bias[r] : sums[r];
        for (uint32_t r = 0; add && r < p->rows; r++)
            y[r] = add[at + r] + y[r];
    }
}

// The sums of `count` panels for `tokens` activation rows, a panel's behind those of the one before,
// from their packed forms or by tiles. Tiles take turns a chunk at a time, so that its activations
// are still in the second-level cache for all of them. The panel `next` places on is one that this worker takes next.
static void multiply(const panel *p, uint32_t count, uint32_t tokens, uint32_t next) {
    const cpu_kernels *kernels = p->call->kernels;
    const uint64_t each = (uint64_t)tokens * CPU_PANEL;
    float *sums = p->space->sums;
    cpu_rest_list *list = (cpu_rest_list *)(void *)(sums + TOGETHER * p->most_rows * CPU_PANEL);
    bool direct[TOGETHER] = {false};
    uint32_t tiles = count;
    for (uint32_t i = 0; i < count; i++) {
        direct[i] = p[i].packed && tokens <= CPU_ROWS_TOKENS;
        tiles -= direct[i];
        if (direct[i])
            kernels->dot_packed[p[i].dtype](&(cpu_dot_packed_args){
                p[i].packed, p->k, tokens, p->x, sums + i * each});
        else
            memset(sums + i * each, 0, each * sizeof *sums);
    }
    for (uint64_t chunk = 0; tiles && chunk * CPU_CHUNK < p->k; chunk++) {
        cpu_dot_tile_args args = {.tile = &p->space->tile,
                                  .blocks = chunk_values(p, chunk * CPU_CHUNK) / 32,
                                  .tokens = tokens};
        const cpu_activations x = cpu_quantised_at(&p->x, chunk, 0);
        args.records = x.records;
        args.rest = cpu_rest_gather(&x, tokens, list);
        for (uint32_t i = 0; i < count; i++) {
            if (direct[i])
                continue;
            weave(&p[i], chunk * CPU_CHUNK);
            args.form = cpu_dtype_form_of(p[i].dtype);
            args.sums = sums + i * each;
            args.ahead = what_follows(&p[i], chunk, next);
            args.ahead_bytes = CPU_PANEL * p[i].chunk_bytes;
            kernels->dot_tile(&args);
        }
    }
}

// Sets a panel to rows [row, row+rows) of a matrix.
static void take_panel(panel *p, const cpu_task *task, const gr_weight *w, uint64_t row,
                       uint32_t rows) {
    p->dtype = w->dtype;
    p->row_bytes = w->row_bytes;
    p->chunk_bytes = gr_dtype_row_bytes(w->dtype, CPU_CHUNK);
    p->weights = w->data + row * w->row_bytes;
    p->rows = rows;
    p->packed = cpu_weight_panel(p->call->kernels, task, w, row / CPU_PANEL);
}

// `count` panels from column n on: every span of rows that share a matrix. Where one matrix gates
// another, a panel of each stand side by side.
static void run_panels(panel *p, uint32_t count, const cpu_task *task, const cpu_activations *x,
                       uint64_t n) {
    const cpu_call *call = p->call;
    const gr_weight *w = call->weight[CPU_MATMUL_W], *up = call->weight[CPU_MATMUL_UP];
    const float *bias = cpu_in_f32(call, CPU_MATMUL_BIAS);
    const uint32_t matrices = up ? 2 : 1;
    uint64_t width = cpu_width(&call->node.out[0]), n_end = n + (uint64_t)count * CPU_PANEL;
    cpu_matmul_span span;
    n_end = n_end < width ? n_end : width;
    for (uint64_t m = 0; cpu_matmul_span_next(call, &task->run->step, m, &span); m = span.end) {
        if (cpu_matmul_unmatched(call, &span, n, n_end))
            continue;
        uint32_t tokens = (uint32_t)(span.end - span.begin);
        uint64_t first = (uint64_t)span.expert * width, each = (uint64_t)tokens * CPU_PANEL;
        for (uint32_t i = 0; i < count * matrices; i++) {
            uint64_t at = n + i / matrices * CPU_PANEL;
            take_panel(&p[i], task, i % matrices ? up : w, first + at,
                       n_end - at < CPU_PANEL ? (uint32_t)(n_end - at) : CPU_PANEL);
            p[i].x = cpu_quantised_at(x, 0, span.begin);
        }
        multiply(p, count * matrices, tokens, count);
        for (uint32_t i = 0; i < count * matrices; i += matrices) {
            float *sums = p->space->sums + i * each;
            uint64_t at = n + i / matrices * CPU_PANEL;
            if (up)
                call->kernels->glu_silu(sums, sums + each, each, sums);
            store(&p[i], sums, span.begin, tokens, at, bias ? bias + first + at : NULL);
        }
    }
}

static void run(const cpu_call *call, const cpu_task *task) {
    uint64_t width = cpu_width(&call->node.out[0]), k = cpu_width(&call->node.in[CPU_MATMUL_W]);
    uint64_t rows = cpu_rows(&call->node.in[0], &task->run->step);
    uint64_t panels = (width + CPU_PANEL - 1) / CPU_PANEL, begin, end;
    const uint32_t most = call->weight[CPU_MATMUL_UP] ? TOGETHER / 2 : TOGETHER;
    if (task->id >= task->count)
        return;
    cpu_activations x = cpu_quantised_view(cpu_quantised_form(call, task), k, rows);
    panel p[TOGETHER];
    for (uint32_t i = 0; i < TOGETHER; i++)
        p[i] = (panel){.call = call,
                       .k = k,
                       .most_rows = rows,
                       .space = (workspace *)(void *)task->scratch};
    cpu_allotment allotted;
    cpu_allot(call, task, panels, cpu_panels_each(panels, task->count), &allotted);
    const bool tiles = rows > CPU_ROWS_TOKENS; // else panels are multiplied as they lie
    if (tiles && call->kernels->tiles_begin)
        call->kernels->tiles_begin();
    while (cpu_take(&allotted, &begin, &end)) {
        for (; begin < end; begin += most)
            run_panels(p, end - begin < most ? (uint32_t)(end - begin) : most, task, &x,
                       begin * CPU_PANEL);
    }
    if (tiles && call->kernels->tiles_end)
        call->kernels->tiles_end();
}

// "matmul_q4_k_avx512vnni", and "+glu" or "+add" when that is fused.
static void name(cpu_call *call) {
    char *text = call->implementation;
    snprintf(text, sizeof call->implementation, "matmul_%s_%s%s",
             gr_dtype_name(call->weight[CPU_MATMUL_W]->dtype), call->kernels->dot_isa,
             call->weight[CPU_MATMUL_UP]         ? "+glu"
             : call->node.has_in[CPU_MATMUL_ADD] ? "+add"
                                                 : "");
    for (; *text; text++)
        *text = (char)tolower((unsigned char)*text);
}

gr_status cpu_matmul_tile_emit(cpu_builder *b, const cpu_call *bound, gr_error *error) {
    uint64_t m = cpu_rows(&bound->node.in[0], &b->maxima);
    cpu_call call = *bound;
    cpu_access form;
    gr_status status = cpu_quantise_emit(b, bound, &call, &form, error);
    if (status != GR_OK)
        return status;
    cpu_build_private(b, sizeof(workspace) + TOGETHER * m * CPU_PANEL * sizeof(float) +
                             cpu_rest_bytes(m));
    call.run = run;
    name(&call);
    return cpu_build_call(b, &call, &form, 1) ? GR_OK : cpu_no_memory(error);
}
