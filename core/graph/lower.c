// SPDX-License-Identifier: Apache-2.0
// lower.c: from a graph to the nodes that run: a composite runs whole where a device takes it, else
// its decomposition is looked at; neighbours on one device form a segment.
#include "graph/plan.h"

static gr_status no_device(uint32_t index, const gr_node *node, const gr_op_info *info,
                           gr_error *error) {
    return gr_fail(error, GR_ERROR_UNSUPPORTED, "graph", "no device runs node %u (%s, layer %d)",
                   index, info->name, node->layer);
}

// Appends node `index` to what runs.
static void add_run(gr_lowering *lowering, uint32_t index, uint32_t device) {
    uint32_t run = lowering->run_count++;
    const gr_node *node = gr_segment_node(gr_graph_segment(lowering->graph), index);
    if (run && lowering->device[run - 1] != device)
        lowering->segment_count++;
    lowering->runs[run] = index;
    lowering->device[run] = device;
    lowering->segment[run] = lowering->segment_count;
    for (uint32_t i = 0; i < node->out_count; i++)
        lowering->producer[node->out[i]] = run;
}

static gr_status choose(gr_lowering *lowering, gr_node_chooser chooser, void *context,
                        bool no_fusion, gr_error *error) {
    const gr_segment *segment = gr_graph_segment(lowering->graph);
    for (uint32_t i = 0; i < segment->node_count;) {
        const gr_node *node = gr_segment_node(segment, i);
        const gr_op_info *info = gr_op_info_find(node->op);
        int32_t device = info->composite && no_fusion ? -1 : chooser(context, i);
        if (device < 0 && !info->composite)
            return no_device(i, node, info, error);
        uint32_t next = device < 0 ? i + 1 : i + 1 + node->subtree;
        for (uint32_t j = i; j < next; j++)
            lowering->runs_before[j] = lowering->run_count + (j > i);
        if (device >= 0)
            add_run(lowering, i, (uint32_t)device);
        i = next;
    }
    lowering->runs_before[segment->node_count] = lowering->run_count;
    lowering->segment_count += lowering->run_count > 0;
    return GR_OK;
}

// For each run, how long the values it touches are held: to the end of the outermost composite that
// was taken apart around it, so that a backend may fuse its parts without overwriting what it still
// reads.
static void find_holds(gr_lowering *lowering) {
    const gr_segment *segment = gr_graph_segment(lowering->graph);
    uint32_t outer_end = 0;
    for (uint32_t i = 0, run = 0; i < segment->node_count && run < lowering->run_count;) {
        const gr_node *node = gr_segment_node(segment, i);
        bool runs = lowering->runs[run] == i;
        if (i >= outer_end)
            outer_end = i + 1 + node->subtree;
        if (runs)
            lowering->hold[run++] = lowering->runs_before[outer_end] - 1;
        i += runs ? 1 + node->subtree : 1;
    }
}

static gr_status check_reads(const gr_lowering *lowering, gr_error *error) {
    const gr_segment *segment = gr_graph_segment(lowering->graph);
    for (uint32_t run = 0; run < lowering->run_count; run++) {
        const gr_node *node = gr_segment_node(segment, lowering->runs[run]);
        for (uint32_t i = 0; i < node->in_count; i++) {
            if (node->in[i] == GR_VALUE_NONE ||
                gr_segment_value(segment, node->in[i])->kind != GR_VALUE_ACTIVATION)
                continue;
            if (lowering->producer[node->in[i]] >= run)
                return gr_fail(error, GR_ERROR_INTERNAL, "graph",
                               "node %u (%s) reads value %u, which nothing wrote",
                               lowering->runs[run], gr_op_info_find(node->op)->name, node->in[i]);
        }
    }
    for (uint32_t i = 0; i < gr_graph_output_count(lowering->graph); i++) {
        const gr_graph_output *output = gr_graph_output_at(lowering->graph, i);
        if (lowering->producer[output->value] == UINT32_MAX)
            return gr_fail(error, GR_ERROR_INTERNAL, "graph", "output %s is not written",
                           output->name);
    }
    return GR_OK;
}

static uint32_t *array(gr_plan *plan, uint32_t count) {
    return gr_arena_alloc(&plan->memory, ((uint64_t)count + 1) * sizeof(uint32_t));
}

gr_status gr_lower(gr_plan *plan, const gr_graph *graph, gr_node_chooser chooser, void *context,
                   bool no_fusion, gr_error *error) {
    const gr_segment *segment = gr_graph_segment(graph);
    uint32_t nodes = segment->node_count, values = segment->value_count;
    plan->lowering = (gr_lowering){.graph = graph,
                                   .runs = array(plan, nodes),
                                   .device = array(plan, nodes),
                                   .segment = array(plan, nodes),
                                   .hold = array(plan, nodes),
                                   .runs_before = array(plan, nodes),
                                   .producer = array(plan, values)};
    gr_lowering *lowering = &plan->lowering;
    if (!lowering->runs || !lowering->device || !lowering->segment || !lowering->hold ||
        !lowering->runs_before || !lowering->producer)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "graph", "no memory for a plan of %u nodes",
                       nodes);
    for (uint32_t i = 0; i < values; i++)
        lowering->producer[i] = UINT32_MAX;
    gr_status status = choose(lowering, chooser, context, no_fusion, error);
    if (status == GR_OK)
        find_holds(lowering);
    return status == GR_OK ? check_reads(lowering, error) : status;
}
