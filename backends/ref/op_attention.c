// SPDX-License-Identifier: Apache-2.0
// op_attention.c: ATTENTION over paged or dense keys, by the visibility rule in gregale/ops.h.
//
// One worker computes one (row, query head) at a time, visiting the visible keys in ascending
// order. The softmax is taken in one pass: when a larger score appears, what was summed is scaled
// down to it (Milakov and Gimelshein 2018, arXiv 1805.02867). All in F64.
#include "ref.h"

static bool is_dense(const gr_node_view *node) {
    return (node->attrs.attention.flags & GR_ATTENTION_DENSE) != 0;
}

// A worker needs the running sum of the values (F64) and one expanded row of K or V.
static uint64_t scratch(const gr_node_view *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    uint64_t row = a->k_dim > a->v_dim ? a->k_dim : a->v_dim;
    return (uint64_t)a->v_dim * sizeof(double) + row * sizeof(float);
}

// The K or V row of one head at one position, in F32, perhaps in `space`.
static const float *head_row(const gr_call *call, const ref_task *task, const gr_step_group *pages,
                             uint32_t part, uint32_t t, int64_t position, uint64_t head,
                             float *space) {
    const gr_attrs_attention *a = &call->node.attrs.attention;
    const gr_step *step = task->step;
    uint64_t dim = part ? a->v_dim : a->k_dim;
    if (is_dense(&call->node)) { // key rows of this sequence stand in the step, one a position
        int64_t row = (int64_t)t + position - step->positions[t];
        return gr_call_in(call, 1 + part) + ((uint64_t)row * a->kv_heads + head) * dim;
    }
    const gr_kv_shape *shape = &call->kv->shape;
    const uint8_t *source = gr_call_kv_row(call, pages, part, (uint32_t)step->row_seq[t], position);
    gr_row_decode(shape->dtype, source + head * shape->head_bytes[part], dim, space);
    return space;
}

static void attend(const gr_call *call, const ref_task *task, const gr_step_group *pages,
                   uint32_t t, uint32_t head) {
    const gr_attrs_attention *a = &call->node.attrs.attention;
    const gr_step *step = task->step;
    const float *q = gr_call_in(call, 0) + ((uint64_t)t * a->heads + head) * a->k_dim;
    float *out = gr_call_out(call, 0) + ((uint64_t)t * a->heads + head) * a->v_dim;
    double *sum = task->scratch, total = 0.0, largest = -INFINITY;
    float *space = (float *)(void *)(sum + a->v_dim);
    uint64_t kv_head = head / (a->heads / a->kv_heads);
    int64_t first, last;
    gr_attention_visible(a, step, t, &first, &last);
    memset(sum, 0, a->v_dim * sizeof *sum);
    for (int64_t position = first; position <= last; position++) {
        const float *k = head_row(call, task, pages, 0, t, position, kv_head, space);
        double score = ref_dot(q, k, a->k_dim) * (double)a->scale;
        if (a->softcap != 0.0f)
            score = (double)a->softcap * tanh(score / (double)a->softcap);
        if (score > largest) {
            double shrink = exp(largest - score);
            for (uint32_t i = 0; i < a->v_dim; i++)
                sum[i] *= shrink;
            total *= shrink;
            largest = score;
        }
        double weight = score == -INFINITY ? 0.0 : exp(score - largest);
        const float *v = head_row(call, task, pages, 1, t, position, kv_head, space);
        for (uint32_t i = 0; i < a->v_dim; i++)
            sum[i] += weight * (double)v[i];
        total += weight;
    }
    for (uint32_t i = 0; i < a->v_dim; i++)
        out[i] = total == 0.0 ? 0.0f : (float)(sum[i] / total);
}

static void run(const gr_call *call, const ref_task *task) {
    uint32_t heads = call->node.attrs.attention.heads;
    uint64_t begin, end;
    gr_step_group pages;
    ref_slice((uint64_t)task->step->rows * heads, task, &begin, &end);
    if (begin == end || !call->node.attrs.attention.v_dim ||
        (call->kv && gr_step_pages_open(task->step, call->kv_group, call->kv->shape.page_tokens,
                                        &pages, NULL) != GR_OK))
        return;
    for (uint64_t unit = begin; unit < end; unit++)
        attend(call, task, &pages, (uint32_t)(unit / heads), (uint32_t)(unit % heads));
}

static uint64_t operations(const gr_call *call, const gr_step *step) {
    const gr_attrs_attention *a = &call->node.attrs.attention;
    uint64_t keys = 0;
    for (uint32_t t = 0; t < step->rows; t++) {
        int64_t first, last;
        gr_attention_visible(a, step, t, &first, &last);
        keys += last < first ? 0 : (uint64_t)(last - first + 1);
    }
    return 2 * keys * a->heads * ((uint64_t)a->k_dim + a->v_dim);
}

const ref_op ref_op_attention = {GR_OP_ATTENTION, scratch, run, operations};
