// SPDX-License-Identifier: Apache-2.0
// softmax.c: SOFTMAX over the last dimension. A row of nothing but -infinity gives zeros.
#include "cpu.h"

static const char *check(const cpu_node *node) {
    if (!cpu_is_matrix(&node->in[0], GR_DTYPE_F32) || !cpu_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !cpu_same_shape(&node->in[0], &node->out[0]))
        return "x and the output must be F32 [M,N]";
    return NULL;
}

// attend_exp sums in F32, so long rows go through it piece by piece and add up in F64.
static void softmax_row(const cpu_kernels *kernels, const float *x, uint64_t n, float *out) {
    float largest = -INFINITY;
    for (uint64_t i = 0; i < n; i++)
        largest = x[i] > largest ? x[i] : largest;
    if (largest == -INFINITY) { // zeros, but NaN where there is one
        for (uint64_t i = 0; i < n; i++)
            out[i] = isnan(x[i]) ? x[i] : 0.0f;
        return;
    }
    double sum = 0.0;
    if (out != x)
        memmove(out, x, n * sizeof *out);
    for (uint64_t i = 0; i < n; i += CPU_CHUNK)
        sum += (double)kernels->attend_exp(
            out + i, (uint32_t)(n - i < CPU_CHUNK ? n - i : CPU_CHUNK), largest);
    float factor = (float)(1.0 / sum);
    for (uint64_t i = 0; i < n; i++)
        out[i] *= factor;
}

static void run(const cpu_call *call, const cpu_task *task) {
    uint64_t n = cpu_width(&call->node.in[0]), begin, end;
    cpu_slice(cpu_rows(&call->node.in[0], &task->run->step), task, &begin, &end);
    for (uint64_t m = begin; m < end && n; m++)
        softmax_row(call->kernels, cpu_in_f32(call, 0) + m * n, n, cpu_out_f32(call, 0) + m * n);
}

static void cost(const cpu_call *call, const cpu_run *run_, gr_trace_event *event) {
    event->operations = 4 * cpu_count(&call->node.in[0], &run_->step);
}

const cpu_op cpu_op_softmax = {
    GR_OP_SOFTMAX, "SOFTMAX", sizeof(gr_attrs_none), check, NULL, NULL, NULL, run, cost};
