// SPDX-License-Identifier: Apache-2.0
// build_ops.c: one call a primitive, for architectures.
#include "graph/builder.h"

static uint32_t append(gr_builder *builder, gr_op op, const void *attrs, uint32_t in_count,
                       const uint32_t *in) {
    uint32_t out[GR_NODE_MAX_OUT];
    gr_builder_node(builder, op, attrs, in_count, in, out);
    return out[0];
}

// Names `op` as the reader of a weight; MATMUL wins over EMBED where both read it.
static void note_consumer(gr_builder *builder, uint32_t value, gr_op op) {
    const gr_graph *graph = builder->graph;
    if (builder->status != GR_OK || value == GR_VALUE_NONE ||
        graph->values[value].kind != GR_VALUE_WEIGHT)
        return;
    gr_graph_weight *weight = &graph->weights[graph->values[value].index];
    if (!weight->consumer || op == GR_OP_MATMUL)
        weight->consumer = op;
}

uint32_t gr_build_embed(gr_builder *builder, uint32_t table, uint32_t tokens) {
    uint32_t out = append(builder, GR_OP_EMBED, NULL, 2, (const uint32_t[]){table, tokens});
    note_consumer(builder, table, GR_OP_EMBED);
    return out;
}

uint32_t gr_build_rms_norm(gr_builder *builder, uint32_t x, uint32_t weight, float eps) {
    const gr_attrs_norm attrs = {sizeof attrs, eps};
    uint32_t out = append(builder, GR_OP_RMS_NORM, gr_builder_attrs(builder, &attrs, sizeof attrs),
                          2, (const uint32_t[]){x, weight});
    note_consumer(builder, weight, GR_OP_RMS_NORM);
    return out;
}

uint32_t gr_build_matmul(gr_builder *builder, uint32_t x, uint32_t weight, uint32_t bias,
                         uint32_t index) {
    uint32_t out =
        append(builder, GR_OP_MATMUL, NULL, 4, (const uint32_t[]){x, weight, bias, index});
    note_consumer(builder, weight, GR_OP_MATMUL);
    note_consumer(builder, bias, GR_OP_MATMUL);
    return out;
}

uint32_t gr_build_rope(gr_builder *builder, uint32_t x, uint32_t positions,
                       const gr_attrs_rope *attrs) {
    return append(builder, GR_OP_ROPE, gr_builder_rope(builder, attrs), 2,
                  (const uint32_t[]){x, positions});
}

uint32_t gr_build_kv_write(gr_builder *builder, uint32_t k, uint32_t v, uint32_t state,
                           const gr_attrs_attention *attrs) {
    return append(builder, GR_OP_KV_WRITE, gr_builder_attention(builder, attrs), 3,
                  (const uint32_t[]){k, v, state});
}

uint32_t gr_build_attention(gr_builder *builder, uint32_t q, uint32_t state,
                            const gr_attrs_attention *attrs) {
    return append(builder, GR_OP_ATTENTION, gr_builder_attention(builder, attrs), 2,
                  (const uint32_t[]){q, state});
}

uint32_t gr_build_attention_dense(gr_builder *builder, uint32_t q, uint32_t k, uint32_t v,
                                  const gr_attrs_attention *attrs) {
    return append(builder, GR_OP_ATTENTION, gr_builder_attention(builder, attrs), 3,
                  (const uint32_t[]){q, k, v});
}

uint32_t gr_build_glu(gr_builder *builder, uint32_t gate, uint32_t up, gr_activation activation) {
    const gr_attrs_glu attrs = {sizeof attrs, activation};
    return append(builder, GR_OP_GLU, gr_builder_attrs(builder, &attrs, sizeof attrs), 2,
                  (const uint32_t[]){gate, up});
}

uint32_t gr_build_add(gr_builder *builder, uint32_t a, uint32_t b) {
    return append(builder, GR_OP_ADD, NULL, 2, (const uint32_t[]){a, b});
}

uint32_t gr_build_mul(gr_builder *builder, uint32_t a, uint32_t b) {
    return append(builder, GR_OP_MUL, NULL, 2, (const uint32_t[]){a, b});
}

uint32_t gr_build_scale(gr_builder *builder, uint32_t x, float factor) {
    const gr_attrs_scale attrs = {sizeof attrs, factor};
    return append(builder, GR_OP_SCALE, gr_builder_attrs(builder, &attrs, sizeof attrs), 1, &x);
}

uint32_t gr_build_softmax(gr_builder *builder, uint32_t x) {
    return append(builder, GR_OP_SOFTMAX, NULL, 1, &x);
}

uint32_t gr_build_gather_rows(gr_builder *builder, uint32_t x, uint32_t rows) {
    return append(builder, GR_OP_GATHER_ROWS, NULL, 2, (const uint32_t[]){x, rows});
}

uint32_t gr_build_mask_bits(gr_builder *builder, uint32_t x, uint32_t bits) {
    gr_graph *graph = builder->graph;
    // The step's mask takes its width from the first value that it masks.
    if (builder->status == GR_OK && graph && bits < graph->value_count && x < graph->value_count) {
        gr_value *mask = &graph->values[bits];
        int64_t columns = graph->values[x].dims[1];
        if (mask->kind == GR_VALUE_STEP && mask->index == GR_STEP_MASK_BITS && !mask->dims[1] &&
            columns > 0)
            mask->dims[1] = columns / 32 + (columns % 32 != 0);
    }
    return append(builder, GR_OP_MASK_BITS, NULL, 2, (const uint32_t[]){x, bits});
}

void gr_build_topk(gr_builder *builder, uint32_t x, uint32_t k, uint32_t *out_values,
                   uint32_t *out_indices) {
    const gr_attrs_topk attrs = {sizeof attrs, k};
    uint32_t out[GR_NODE_MAX_OUT];
    gr_builder_node(builder, GR_OP_TOPK, gr_builder_attrs(builder, &attrs, sizeof attrs), 1, &x,
                    out);
    *out_values = out[0];
    *out_indices = out[1];
}

uint32_t gr_build_cast(gr_builder *builder, uint32_t x, gr_dtype dtype) {
    const gr_attrs_cast attrs = {sizeof attrs, dtype};
    return append(builder, GR_OP_CAST, gr_builder_attrs(builder, &attrs, sizeof attrs), 1, &x);
}

uint32_t gr_build_copy(gr_builder *builder, uint32_t x) {
    return append(builder, GR_OP_COPY, NULL, 1, &x);
}
