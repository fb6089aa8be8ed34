// SPDX-License-Identifier: Apache-2.0
// op_kv_write.c: KV_WRITE: stores the step's keys and values in their pages.
#include "paging.h"
#include "ref.h"

static const char *check(const ref_node *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    const gr_value *k = &node->in[0], *v = &node->in[1];
    if (!ref_is_matrix(k, GR_DTYPE_F32) || !ref_is_matrix(v, GR_DTYPE_F32) ||
        k->dims[0] != GR_DIM_T || v->dims[0] != GR_DIM_T)
        return "k and v must be F32 [T,...]";
    if ((uint64_t)k->dims[1] != (uint64_t)a->kv_heads * a->k_dim ||
        (uint64_t)v->dims[1] != (uint64_t)a->kv_heads * a->v_dim)
        return "k and v must be [T,kv_heads*dim]";
    if (node->in[2].kind != GR_VALUE_STATE || node->out[0].kind != GR_VALUE_STATE ||
        node->in[2].index != node->out[0].index)
        return "the third operand and the output must be the same state";
    return NULL;
}

static gr_status admit(const ref_call *call, const ref_run *run, gr_error *error) {
    ref_pages pages;
    gr_status status = ref_pages_open(call, run, &pages, error);
    for (uint32_t t = 0; t < run->step.rows && status == GR_OK; t++) {
        int64_t position = run->step.positions[t];
        status = ref_pages_admit(&pages, call, (uint32_t)run->step.row_seq[t], position, position,
                                 error);
    }
    return status;
}

static void run(const ref_call *call, const ref_task *task) {
    const gr_step *step = &task->run->step;
    const gr_kv *kv = call->kv;
    uint64_t begin, end;
    ref_pages pages;
    ref_slice(step->rows, task, &begin, &end);
    if (begin == end || ref_pages_open(call, task->run, &pages, NULL) != GR_OK)
        return;
    for (uint64_t t = begin; t < end; t++) {
        for (uint32_t part = 0; part < 2; part++) {
            uint64_t width = (uint64_t)kv->kv_heads * kv->dim[part];
            const float *from = (const float *)(const void *)call->in[part] + t * width;
            if (width)
                ref_encode_row(kv->dtype, from, width,
                               ref_pages_row(&pages, call, part, (uint32_t)step->row_seq[t],
                                             step->positions[t]));
        }
    }
}

static uint64_t operations(const ref_call *call, const ref_run *run_) {
    return ref_count(&call->node.in[0], run_) + ref_count(&call->node.in[1], run_);
}

const ref_op ref_op_kv_write = {
    GR_OP_KV_WRITE, "KV_WRITE", sizeof(gr_attrs_attention), check, NULL, admit, run, operations};
