// SPDX-License-Identifier: Apache-2.0
// op_kv_write.c: KV_WRITE: stores the step's keys and values in their pages.
#include "ref.h"

static void run(const gr_call *call, const ref_task *task) {
    const gr_step *step = task->step;
    const gr_kv_shape *shape = &call->kv->shape;
    uint64_t begin, end;
    gr_step_group pages;
    ref_slice(step->rows, task, &begin, &end);
    if (begin == end ||
        gr_step_pages_open(step, call->kv_group, shape->page_tokens, &pages, NULL) != GR_OK)
        return;
    for (uint64_t t = begin; t < end; t++) {
        for (uint32_t part = 0; part < 2; part++) {
            uint64_t width = (uint64_t)shape->kv_heads * shape->dim[part];
            const float *from = gr_call_in(call, part) + t * width;
            if (width)
                gr_row_encode(shape->dtype, from, width,
                              gr_call_kv_row(call, &pages, part, (uint32_t)step->row_seq[t],
                                             step->positions[t]));
        }
    }
}

static uint64_t operations(const gr_call *call, const gr_step *step) {
    return gr_value_count(&call->node.in[0], step) + gr_value_count(&call->node.in[1], step);
}

const ref_op ref_op_kv_write = {GR_OP_KV_WRITE, NULL, run, operations};
