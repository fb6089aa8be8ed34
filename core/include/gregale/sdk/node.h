// SPDX-License-Identifier: Apache-2.0
// node.h: walking a segment, reading its nodes without trusting them, and the sizes of values.
// For backend authors. Needs only libc headers; C11 and C++17. Pure functions: any thread.
//
// node_support and program_compile both begin with gr_node_read: it copies a node with its values
// and attributes, or says in words why it cannot. gr_operands_check (operands.h) then says whether
// the operands are what the op takes. What is left for the backend is what it likes and can do.
#ifndef GREGALE_SDK_NODE_H
#define GREGALE_SDK_NODE_H

#include "gregale/sdk/structs.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GR_NODE_IN_MAX 14
#define GR_NODE_OUT_MAX 2

// ---- Walking ----

// Whether a segment can be walked: every node and value lies within its stride.
static inline bool gr_segment_ok(const gr_segment *segment) {
    return segment && gr_struct_ok(segment, sizeof *segment, sizeof *segment, SIZE_MAX) &&
           (!segment->node_count ||
            (segment->nodes && segment->node_stride >= offsetof(gr_node, layer))) &&
           (!segment->value_count ||
            (segment->values && segment->value_stride >= sizeof(gr_value)));
}

// The next node to run at or after *index, which moves past it and its subtree. False at the end.
//     for (uint32_t i = 0, node; gr_segment_next_run(segment, &i, &node);) ...
static inline bool gr_segment_next_run(const gr_segment *segment, uint32_t *index,
                                       uint32_t *out_node) {
    while (*index < segment->node_count) {
        const gr_node *node = gr_segment_node(segment, *index);
        *out_node = *index;
        if (!(node->flags & GR_NODE_RUN)) {
            (*index)++;
            continue;
        }
        uint32_t left = segment->node_count - *index - 1;
        *index += 1 + (node->subtree < left ? node->subtree : left);
        return true;
    }
    return false;
}

// ---- Sizes ----

// Size of one dimension, a symbolic one as `step` has it. For the sizes of a bucket, give a step
// with its maxima.
static inline uint64_t gr_dim_size(int64_t dim, const gr_step *step) {
    switch (dim) {
    case GR_DIM_T: return step->rows;
    case GR_DIM_S: return step->seqs;
    case GR_DIM_R: return step->outputs;
    default: return (uint64_t)dim;
    }
}

// Product of all dimensions but the last; the last; the product of all; bytes.
static inline uint64_t gr_value_rows(const gr_value *value, const gr_step *step) {
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < value->rank; i++)
        rows *= gr_dim_size(value->dims[i], step);
    return rows;
}

static inline uint64_t gr_value_width(const gr_value *value) {
    return (uint64_t)value->dims[value->rank - 1];
}

static inline uint64_t gr_value_count(const gr_value *value, const gr_step *step) {
    return gr_value_rows(value, step) * gr_dim_size(value->dims[value->rank - 1], step);
}

static inline uint64_t gr_value_bytes(const gr_value *value, const gr_step *step) {
    uint64_t width = gr_dim_size(value->dims[value->rank - 1], step);
    return gr_value_rows(value, step) * gr_dtype_row_bytes(value->dtype, width);
}

// ---- The table behind ops.def ----

typedef struct gr_op_row {
    gr_op op;
    const char *name; // "MATMUL"
    bool composite;
    uint32_t min_in, max_in, min_out, max_out;
    uint32_t attrs_bytes;
} gr_op_row;

// The op's row; NULL when this header has none.
static inline const gr_op_row *gr_op_row_find(gr_op op) {
    enum { PRIMITIVE = 0, COMPOSITE = 1 };
    static const gr_op_row rows[] = {
#define GR_OP(number, name, level, min_in, max_in, min_out, max_out, attrs, backward)              \
    {number, #name, level == COMPOSITE, min_in, max_in, min_out, max_out, sizeof(attrs)},
#include "gregale/ops.def"
#undef GR_OP
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].op == op)
            return &rows[i];
    }
    return NULL;
}

// ---- Reading ----

typedef union gr_node_attrs {
    gr_attrs_none none;
    gr_attrs_norm norm;
    gr_attrs_rope rope;
    gr_attrs_attention attention;
    gr_attrs_glu glu;
    gr_attrs_scale scale;
    gr_attrs_topk topk;
    gr_attrs_cast cast;
    gr_attrs_block block;
} gr_node_attrs;

// A node as read from a segment: copies, with what a shorter struct lacks set to zero. Pointers
// within the attributes are the segment's.
typedef struct gr_node_view {
    gr_op op;
    bool composite;
    uint32_t subtree;
    uint32_t in_count, out_count;
    int32_t layer;
    bool has_in[GR_NODE_IN_MAX];
    gr_value in[GR_NODE_IN_MAX];
    gr_value out[GR_NODE_OUT_MAX];
    gr_node_attrs attrs;
} gr_node_view;

