// SPDX-License-Identifier: Apache-2.0
// op_attention.c: ATTENTION over paged or dense keys, by the visibility rule in gregale/ops.h.
//
// One worker computes one (row, query head) at a time, visiting the visible keys in ascending
// order. The softmax is taken in one pass: when a larger score appears, what was summed is scaled
// down to it (Milakov and Gimelshein 2018, arXiv 1805.02867). All in F64.
#include "paging.h"
#include "ref.h"

static bool is_dense(const ref_node *node) {
    return (node->attrs.attention.flags & GR_ATTENTION_DENSE) != 0;
}

static const char *check(const ref_node *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    const gr_value *q = &node->in[0], *out = &node->out[0];
    if (a->flags & ~(uint32_t)(GR_ATTENTION_BIDIRECTIONAL | GR_ATTENTION_DENSE))
        return "unknown attention flag";
    if (!a->heads || !a->kv_heads || a->heads % a->kv_heads)
        return "heads must be a positive multiple of kv_heads";
    if (!ref_is_matrix(q, GR_DTYPE_F32) || q->dims[0] != GR_DIM_T ||
        (uint64_t)q->dims[1] != (uint64_t)a->heads * a->k_dim)
        return "q must be F32 [T,heads*k_dim]";
    if (!ref_is_matrix(out, GR_DTYPE_F32) || out->dims[0] != GR_DIM_T ||
        (uint64_t)out->dims[1] != (uint64_t)a->heads * a->v_dim)
        return "the output must be F32 [T,heads*v_dim]";
    if (!is_dense(node))
        return node->in_count == 2 && node->in[1].kind == GR_VALUE_STATE
                   ? NULL
                   : "paged attention takes q, state";
    if (node->in_count != 3 || !node->has_in[2])
        return "dense attention takes q, k, v";
    for (int part = 0; part < 2; part++) {
        const gr_value *kv = &node->in[1 + part];
        uint64_t width = (uint64_t)a->kv_heads * (part ? a->v_dim : a->k_dim);
        if (!ref_is_matrix(kv, GR_DTYPE_F32) || kv->dims[0] != GR_DIM_T ||
            (uint64_t)kv->dims[1] != width)
            return "k and v must be F32 [T,kv_heads*dim]";
    }
    return NULL;
}

// A worker needs the running sum of the values (F64) and one expanded row of K or V.
static uint64_t scratch(const ref_node *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    uint64_t row = a->k_dim > a->v_dim ? a->k_dim : a->v_dim;
    return (uint64_t)a->v_dim * sizeof(double) + row * sizeof(float);
}

// The positions that the query of row t sees: [*first, *last], empty when last < first. `known` is
// the last position of its sequence that exists.
static void visible(const gr_attrs_attention *a, int64_t p, int64_t lowest, int64_t known,
                    int64_t *first, int64_t *last) {
    int64_t window = a->window;
    *first = window && p - window + 1 > lowest ? p - window + 1 : lowest;
    *last = p;
    if (a->flags & GR_ATTENTION_BIDIRECTIONAL)
        *last = window && p + window - 1 < known ? p + window - 1 : known;
}

static int64_t last_position(const gr_step *step, uint32_t t) {
    return step->positions[step->seq_rows[step->row_seq[t] + 1] - 1];
}

static gr_status admit(const ref_call *call, const ref_run *run, gr_error *error) {
    const gr_step *step = &run->step;
    if (step->rows && (!step->positions || !step->row_seq || !step->seq_rows))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "ATTENTION: the step lacks positions or sequences");
    if (is_dense(&call->node))
        return GR_OK;
    ref_pages pages;
    gr_status status = ref_pages_open(call, run, &pages, error);
    for (uint32_t t = 0; t < step->rows && status == GR_OK; t++) {
        int64_t first, last;
        visible(&call->node.attrs.attention, step->positions[t], 0, last_position(step, t), &first,
                &last);
        status = ref_pages_admit(&pages, call, (uint32_t)step->row_seq[t], first, last, error);
    }
    return status;
}

// The K or V row of one head at one position, in F32, perhaps in `space`.
static const float *head_row(const ref_call *call, const ref_task *task, const ref_pages *pages,
                             uint32_t part, uint32_t t, int64_t position, uint64_t head,
                             float *space) {
    const gr_attrs_attention *a = &call->node.attrs.attention;
    const gr_step *step = &task->run->step;
    uint64_t dim = part ? a->v_dim : a->k_dim;
    if (is_dense(&call->node)) { // key rows of this sequence stand in the step, one a position
        int64_t row = (int64_t)t + position - step->positions[t];
        return (const float *)(const void *)call->in[1 + part] +
               ((uint64_t)row * a->kv_heads + head) * dim;
    }
    const gr_kv *kv = call->kv;
    const uint8_t *source = ref_pages_row(pages, call, part, (uint32_t)step->row_seq[t], position);
    ref_decode_row(kv->dtype, source + head * kv->head_bytes[part], dim, space);
    return space;
}

static void attend(const ref_call *call, const ref_task *task, const ref_pages *pages, uint32_t t,
                   uint32_t head) {
    const gr_attrs_attention *a = &call->node.attrs.attention;
    const gr_step *step = &task->run->step;
    const float *q =
        (const float *)(const void *)call->in[0] + ((uint64_t)t * a->heads + head) * a->k_dim;
    float *out = (float *)(void *)call->out[0] + ((uint64_t)t * a->heads + head) * a->v_dim;
    double *sum = task->scratch, total = 0.0, largest = -INFINITY;
    float *space = (float *)(void *)(sum + a->v_dim);
    uint64_t kv_head = head / (a->heads / a->kv_heads);
    // Dense keys begin at the sequence's first row of this step.
    int64_t lowest = is_dense(&call->node) ? step->positions[step->seq_rows[step->row_seq[t]]] : 0;
    int64_t first, last;
    visible(a, step->positions[t], lowest, last_position(step, t), &first, &last);
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

static void run(const ref_call *call, const ref_task *task) {
    uint32_t heads = call->node.attrs.attention.heads;
    uint64_t begin, end;
    ref_pages pages = {0};
    ref_slice((uint64_t)task->run->step.rows * heads, task, &begin, &end);
    if (begin == end || !call->node.attrs.attention.v_dim ||
        (call->kv && ref_pages_open(call, task->run, &pages, NULL) != GR_OK))
        return;
    for (uint64_t unit = begin; unit < end; unit++)
        attend(call, task, &pages, (uint32_t)(unit / heads), (uint32_t)(unit % heads));
}

static uint64_t operations(const ref_call *call, const ref_run *run_) {
    const gr_attrs_attention *a = &call->node.attrs.attention;
    const gr_step *step = &run_->step;
    uint64_t keys = 0;
    for (uint32_t t = 0; t < step->rows; t++) {
        int64_t lowest =
            is_dense(&call->node) ? step->positions[step->seq_rows[step->row_seq[t]]] : 0;
        int64_t first, last;
        visible(a, step->positions[t], lowest, last_position(step, t), &first, &last);
        keys += last < first ? 0 : (uint64_t)(last - first + 1);
    }
    return 2 * keys * a->heads * ((uint64_t)a->k_dim + a->v_dim);
}

const ref_op ref_op_attention = {
    GR_OP_ATTENTION, "ATTENTION", sizeof(gr_attrs_attention), check, scratch, admit, run,
    operations};
