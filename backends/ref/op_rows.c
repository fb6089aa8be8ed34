// SPDX-License-Identifier: Apache-2.0
// op_rows.c: GATHER_ROWS (some rows of a matrix) and MASK_BITS (forbidden entries become
// -infinity).
#include "ref.h"

static const char *check_gather(const ref_node *node) {
    const gr_value *x = &node->in[0], *out = &node->out[0];
    if (!ref_can_encode(x->dtype) || x->dtype == GR_DTYPE_Q8_0 || !ref_is_matrix(x, x->dtype) ||
        !ref_is_matrix(out, x->dtype) || x->dims[1] != out->dims[1])
        return "x [T,D] and the output [R,D] must be F32, F16 or BF16";
    return ref_is_index(&node->in[1], out->dims[0]) ? NULL : "rows must be I32 [R]";
}

static gr_status admit_gather(const ref_call *call, const ref_run *run, gr_error *error) {
    return ref_admit_index(call, 1, ref_rows(&call->node.in[0], run), run, error);
}

static void gather(const ref_call *call, const ref_task *task) {
    uint64_t bytes = gr_dtype_row_bytes(call->node.in[0].dtype, ref_width(&call->node.in[0]));
    uint64_t rows_in = ref_rows(&call->node.in[0], task->run), begin, end;
    const int32_t *rows = ref_index_data(call, 1, &task->run->step);
    ref_slice(ref_rows(&call->node.out[0], task->run), task, &begin, &end);
    for (uint64_t r = begin; r < end && bytes; r++) {
        if (rows[r] < 0 || (uint64_t)rows[r] >= rows_in)
            memset(call->out[0] + r * bytes, 0xff, bytes); // NaN: a computed row out of range
        else
            memcpy(call->out[0] + r * bytes, call->in[0] + (uint64_t)rows[r] * bytes, bytes);
    }
}

static const char *check_mask(const ref_node *node) {
    const gr_value *x = &node->in[0], *bits = &node->in[1];
    if (!ref_is_matrix(x, GR_DTYPE_F32) || !ref_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !ref_same_shape(x, &node->out[0]))
        return "x and the output must be F32 [R,V]";
    if ((bits->kind != GR_VALUE_STEP && bits->kind != GR_VALUE_ACTIVATION) ||
        bits->dtype != GR_DTYPE_I32 || bits->rank != 2 || bits->dims[0] != x->dims[0] ||
        bits->dims[1] != (x->dims[1] + 31) / 32)
        return "bits must be I32 [R,ceil(V/32)]";
    return NULL;
}

// A step without mask_bits masks nothing.
static void mask(const ref_call *call, const ref_task *task) {
    const float *x = (const float *)(const void *)call->in[0];
    const int32_t *bits = ref_index_data(call, 1, &task->run->step);
    float *out = (float *)(void *)call->out[0];
    uint64_t v = ref_width(&call->node.in[0]), words = (v + 31) / 32, begin, end;
    ref_slice(ref_rows(&call->node.in[0], task->run), task, &begin, &end);
    for (uint64_t r = begin; r < end; r++) {
        for (uint64_t i = 0; i < v; i++) {
            bool keep = !bits || ((uint32_t)bits[r * words + i / 32] >> (i % 32) & 1u);
            out[r * v + i] = keep ? x[r * v + i] : -INFINITY;
        }
    }
}

const ref_op ref_op_gather_rows = {GR_OP_GATHER_ROWS,
                                   "GATHER_ROWS",
                                   sizeof(gr_attrs_none),
                                   check_gather,
                                   NULL,
                                   admit_gather,
                                   gather,
                                   NULL};
const ref_op ref_op_mask_bits = {
    GR_OP_MASK_BITS, "MASK_BITS", sizeof(gr_attrs_none), check_mask, NULL, NULL, mask, NULL};