// Why a value is none that can be computed with, or NULL. Symbolic sizes stand in the first place
// only; every size in bytes stays far from overflow, with T, S and R up to 2^32.
static inline const char *gr_value_check(const gr_value *value) {
    static const int64_t step_rows[] = {GR_DIM_T, GR_DIM_T, GR_DIM_T, GR_DIM_R, GR_DIM_R};
    uint64_t elements = 1;
    if (value->kind == GR_VALUE_STATE)
        return NULL; // its geometry is the cache pool's
    if (value->rank < 1 || value->rank > GR_MAX_RANK)
        return "a value's rank is not 1 to 4";
    if (!gr_dtype_block(value->dtype))
        return "a value's dtype is unknown";
    for (uint32_t i = 0; i < value->rank; i++) {
        int64_t dim = value->dims[i];
        if (dim < 0 && (i || dim < GR_DIM_R || value->kind == GR_VALUE_WEIGHT))
            return "a value has a negative or misplaced symbolic size";
        uint64_t size = dim < 0 ? UINT32_MAX : (uint64_t)dim;
        if (size && elements > UINT64_MAX / 16 / size)
            return "a value's size overflows";
        elements *= size;
    }
    if (value->kind > GR_VALUE_STEP)
        return "a value's kind is unknown";
    if (value->kind == GR_VALUE_STEP) {
        if (value->index > GR_STEP_MASK_BITS || value->dtype != GR_DTYPE_I32)
            return "a step field is unknown or not I32";
        if (value->dims[0] != step_rows[value->index] ||
            value->rank != (value->index == GR_STEP_MASK_BITS ? 2u : 1u))
            return "a step field has another shape";
    }
    return NULL;
}

// Reads one operand; returns NULL, or why it cannot be read.
static inline const char *gr_operand_read(const gr_segment *segment, uint32_t index,
                                          gr_value *out_value) {
    if (index >= segment->value_count)
        return "an operand lies beyond the segment's values";
    const gr_value *value = gr_segment_value(segment, index);
    if (!gr_struct_ok(value, sizeof *value, sizeof *value, segment->value_stride))
        return "a value has fields that this backend does not know";
    gr_struct_read(value, sizeof *out_value, out_value);
    return gr_value_check(out_value);
}

// The operands of `node`, which has as many as its op allows.
static inline const char *gr_operands_read(const gr_segment *segment, const gr_node *node,
                                           uint32_t min_in, gr_node_view *out) {
    const char *why = NULL;
    for (uint32_t i = 0; i < node->in_count && !why; i++) {
        out->has_in[i] = node->in[i] != GR_VALUE_NONE;
        if (out->has_in[i])
            why = gr_operand_read(segment, node->in[i], &out->in[i]);
        else if (i < min_in && !out->composite) // a composite's absent ones lie among the others
            why = "a required operand is absent";
    }
    for (uint32_t i = 0; i < node->out_count && !why; i++) {
        why = gr_operand_read(segment, node->out[i], &out->out[i]);
        if (!why && out->out[i].kind != GR_VALUE_ACTIVATION && out->out[i].kind != GR_VALUE_STATE)
            why = "an output is neither an activation nor a state";
    }
    return why;
}

// Reads node `index` of a segment for which gr_segment_ok holds. Returns NULL, or why it cannot be
// run by a backend built with this header: a string that lives for ever, fit for gr_support.reason.
static inline const char *gr_node_read(const gr_segment *segment, uint32_t index,
                                       gr_node_view *out_node) {
    gr_node node;
    memset(out_node, 0, sizeof *out_node);
    if (index >= segment->node_count)
        return "no such node";
    const gr_node *from = gr_segment_node(segment, index);
    if (!gr_struct_ok(from, offsetof(gr_node, layer), sizeof *from, segment->node_stride))
        return "the node has fields that this backend does not know";
    gr_struct_read(from, sizeof node, &node);
    const gr_op_row *row = gr_op_row_find(node.op);
    if (!row)
        return "unknown op";
    if (node.in_count < row->min_in || node.in_count > row->max_in ||
        node.out_count < row->min_out || node.out_count > row->max_out || !node.in || !node.out ||
        (node.flags & ~(uint32_t)GR_NODE_RUN))
        return "operand count or flags are not the op's";
    out_node->op = node.op;
    out_node->composite = row->composite;
    out_node->subtree = node.subtree;
    out_node->in_count = node.in_count;
    out_node->out_count = node.out_count;
    out_node->layer = node.struct_size >= offsetof(gr_node, reserved) ? node.layer : -1;
    if (!node.attrs && row->attrs_bytes > sizeof(gr_attrs_none))
        return "the node lacks its attributes";
    if (node.attrs && !gr_struct_ok(node.attrs, sizeof(uint32_t), row->attrs_bytes, SIZE_MAX))
        return "the node has attributes that this backend does not know";
    if (node.attrs)
        gr_struct_read(node.attrs, row->attrs_bytes, &out_node->attrs);
    return gr_operands_read(segment, &node, row->min_in, out_node);
}

#ifdef __cplusplus
}
#endif
#endif
