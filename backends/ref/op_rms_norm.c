// SPDX-License-Identifier: Apache-2.0
// op_rms_norm.c: RMS_NORM: x / sqrt(mean(x^2) + eps) * weight over each D values (arXiv
// 1910.07467).
#include "ref.h"

static void run(const gr_call *call, const ref_task *task) {
    const float *x = gr_call_in(call, 0);
    const float *weight = gr_call_in(call, 1);
    float *out = gr_call_out(call, 0);
    uint64_t d = gr_value_width(&call->node.in[1]), begin, end;
    if (!d)
        return;
    double eps = (double)call->node.attrs.norm.eps;
    ref_slice(gr_value_count(&call->node.in[0], task->step) / d, task, &begin, &end);
    for (uint64_t group = begin; group < end; group++) {
        const float *from = x + group * d;
        double scale = 1.0 / sqrt(ref_dot(from, from, d) / (double)d + eps);
        for (uint64_t i = 0; i < d; i++)
            out[group * d + i] = (float)((double)from[i] * scale * (double)weight[i]);
    }
}

static uint64_t operations(const gr_call *call, const gr_step *step) {
    return 4 * gr_value_count(&call->node.in[0], step);
}

const ref_op ref_op_rms_norm = {GR_OP_RMS_NORM, NULL, run, operations};
