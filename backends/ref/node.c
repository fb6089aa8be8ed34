// SPDX-License-Identifier: Apache-2.0
// node.c: reading nodes and values out of a segment by the rules of struct_size, and their shapes.
#include "ref.h"

bool ref_struct_ok(const void *object, size_t least, size_t known, size_t limit) {
    uint32_t size;
    memcpy(&size, object, sizeof size);
    if (size < least || size > limit)
        return false;
    for (size_t i = known; i < size; i++) {
        if (((const uint8_t *)object)[i])
            return false;
    }
    return true;
}

void ref_struct_read(const void *object, size_t known, void *copy) {
    uint32_t size;
    memcpy(&size, object, sizeof size);
    memset(copy, 0, known);
    memcpy(copy, object, size < known ? size : known);
}

void ref_struct_fill(void *object, const void *filled, size_t known) {
    uint32_t size;
    if (!object)
        return;
    memcpy(&size, object, sizeof size);
    if (size > known)
        size = (uint32_t)known;
    if (size > sizeof size)
        memcpy((char *)object + sizeof size, (const char *)filled + sizeof size,
               size - sizeof size);
}

static const ref_op *const ops[] = {
    &ref_op_embed,     &ref_op_rms_norm,  &ref_op_matmul,  &ref_op_rope,
    &ref_op_kv_write,  &ref_op_attention, &ref_op_glu,     &ref_op_add,
    &ref_op_mul,       &ref_op_scale,     &ref_op_softmax, &ref_op_gather_rows,
    &ref_op_mask_bits, &ref_op_topk,      &ref_op_cast,    &ref_op_copy,
};

const ref_op *ref_op_find(gr_op op) {
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

// Symbolic sizes stand in the first place only; all sizes stay far from overflow.
static const char *value_check(const gr_value *value) {
    static const int64_t step_rows[] = {GR_DIM_T, GR_DIM_T, GR_DIM_T, GR_DIM_R, GR_DIM_R};
    uint64_t elements = 1;
    if (value->kind == GR_VALUE_STATE)
        return NULL; // its geometry is the cache pool's
    if (value->rank < 1 || value->rank > GR_MAX_RANK)
        return "a value's rank is not 1 to 4";
    if (!ref_can_decode(value->dtype))
        return "a value's dtype is unknown";
    for (uint32_t i = 0; i < value->rank; i++) {
        int64_t dim = value->dims[i];
        if (dim < 0 && (i || dim < GR_DIM_R || value->kind == GR_VALUE_WEIGHT))
            return "a value has a negative or misplaced symbolic size";
        if (__builtin_mul_overflow(elements, (uint64_t)(dim < 0 ? UINT32_MAX : dim), &elements) ||
            elements > UINT64_MAX / 16)
            return "a value's size overflows";
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

static const char *operand_read(const gr_segment *segment, uint32_t index, gr_value *out_value) {
    if (index >= segment->value_count)
        return "an operand lies beyond the segment's values";
    const gr_value *value = gr_segment_value(segment, index);
    if (!ref_struct_ok(value, sizeof *value, sizeof *value, segment->value_stride))
        return "a value has fields that this backend does not know";
    ref_struct_read(value, sizeof *out_value, out_value);
    return value_check(out_value);
}

static const char *attrs_read(const gr_node *node, const ref_op *op, ref_attrs *out_attrs) {
    memset(out_attrs, 0, sizeof *out_attrs);
    if (!node->attrs)
        return op->attrs_bytes > sizeof(gr_attrs_none) ? "the node lacks its attributes" : NULL;
    if (!ref_struct_ok(node->attrs, sizeof(uint32_t), op->attrs_bytes, SIZE_MAX))
        return "the node has attributes that this backend does not know";
    ref_struct_read(node->attrs, op->attrs_bytes, out_attrs);
    return NULL;
}

const char *ref_node_read(const gr_segment *segment, uint32_t index, ref_node *out_node) {
    memset(out_node, 0, sizeof *out_node);
    const gr_node *from = gr_segment_node(segment, index);
    if (!ref_struct_ok(from, offsetof(gr_node, layer), sizeof *from, segment->node_stride))
        return "the node has fields that this backend does not know";
    gr_node node;
    ref_struct_read(from, sizeof node, &node);
    const op_row *row = op_row_find(node.op);
    if (!row)
        return "unknown op";
    if (row->composite)
        return "decomposed";
    const ref_op *op = ref_op_find(node.op);
    if (!op)
        return "unknown op";
    if (node.in_count < row->min_in || node.in_count > row->max_in ||
        node.out_count < row->min_out || node.out_count > row->max_out || !node.in || !node.out ||
        (node.flags & ~(uint32_t)GR_NODE_RUN))
        return "operand count or flags are not the op's";
    out_node->op = node.op;
    out_node->in_count = node.in_count;
    out_node->out_count = node.out_count;
    out_node->layer = from->struct_size >= offsetof(gr_node, reserved) ? node.layer : -1;
    const char *why = attrs_read(&node, op, &out_node->attrs);
    for (uint32_t i = 0; i < node.in_count && !why; i++) {
        if (node.in[i] == GR_VALUE_NONE) {
            why = i < row->min_in ? "a required operand is absent" : NULL;
            continue;
        }
        out_node->has_in[i] = true;
        why = operand_read(segment, node.in[i], &out_node->in[i]);
    }
    for (uint32_t i = 0; i < node.out_count && !why; i++) {
        why = operand_read(segment, node.out[i], &out_node->out[i]);
        if (!why && out_node->out[i].kind != GR_VALUE_ACTIVATION &&
            out_node->out[i].kind != GR_VALUE_STATE)
            why = "an output is neither an activation nor a state";
    }
    return why ? why : op->check(out_node);
}

uint64_t ref_dim(int64_t dim, const gr_step *step) {
    switch (dim) {
    case GR_DIM_T: return step->rows;
    case GR_DIM_S: return step->seqs;
    case GR_DIM_R: return step->outputs;
    default: return (uint64_t)dim;
    }
}

uint64_t ref_rows(const gr_value *value, const ref_run *run) {
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < value->rank; i++)
        rows *= ref_dim(value->dims[i], &run->step);
    return rows;
}

uint64_t ref_width(const gr_value *value) {
    return (uint64_t)value->dims[value->rank - 1];
}

uint64_t ref_count(const gr_value *value, const ref_run *run) {
    return ref_rows(value, run) * ref_dim(value->dims[value->rank - 1], &run->step);
}

bool ref_is_matrix(const gr_value *value, gr_dtype dtype) {
    return value->kind == GR_VALUE_ACTIVATION && value->dtype == dtype && value->rank == 2;
}

bool ref_same_shape(const gr_value *a, const gr_value *b) {
    return a->rank == b->rank && !memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]);
}

