// SPDX-License-Identifier: Apache-2.0
// op_rows.c: GATHER_ROWS (some rows of a matrix) and MASK_BITS (forbidden entries become
// -infinity).
#include "ref.h"

static void gather(const gr_call *call, const ref_task *task) {
    uint64_t bytes = gr_dtype_row_bytes(call->node.in[0].dtype, gr_value_width(&call->node.in[0]));
    uint64_t rows_in = gr_value_rows(&call->node.in[0], task->step), begin, end;
    const int32_t *rows = gr_call_index(call, 1, task->step);
    ref_slice(gr_value_rows(&call->node.out[0], task->step), task, &begin, &end);
    for (uint64_t r = begin; r < end && bytes; r++) {
        if (rows[r] < 0 || (uint64_t)rows[r] >= rows_in)
            memset(call->out[0] + r * bytes, 0xff, bytes); // NaN: a computed row out of range
        else
            memcpy(call->out[0] + r * bytes, call->in[0] + (uint64_t)rows[r] * bytes, bytes);
    }
}

// A step without mask_bits masks nothing.
static void mask(const gr_call *call, const ref_task *task) {
    const float *x = gr_call_in(call, 0);
    const int32_t *bits = gr_call_index(call, 1, task->step);
    float *out = gr_call_out(call, 0);
    uint64_t v = gr_value_width(&call->node.in[0]), words = (v + 31) / 32, begin, end;
    ref_slice(gr_value_rows(&call->node.in[0], task->step), task, &begin, &end);
    for (uint64_t r = begin; r < end; r++) {
        for (uint64_t i = 0; i < v; i++) {
            bool keep = !bits || ((uint32_t)bits[r * words + i / 32] >> (i % 32) & 1u);
            out[r * v + i] = keep ? x[r * v + i] : -INFINITY;
        }
    }
}

const ref_op ref_op_gather_rows = {GR_OP_GATHER_ROWS, NULL, gather, NULL};
const ref_op ref_op_mask_bits = {GR_OP_MASK_BITS, NULL, mask, NULL};
