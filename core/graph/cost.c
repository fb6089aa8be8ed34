// SPDX-License-Identifier: Apache-2.0
// cost.c: what a node has to move and to compute, from shapes alone. A composite costs what its
// primitives cost, as if nothing were fused.
#include "graph/graph.h"

typedef struct cost {
    const gr_segment *segment;
    const gr_node *node;
    uint32_t rows, outputs;
    uint64_t visible;
    uint64_t bytes, operations;
} cost;

// Cached keys and values are counted as 16-bit numbers.
#define CACHE_ELEMENT_BYTES 2

static const gr_value *operand(const cost *c, uint32_t index) {
    if (index >= c->node->in_count || c->node->in[index] == GR_VALUE_NONE)
        return NULL;
    return gr_segment_value(c->segment, c->node->in[index]);
}

static uint64_t elements(const cost *c, const gr_value *value) {
    return value ? gr_value_elements(value, c->rows, c->rows, c->outputs) : 0;
}

static uint64_t bytes_of(const cost *c, const gr_value *value) {
    uint64_t count = elements(c, value);
    return count ? count / gr_dtype_block(value->dtype) * gr_dtype_block_bytes(value->dtype) : 0;
}

static uint64_t result_elements(const cost *c) {
    return c->node->out_count ? elements(c, gr_segment_value(c->segment, c->node->out[0])) : 0;
}

static uint64_t rows_of(const cost *c, const gr_value *value) {
    gr_value rows = *value;
    rows.rank = 1;
    return elements(c, &rows);
}

// Every operand once and every result once.
static void add_all_operands(cost *c) {
    for (uint32_t i = 0; i < c->node->in_count; i++)
        c->bytes += bytes_of(c, operand(c, i));
    for (uint32_t i = 0; i < c->node->out_count; i++)
        c->bytes += bytes_of(c, gr_segment_value(c->segment, c->node->out[i]));
}

static void add_matmul(cost *c) {
    const gr_value *x = operand(c, 0), *w = operand(c, 1), *index = operand(c, 3);
    uint64_t m = rows_of(c, x), k = (uint64_t)w->dims[w->rank - 1];
    add_all_operands(c);
    if (index && w->dims[0] > 0 && m < (uint64_t)w->dims[0]) { // at most one expert a row is read
        uint64_t whole = bytes_of(c, w);
        c->bytes = c->bytes - whole + whole / (uint64_t)w->dims[0] * m;
    }
    c->operations += 2 * result_elements(c) * k;
}

static void add_attention(cost *c) {
    const gr_attrs_attention *attrs = c->node->attrs;
    uint64_t rows = rows_of(c, operand(c, 0)), pairs = rows * c->visible;
    uint64_t dims = (uint64_t)attrs->k_dim + attrs->v_dim;
    c->bytes +=
        bytes_of(c, operand(c, 0)) + bytes_of(c, gr_segment_value(c->segment, c->node->out[0]));
    c->bytes += pairs * attrs->kv_heads * dims * CACHE_ELEMENT_BYTES;
    c->operations += 2 * pairs * attrs->heads * dims;
}

static void add_gather(cost *c) { // reads only the rows it yields
    const gr_value *table = operand(c, 0);
    gr_value row = *gr_segment_value(c->segment, c->node->out[0]);
    c->bytes += bytes_of(c, &row) + bytes_of(c, operand(c, 1));
    row.dtype = table->dtype;
    c->bytes += bytes_of(c, &row);
}

static void add_kv_write(cost *c) {
    add_all_operands(c);
    c->bytes += (elements(c, operand(c, 0)) + elements(c, operand(c, 1))) * CACHE_ELEMENT_BYTES;
}

// Operations an element of the result takes, a square root, exponential or sine counted as one.
static uint64_t operations_each(gr_op op) {
    switch (op) {
    case GR_OP_RMS_NORM: return 4;
    case GR_OP_ROPE: return 3;
    case GR_OP_GLU: return 5;
    case GR_OP_SOFTMAX: return 4;
    case GR_OP_ADD:
    case GR_OP_MUL:
    case GR_OP_SCALE: return 1;
    default: return 0;
    }
}

static void add_node(cost *c) {
    switch (c->node->op) {
    case GR_OP_MATMUL: add_matmul(c); return;
    case GR_OP_ATTENTION: add_attention(c); return;
    case GR_OP_EMBED:
    case GR_OP_GATHER_ROWS: add_gather(c); return;
    case GR_OP_KV_WRITE: add_kv_write(c); return;
    default:
        add_all_operands(c);
        c->operations += operations_each(c->node->op) * result_elements(c);
    }
}

void gr_node_cost(const gr_segment *segment, uint32_t index, uint32_t rows, uint32_t outputs,
                  uint64_t visible, uint64_t *out_bytes, uint64_t *out_operations) {
    cost c = {.segment = segment, .rows = rows, .outputs = outputs, .visible = visible};
    uint32_t end = index + 1 + gr_segment_node(segment, index)->subtree;
    for (uint32_t i = index; i < end; i++) {
        const gr_op_info *info;
        c.node = gr_segment_node(segment, i);
        info = gr_op_info_find(c.node->op);
        if (info && !info->composite)
            add_node(&c);
    }
    *out_bytes = c.bytes;
    *out_operations = c.operations;
}
