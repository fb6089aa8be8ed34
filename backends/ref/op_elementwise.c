// SPDX-License-Identifier: Apache-2.0
// op_elementwise.c: ADD, MUL, SCALE and GLU: each output element from the same place of the inputs.
#include "ref.h"

static bool all_alike(const ref_node *node) {
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (!node->has_in[i] || node->in[i].kind != GR_VALUE_ACTIVATION ||
            node->in[i].dtype != GR_DTYPE_F32 || !ref_same_shape(&node->in[i], &node->out[0]))
            return false;
    }
    return node->out[0].kind == GR_VALUE_ACTIVATION && node->out[0].dtype == GR_DTYPE_F32;
}

static const char *check(const ref_node *node) {
    return all_alike(node) ? NULL : "all operands must be F32 activations of one shape";
}

static const char *check_glu(const ref_node *node) {
    if (node->attrs.glu.activation > GR_ACTIVATION_RELU)
        return "unknown activation";
    return check(node);
}

static void add(const ref_call *call, const ref_task *task) {
    const float *a = (const float *)(const void *)call->in[0],
                *b = (const float *)(const void *)call->in[1];
    float *out = (float *)(void *)call->out[0];
    uint64_t begin, end;
    ref_slice(ref_count(&call->node.out[0], task->run), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        out[i] = a[i] + b[i];
}

static void mul(const ref_call *call, const ref_task *task) {
    const float *a = (const float *)(const void *)call->in[0],
                *b = (const float *)(const void *)call->in[1];
    float *out = (float *)(void *)call->out[0];
    uint64_t begin, end;
    ref_slice(ref_count(&call->node.out[0], task->run), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        out[i] = a[i] * b[i];
}

static void scale(const ref_call *call, const ref_task *task) {
    const float *x = (const float *)(const void *)call->in[0];
    float *out = (float *)(void *)call->out[0], factor = call->node.attrs.scale.factor;
    uint64_t begin, end;
    ref_slice(ref_count(&call->node.out[0], task->run), task, &begin, &end);
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

static void glu(const ref_call *call, const ref_task *task) {
    const float *gate = (const float *)(const void *)call->in[0];
    const float *up = (const float *)(const void *)call->in[1];
    float *out = (float *)(void *)call->out[0];
    uint64_t begin, end;
    ref_slice(ref_count(&call->node.out[0], task->run), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        out[i] =
            (float)(activate(call->node.attrs.glu.activation, (double)gate[i]) * (double)up[i]);
}

const ref_op ref_op_add = {GR_OP_ADD, "ADD", sizeof(gr_attrs_none), check, NULL, NULL, add, NULL};
const ref_op ref_op_mul = {GR_OP_MUL, "MUL", sizeof(gr_attrs_none), check, NULL, NULL, mul, NULL};
const ref_op ref_op_scale = {GR_OP_SCALE, "SCALE", sizeof(gr_attrs_scale), check, NULL, NULL,
                             scale,       NULL};
const ref_op ref_op_glu = {GR_OP_GLU, "GLU", sizeof(gr_attrs_glu), check_glu, NULL, NULL,
                           glu,       NULL};
