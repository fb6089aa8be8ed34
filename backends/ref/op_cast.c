// SPDX-License-Identifier: Apache-2.0
// op_cast.c: CAST between F32, F16 and BF16 (nearest, ties to even), and COPY.
#include "ref.h"

static bool is_float(gr_dtype dtype) {
    return dtype == GR_DTYPE_F32 || dtype == GR_DTYPE_F16 || dtype == GR_DTYPE_BF16;
}

static const char *check_cast(const ref_node *node) {
    const gr_value *x = &node->in[0], *out = &node->out[0];
    if (x->kind != GR_VALUE_ACTIVATION || out->kind != GR_VALUE_ACTIVATION ||
        !ref_same_shape(x, out))
        return "x and the output must be activations of one shape";
    if (!is_float(x->dtype) || !is_float(out->dtype) || out->dtype != node->attrs.cast.dtype)
        return "casts are between F32, F16 and BF16, as attrs.dtype says";
    return NULL;
}

static void cast(const ref_call *call, const ref_task *task) {
    gr_dtype from = call->node.in[0].dtype, to = call->node.out[0].dtype;
    uint64_t from_bytes = gr_dtype_block_bytes(from), to_bytes = gr_dtype_block_bytes(to), begin,
             end;
    ref_slice(ref_count(&call->node.in[0], task->run), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++) {
        float value;
        ref_decode_row(from, call->in[0] + i * from_bytes, 1, &value);
        ref_encode_row(to, &value, 1, call->out[0] + i * to_bytes);
    }
}

static const char *check_copy(const ref_node *node) {
    const gr_value *x = &node->in[0], *out = &node->out[0];
    if (x->kind != GR_VALUE_ACTIVATION || out->kind != GR_VALUE_ACTIVATION ||
        !ref_same_shape(x, out) || x->dtype != out->dtype)
        return "x and the output must be activations of one shape and dtype";
    if (gr_dtype_block(x->dtype) != 1)
        return "copies are of unblocked types";
    return NULL;
}

static void copy(const ref_call *call, const ref_task *task) {
    uint64_t size = gr_dtype_block_bytes(call->node.in[0].dtype), begin, end;
    ref_slice(ref_count(&call->node.in[0], task->run), task, &begin, &end);
    if (end > begin)
        memmove(call->out[0] + begin * size, call->in[0] + begin * size, (end - begin) * size);
}

const ref_op ref_op_cast = {GR_OP_CAST, "CAST", sizeof(gr_attrs_cast), check_cast, NULL, NULL,
                            cast,       NULL};
const ref_op ref_op_copy = {GR_OP_COPY, "COPY", sizeof(gr_attrs_none), check_copy, NULL, NULL,
                            copy,       NULL};
