// SPDX-License-Identifier: Apache-2.0
// plan.h: the inside of a plan and the steps that make it. For core/graph alone.
#ifndef GREGALE_GRAPH_PLAN_H
#define GREGALE_GRAPH_PLAN_H

#include "base/arena.h"
#include "graph/graph.h"

// What runs, in which order, and where. Nodes that run cover every primitive exactly once.
typedef struct gr_lowering {
    const gr_graph *graph;
    uint32_t run_count;
    uint32_t segment_count;
    uint32_t *runs;        // [run_count] node indices in execution order
    uint32_t *device;      // [run_count]
    uint32_t *segment;     // [run_count] ascending
    uint32_t *hold;        // [run_count] last run of the outermost decomposed composite around it
    uint32_t *runs_before; // [nodes+1] running nodes with a smaller index
    uint32_t *producer;    // [values] the run that writes it, or UINT32_MAX
} gr_lowering;

struct gr_plan {
    gr_arena memory;
    gr_lowering lowering;
    gr_plan_segment *segments;
    uint64_t *offsets; // [values]
    uint64_t arena_bytes;
};

// Chooses what runs where and checks that whatever a running node reads was written before.
gr_status gr_lower(gr_plan *plan, const gr_graph *graph, gr_node_chooser chooser, void *context,
                   bool no_fusion, gr_error *error);
// Places the outputs of running nodes in the arena.
gr_status gr_lay_out(gr_plan *plan, uint32_t rows, uint32_t seqs, uint32_t outputs,
                     gr_error *error);
// Fills plan->segments.
gr_status gr_cut(gr_plan *plan, gr_error *error);

#endif
