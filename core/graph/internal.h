// SPDX-License-Identifier: Apache-2.0
// internal.h: how a graph is kept while it is written and after. Inside the graph room.
#ifndef GREGALE_GRAPH_INTERNAL_H
#define GREGALE_GRAPH_INTERNAL_H

#include "base/arena.h"
#include "graph/graph.h"

struct gr_graph {
    gr_arena arena; // names, attributes, operand lists
    gr_value *values;
    uint32_t value_count, value_capacity;
    gr_node *nodes;
    uint32_t node_count, node_capacity;
    gr_graph_weight *weights;
    uint32_t weight_count, weight_capacity;
    gr_graph_output *outputs;
    uint32_t output_count, output_capacity;
    const gr_attrs_attention **cache_layers;
    uint32_t cache_layer_count, cache_layer_capacity;
    gr_segment segment;
};

struct gr_builder {
    gr_graph *graph;
    gr_weight_lookup lookup;
    void *lookup_context;
    int32_t layer;
    gr_status status; // of the first failure
    gr_error error;
};

enum { GR_MAX_OPERANDS = 16, GR_MAX_RESULTS = 2 };

// Appends a value and returns its index, or GR_VALUE_NONE with the sticky error.
uint32_t gr_builder_value(gr_builder *builder, const gr_value *value);
// Appends a primitive: infers its results' shapes, or fails. Results go to out_values.
bool gr_builder_primitive(gr_builder *builder, gr_op op, const uint32_t *in, uint32_t in_count, const void *attrs,
                          size_t attrs_bytes, uint32_t *out_values);
// Opens a composite; its decomposition is appended next; closing sets its subtree and results.
uint32_t gr_builder_open(gr_builder *builder, gr_op op, const uint32_t *in, uint32_t in_count, const void *attrs,
                         size_t attrs_bytes);
void gr_builder_close(gr_builder *builder, uint32_t node, const uint32_t *out, uint32_t out_count);

// Shape rules: fills out_values[results] (kind, dtype, rank, dims) for a primitive, or returns false having
// recorded the failure. Returns the number of results in *out_count.
bool gr_shape_infer(gr_builder *builder, gr_op op, const uint32_t *in, uint32_t in_count, const void *attrs,
                    gr_value out_values[GR_MAX_RESULTS], uint32_t *out_count);

#endif
