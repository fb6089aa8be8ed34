// SPDX-License-Identifier: Apache-2.0
// cost.c: how much a node reads, writes and computes. A composite costs what its decomposition costs, less the
// values that stay inside it.
#include "graph/graph.h"

static uint64_t bytes_of(const gr_value *value, uint32_t rows, uint32_t outputs) {
    uint32_t block = gr_dtype_block(value->dtype);
    if (!block || value->kind == GR_VALUE_STATE)
        return 0;
    return gr_value_elements(value, rows, rows, outputs) / block * gr_dtype_block_bytes(value->dtype);
}

static uint64_t operand_bytes(const gr_segment *segment, const gr_node *node, uint32_t rows, uint32_t outputs) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < node->in_count; i++)
        if (node->in[i] != GR_VALUE_NONE && !(node->op == GR_OP_EMBED && i == 0))
            bytes += bytes_of(gr_segment_value(segment, node->in[i]), rows, outputs);
    for (uint32_t i = 0; i < node->out_count; i++)
        bytes += bytes_of(gr_segment_value(segment, node->out[i]), rows, outputs);
    return bytes;
}

static uint64_t out_elements(const gr_segment *segment, const gr_node *node, uint32_t rows, uint32_t outputs) {
    return gr_value_elements(gr_segment_value(segment, node->out[0]), rows, rows, outputs);
}

static uint64_t primitive_operations(const gr_segment *segment, const gr_node *node, uint32_t rows, uint32_t outputs,
                                     uint64_t visible) {
    uint64_t out = node->op == GR_OP_KV_WRITE ? 0 : out_elements(segment, node, rows, outputs);
    switch (node->op) {
    case GR_OP_MATMUL: {
        const gr_value *w = gr_segment_value(segment, node->in[1]);
        return 2 * out * (uint64_t)w->dims[w->rank - 1];
    }
    case GR_OP_ATTENTION: {
        const gr_attrs_attention *a = node->attrs;
        return 2 * (uint64_t)rows * visible * a->heads * (a->k_dim + a->v_dim);
    }
    case GR_OP_KV_WRITE:
    case GR_OP_EMBED:
    case GR_OP_GATHER_ROWS:
    case GR_OP_COPY:
    case GR_OP_CAST: return 0;
    case GR_OP_ROPE:
    case GR_OP_RMS_NORM:
    case GR_OP_SOFTMAX:
    case GR_OP_GLU: return 4 * out;
    default: return out;
    }
}

void gr_node_cost(const gr_segment *segment, uint32_t index, uint32_t rows, uint32_t outputs, uint64_t visible,
                  uint64_t *out_bytes, uint64_t *out_operations) {
    const gr_node *node = gr_segment_node(segment, index);
    *out_bytes = operand_bytes(segment, node, rows, outputs);
    *out_operations = 0;
    for (uint32_t i = index; i <= index + node->subtree; i++) {
        const gr_node *inner = gr_segment_node(segment, i);
        if (inner->subtree)
            continue;
        *out_operations += primitive_operations(segment, inner, rows, outputs, visible);
        if (inner->op == GR_OP_ATTENTION) { // the cache, F16
            const gr_attrs_attention *a = inner->attrs;
            *out_bytes += 2 * visible * a->kv_heads * (a->k_dim + a->v_dim);
        }
    }
}
