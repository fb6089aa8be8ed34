// SPDX-License-Identifier: Apache-2.0
// elementwise.c: ADD, MUL, SCALE and GLU: each output element from the same place of the inputs.
#include <stdio.h>

#include "cpu.h"

static const char *check(const cpu_node *node) {
    const gr_value *out = &node->out[0];
    bool alike = out->kind == GR_VALUE_ACTIVATION && out->dtype == GR_DTYPE_F32;
    for (uint32_t i = 0; i < node->in_count && alike; i++)
        alike = node->has_in[i] && node->in[i].kind == GR_VALUE_ACTIVATION &&
                node->in[i].dtype == GR_DTYPE_F32 && cpu_same_shape(&node->in[i], out);
    return alike ? NULL : "all operands must be F32 activations of one shape";
}

static const char *check_glu(const cpu_node *node) {
    return node->attrs.glu.activation > GR_ACTIVATION_RELU ? "unknown activation" : check(node);
}

static void slice(const cpu_call *call, const cpu_task *task, uint64_t *begin, uint64_t *end) {
    cpu_slice(cpu_count(&call->node.out[0], &task->run->step), task, begin, end);
}

static void add(const cpu_call *call, const cpu_task *task) {
    const float *a = cpu_in_f32(call, 0), *b = cpu_in_f32(call, 1);
    float *out = cpu_out_f32(call, 0);
    uint64_t begin, end;
    slice(call, task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        out[i] = a[i] + b[i];
}

static void mul(const cpu_call *call, const cpu_task *task) {
    const float *a = cpu_in_f32(call, 0), *b = cpu_in_f32(call, 1);
    float *out = cpu_out_f32(call, 0);
    uint64_t begin, end;
    slice(call, task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        out[i] = a[i] * b[i];
}

static void scale(const cpu_call *call, const cpu_task *task) {
    const float *x = cpu_in_f32(call, 0), factor = call->node.attrs.scale.factor;
    float *out = cpu_out_f32(call, 0);
    uint64_t begin, end;
    slice(call, task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        out[i] = x[i] * factor;
}

static double activate(gr_activation activation, double x) {
    switch (activation) {
    case GR_ACTIVATION_GELU: return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    case GR_ACTIVATION_GELU_TANH: // Hendrycks and Gimpel 2016, arXiv 1606.08415
        return 0.5 * x *
               (1.0 + tanh(sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    default: return x > 0.0 || isnan(x) ? x : 0.0;
    }
}

static void glu(const cpu_call *call, const cpu_task *task) {
    const float *gate = cpu_in_f32(call, 0), *up = cpu_in_f32(call, 1);
    gr_activation activation = call->node.attrs.glu.activation;
    float *out = cpu_out_f32(call, 0);
    uint64_t begin, end;
    slice(call, task, &begin, &end);
    if (activation == GR_ACTIVATION_SILU) {
        call->kernels->glu_silu(gate + begin, up + begin, end - begin, out + begin);
        return;
    }
    for (uint64_t i = begin; i < end; i++)
        out[i] = (float)(activate(activation, (double)gate[i]) * (double)up[i]);
}

static void support_glu(const gr_device *device, const cpu_node *node, gr_support *support) {
    (void)device;
    if (node->attrs.glu.activation == GR_ACTIVATION_SILU)
        return;
    support->level = GR_SUPPORT_EMULATED;
    snprintf(support->reason, sizeof support->reason,
             "this activation is computed one number at a time");
}

const cpu_op cpu_op_add = {GR_OP_ADD, "ADD", sizeof(gr_attrs_none), check, NULL, NULL, NULL,
                           add,       NULL};
const cpu_op cpu_op_mul = {GR_OP_MUL, "MUL", sizeof(gr_attrs_none), check, NULL, NULL, NULL,
                           mul,       NULL};
const cpu_op cpu_op_scale = {GR_OP_SCALE, "SCALE", sizeof(gr_attrs_scale), check, NULL, NULL, NULL,
                             scale,       NULL};
const cpu_op cpu_op_glu = {
    GR_OP_GLU, "GLU", sizeof(gr_attrs_glu), check_glu, support_glu, NULL, NULL, glu, NULL};
