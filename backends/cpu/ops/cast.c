// SPDX-License-Identifier: Apache-2.0
// cast.c: CAST between F32, F16 and BF16 (nearest, ties to even), and COPY.
#include "cpu.h"

static bool is_float(gr_dtype dtype) {
    return dtype == GR_DTYPE_F32 || dtype == GR_DTYPE_F16 || dtype == GR_DTYPE_BF16;
}

static const char *check_cast(const cpu_node *node) {
    const gr_value *x = &node->in[0], *out = &node->out[0];
    if (x->kind != GR_VALUE_ACTIVATION || out->kind != GR_VALUE_ACTIVATION ||
        !cpu_same_shape(x, out))
        return "x and the output must be activations of one shape";
    if (!is_float(x->dtype) || !is_float(out->dtype) || out->dtype != node->attrs.cast.dtype)
        return "casts are between F32, F16 and BF16, as attrs.dtype says";
    return NULL;
}

static void cast(const cpu_call *call, const cpu_task *task) {
    gr_dtype from = call->node.in[0].dtype, to = call->node.out[0].dtype;
    uint64_t from_bytes = gr_dtype_block_bytes(from), to_bytes = gr_dtype_block_bytes(to), begin,
             end;
    cpu_slice(cpu_count(&call->node.in[0], &task->run->step), task, &begin, &end);
    for (uint64_t i = begin; i < end; i += CPU_CHUNK) {
        uint64_t n = end - i < CPU_CHUNK ? end - i : CPU_CHUNK;
        float values[CPU_CHUNK];
        cpu_decode_row(call->kernels, from, call->in[0] + i * from_bytes, n, values);
        cpu_encode_row(call->kernels, to, values, n, call->out[0] + i * to_bytes);
    }
}

static const char *check_copy(const cpu_node *node) {
    const gr_value *x = &node->in[0], *out = &node->out[0];
    if (x->kind != GR_VALUE_ACTIVATION || out->kind != GR_VALUE_ACTIVATION ||
        !cpu_same_shape(x, out) || x->dtype != out->dtype)
        return "x and the output must be activations of one shape and dtype";
    return gr_dtype_block(x->dtype) == 1 ? NULL : "copies are of unblocked types";
}

static void copy(const cpu_call *call, const cpu_task *task) {
    uint64_t size = gr_dtype_block_bytes(call->node.in[0].dtype), begin, end;
    cpu_slice(cpu_count(&call->node.in[0], &task->run->step), task, &begin, &end);
    if (end > begin)
        memmove(call->out[0] + begin * size, call->in[0] + begin * size, (end - begin) * size);
}

const cpu_op cpu_op_cast = {GR_OP_CAST, "CAST", sizeof(gr_attrs_cast), check_cast, NULL, NULL, NULL,
                            cast,       NULL};
const cpu_op cpu_op_copy = {GR_OP_COPY, "COPY", sizeof(gr_attrs_none), check_copy, NULL, NULL, NULL,
                            copy,       NULL};
