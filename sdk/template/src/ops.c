// SPDX-License-Identifier: Apache-2.0
// ops.c: the primitives that a Mistral-family model is made of, in F32. What each computes is in
// gregale/ops.h, its operands in gregale/ops.def.
//
// One output element is always computed by one worker, in one order of additions, whatever the
// number of rows: that is what GR_DEVICE_BATCH_INVARIANT promises.
#include "mydevice.h"

// This worker's part of n units.
static void slice(uint64_t n, const mydevice_task *task, uint64_t *begin, uint64_t *end) {
    gr_slice(n, task->id, task->count, begin, end);
}

// Sixteen running sums, so that a compiler can use vectors.
static float dot(const float *a, const float *b, uint64_t n) {
    float sums[16] = {0}, sum = 0;
    uint64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int j = 0; j < 16; j++)
            sums[j] += a[i + j] * b[i + j];
    }
    for (; i < n; i++)
        sums[i % 16] += a[i] * b[i];
    for (int j = 0; j < 16; j++)
        sum += sums[j];
    return sum;
}

// ---- EMBED: row t is row tokens[t] of the table ----

static void embed(const gr_call *call, const mydevice_task *task) {
    const gr_weight *table = call->weight[0];
    const int32_t *tokens = gr_call_index(call, 1, task->step);
    uint64_t width = gr_value_width(&call->node.out[0]), begin, end;
    slice(gr_value_rows(&call->node.out[0], task->step), task, &begin, &end);
    for (uint64_t t = begin; t < end; t++)
        gr_row_decode(table->dtype, table->data + (uint64_t)tokens[t] * table->row_bytes, width,
                      gr_call_out(call, 0) + t * width);
}

// ---- RMS_NORM: x / sqrt(mean(x^2) + eps) * weight, over each D values ----

static void rms_norm(const gr_call *call, const mydevice_task *task) {
    const float *weight = gr_call_in(call, 1);
    uint64_t d = gr_value_width(&call->node.in[1]), begin, end;
    if (!d)
        return;
    slice(gr_value_count(&call->node.in[0], task->step) / d, task, &begin, &end);
    for (uint64_t i = begin; i < end; i++) {
        const float *x = gr_call_in(call, 0) + i * d;
        float *y = gr_call_out(call, 0) + i * d;
        float scale = 1 / sqrtf(dot(x, x, d) / (float)d + call->node.attrs.norm.eps);
        for (uint64_t j = 0; j < d; j++)
            y[j] = x[j] * scale * weight[j];
    }
}

// ---- MATMUL: y[m,n] = sum over k of x[m,k] * W[n,k], plus bias[n] ----

static const char *matmul_refuse(const gr_node_view *node) {
    return node->has_in[3] ? "rows that choose their matrix: not written yet" : NULL;
}

static uint64_t matmul_scratch(const gr_node_view *node) {
    return gr_value_width(&node->in[1]);
}

// A worker takes columns: each row of W is expanded once and meets every row of x.
static void matmul(const gr_call *call, const mydevice_task *task) {
    const gr_weight *w = call->weight[1];
    const float *x = gr_call_in(call, 0), *bias = gr_call_in(call, 2);
    float *y = gr_call_out(call, 0);
    uint64_t rows = gr_value_rows(&call->node.in[0], task->step);
    uint64_t k = gr_value_width(&call->node.in[1]), n_all = gr_value_width(&call->node.out[0]);
    uint64_t begin, end;
    slice(n_all, task, &begin, &end);
    for (uint64_t n = begin; n < end; n++) {
        gr_row_decode(w->dtype, w->data + n * w->row_bytes, k, task->scratch);
        for (uint64_t m = 0; m < rows; m++)
            y[m * n_all + n] = dot(x + m * k, task->scratch, k) + (bias ? bias[n] : 0);
    }
}

// ---- ROPE: turns pairs of each head by position * inv_freq, the angle in F64 ----

