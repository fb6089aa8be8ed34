// SPDX-License-Identifier: Apache-2.0
// segment.h: a piece of a model as a backend receives it: values, and nodes that compute them.
// For backend authors. Self-contained, C11 and C++17. Read-only to backends; any thread.
//
// A segment is in static single assignment form. Nodes stand in execution order and as a tree in
// preorder: a composite node is followed by its `subtree` descendants, which decompose it. The host
// decides what runs: nodes flagged GR_NODE_RUN, and no descendant of a node that runs. A backend
// walks it so:
//
//     for (i = 0; i < segment->node_count;) {
//         const gr_node *node = gr_segment_node(segment, i);
//         if (node->flags & GR_NODE_RUN) { compile(node); i += 1 + node->subtree; } else i++;
//     }
//
// A backend may run neighbouring nodes as one, as long as every value it skips is read by no node
// outside what it joined and is not flagged GR_VALUE_EXPORT.
#ifndef GREGALE_SEGMENT_H
#define GREGALE_SEGMENT_H

#include "gregale/dtype.h"
#include "gregale/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GR_MAX_RANK 4
#define GR_VALUE_NONE UINT32_MAX // an absent operand
#define GR_NO_OFFSET UINT64_MAX  // a value that has no place in the arena

// Symbolic sizes: negative numbers in gr_value.dims, known per step (gr_step).
enum {
    GR_DIM_T = -1, // rows (tokens) of the step
    GR_DIM_S = -2, // sequences of the step
    GR_DIM_R = -3  // output rows of the step
};

typedef uint32_t gr_value_kind;
enum {
    GR_VALUE_ACTIVATION = 0, // lives in the arena at `offset`
    GR_VALUE_WEIGHT = 1,     // gr_program_desc.weights[index]
    GR_VALUE_STATE = 2,      // the paged K and V of gr_program_desc.cache_layers[index]
    GR_VALUE_STEP = 3        // a field of the step block: `index` is a gr_step_field
};

typedef uint32_t gr_step_field;
enum {
    GR_STEP_TOKENS = 0,      // I32[T]
    GR_STEP_POSITIONS = 1,   // I32[T]
    GR_STEP_ROW_SEQ = 2,     // I32[T]
    GR_STEP_OUTPUT_ROWS = 3, // I32[R]
    GR_STEP_MASK_BITS = 4    // I32[R, ceil(V/32)]
};

typedef uint32_t gr_value_flags;
enum {
    GR_VALUE_EXPORT = 1u << 0, // read outside the segment: must be written to its arena offset
    GR_VALUE_IMPORT = 1u << 1  // written outside the segment, before it runs
};

typedef struct gr_value {
    uint32_t struct_size;
    gr_value_kind kind;
    gr_dtype dtype;
    gr_value_flags flags;
    uint32_t index;
    uint32_t rank;
    int64_t dims[GR_MAX_RANK]; // outermost first; unused ones are 1
    uint64_t offset;           // bytes into the arena, 64-byte aligned, or GR_NO_OFFSET
} gr_value;

typedef uint32_t gr_node_flags;
enum { GR_NODE_RUN = 1u << 0 };

typedef struct gr_node {
    uint32_t struct_size;
    gr_op op;
    gr_node_flags flags;
    uint32_t subtree;       // descendants that follow this node; 0 for a primitive
    uint32_t in_count;
    uint32_t out_count;
    const uint32_t *in;     // value indices, or GR_VALUE_NONE
    const uint32_t *out;
    const void *attrs;      // the struct that ops.def names; starts with its struct_size
    int32_t layer;          // of the model, -1 outside any; for traces and placement only
    uint32_t reserved;
} gr_node;

typedef struct gr_segment {
    uint32_t struct_size;
    uint32_t value_count;
    uint32_t value_stride; // bytes from one gr_value to the next
    uint32_t node_count;
    uint32_t node_stride;
    uint32_t reserved;
    const gr_value *values;
    const gr_node *nodes;
} gr_segment;

// Value `index` of `segment`; `index` must be below value_count.
static inline const gr_value *gr_segment_value(const gr_segment *segment, uint32_t index) {
    return (const gr_value *)(const void *)((const char *)segment->values +
                                            (size_t)index * segment->value_stride);
}

// Node `index` of `segment`; `index` must be below node_count.
static inline const gr_node *gr_segment_node(const gr_segment *segment, uint32_t index) {
    return (const gr_node *)(const void *)((const char *)segment->nodes +
                                           (size_t)index * segment->node_stride);
}

#ifdef __cplusplus
}
#endif
#endif
