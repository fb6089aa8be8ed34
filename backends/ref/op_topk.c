// SPDX-License-Identifier: Apache-2.0
// op_topk.c: TOPK: the k largest of each row, descending, ties by lower index, NaN below
// everything.
#include "ref.h"

static const char *check(const ref_node *node) {
    const gr_value *x = &node->in[0], *values = &node->out[0], *indices = &node->out[1];
    int64_t k = node->attrs.topk.k;
    if (!ref_is_matrix(x, GR_DTYPE_F32))
        return "x must be F32 [M,N]";
    if (k > x->dims[1] || x->dims[1] > INT32_MAX)
        return "k is beyond the row's length";
    if (!ref_is_matrix(values, GR_DTYPE_F32) || !ref_is_matrix(indices, GR_DTYPE_I32) ||
        !ref_same_shape(values, indices) || values->dims[0] != x->dims[0] || values->dims[1] != k)
        return "the outputs must be F32 [M,k] and I32 [M,k]";
    return NULL;
}

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

static void run(const ref_call *call, const ref_task *task) {
    const float *x = (const float *)(const void *)call->in[0];
    float *values = (float *)(void *)call->out[0];
    int32_t *indices = (int32_t *)(void *)call->out[1];
    uint64_t n = ref_width(&call->node.in[0]), k = call->node.attrs.topk.k, begin, end;
    ref_slice(ref_rows(&call->node.in[0], task->run), task, &begin, &end);
    for (uint64_t m = begin; m < end && k; m++)
        topk_row(x + m * n, n, k, values + m * k, indices + m * k);
}

static uint64_t operations(const ref_call *call, const ref_run *run_) {
    return ref_count(&call->node.in[0], run_);
}

const ref_op ref_op_topk = {GR_OP_TOPK, "TOPK",    sizeof(gr_attrs_topk), check, NULL, NULL,
                            run,        operations};
