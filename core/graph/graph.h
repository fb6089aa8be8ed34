// SPDX-License-Identifier: Apache-2.0
// graph.h: a model as a graph: made by a builder, lowered for devices, laid out in memory, cut into
// segments. Inside the core. Threads: a graph is written by one thread, then read by any.
#ifndef GREGALE_GRAPH_GRAPH_H
#define GREGALE_GRAPH_GRAPH_H

#include <stdbool.h>

#include "gregale/linked/build.h"
#include "gregale/segment.h"
#include "gregale/status.h"

typedef struct gr_graph gr_graph;

// One weight the graph reads: gr_value.index of WEIGHT values counts these.
typedef struct gr_graph_weight {
    const char *name; // borrowed from the graph
    uint32_t value;   // its value
    gr_op consumer; // MATMUL, EMBED, RMS_NORM...; a table read by both EMBED and MATMUL says MATMUL
    gr_dtype dtype;
} gr_graph_weight;

typedef struct gr_graph_output {
    const char *name; // "logits", "hidden"
    uint32_t value;
} gr_graph_output;

// Finds a tensor for the builder: true with dtype, rank and dims when `name` exists.
typedef bool (*gr_weight_lookup)(void *context, const char *name, gr_dtype *out_dtype,
                                 uint32_t *out_rank, int64_t out_dims[GR_MAX_RANK]);

gr_status gr_builder_create(gr_weight_lookup lookup, void *context, gr_builder **out_builder,
                            gr_error *error);
void gr_builder_destroy(gr_builder *builder);
// Hands the graph over, or the sticky error. The builder can only be destroyed afterwards.
gr_status gr_builder_finish(gr_builder *builder, gr_graph **out_graph, gr_error *error);
void gr_graph_destroy(gr_graph *graph);

// The whole graph as one segment (no node flagged RUN, no offsets); borrowed.
const gr_segment *gr_graph_segment(const gr_graph *graph);
uint32_t gr_graph_weight_count(const gr_graph *graph);
const gr_graph_weight *gr_graph_weight_at(const gr_graph *graph, uint32_t index);
uint32_t gr_graph_output_count(const gr_graph *graph);
const gr_graph_output *gr_graph_output_at(const gr_graph *graph, uint32_t index);
// Layers with a cache, and the attributes of layer `index`'s attention.
uint32_t gr_graph_cache_layer_count(const gr_graph *graph);
const gr_attrs_attention *gr_graph_cache_layer(const gr_graph *graph, uint32_t index);

// ---- Lowering ----

// Where each node may run: for node `index` returns the device to run it on (0..), or -1 when no
// device takes it as it is (a composite is then replaced by its decomposition; a primitive is an
// error).
typedef int32_t (*gr_node_chooser)(void *context, uint32_t index);

// A maximal run of nodes on one device, ready to compile. Values and nodes are owned by the plan;
// operand lists and attributes by the graph. A composite whose parts fall into two segments is in
// neither.
typedef struct gr_plan_segment {
    uint32_t device;
    gr_segment segment; // RUN flags set, offsets filled, EXPORT and IMPORT marked
} gr_plan_segment;

typedef struct gr_plan gr_plan;

// Lowers and lays out `graph` for steps of at most `rows` rows, `seqs` sequences and `outputs`
// output rows: chooses nodes (fusion off when `no_fusion`: every composite is decomposed), cuts
// into segments at device changes, and gives every activation that is materialised an arena offset,
// reusing the bytes of dead values (values live in two segments or marked output are never
// overlapped while needed). All segments share one arena layout and one value numbering. A node's
// output never overlaps its inputs; whatever is touched inside a composite that was decomposed
// stays intact to the composite's end, so that a backend may fuse its parts. The graph must outlive
// the plan.
gr_status gr_plan_create(const gr_graph *graph, gr_node_chooser chooser, void *context,
                         bool no_fusion, uint32_t rows, uint32_t seqs, uint32_t outputs,
                         gr_plan **out_plan, gr_error *error);
void gr_plan_destroy(gr_plan *plan);
uint32_t gr_plan_segment_count(const gr_plan *plan);
const gr_plan_segment *gr_plan_segment_at(const gr_plan *plan, uint32_t index);
uint64_t gr_plan_arena_bytes(const gr_plan *plan);
// Offset and size (at the plan's maxima) of an output value in the arena.
uint64_t gr_plan_offset(const gr_plan *plan, uint32_t value);

// Element count of `value` for a step of these sizes; 0 for a state, UINT64_MAX when it overflows.
uint64_t gr_value_elements(const gr_value *value, uint32_t rows, uint32_t seqs, uint32_t outputs);

// ---- The table behind ops.def ----

typedef struct gr_op_info {
    gr_op op;
    const char *name; // "MATMUL"
    bool composite;
    uint32_t min_in, max_in, min_out, max_out;
    uint32_t attrs_bytes;
} gr_op_info;
const gr_op_info *gr_op_info_find(gr_op op); // NULL when unknown

// Bytes read and written, and operations (a multiply and an add are two), by one node (a composite:
// the sum of its primitives, unfused) for a step of these sizes; attention counts `visible` keys a
// row, of 16-bit numbers. For placement, traces and benchmarks.
void gr_node_cost(const gr_segment *segment, uint32_t index, uint32_t rows, uint32_t outputs,
                  uint64_t visible, uint64_t *out_bytes, uint64_t *out_operations);

// Writes the graph in Graphviz dot form; returns bytes needed, excluding the NUL; 0 without memory.
size_t gr_graph_dot(const gr_graph *graph, char *out_text, size_t capacity);

#endif
