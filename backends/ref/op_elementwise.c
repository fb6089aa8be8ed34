// SPDX-License-Identifier: Apache-2.0
// op_elementwise.c: ADD, MUL, SCALE and GLU: each output element from the same place of the inputs.
#include "ref.h"

static void add(const gr_call *call, const ref_task *task) {
    const float *a = gr_call_in(call, 0), *b = gr_call_in(call, 1);
    float *out = gr_call_out(call, 0);
    uint64_t begin, end;
    ref_slice(gr_value_count(&call->node.out[0], task->step), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        out[i] = a[i] + b[i];
}

static void mul(const gr_call *call, const ref_task *task) {
    const float *a = gr_call_in(call, 0), *b = gr_call_in(call, 1);
    float *out = gr_call_out(call, 0);
    uint64_t begin, end;
    ref_slice(gr_value_count(&call->node.out[0], task->step), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        out[i] = a[i] * b[i];
}

static void scale(const gr_call *call, const ref_task *task) {
    const float *x = gr_call_in(call, 0);
    float *out = gr_call_out(call, 0), factor = call->node.attrs.scale.factor;
    uint64_t begin, end;
    ref_slice(gr_value_count(&call->node.out[0], task->step), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        out[i] = x[i] * factor;
}

static double activate(gr_activation activation, double x) {
    switch (activation) {
    case GR_ACTIVATION_SILU: return x / (1.0 + exp(-x));
    case GR_ACTIVATION_GELU: return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    case GR_ACTIVATION_GELU_TANH: // Hendrycks and Gimpel 2016, arXiv 1606.08415
        return 0.5 * x *
               (1.0 + tanh(sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    default: return x > 0.0 ? x : 0.0 * x; // NaN stays NaN
    }
}

static void glu(const gr_call *call, const ref_task *task) {
    const float *gate = gr_call_in(call, 0);
    const float *up = gr_call_in(call, 1);
    float *out = gr_call_out(call, 0);
    uint64_t begin, end;
    ref_slice(gr_value_count(&call->node.out[0], task->step), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        out[i] =
            (float)(activate(call->node.attrs.glu.activation, (double)gate[i]) * (double)up[i]);
}

const ref_op ref_op_add = {GR_OP_ADD, NULL, add, NULL};
const ref_op ref_op_mul = {GR_OP_MUL, NULL, mul, NULL};
const ref_op ref_op_scale = {GR_OP_SCALE, NULL, scale, NULL};
const ref_op ref_op_glu = {GR_OP_GLU, NULL, glu, NULL};
