// SPDX-License-Identifier: Apache-2.0
// op_topk.c: TOPK: the k largest of each row, descending, ties by lower index, NaN below
// everything.
#include "ref.h"

static bool above(float a, float b) {
    return a > b || (isnan(b) && !isnan(a));
}

// Keeps a sorted list of the best so far; a later equal value goes behind.
static void topk_row(const float *x, uint64_t n, uint64_t k, float *values, int32_t *indices) {
    uint64_t held = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (held == k && !above(x[i], values[k - 1]))
            continue;
        uint64_t at = held < k ? held++ : k - 1;
        for (; at > 0 && above(x[i], values[at - 1]); at--) {
            values[at] = values[at - 1];
            indices[at] = indices[at - 1];
        }
        values[at] = x[i];
        indices[at] = (int32_t)i;
    }
}

static void run(const gr_call *call, const ref_task *task) {
    const float *x = gr_call_in(call, 0);
    float *values = gr_call_out(call, 0);
    int32_t *indices = (int32_t *)(void *)call->out[1];
    uint64_t n = gr_value_width(&call->node.in[0]), k = call->node.attrs.topk.k, begin, end;
    ref_slice(gr_value_rows(&call->node.in[0], task->step), task, &begin, &end);
    for (uint64_t m = begin; m < end && k; m++)
        topk_row(x + m * n, n, k, values + m * k, indices + m * k);
}

static uint64_t operations(const gr_call *call, const gr_step *step) {
    return gr_value_count(&call->node.in[0], step);
}

const ref_op ref_op_topk = {GR_OP_TOPK, NULL, run, operations};
