// SPDX-License-Identifier: Apache-2.0
// builder.h: the inside of a builder and of the graph it makes. For core/graph alone.
//
// Invariant: values and nodes are appended, never changed in meaning; every node's operands are
// values that exist; the first failure stops all appending.
#ifndef GREGALE_GRAPH_BUILDER_H
#define GREGALE_GRAPH_BUILDER_H

#include "base/arena.h"
#include "graph/graph.h"

#define GR_NODE_MAX_IN 14 // the widest op of ops.def
#define GR_NODE_MAX_OUT 2
#define GR_MAX_NESTING 8

struct gr_graph {
    gr_arena arena; // names, operand lists, attributes, tables
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

// An inverse frequency table that some ROPE node uses; equal tables are kept once.
typedef struct gr_rope_copy {
    struct gr_rope_copy *next;
    uint32_t count;
    const double *inv_freq;
} gr_rope_copy;

struct gr_builder {
    gr_graph *graph;
    gr_weight_lookup lookup;
    void *context;
    gr_status status; // sticky
    gr_error error;
    int32_t layer;
    uint32_t open[GR_MAX_NESTING]; // composites being appended, outermost first
    uint32_t open_count;
    uint32_t *names; // hash table: index of a weight plus 1, 0 when free; size a power of two
    uint32_t names_size;
    uint32_t step_fields[GR_STEP_MASK_BITS + 1];
    uint32_t *states; // newest state of each cache layer
    uint32_t state_capacity;
    gr_rope_copy *ropes;
};

// A node about to be appended, as the shape rules see it. Absent operands are NULL.
typedef struct gr_shape_call {
    gr_builder *builder;
    gr_op op;
    const gr_value *in[GR_NODE_MAX_IN];
    uint32_t in_count;
    const void *attrs;
    gr_value out[GR_NODE_MAX_OUT]; // what the rule fills: kind, dtype, index, rank, dims
} gr_shape_call;

// Records the first failure, prefixed with the layer and the composites that are open. Always
// false.
GR_PRINTF(3, 4)
bool gr_builder_fail(gr_builder *builder, gr_status code, const char *format, ...);
// Makes room for one more element of `size` bytes; false and a sticky error when there is none.
bool gr_builder_grow(gr_builder *builder, void **array, uint32_t count, uint32_t *capacity,
                     size_t size);
// Zeroed memory of the graph, or NULL and a sticky error; and a copy of something put there.
void *gr_builder_alloc(gr_builder *builder, uint64_t bytes);
void *gr_builder_copy(gr_builder *builder, const void *source, uint64_t bytes);
// Copies attributes with the size stamped; NULL when the source is NULL or memory is short.
void *gr_builder_attrs(gr_builder *builder, const void *attrs, uint32_t bytes);
// The same for attributes that blocks share with their primitives, which are the graph's own
// already while a composite is open. Equal frequency tables become one.
const gr_attrs_attention *gr_builder_attention(gr_builder *builder,
                                               const gr_attrs_attention *attrs);
const gr_attrs_rope *gr_builder_rope(gr_builder *builder, const gr_attrs_rope *attrs);

// Appends a value with the fields that `like` gives and returns its index, or GR_VALUE_NONE.
uint32_t gr_builder_value(gr_builder *builder, const gr_value *like);
// Appends one primitive node and its outputs; `attrs` is the graph's. Fills out[] with
// GR_VALUE_NONE when it fails.
void gr_builder_node(gr_builder *builder, gr_op op, const void *attrs, uint32_t in_count,
                     const uint32_t *in, uint32_t *out);
// Opens a composite: what is appended until the end is its decomposition. Nests.
void gr_builder_begin(gr_builder *builder, gr_op op, const void *attrs, uint32_t in_count,
                      const uint32_t *in);
void gr_builder_end(gr_builder *builder, uint32_t out_count, const uint32_t *out);

// Checks operands and attributes and fills call->out; false after recording why.
bool gr_shape_infer(gr_shape_call *call);
// Writes a value for people: "blk.0.attn_q.weight Q4_0[4096,4096]" or "F32[T,4096]"; returns
// `text`.
const char *gr_value_text(const gr_graph *graph, const gr_value *value, char *text,
                          size_t capacity);

#endif
