// SPDX-License-Identifier: Apache-2.0
// embed.c: EMBED: row t of the output is row tokens[t] of the table, expanded to F32.
#include "cpu.h"

static const char *check(const cpu_node *node) {
    const gr_value *table = &node->in[0], *out = &node->out[0];
    if (table->kind != GR_VALUE_WEIGHT || table->rank != 2)
        return "the table must be a weight [V,D]";
    if (!cpu_is_matrix(out, GR_DTYPE_F32) || out->dims[1] != table->dims[1])
        return "the output must be F32 [T,D]";
    return cpu_is_index(&node->in[1], out->dims[0]) ? NULL : "tokens must be I32 [T]";
}

static gr_status admit(const cpu_call *call, const cpu_run *run, gr_error *error) {
    return cpu_admit_index(call, 1, (uint64_t)call->node.in[0].dims[0], run, error);
}

static void run(const cpu_call *call, const cpu_task *task) {
    const gr_weight *table = call->weight[0];
    const int32_t *tokens = cpu_index_data(call, 1, &task->run->step);
    uint64_t width = cpu_width(&call->node.out[0]), begin, end;
    cpu_slice(cpu_rows(&call->node.out[0], &task->run->step), task, &begin, &end);
    for (uint64_t t = begin; t < end && width; t++) {
        float *out = cpu_out_f32(call, 0) + t * width;
        if (tokens[t] < 0 || tokens[t] >= table->dims[0])
            memset(out, 0xff, width * sizeof *out); // NaN: a computed token out of range
        else
            cpu_decode_row(call->kernels, table->dtype,
                           table->data + (uint64_t)tokens[t] * table->row_bytes, width, out);
    }
}

static void cost(const cpu_call *call, const cpu_run *run_, gr_trace_event *event) {
    event->bytes += cpu_rows(&call->node.out[0], &run_->step) * call->weight[0]->row_bytes;
}

const cpu_op cpu_op_embed = {GR_OP_EMBED, "EMBED", sizeof(gr_attrs_none), check, NULL, NULL, admit,
                             run,         cost};
