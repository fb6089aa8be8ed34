// SPDX-License-Identifier: Apache-2.0
// op_softmax.c: SOFTMAX over the last dimension. A row of nothing but -infinity gives zeros.
#include "ref.h"

static void softmax_row(const float *x, uint64_t n, float *out) {
    double largest = -INFINITY, sum = 0.0;
    for (uint64_t i = 0; i < n; i++)
        largest = (double)x[i] > largest ? (double)x[i] : largest;
    if (largest == -INFINITY) { // zeros, but NaN (0 * NaN) where there is one
        for (uint64_t i = 0; i < n; i++)
            out[i] = isnan(x[i]) ? x[i] : 0.0f;
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - largest);
    for (uint64_t i = 0; i < n; i++)
        out[i] = (float)(exp((double)x[i] - largest) / sum);
}

static void run(const gr_call *call, const ref_task *task) {
    const float *x = gr_call_in(call, 0);
    float *out = gr_call_out(call, 0);
    uint64_t n = gr_value_width(&call->node.in[0]), begin, end;
    ref_slice(gr_value_rows(&call->node.in[0], task->step), task, &begin, &end);
    for (uint64_t m = begin; m < end && n; m++)
        softmax_row(x + m * n, n, out + m * n);
}

static uint64_t operations(const gr_call *call, const gr_step *step) {
    return 4 * gr_value_count(&call->node.in[0], step);
}

const ref_op ref_op_softmax = {GR_OP_SOFTMAX, NULL, run, operations};
