// SPDX-License-Identifier: Apache-2.0
// op_softmax.c: SOFTMAX over the last dimension. A row of nothing but -infinity gives zeros.
#include "ref.h"

static const char *check(const ref_node *node) {
    if (!ref_is_matrix(&node->in[0], GR_DTYPE_F32) || !ref_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !ref_same_shape(&node->in[0], &node->out[0]))
        return "x and the output must be F32 [M,N]";
    return NULL;
}

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

static void run(const ref_call *call, const ref_task *task) {
    const float *x = (const float *)(const void *)call->in[0];
    float *out = (float *)(void *)call->out[0];
    uint64_t n = ref_width(&call->node.in[0]), begin, end;
    ref_slice(ref_rows(&call->node.in[0], task->run), task, &begin, &end);
    for (uint64_t m = begin; m < end && n; m++)
        softmax_row(x + m * n, n, out + m * n);
}

static uint64_t operations(const ref_call *call, const ref_run *run_) {
    return 4 * ref_count(&call->node.in[0], run_);
}

const ref_op ref_op_softmax = {GR_OP_SOFTMAX, "SOFTMAX", sizeof(gr_attrs_none), check, NULL, NULL,
                               run,           operations};
