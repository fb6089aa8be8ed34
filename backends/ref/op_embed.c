// SPDX-License-Identifier: Apache-2.0
// op_embed.c: EMBED: row t of the output is row tokens[t] of the table, expanded to F32.
#include "ref.h"

static const char *check(const ref_node *node) {
    const gr_value *table = &node->in[0], *out = &node->out[0];
    if (table->kind != GR_VALUE_WEIGHT || table->rank != 2)
        return "the table must be a weight [V,D]";
    if (!ref_is_matrix(out, GR_DTYPE_F32) || out->dims[1] != table->dims[1])
        return "the output must be F32 [T,D]";
    return ref_is_index(&node->in[1], out->dims[0]) ? NULL : "tokens must be I32 [T]";
}

static gr_status admit(const ref_call *call, const ref_run *run, gr_error *error) {
    return ref_admit_index(call, 1, (uint64_t)call->node.in[0].dims[0], run, error);
}

static void run(const ref_call *call, const ref_task *task) {
    const gr_weight *table = call->weight[0];
    const int32_t *tokens = ref_index_data(call, 1, &task->run->step);
    uint64_t width = ref_width(&call->node.out[0]), begin, end;
    float *out = (float *)(void *)call->out[0];
    if (!width)
        return;
    ref_slice(ref_rows(&call->node.out[0], task->run), task, &begin, &end);
    for (uint64_t t = begin; t < end; t++) {
        if (tokens[t] < 0 || tokens[t] >= table->dims[0])
            memset(out + t * width, 0xff,
                   width * sizeof *out); // NaN: a computed token out of range
        else
            ref_decode_row(table->dtype, table->data + (uint64_t)tokens[t] * table->row_bytes,
                           width, out + t * width);
    }
}

const ref_op ref_op_embed = {GR_OP_EMBED, "EMBED", sizeof(gr_attrs_none), check, NULL, admit,
                             run,         NULL};
