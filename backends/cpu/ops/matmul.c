// SPDX-License-Identifier: Apache-2.0
// matmul.c: MATMUL: y[m,n] = sum over k of x[m,k] * W[n,k], plus bias[n]. With an index operand, W
// is [E,N,K], the bias [E,N], and row m uses matrix index[m]; a negative index gives zeros, one
// beyond E NaN.
#include <stdio.h>

#include "ops/matmul.h"

bool cpu_matmul_fused(const cpu_node *node) {
    return node->has_in[CPU_MATMUL_NORM] || node->has_in[CPU_MATMUL_UP] ||
           node->has_in[CPU_MATMUL_ADD];
}

// The operands of a composite.
static const char *check_fused(const cpu_node *node) {
    const gr_value *w = &node->in[CPU_MATMUL_W], *up = &node->in[CPU_MATMUL_UP];
    const gr_value *norm = &node->in[CPU_MATMUL_NORM], *add = &node->in[CPU_MATMUL_ADD];
    if (cpu_matmul_fused(node) && (!w->dims[0] || !w->dims[1]))
        return "not fused: a matrix without elements";
    if (node->has_in[CPU_MATMUL_NORM] &&
        (norm->kind != GR_VALUE_WEIGHT || !cpu_is_vector(norm, w->dims[1])))
        return "the norm's weight must be F32 [K]";
    if (node->has_in[CPU_MATMUL_UP] && (up->kind != GR_VALUE_WEIGHT || !cpu_same_shape(up, w)))
        return "both matrices must be weights [N,K]";
    if (node->has_in[CPU_MATMUL_ADD] &&
        (!cpu_is_matrix(add, GR_DTYPE_F32) || !cpu_same_shape(add, &node->out[0])))
        return "what is added to must be F32 [M,N]";
    return NULL;
}

static const char *check(const cpu_node *node) {
    const gr_value *x = &node->in[CPU_MATMUL_X], *w = &node->in[CPU_MATMUL_W], *y = &node->out[0];
    const gr_value *bias = &node->in[CPU_MATMUL_BIAS];
    bool indexed = node->has_in[CPU_MATMUL_INDEX];
    if (w->kind != GR_VALUE_WEIGHT || w->rank != (indexed ? 3u : 2u))
        return indexed ? "W must be a weight [E,N,K]" : "W must be a weight [N,K]";
    int64_t n = w->dims[w->rank - 2], k = w->dims[w->rank - 1];
    if (!cpu_is_matrix(x, GR_DTYPE_F32) || x->dims[1] != k)
        return "x must be F32 [M,K]";
    if (!cpu_is_matrix(y, GR_DTYPE_F32) || y->dims[0] != x->dims[0] || y->dims[1] != n)
        return "the output must be F32 [M,N]";
    if (indexed && !cpu_is_index(&node->in[CPU_MATMUL_INDEX], x->dims[0]))
        return "the index must be I32 [M]";
    const char *why = check_fused(node);
    if (why || !node->has_in[CPU_MATMUL_BIAS])
        return why;
    if (indexed && bias->kind == GR_VALUE_WEIGHT && bias->dtype == GR_DTYPE_F32 &&
        bias->rank == 2 && bias->dims[0] == w->dims[0] && bias->dims[1] == n)
        return NULL;
    return !indexed && cpu_is_vector(bias, n) ? NULL
                                              : "the bias must be F32 [N], or [E,N] with an index";
}

static bool tiled(const cpu_kernels *kernels, gr_dtype dtype) {
    return kernels->dot_tile && cpu_dtype_form_of(dtype).group;
}

static bool direct(gr_dtype dtype) {
    return dtype == GR_DTYPE_F32 || dtype == GR_DTYPE_F16 || dtype == GR_DTYPE_BF16;
}

// Why a device does not fuse a part of a composite, or NULL.
static const char *not_fused(const gr_device *device, const cpu_node *node) {
    if (!tiled(&device->kernels, node->in[CPU_MATMUL_W].dtype) ||
        (node->has_in[CPU_MATMUL_UP] &&
         !tiled(&device->kernels, node->in[CPU_MATMUL_UP].dtype)))
        return device->kernels.dot_tile ? "not fused: weights that are not block-quantised"
                                        : "not fused: plain C";
    if (node->has_in[CPU_MATMUL_UP] && node->attrs.block.activation != GR_ACTIVATION_SILU)
        return "not fused: an activation other than SILU";
    return NULL;
}

