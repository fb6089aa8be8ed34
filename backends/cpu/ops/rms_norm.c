// SPDX-License-Identifier: Apache-2.0
// rms_norm.c: RMS_NORM: x / sqrt(mean(x^2) + eps) * weight over each D values (arXiv 1910.07467).
#include "cpu.h"

static const char *check(const cpu_node *node) {
    const gr_value *x = &node->in[0], *weight = &node->in[1];
    if (!cpu_is_matrix(x, GR_DTYPE_F32) || !cpu_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !cpu_same_shape(x, &node->out[0]))
        return "x and the output must be F32 [T,n*D]";
    if (!cpu_is_vector(weight, weight->dims[0]) || weight->dims[0] < 0)
        return "the weight must be F32 [D]";
    if (weight->dims[0] ? x->dims[1] % weight->dims[0] : x->dims[1])
        return "the width is not a multiple of the weight's";
    return NULL;
}

static void run(const cpu_call *call, const cpu_task *task) {
    uint64_t d = cpu_width(&call->node.in[1]), begin, end;
    if (!d)
        return;
    cpu_slice(cpu_count(&call->node.in[0], &task->run->step) / d, task, &begin, &end);
    for (uint64_t group = begin; group < end; group++)
        call->kernels->rms_norm(cpu_in_f32(call, 0) + group * d, cpu_in_f32(call, 1), d,
                                call->node.attrs.norm.eps, cpu_out_f32(call, 0) + group * d);
}

static void cost(const cpu_call *call, const cpu_run *run_, gr_trace_event *event) {
    event->operations = 4 * cpu_count(&call->node.in[0], &run_->step);
}

const cpu_op cpu_op_rms_norm = {
    GR_OP_RMS_NORM, "RMS_NORM", sizeof(gr_attrs_norm), check, NULL, NULL, NULL, run, cost};
