// SPDX-License-Identifier: Apache-2.0
// op_attention.c: ATTENTION over paged or dense keys, by the visibility rule in gregale/ops.h.
//
// One worker computes the query heads of one (row, KV head) at a time, visiting the visible keys in
// ascending order; each row of K and V is expanded once for all of them. The softmax is taken in one pass: when a larger score appears, what was summed is scaled
// down to it (Milakov and Gimelshein 2018, arXiv 1805.02867). All in F64.
#include "ref.h"

static bool is_dense(const gr_node_view *node) {
    return (node->attrs.attention.flags & GR_ATTENTION_DENSE) != 0;
}

// What one query head has seen so far; its weighted sum of the values follows all of them.
typedef struct running {
    double total, largest, weight; // the last: of the position that is visited
    double *sum;
} running;

static uint64_t scratch(const gr_node_view *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    uint64_t row = a->k_dim > a->v_dim ? a->k_dim : a->v_dim, shared = a->kv_heads ? a->heads / a->kv_heads : 0;
    return shared * (sizeof(running) + a->v_dim * sizeof(double)) + row * sizeof(float);
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

// Notes how much the position counts beside the sum so far, which is scaled down where `score` is the largest yet.
static void weigh(running *r, double score, uint32_t dim) {
    if (score > r->largest) {
        double shrink = exp(r->largest - score);
        for (uint32_t i = 0; i < dim; i++)
            r->sum[i] *= shrink;
        r->total *= shrink;
        r->largest = score;
    }
    r->weight = score == -INFINITY ? 0.0 : exp(score - r->largest);
    r->total += r->weight;
}

static void attend(const gr_call *call, const ref_task *task, const gr_step_group *pages,
                   uint32_t t, uint32_t kv_head) {
    const gr_attrs_attention *a = &call->node.attrs.attention;
    const gr_step *step = task->step;
    const uint32_t shared = a->heads / a->kv_heads, dim = a->v_dim;
    const uint64_t head = (uint64_t)t * a->heads + (uint64_t)kv_head * shared;
    const float *q = gr_call_in(call, 0) + head * a->k_dim;
    float *out = gr_call_out(call, 0) + head * dim;
    running *r = task->scratch;
    double *sums = (double *)(void *)(r + shared);
    float *space = (float *)(void *)(sums + (uint64_t)shared * dim);
    int64_t first, last;
    gr_attention_visible(a, step, t, &first, &last);
    memset(sums, 0, (uint64_t)shared * dim * sizeof *sums);
    for (uint32_t h = 0; h < shared; h++)
        r[h] = (running){.largest = -INFINITY, .sum = sums + (uint64_t)h * dim};
    for (int64_t position = first; position <= last; position++) {
        const float *k = head_row(call, task, pages, 0, t, position, kv_head, space);
        for (uint32_t h = 0; h < shared; h++) {
            double score = ref_dot(q + (uint64_t)h * a->k_dim, k, a->k_dim) * (double)a->scale;
            if (a->softcap != 0.0f)
                score = (double)a->softcap * tanh(score / (double)a->softcap);
            weigh(&r[h], score, dim);
        }
        const float *v = head_row(call, task, pages, 1, t, position, kv_head, space);
        for (uint32_t h = 0; h < shared; h++)
            for (uint32_t i = 0; i < dim; i++)
                r[h].sum[i] += r[h].weight * (double)v[i];
    }
    for (uint32_t h = 0; h < shared; h++)
        for (uint32_t i = 0; i < dim; i++)
            out[(uint64_t)h * dim + i] = r[h].total == 0.0 ? 0.0f : (float)(r[h].sum[i] / r[h].total);
}

static void run(const gr_call *call, const ref_task *task) {
    const uint32_t kv_heads = call->node.attrs.attention.kv_heads;
    uint64_t begin, end;
    gr_step_group pages;
    ref_slice((uint64_t)task->step->rows * kv_heads, task, &begin, &end);
    if (begin == end || !call->node.attrs.attention.v_dim ||
        (call->kv && gr_step_pages_open(task->step, call->kv_group, call->kv->shape.page_tokens,
                                        &pages, NULL) != GR_OK))
        return;
    for (uint64_t unit = begin; unit < end; unit++)
        attend(call, task, &pages, (uint32_t)(unit / kv_heads), (uint32_t)(unit % kv_heads));
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
