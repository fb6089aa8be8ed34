// SPDX-License-Identifier: Apache-2.0
// op_embed.c: EMBED: row t of the output is row tokens[t] of the table, expanded to F32.
#include "ref.h"

static void run(const gr_call *call, const ref_task *task) {
    const gr_weight *table = call->weight[0];
    const int32_t *tokens = gr_call_index(call, 1, task->step);
    uint64_t width = gr_value_width(&call->node.out[0]), begin, end;
    float *out = gr_call_out(call, 0);
    if (!width)
        return;
    ref_slice(gr_value_rows(&call->node.out[0], task->step), task, &begin, &end);
    for (uint64_t t = begin; t < end; t++) {
        if (tokens[t] < 0 || tokens[t] >= table->dims[0])
            memset(out + t * width, 0xff,
                   width * sizeof *out); // NaN: a computed token out of range
        else
            gr_row_decode(table->dtype, table->data + (uint64_t)tokens[t] * table->row_bytes, width,
                          out + t * width);
    }
}

const ref_op ref_op_embed = {GR_OP_EMBED, NULL, run, NULL};