bool ref_is_index(const gr_value *value, int64_t rows) {
    return (value->kind == GR_VALUE_ACTIVATION || value->kind == GR_VALUE_STEP) &&
           value->dtype == GR_DTYPE_I32 && value->dims[0] == rows &&
           (value->rank == 1 || (value->rank == 2 && value->dims[1] == 1));
}

bool ref_is_vector(const gr_value *value, int64_t n) {
    return (value->kind == GR_VALUE_ACTIVATION || value->kind == GR_VALUE_WEIGHT) &&
           value->dtype == GR_DTYPE_F32 && value->rank == 1 && value->dims[0] == n;
}

const int32_t *ref_index_data(const ref_call *call, unsigned in, const gr_step *step) {
    if (call->node.in[in].kind != GR_VALUE_STEP)
        return (const int32_t *)(const void *)call->in[in];
    switch (call->node.in[in].index) {
    case GR_STEP_TOKENS: return step->tokens;
    case GR_STEP_POSITIONS: return step->positions;
    case GR_STEP_ROW_SEQ: return step->row_seq;
    case GR_STEP_OUTPUT_ROWS: return step->output_rows;
    default: return step->mask_bits;
    }
}

gr_status ref_admit_index(const ref_call *call, unsigned in, uint64_t limit, const ref_run *run,
                          gr_error *error) {
    if (call->node.in[in].kind != GR_VALUE_STEP)
        return GR_OK; // computed in this step: the op copes with what it finds
    uint64_t count = ref_count(&call->node.in[in], run);
    const int32_t *index = ref_index_data(call, in, &run->step);
    if (count && !index)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref", "%s: the step lacks field %u",
                       call->op->name, call->node.in[in].index);
    for (uint64_t i = 0; i < count; i++) {
        if (index[i] < 0 || (uint64_t)index[i] >= limit)
            return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "ref", "%s: row %llu asks for %d of %llu",
                           call->op->name, (unsigned long long)i, index[i],
                           (unsigned long long)limit);
    }
    return GR_OK;
}

void ref_slice(uint64_t n, const ref_task *task, uint64_t *begin, uint64_t *end) {
    uint64_t each = n / task->count, rest = n % task->count, id = task->id;
    *begin = each * id + (id < rest ? id : rest);
    *end = *begin + each + (id < rest);
}
