// SPDX-License-Identifier: Apache-2.0
// op_rms_norm.c: RMS_NORM: x / sqrt(mean(x^2) + eps) * weight over each D values (arXiv
// 1910.07467).
#include "ref.h"

static const char *check(const ref_node *node) {
    const gr_value *x = &node->in[0], *weight = &node->in[1];
    if (!ref_is_matrix(x, GR_DTYPE_F32) || !ref_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !ref_same_shape(x, &node->out[0]))
        return "x and the output must be F32 [T,n*D]";
    if (!ref_is_vector(weight, weight->dims[0]) || weight->dims[0] < 0)
        return "the weight must be F32 [D]";
    if (weight->dims[0] ? x->dims[1] % weight->dims[0] : x->dims[1])
        return "the width is not a multiple of the weight's";
    return NULL;
}

static void run(const ref_call *call, const ref_task *task) {
    const float *x = (const float *)(const void *)call->in[0];
    const float *weight = (const float *)(const void *)call->in[1];
    float *out = (float *)(void *)call->out[0];
    uint64_t d = ref_width(&call->node.in[1]), begin, end;
    if (!d)
        return;
    double eps = (double)call->node.attrs.norm.eps;
    ref_slice(ref_count(&call->node.in[0], task->run) / d, task, &begin, &end);
    for (uint64_t group = begin; group < end; group++) {
        const float *from = x + group * d;
        double scale = 1.0 / sqrt(ref_dot(from, from, d) / (double)d + eps);
        for (uint64_t i = 0; i < d; i++)
            out[group * d + i] = (float)((double)from[i] * scale * (double)weight[i]);
    }
}

static uint64_t operations(const ref_call *call, const ref_run *run_) {
    return 4 * ref_count(&call->node.in[0], run_);
}

const ref_op ref_op_rms_norm = {
    GR_OP_RMS_NORM, "RMS_NORM", sizeof(gr_attrs_norm), check, NULL, NULL, run, operations};
