// SPDX-License-Identifier: Apache-2.0
// kv_write.c: KV_WRITE: stores the step's keys and values in their pages; in a composite it rotates
// the keys on the way, and the queries beside them.
#include <stdio.h>

#include "ops/kv_write.h"

#include "cpu.h"

static bool rotates(const cpu_node *node) {
    return node->in_count > CPU_WRITE_POSITIONS;
}

static const char *check_rotation(const cpu_node *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    const gr_attrs_rope *rope = &node->attrs.write.rope;
    const gr_value *q = &node->in[CPU_WRITE_Q];
    if (rope->head_dim != a->k_dim)
        return "not fused: head_dim is not that of the keys";
    if ((uint64_t)q->dims[1] != (uint64_t)a->heads * a->k_dim)
        return "q must be F32 [T,heads*k_dim]";
    return cpu_rope_check(rope, q, &node->in[CPU_WRITE_POSITIONS], &node->out[1]);
}

static const char *check(const cpu_node *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    const gr_value *k = &node->in[CPU_WRITE_K], *v = &node->in[CPU_WRITE_V];
    if (!cpu_is_matrix(k, GR_DTYPE_F32) || !cpu_is_matrix(v, GR_DTYPE_F32) ||
        k->dims[0] != GR_DIM_T || v->dims[0] != GR_DIM_T)
        return "k and v must be F32 [T,...]";
    if ((uint64_t)k->dims[1] != (uint64_t)a->kv_heads * a->k_dim ||
        (uint64_t)v->dims[1] != (uint64_t)a->kv_heads * a->v_dim)
        return "k and v must be [T,kv_heads*dim]";
    const gr_value *state = &node->in[CPU_WRITE_STATE];
    if (state->kind != GR_VALUE_STATE || node->out[0].kind != GR_VALUE_STATE ||
        state->index != node->out[0].index)
        return "the third operand and the output must be the same state";
    return rotates(node) ? check_rotation(node) : NULL;
}

static gr_status admit(const cpu_call *call, const cpu_run *run, gr_error *error) {
    cpu_pages pages;
    gr_status status = cpu_pages_open(call, &run->step, &pages, error);
    for (uint32_t t = 0; t < run->step.rows && status == GR_OK; t++) {
        int64_t position = run->step.positions[t];
        status = cpu_pages_admit(&pages, call, (uint32_t)run->step.row_seq[t], position, position,
                                 error);
    }
    if (status == GR_OK && rotates(&call->node))
        status = cpu_admit_index(call, CPU_WRITE_POSITIONS, (uint64_t)INT32_MAX + 1, run, error);
    return status;
}

static gr_status emit(cpu_builder *b, const cpu_call *bound, gr_error *error) {
    cpu_call call = *bound;
    cpu_access table;
    bool rotated = rotates(&call.node);
    if (rotated) {
        gr_status status = cpu_rope_table(b, bound, &call.node.attrs.write.rope,
                                          CPU_WRITE_POSITIONS, &table, error);
        if (status != GR_OK)
            return status;
        call.scratch = table.begin;
        cpu_build_private(b, call.node.attrs.attention.k_dim * sizeof(float));
        snprintf(call.implementation, sizeof call.implementation, "rope_kv_write_%s",
                 call.kernels->isa);
    }
    return cpu_build_call(b, &call, &table, rotated) ? GR_OK : cpu_no_memory(error);
}

static const float *table_of(const cpu_call *call, const cpu_task *task) {
    return (const float *)(const void *)(task->run->scratch + call->scratch);
}

static void rotate_queries(const cpu_call *call, const cpu_task *task) {
    const gr_attrs_attention *a = &call->node.attrs.attention;
    uint64_t begin, end;
    cpu_slice((uint64_t)task->run->step.rows * a->heads, task, &begin, &end);
    for (uint64_t unit = begin; unit < end; unit++)
        cpu_rope_head(call->kernels, &call->node.attrs.write.rope, table_of(call, task),
                      unit / a->heads, cpu_in_f32(call, CPU_WRITE_Q) + unit * a->k_dim,
                      cpu_out_f32(call, 1) + unit * a->k_dim);
}

// One head of one row: the key (part 0), perhaps rotated, or the value.
static void write_head(const cpu_call *call, const cpu_task *task, const cpu_pages *pages,
                       uint64_t row, uint32_t head, uint32_t part) {
    const gr_step *step = &task->run->step;
    const gr_kv *kv = call->kv;
    const float *from = cpu_in_f32(call, part) + (row * kv->kv_heads + head) * kv->dim[part];
    float *space = (float *)(void *)task->scratch;
    if (part == 0 && rotates(&call->node)) {
        cpu_rope_head(call->kernels, &call->node.attrs.write.rope, table_of(call, task), row, from,
                      space);
        from = space;
    }
    if (kv->dim[part])
        cpu_page_encode(call->kernels, kv,
                        cpu_pages_place(pages, call, (uint32_t)step->row_seq[row], head,
                                        step->positions[row]),
                        part, from);
}

static void run(const cpu_call *call, const cpu_task *task) {
    const gr_step *step = &task->run->step;
    const gr_kv *kv = call->kv;
    uint64_t begin, end;
    cpu_pages pages;
    if (rotates(&call->node))
        rotate_queries(call, task);
    if (!kv->kv_heads)
        return;
    cpu_slice((uint64_t)step->rows * kv->kv_heads, task, &begin, &end);
    if (begin == end || cpu_pages_open(call, step, &pages, NULL) != GR_OK)
        return;
    for (uint64_t unit = begin; unit < end; unit++) {
        for (uint32_t part = 0; part < 2; part++)
            write_head(call, task, &pages, unit / kv->kv_heads, (uint32_t)(unit % kv->kv_heads),
                       part);
    }
}

static void cost(const cpu_call *call, const cpu_run *run_, gr_trace_event *event) {
    const gr_step *step = &run_->step;
    uint64_t keys = cpu_count(&call->node.in[CPU_WRITE_K], step);
    event->operations = keys + cpu_count(&call->node.in[CPU_WRITE_V], step);
    if (rotates(&call->node))
        event->operations += 3 * (keys + cpu_count(&call->node.in[CPU_WRITE_Q], step));
    event->bytes +=
        step->rows * call->kv->kv_heads * (call->kv->head_bytes[0] + call->kv->head_bytes[1]);
}

const cpu_op cpu_op_kv_write = {
    GR_OP_KV_WRITE, "KV_WRITE", sizeof(gr_attrs_attention), check, NULL, emit, admit, run, cost};
