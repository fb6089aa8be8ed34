// SPDX-License-Identifier: Apache-2.0
// kv_write.c: KV_WRITE: stores the step's keys and values in their pages.
#include "cpu.h"

static const char *check(const cpu_node *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    const gr_value *k = &node->in[0], *v = &node->in[1];
    if (!cpu_is_matrix(k, GR_DTYPE_F32) || !cpu_is_matrix(v, GR_DTYPE_F32) ||
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

static gr_status admit(const cpu_call *call, const cpu_run *run, gr_error *error) {
    cpu_pages pages;
    gr_status status = cpu_pages_open(call, &run->step, &pages, error);
    for (uint32_t t = 0; t < run->step.rows && status == GR_OK; t++) {
        int64_t position = run->step.positions[t];
        status = cpu_pages_admit(&pages, call, (uint32_t)run->step.row_seq[t], position, position,
                                 error);
    }
    return status;
}

static void run(const cpu_call *call, const cpu_task *task) {
    const gr_step *step = &task->run->step;
    const gr_kv *kv = call->kv;
    uint64_t begin, end;
    cpu_pages pages;
    if (!kv->kv_heads)
        return;
    cpu_slice((uint64_t)step->rows * kv->kv_heads, task, &begin, &end);
    if (begin == end || cpu_pages_open(call, step, &pages, NULL) != GR_OK)
        return;
    for (uint64_t unit = begin; unit < end; unit++) {
        uint64_t t = unit / kv->kv_heads;
        uint32_t head = (uint32_t)(unit % kv->kv_heads);
        cpu_place at =
            cpu_pages_place(&pages, call, (uint32_t)step->row_seq[t], head, step->positions[t]);
        for (uint32_t part = 0; part < 2; part++) {
            if (kv->dim[part])
                cpu_page_encode(call->kernels, kv, at, part,
                                cpu_in_f32(call, part) + unit * kv->dim[part]);
        }
    }
}

static void cost(const cpu_call *call, const cpu_run *run_, gr_trace_event *event) {
    event->operations =
        cpu_count(&call->node.in[0], &run_->step) + cpu_count(&call->node.in[1], &run_->step);
    event->bytes +=
        run_->step.rows * call->kv->kv_heads * (call->kv->head_bytes[0] + call->kv->head_bytes[1]);
}

const cpu_op cpu_op_kv_write = {
    GR_OP_KV_WRITE, "KV_WRITE", sizeof(gr_attrs_attention), check, NULL, NULL, admit, run, cost};
