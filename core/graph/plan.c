// SPDX-License-Identifier: Apache-2.0
// plan.c: a plan: the segments that backends compile, with one numbering and one arena for all.
#include "graph/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

// The first run of segment `index` at or after `run`; the run count when there is none.
static uint32_t segment_begin(const gr_lowering *lowering, uint32_t index, uint32_t run) {
    while (run < lowering->run_count && lowering->segment[run] < index)
        run++;
    return run;
}

// Whether a node that is not run stands over runs of [begin, end) alone, so that its whole tree is
// there.
static bool header_fits(const gr_lowering *lowering, uint32_t node, uint32_t subtree,
                        uint32_t begin, uint32_t end) {
    uint32_t first = lowering->runs_before[node], past = lowering->runs_before[node + 1 + subtree];
    return first >= begin && past <= end && first < past;
}

// Copies the nodes that belong to runs [begin, end) to `out` (NULL: only counts); returns how many.
static uint32_t copy_nodes(const gr_lowering *lowering, uint32_t begin, uint32_t end,
                           gr_node *out) {
    const gr_segment *segment = gr_graph_segment(lowering->graph);
    uint32_t count = 0, from = 0;
    if (begin) {
        uint32_t before = lowering->runs[begin - 1];
        from = before + 1 + gr_segment_node(segment, before)->subtree;
    }
    for (uint32_t run = begin, i = from; run < end;) {
        const gr_node *node = gr_segment_node(segment, i);
        bool runs = lowering->runs[run] == i;
        uint32_t size = runs ? 1 + node->subtree : 1;
        bool keep = runs || header_fits(lowering, i, node->subtree, begin, end);
        if (keep && out) {
            for (uint32_t j = 0; j < size; j++)
                out[count + j] = *gr_segment_node(segment, i + j);
            if (runs)
                out[count].flags |= GR_NODE_RUN;
        }
        count += keep ? size : 0;
        run += runs;
        i += size;
    }
    return count;
}

static gr_value *copy_values(gr_plan *plan) {
    const gr_segment *segment = gr_graph_segment(plan->lowering.graph);
    gr_value *values =
        gr_arena_alloc(&plan->memory, (uint64_t)segment->value_count * sizeof *values);
    for (uint32_t i = 0; values && i < segment->value_count; i++) {
        values[i] = *gr_segment_value(segment, i);
        values[i].offset = plan->offsets[i];
    }
    return values;
}

static gr_status fill_segment(gr_plan *plan, uint32_t begin, uint32_t end, gr_plan_segment *out,
                              gr_error *error) {
    const gr_lowering *lowering = &plan->lowering;
    uint32_t nodes = copy_nodes(lowering, begin, end, NULL);
    gr_node *node_list = gr_arena_alloc(&plan->memory, (uint64_t)nodes * sizeof *node_list);
    gr_value *values = copy_values(plan);
    if (!node_list || !values)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "graph",
                       "no memory for a segment of %u nodes", nodes);
    copy_nodes(lowering, begin, end, node_list);
    out->device = lowering->device[begin];
    out->segment = (gr_segment){.struct_size = sizeof out->segment,
                                .value_count = gr_graph_segment(lowering->graph)->value_count,
                                .value_stride = sizeof *values,
                                .node_count = nodes,
                                .node_stride = sizeof *node_list,
                                .values = values,
                                .nodes = node_list};
    return GR_OK;
}

static void flag(gr_plan *plan, uint32_t segment, uint32_t value, gr_value_flags flags) {
    // The values were allocated by copy_values and are still ours to write.
    ((gr_value *)(uintptr_t)plan->segments[segment].segment.values)[value].flags |= flags;
}

// Marks the values that cross from one segment to another, and the graph's outputs.
static void mark_crossings(gr_plan *plan) {
    const gr_lowering *lowering = &plan->lowering;
    const gr_segment *graph = gr_graph_segment(lowering->graph);
    for (uint32_t run = 0; run < lowering->run_count; run++) {
        const gr_node *node = gr_segment_node(graph, lowering->runs[run]);
        for (uint32_t i = 0; i < node->in_count; i++) {
            uint32_t value = node->in[i];
            if (value == GR_VALUE_NONE ||
                gr_segment_value(graph, value)->kind != GR_VALUE_ACTIVATION)
                continue;
            uint32_t from = lowering->segment[lowering->producer[value]];
            if (from == lowering->segment[run])
                continue;
            flag(plan, from, value, GR_VALUE_EXPORT);
            flag(plan, lowering->segment[run], value, GR_VALUE_IMPORT);
        }
    }
    for (uint32_t i = 0; i < gr_graph_output_count(lowering->graph); i++) {
        uint32_t value = gr_graph_output_at(lowering->graph, i)->value;
        flag(plan, lowering->segment[lowering->producer[value]], value, GR_VALUE_EXPORT);
    }
}

gr_status gr_cut(gr_plan *plan, gr_error *error) {
    const gr_lowering *lowering = &plan->lowering;
    plan->segments =
        gr_arena_alloc(&plan->memory, (uint64_t)lowering->segment_count * sizeof *plan->segments);
    if (!plan->segments)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "graph", "no memory for %u segments",
                       lowering->segment_count);
    for (uint32_t i = 0, begin = 0; i < lowering->segment_count; i++) {
        uint32_t end = segment_begin(lowering, i + 1, begin);
        gr_status status = fill_segment(plan, begin, end, &plan->segments[i], error);
        if (status != GR_OK)
            return status;
        begin = end;
    }
    mark_crossings(plan);
    return GR_OK;
}

gr_status gr_plan_create(const gr_graph *graph, gr_node_chooser chooser, void *context,
                         bool no_fusion, uint32_t rows, uint32_t seqs, uint32_t outputs,
                         gr_plan **out_plan, gr_error *error) {
    *out_plan = NULL;
    gr_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "graph", "no memory for a plan");
    gr_status status = gr_lower(plan, graph, chooser, context, no_fusion, error);
    if (status == GR_OK)
        status = gr_lay_out(plan, rows, seqs, outputs, error);
    if (status == GR_OK)
        status = gr_cut(plan, error);
    if (status != GR_OK) {
        gr_plan_destroy(plan);
        return status;
    }
    *out_plan = plan;
    return GR_OK;
}

void gr_plan_destroy(gr_plan *plan) {
    if (!plan)
        return;
    gr_arena_deinit(&plan->memory);
    free(plan);
}

uint32_t gr_plan_segment_count(const gr_plan *plan) {
    return plan->lowering.segment_count;
}

const gr_plan_segment *gr_plan_segment_at(const gr_plan *plan, uint32_t index) {
    return index < plan->lowering.segment_count ? &plan->segments[index] : NULL;
}

uint64_t gr_plan_arena_bytes(const gr_plan *plan) {
    return plan->arena_bytes;
}

uint64_t gr_plan_offset(const gr_plan *plan, uint32_t value) {
    return value < gr_graph_segment(plan->lowering.graph)->value_count ? plan->offsets[value]
                                                                       : GR_NO_OFFSET;
}
