// SPDX-License-Identifier: Apache-2.0
// topk.c: TOPK: the k largest of each row, descending, ties by lower index, NaN below everything.
#include "cpu.h"

static const char *check(const cpu_node *node) {
    const gr_value *x = &node->in[0], *values = &node->out[0], *indices = &node->out[1];
    int64_t k = node->attrs.topk.k;
    if (!cpu_is_matrix(x, GR_DTYPE_F32))
        return "x must be F32 [M,N]";
    if (k > x->dims[1] || x->dims[1] > INT32_MAX)
        return "k is beyond the row's length";
    if (!cpu_is_matrix(values, GR_DTYPE_F32) || !cpu_is_matrix(indices, GR_DTYPE_I32) ||
        !cpu_same_shape(values, indices) || values->dims[0] != x->dims[0] || values->dims[1] != k)
        return "the outputs must be F32 [M,k] and I32 [M,k]";
    return NULL;
}

// Whether entry (a, i) comes before (b, j).
static bool before(float a, int32_t i, float b, int32_t j) {
    if (isnan(a) || isnan(b))
        return isnan(a) == isnan(b) ? i < j : isnan(b);
    return a > b || (a == b && i < j);
}

// Lets the entry at `at` sink to its place in a heap whose root comes last of all.
static void sink(float *values, int32_t *indices, uint64_t count, uint64_t at) {
    float value = values[at];
    int32_t index = indices[at];
    for (;;) {
        uint64_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count &&
            before(values[child], indices[child], values[child + 1], indices[child + 1]))
            child++;
        if (!before(value, index, values[child], indices[child]))
            break;
        values[at] = values[child];
        indices[at] = indices[child];
        at = child;
    }
    values[at] = value;
    indices[at] = index;
}

static void topk_row(const float *x, uint64_t n, uint64_t k, float *values, int32_t *indices) {
    for (uint64_t i = 0; i < k; i++) {
        values[i] = x[i];
        indices[i] = (int32_t)i;
    }
    for (uint64_t i = k / 2; i-- > 0;)
        sink(values, indices, k, i);
    for (uint64_t i = k; i < n; i++) {
        if (!before(x[i], (int32_t)i, values[0], indices[0]))
            continue;
        values[0] = x[i];
        indices[0] = (int32_t)i;
        sink(values, indices, k, 0);
    }
    for (uint64_t left = k; left > 1; left--) { // the root is the last of those left
        float value = values[0];
        int32_t index = indices[0];
        values[0] = values[left - 1];
        indices[0] = indices[left - 1];
        values[left - 1] = value;
        indices[left - 1] = index;
        sink(values, indices, left - 1, 0);
    }
}

static void run(const cpu_call *call, const cpu_task *task) {
    uint64_t n = cpu_width(&call->node.in[0]), k = call->node.attrs.topk.k, begin, end;
    int32_t *indices = (int32_t *)(void *)call->out[1];
    cpu_slice(cpu_rows(&call->node.in[0], &task->run->step), task, &begin, &end);
    for (uint64_t m = begin; m < end && k; m++)
        topk_row(cpu_in_f32(call, 0) + m * n, n, k, cpu_out_f32(call, 0) + m * k, indices + m * k);
}

static void cost(const cpu_call *call, const cpu_run *run_, gr_trace_event *event) {
    event->operations = cpu_count(&call->node.in[0], &run_->step);
}

const cpu_op cpu_op_topk = {GR_OP_TOPK, "TOPK", sizeof(gr_attrs_topk), check, NULL, NULL, NULL,
                            run,        cost};