static void rope(const gr_call *call, const mydevice_task *task) {
    const gr_attrs_rope *a = &call->node.attrs.rope;
    const int32_t *positions = gr_call_index(call, 1, task->step);
    uint64_t width = gr_value_width(&call->node.in[0]), begin, end;
    uint32_t pairs = a->rotary_dim / 2, step = a->pairing == GR_ROPE_HALF ? 1 : 2;
    slice(gr_value_rows(&call->node.in[0], task->step), task, &begin, &end);
    for (uint64_t at = begin * width; at < end * width; at += a->head_dim) {
        const float *x = gr_call_in(call, 0) + at;
        float *y = gr_call_out(call, 0) + at;
        for (uint32_t i = 0; i < pairs; i++) {
            uint32_t one = i * step, two = step == 1 ? i + pairs : one + 1;
            double angle = (double)positions[at / width] * a->inv_freq[i];
            double c = cos(angle) * (double)a->magnitude, s = sin(angle) * (double)a->magnitude;
            y[one] = (float)((double)x[one] * c - (double)x[two] * s);
            y[two] = (float)((double)x[one] * s + (double)x[two] * c);
        }
        for (uint32_t i = a->rotary_dim; i < a->head_dim; i++)
            y[i] = x[i];
    }
}

// ---- KV_WRITE: stores the step's keys and values in their pages ----

static void kv_write(const gr_call *call, const mydevice_task *task) {
    const gr_step *step = task->step;
    const gr_kv_shape *shape = &call->kv->shape;
    gr_step_group pages;
    uint64_t begin, end;
    slice(step->rows, task, &begin, &end);
    if (begin == end ||
        gr_step_pages_open(step, call->kv_group, shape->page_tokens, &pages, NULL) != GR_OK)
        return;
    for (uint64_t t = begin; t < end; t++) {
        for (uint32_t part = 0; part < 2; part++) {
            uint64_t width = (uint64_t)shape->kv_heads * shape->dim[part];
            gr_row_encode(
                shape->dtype, gr_call_in(call, part) + t * width, width,
                gr_call_kv_row(call, &pages, part, (uint32_t)step->row_seq[t], step->positions[t]));
        }
    }
}

// ---- ATTENTION: softmax over the visible keys, in one pass (arXiv 1805.02867) ----

static const char *attention_refuse(const gr_node_view *node) {
    return node->attrs.attention.flags & GR_ATTENTION_DENSE ? "dense keys: not written yet" : NULL;
}

// The running sum of values in F64, and one expanded head of K or V.
static uint64_t attention_scratch(const gr_node_view *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    return 2 * (uint64_t)a->v_dim + (a->k_dim > a->v_dim ? a->k_dim : a->v_dim);
}

// One query head of row t. Keys are visited in ascending order: when a larger score appears, what
// was summed is scaled down to it. The sums are F64: behind a dominant key, thousands of small
// weights would each be lost in F32.
static void attend(const gr_call *call, const mydevice_task *task, const gr_step_group *pages,
                   uint32_t t, uint32_t head) {
    const gr_attrs_attention *a = &call->node.attrs.attention;
    const gr_kv_shape *shape = &call->kv->shape;
    const float *q = gr_call_in(call, 0) + ((uint64_t)t * a->heads + head) * a->k_dim;
    float *out = gr_call_out(call, 0) + ((uint64_t)t * a->heads + head) * a->v_dim;
    double *sum = (double *)(void *)task->scratch, total = 0;
    float *row = task->scratch + 2 * (uint64_t)a->v_dim, largest = -INFINITY;
    uint64_t kv_head = head / (a->heads / a->kv_heads);
    uint32_t seq = (uint32_t)task->step->row_seq[t];
    int64_t first, last;
    gr_attention_visible(a, task->step, t, &first, &last);
    memset(sum, 0, a->v_dim * sizeof *sum);
    for (int64_t position = first; position <= last; position++) {
        gr_row_decode(shape->dtype,
                      gr_call_kv_row(call, pages, 0, seq, position) +
                          kv_head * shape->head_bytes[0],
                      a->k_dim, row);
        float score = dot(q, row, a->k_dim) * a->scale;
        if (a->softcap != 0)
            score = a->softcap * tanhf(score / a->softcap);
        if (score > largest) {
            double shrink = (double)expf(largest - score);
            for (uint32_t i = 0; i < a->v_dim; i++)
                sum[i] *= shrink;
            total *= shrink;
            largest = score;
        }
        double weight = (double)expf(score - largest);
        gr_row_decode(shape->dtype,
                      gr_call_kv_row(call, pages, 1, seq, position) +
                          kv_head * shape->head_bytes[1],
                      a->v_dim, row);
        for (uint32_t i = 0; i < a->v_dim; i++)
            sum[i] += weight * (double)row[i];
        total += weight;
    }
    for (uint32_t i = 0; i < a->v_dim; i++)
        out[i] = last < first ? 0 : (float)(sum[i] / total);
}

