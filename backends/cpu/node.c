// SPDX-License-Identifier: Apache-2.0
// node.c: reading nodes, values and attributes out of a segment, trusting nothing.
#include "cpu.h"

static const cpu_op *const ops[] = {
    &cpu_op_embed,     &cpu_op_rms_norm,  &cpu_op_matmul,  &cpu_op_rope,
    &cpu_op_kv_write,  &cpu_op_attention, &cpu_op_glu,     &cpu_op_add,
    &cpu_op_mul,       &cpu_op_scale,     &cpu_op_softmax, &cpu_op_gather_rows,
    &cpu_op_mask_bits, &cpu_op_topk,      &cpu_op_cast,    &cpu_op_copy,
};

const cpu_op *cpu_op_find(gr_op op) {
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (ops[i]->op == op)
            return ops[i];
    }
    return NULL;
}

// How many operands ops.def allows, and whether the op is a composite.
typedef struct op_row {
    gr_op op;
    bool composite;
    uint32_t min_in, max_in, min_out, max_out;
} op_row;

static const op_row *op_row_find(gr_op op) {
    enum { PRIMITIVE = 0, COMPOSITE = 1 };
    static const op_row rows[] = {
#define GR_OP(number, name, level, min_in, max_in, min_out, max_out, attrs, backward)              \
    {number, level, min_in, max_in, min_out, max_out},
#include "gregale/ops.def"
#undef GR_OP
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].op == op)
            return &rows[i];
    }
    return NULL;
}

bool cpu_segment_ok(const gr_segment *segment) {
    return segment && gr_struct_ok(segment, sizeof *segment, sizeof *segment, SIZE_MAX) &&
           (!segment->node_count ||
            (segment->nodes && segment->node_stride >= offsetof(gr_node, layer))) &&
           (!segment->value_count ||
            (segment->values && segment->value_stride >= sizeof(gr_value)));
}

// Symbolic sizes stand in the first place only; all sizes stay far from overflow.
static const char *dims_check(const gr_value *value) {
    uint64_t elements = 1;
    for (uint32_t i = 0; i < value->rank; i++) {
        int64_t dim = value->dims[i];
        if (dim < 0 && (i || dim < GR_DIM_R || value->kind == GR_VALUE_WEIGHT))
            return "a value has a negative or misplaced symbolic size";
        if (__builtin_mul_overflow(elements, (uint64_t)(dim < 0 ? UINT32_MAX : dim), &elements) ||
            elements > UINT64_MAX / 16)
            return "a value's size overflows";
    }
    return NULL;
}

static const char *value_check(const gr_value *value) {
    static const int64_t step_rows[] = {GR_DIM_T, GR_DIM_T, GR_DIM_T, GR_DIM_R, GR_DIM_R};
    if (value->kind == GR_VALUE_STATE)
        return NULL; // a token of order; it has no shape of its own
    if (value->rank < 1 || value->rank > GR_MAX_RANK)
        return "a value's rank is not 1 to 4";
    if (!gr_dtype_block(value->dtype))
        return "a value's dtype is unknown";
    if (value->kind > GR_VALUE_STEP)
        return "a value's kind is unknown";
    if (value->kind == GR_VALUE_STEP) {
        if (value->index > GR_STEP_MASK_BITS || value->dtype != GR_DTYPE_I32)
            return "a step field is unknown or not I32";
        if (value->dims[0] != step_rows[value->index] ||
            value->rank != (value->index == GR_STEP_MASK_BITS ? 2u : 1u))
            return "a step field has another shape";
    }
    return dims_check(value);
}

static const char *operand_read(const gr_segment *segment, uint32_t index, gr_value *out_value) {
    if (index >= segment->value_count)
        return "an operand lies beyond the segment's values";
    const gr_value *value = gr_segment_value(segment, index);
    if (!gr_struct_ok(value, sizeof *value, sizeof *value, segment->value_stride))
        return "a value has fields that this backend does not know";
    gr_struct_read(value, sizeof *out_value, out_value);
    return value_check(out_value);
}

const char *cpu_attrs_read(const void *attrs, size_t bytes, void *out_attrs) {
    if (!attrs)
        return bytes > sizeof(gr_attrs_none) ? "the node lacks its attributes" : NULL;
    if (!gr_struct_ok(attrs, sizeof(uint32_t), bytes, SIZE_MAX))
        return "the node has attributes that this backend does not know";
    gr_struct_read(attrs, bytes, out_attrs);
    return NULL;
}

// The node's operands and results, at most those that `row` allows.
static const char *operands_read(const gr_segment *segment, const gr_node *node, const op_row *row,
                                 bool *has_in, gr_value *in, gr_value *out) {
    const char *why = NULL;
    for (uint32_t i = 0; i < node->in_count && !why; i++) {
        if (node->in[i] == GR_VALUE_NONE) {
            why = i < row->min_in && !row->composite ? "a required operand is absent" : NULL;
            continue;
        }
        has_in[i] = true;
        why = operand_read(segment, node->in[i], &in[i]);
    }
    for (uint32_t i = 0; i < node->out_count && !why; i++) {
        why = operand_read(segment, node->out[i], &out[i]);
        if (!why && out[i].kind != GR_VALUE_ACTIVATION && out[i].kind != GR_VALUE_STATE)
            why = "an output is neither an activation nor a state";
    }
    return why;
}

static const char *primitive_read(const gr_segment *segment, const gr_node *node, const op_row *row,
                                  cpu_parts *out) {
    const cpu_op *op = cpu_op_find(node->op);
    if (!op)
        return "unknown op";
    cpu_node *part = &out->nodes[0];
    *part = (cpu_node){.op = node->op,
                       .layer = node->layer,
                       .in_count = node->in_count,
                       .out_count = node->out_count};
    out->count = 1;
    const char *why = cpu_attrs_read(node->attrs, op->attrs_bytes, &part->attrs);
    return why ? why : operands_read(segment, node, row, part->has_in, part->in, part->out);
}

static const char *composite_read(const gr_segment *segment, const gr_node *node, const op_row *row,
                                  cpu_parts *out) {
    cpu_composite composite = {.op = node->op, .layer = node->layer, .attrs = node->attrs};
    const char *why =
        operands_read(segment, node, row, composite.has_in, composite.in, composite.out);
    return why ? why : cpu_composite_expand(&composite, out);
}

const char *cpu_node_read(const gr_segment *segment, uint32_t index, cpu_parts *out_parts) {
    out_parts->count = 0;
    const gr_node *from = gr_segment_node(segment, index);
    if (!gr_struct_ok(from, offsetof(gr_node, layer), sizeof *from, segment->node_stride))
        return "the node has fields that this backend does not know";
    gr_node node;
    gr_struct_read(from, sizeof node, &node);
    if (from->struct_size < offsetof(gr_node, reserved))
        node.layer = -1;
    const op_row *row = op_row_find(node.op);
    if (!row)
        return "unknown op";
    if (node.in_count < row->min_in || node.in_count > row->max_in ||
        node.out_count < row->min_out || node.out_count > row->max_out || !node.in || !node.out ||
        (node.flags & ~(uint32_t)GR_NODE_RUN))
        return "operand count or flags are not the op's";
    const char *why =
        (row->composite ? composite_read : primitive_read)(segment, &node, row, out_parts);
    for (uint32_t i = 0; i < out_parts->count && !why; i++)
        why = cpu_op_find(out_parts->nodes[i].op)->check(&out_parts->nodes[i]);
    return why;
}
