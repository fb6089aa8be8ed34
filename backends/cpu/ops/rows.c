// SPDX-License-Identifier: Apache-2.0
// rows.c: GATHER_ROWS (some rows of a matrix) and MASK_BITS (forbidden entries become -infinity).
#include "cpu.h"

static const char *check_gather(const cpu_node *node) {
    const gr_value *x = &node->in[0], *out = &node->out[0];
    if (gr_dtype_block(x->dtype) != 1 || !gr_row_encodes(x->dtype) || !cpu_is_matrix(x, x->dtype) ||
        !cpu_is_matrix(out, x->dtype) || x->dims[1] != out->dims[1])
        return "x [T,D] and the output [R,D] must be F32, F16 or BF16";
    return cpu_is_index(&node->in[1], out->dims[0]) ? NULL : "rows must be I32 [R]";
}

static gr_status admit_gather(const cpu_call *call, const cpu_run *run, gr_error *error) {
    return cpu_admit_index(call, 1, cpu_rows(&call->node.in[0], &run->step), run, error);
}

static void gather(const cpu_call *call, const cpu_task *task) {
    const gr_step *step = &task->run->step;
    uint64_t bytes = gr_dtype_row_bytes(call->node.in[0].dtype, cpu_width(&call->node.in[0]));
    uint64_t rows_in = cpu_rows(&call->node.in[0], step), begin, end;
    const int32_t *rows = cpu_index_data(call, 1, step);
    cpu_slice(cpu_rows(&call->node.out[0], step), task, &begin, &end);
    for (uint64_t r = begin; r < end && bytes; r++) {
        if (rows[r] < 0 || (uint64_t)rows[r] >= rows_in)
            memset(call->out[0] + r * bytes, 0xff, bytes); // NaN: a computed row out of range
        else
            memcpy(call->out[0] + r * bytes, call->in[0] + (uint64_t)rows[r] * bytes, bytes);
    }
}

static const char *check_mask(const cpu_node *node) {
    const gr_value *x = &node->in[0], *bits = &node->in[1];
    if (!cpu_is_matrix(x, GR_DTYPE_F32) || !cpu_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !cpu_same_shape(x, &node->out[0]))
        return "x and the output must be F32 [R,V]";
    if ((bits->kind != GR_VALUE_STEP && bits->kind != GR_VALUE_ACTIVATION) ||
        bits->dtype != GR_DTYPE_I32 || bits->rank != 2 || bits->dims[0] != x->dims[0] ||
        bits->dims[1] != (x->dims[1] + 31) / 32)
        return "bits must be I32 [R,ceil(V/32)]";
    return NULL;
}

static void mask_row(const float *x, const uint32_t *bits, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++)
        out[i] = bits[i / 32] >> (i % 32) & 1u ? x[i] : -INFINITY;
}

// A step without mask_bits masks nothing.
static void mask(const cpu_call *call, const cpu_task *task) {
    const int32_t *bits = cpu_index_data(call, 1, &task->run->step);
    uint64_t v = cpu_width(&call->node.in[0]), words = (v + 31) / 32, begin, end;
    cpu_slice(cpu_rows(&call->node.in[0], &task->run->step), task, &begin, &end);
    for (uint64_t r = begin; r < end && v; r++) {
        const float *x = cpu_in_f32(call, 0) + r * v;
        float *out = cpu_out_f32(call, 0) + r * v;
        if (bits)
            mask_row(x, (const uint32_t *)bits + r * words, v, out);
        else
            memmove(out, x, v * sizeof *out);
    }
}

const cpu_op cpu_op_gather_rows = {GR_OP_GATHER_ROWS, "GATHER_ROWS", sizeof(gr_attrs_none),
                                   check_gather,      NULL,          NULL,
                                   admit_gather,      gather,        NULL};
const cpu_op cpu_op_mask_bits = {
    GR_OP_MASK_BITS, "MASK_BITS", sizeof(gr_attrs_none), check_mask, NULL, NULL, NULL, mask, NULL};