static void attention(const gr_call *call, const mydevice_task *task) {
    uint32_t heads = call->node.attrs.attention.heads;
    gr_step_group pages;
    uint64_t begin, end;
    slice((uint64_t)task->step->rows * heads, task, &begin, &end);
    if (begin == end || gr_step_pages_open(task->step, call->kv_group, call->kv->shape.page_tokens,
                                           &pages, NULL) != GR_OK)
        return;
    for (uint64_t i = begin; i < end; i++)
        attend(call, task, &pages, (uint32_t)(i / heads), (uint32_t)(i % heads));
}

// ---- GLU: act(gate) * up ----

static const char *glu_refuse(const gr_node_view *node) {
    return node->attrs.glu.activation != GR_ACTIVATION_SILU ? "only SILU" : NULL;
}

static void glu(const gr_call *call, const mydevice_task *task) {
    const float *gate = gr_call_in(call, 0), *up = gr_call_in(call, 1);
    uint64_t begin, end;
    slice(gr_value_count(&call->node.out[0], task->step), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        gr_call_out(call, 0)[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

// ---- ADD ----

static void add(const gr_call *call, const mydevice_task *task) {
    const float *a = gr_call_in(call, 0), *b = gr_call_in(call, 1);
    uint64_t begin, end;
    slice(gr_value_count(&call->node.out[0], task->step), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        gr_call_out(call, 0)[i] = a[i] + b[i];
}

// ---- GATHER_ROWS: the rows whose logits somebody wants ----

static const char *gather_rows_refuse(const gr_node_view *node) {
    return node->in[1].kind != GR_VALUE_STEP ? "rows that are computed: not written yet" : NULL;
}

static void gather_rows(const gr_call *call, const mydevice_task *task) {
    const int32_t *rows = gr_call_index(call, 1, task->step);
    uint64_t bytes = gr_dtype_row_bytes(call->node.in[0].dtype, gr_value_width(&call->node.in[0]));
    uint64_t begin, end;
    slice(gr_value_rows(&call->node.out[0], task->step), task, &begin, &end);
    for (uint64_t r = begin; r < end && bytes; r++)
        memcpy(call->out[0] + r * bytes, call->in[0] + (uint64_t)rows[r] * bytes, bytes);
}

static const char *embed_refuse(const gr_node_view *node) {
    return node->in[1].kind != GR_VALUE_STEP ? "tokens that are computed: not written yet" : NULL;
}

static const mydevice_op ops[] = {
    {.op = GR_OP_EMBED, .refuse = embed_refuse, .run = embed},
    {.op = GR_OP_RMS_NORM, .run = rms_norm},
    {.op = GR_OP_MATMUL, .refuse = matmul_refuse, .scratch = matmul_scratch, .run = matmul},
    {.op = GR_OP_ROPE, .run = rope},
    {.op = GR_OP_KV_WRITE, .run = kv_write},
    {.op = GR_OP_ATTENTION, .refuse = attention_refuse, .scratch = attention_scratch, .run = attention},
    {.op = GR_OP_GLU, .refuse = glu_refuse, .run = glu},
    {.op = GR_OP_ADD, .run = add},
    {.op = GR_OP_GATHER_ROWS, .refuse = gather_rows_refuse, .run = gather_rows},
};

const mydevice_op *mydevice_op_find(gr_op op) {
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (ops[i].op == op)
            return &ops[i];
    }
    return NULL;
}

const char *mydevice_refusal(const gr_segment *segment, uint32_t index, gr_node_view *out_node) {
    if (!gr_segment_ok(segment))
        return "no segment that can be read";
    const char *why = gr_node_read(segment, index, out_node);
    const mydevice_op *op = why ? NULL : mydevice_op_find(out_node->op);
    if (!why && !op)
        why = out_node->composite ? "decomposed" : "not written yet";
    if (!why)
        why = gr_operands_check(out_node);
    return why || !op->refuse ? why : op->refuse(out_node);
}