static void support(const gr_device *device, const cpu_node *node, gr_support *out) {
    gr_dtype dtype = node->in[CPU_MATMUL_W].dtype;
    const char *why = cpu_matmul_fused(node) ? not_fused(device, node) : NULL;
    if (why) {
        out->level = GR_SUPPORT_NO;
        snprintf(out->reason, sizeof out->reason, "%s", why);
        return;
    }
    bool vectors = strcmp(device->kernels.isa, "baseline") != 0;
    if (tiled(&device->kernels, dtype)) {
        out->precision = GR_PRECISION_Q8;
        snprintf(out->reason, sizeof out->reason, "activations in 8 bits, a scale per 32");
        return;
    }
    if (!vectors || !direct(dtype)) {
        out->level = GR_SUPPORT_EMULATED;
        snprintf(out->reason, sizeof out->reason, "%s",
                 vectors ? "weights are expanded to F32 first" : "plain C: no vector kernels here");
        return;
    }
    if (cpu_matmul_onednn_wanted(device, node)) {
        if (dtype == GR_DTYPE_BF16)
            out->precision = GR_PRECISION_BF16;
        snprintf(out->reason, sizeof out->reason,
                 "many rows go to oneDNN, whose results vary with their number");
    }
}

static gr_status emit(cpu_builder *b, const cpu_call *bound, gr_error *error) {
    const cpu_node *node = &bound->node;
    gr_status status;
    const char *why = cpu_matmul_fused(node) ? not_fused(b->device, node) : NULL;
    if (why)
        return gr_fail(error, GR_ERROR_UNSUPPORTED, CPU_ORIGIN, "%s", why);
    if (!cpu_width(&node->in[CPU_MATMUL_W]) || !cpu_width(&node->out[0]))
        return cpu_matmul_float_emit(b, bound, error);
    if (tiled(bound->kernels, node->in[CPU_MATMUL_W].dtype))
        return cpu_matmul_tile_emit(b, bound, error);
    if (cpu_matmul_onednn_emit(b, bound, &status, error))
        return status;
    return cpu_matmul_float_emit(b, bound, error);
}

static gr_status admit(const cpu_call *call, const cpu_run *run, gr_error *error) {
    if (!call->node.has_in[CPU_MATMUL_INDEX])
        return GR_OK;
    return cpu_admit_index(call, CPU_MATMUL_INDEX, (uint64_t)call->node.in[CPU_MATMUL_W].dims[0],
                           run, error);
}

bool cpu_matmul_span_next(const cpu_call *call, const gr_step *step, uint64_t from,
                          cpu_matmul_span *out_span) {
    uint64_t rows = cpu_rows(&call->node.in[CPU_MATMUL_X], step);
    *out_span = (cpu_matmul_span){.begin = from, .end = rows};
    if (from >= rows)
        return false;
    if (!call->node.has_in[CPU_MATMUL_INDEX])
        return true;
    const int32_t *index = cpu_index_data(call, CPU_MATMUL_INDEX, step);
    out_span->expert = index[from];
    out_span->end = from + 1;
    while (out_span->end < rows && index[out_span->end] == index[from])
        out_span->end++;
    return true;
}

bool cpu_matmul_unmatched(const cpu_call *call, const cpu_matmul_span *span, uint64_t begin,
                          uint64_t end) {
    const gr_value *w = &call->node.in[CPU_MATMUL_W];
    uint64_t width = cpu_width(&call->node.out[0]);
    if (!call->node.has_in[CPU_MATMUL_INDEX] || (span->expert >= 0 && span->expert < w->dims[0]))
        return false;
    for (uint64_t m = span->begin; m < span->end; m++) {
        for (uint64_t n = begin; n < end; n++)
            cpu_out_f32(call, 0)[m * width + n] = span->expert < 0 ? 0.0f : NAN;
    }
    return true;
}

static void cost(const cpu_call *call, const cpu_run *run, gr_trace_event *event) {
    const gr_weight *w = call->weight[CPU_MATMUL_W];
    uint64_t k = cpu_width(&call->node.in[CPU_MATMUL_W]), n = cpu_width(&call->node.out[0]);
    const gr_weight *up = call->weight[CPU_MATMUL_UP];
    event->operations = 2 * cpu_count(&call->node.out[0], &run->step) * k * (up ? 2 : 1);
    if (cpu_matmul_onednn_used(call, event->rows))
        event->implementation = "onednn";
    if (!call->node.has_in[CPU_MATMUL_INDEX]) {
        event->bytes += w->bytes + (up ? up->bytes : 0);
        return;
    }
    cpu_matmul_span span;
    for (uint64_t m = 0; cpu_matmul_span_next(call, &run->step, m, &span); m = span.end)
        event->bytes += n * w->row_bytes;
}

const cpu_op cpu_op_matmul = {
    GR_OP_MATMUL, "MATMUL", sizeof(gr_attrs_none), check, support, emit, admit, NULL, cost};
