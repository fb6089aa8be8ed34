// SPDX-License-Identifier: Apache-2.0
// plan.c: a graph made ready for devices: which nodes run, cut into segments, laid out in an arena.
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "graph/internal.h"

// A node that runs. Values live from the run that makes them to the last run that reads them.
typedef struct run {
    uint32_t node, device, segment;
} run;

typedef struct life {
    uint32_t begin, end; // runs, inclusive
    bool made, read;
} life;

struct gr_plan {
    gr_plan_segment *segments;
    uint32_t segment_count;
    uint64_t *offsets; // [value]
    uint64_t arena_bytes;
    uint32_t value_count;
};

typedef struct planning {
    const gr_graph *graph;
    run *runs;
    uint32_t run_count;
    life *lives;
    gr_plan *plan;
    uint32_t rows, seqs, outputs;
    gr_error *error;
} planning;

static gr_status out_of_memory(planning *p) {
    return gr_fail(p->error, GR_ERROR_OUT_OF_MEMORY, "graph", "no memory to plan a step of %u rows", p->rows);
}

static gr_status choose_runs(planning *p, gr_node_chooser chooser, void *context, bool no_fusion) {
    const gr_graph *graph = p->graph;
    for (uint32_t i = 0; i < graph->node_count;) {
        const gr_node *node = &graph->nodes[i];
        int32_t device = no_fusion && node->subtree ? -1 : chooser(context, i);
        if (device < 0 && !node->subtree)
            return gr_fail(p->error, GR_ERROR_UNSUPPORTED, "graph", "no device runs %s of layer %d",
                           gr_op_info_find(node->op)->name, node->layer);
        if (device >= 0) {
            p->runs[p->run_count++] = (run){.node = i, .device = (uint32_t)device};
            i += node->subtree;
        }
        i++;
    }
    for (uint32_t r = 0; r < p->run_count; r++)
        p->runs[r].segment = r == 0 ? 0 : p->runs[r - 1].segment + (p->runs[r].device != p->runs[r - 1].device);
    return GR_OK;
}

static void find_lives(planning *p) {
    const gr_graph *graph = p->graph;
    for (uint32_t r = 0; r < p->run_count; r++) {
        const gr_node *node = &graph->nodes[p->runs[r].node];
        for (uint32_t i = 0; i < node->in_count; i++)
            if (node->in[i] != GR_VALUE_NONE)
                p->lives[node->in[i]].end = r, p->lives[node->in[i]].read = true;
        for (uint32_t i = 0; i < node->out_count; i++)
            if (graph->values[node->out[i]].kind == GR_VALUE_ACTIVATION)
                p->lives[node->out[i]] = (life){.begin = r, .end = r, .made = true};
    }
    for (uint32_t i = 0; i < graph->output_count; i++)
        p->lives[graph->outputs[i].value].end = p->run_count;
}

uint64_t gr_value_elements(const gr_value *value, uint32_t rows, uint32_t seqs, uint32_t outputs) {
    uint64_t count = 1;
    for (uint32_t i = 0; i < value->rank; i++) {
        int64_t size = value->dims[i];
        uint64_t actual = size == GR_DIM_T ? rows : size == GR_DIM_S ? seqs : size == GR_DIM_R ? outputs : size < 0 ? 0 : (uint64_t)size;
        if (!gr_mul_u64(count, actual, &count))
            return UINT64_MAX;
    }
    return count;
}

static uint64_t value_bytes(const planning *p, uint32_t index) {
    const gr_value *value = &p->graph->values[index];
    uint64_t bytes, elements = gr_value_elements(value, p->rows, p->seqs, p->outputs);
    if (!gr_mul_u64(elements, gr_dtype_block_bytes(value->dtype), &bytes) || bytes > UINT64_MAX / 4)
        return UINT64_MAX;
    return gr_align_up(bytes ? bytes : 1, 64);
}

// Lowest offset at which `index` overlaps no placed value that is alive at the same time. A value and the
// operands of the node that makes it are alive together, so no node reads and writes the same bytes.
static uint64_t first_fit(const planning *p, const uint32_t *placed, uint32_t count, uint32_t index, uint64_t bytes) {
    uint64_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t other = placed[i];
            uint64_t begin = p->plan->offsets[other], end = begin + value_bytes(p, other);
            if (p->lives[other].end < p->lives[index].begin || p->lives[other].begin > p->lives[index].end)
                continue;
            if (offset < end && begin < offset + bytes) {
                offset = end;
                moved = true;
            }
        }
    }
    return offset;
}

static gr_status lay_out(planning *p) {
    uint32_t count = 0;
    uint32_t *placed = calloc(p->graph->value_count + 1, sizeof *placed);
    gr_status status = placed ? GR_OK : out_of_memory(p);
    for (uint32_t v = 0; status == GR_OK && v < p->graph->value_count; v++) {
        p->plan->offsets[v] = GR_NO_OFFSET;
        if (!p->lives[v].made)
            continue;
        uint64_t bytes = value_bytes(p, v);
        uint64_t offset = bytes == UINT64_MAX ? 0 : first_fit(p, placed, count, v, bytes);
        if (bytes == UINT64_MAX || offset > UINT64_MAX / 4) {
            status = gr_fail(p->error, GR_ERROR_OUT_OF_RANGE, "graph", "the activations of %u rows are too large", p->rows);
            break;
        }
        p->plan->offsets[v] = offset;
        placed[count++] = v;
        if (offset + bytes > p->plan->arena_bytes)
            p->plan->arena_bytes = offset + bytes;
    }
    free(placed);
    return status;
}

// The values as one segment sees them: offsets, and what crosses its border.
static gr_value *segment_values(const planning *p, uint32_t segment) {
    const gr_graph *graph = p->graph;
    gr_value *values = calloc(graph->value_count + 1, sizeof *values);
    for (uint32_t v = 0; values && v < graph->value_count; v++) {
        values[v] = graph->values[v];
        values[v].offset = p->plan->offsets[v];
        if (!p->lives[v].made)
            continue;
        uint32_t home = p->runs[p->lives[v].begin].segment;
        bool outside = p->lives[v].end == p->run_count || p->runs[p->lives[v].end].segment != home;
        if (home == segment && outside)
            values[v].flags |= GR_VALUE_EXPORT;
    }
    for (uint32_t r = 0; values && r < p->run_count; r++) {
        const gr_node *node = &graph->nodes[p->runs[r].node];
        for (uint32_t i = 0; p->runs[r].segment == segment && i < node->in_count; i++) {
            uint32_t v = node->in[i];
            if (v != GR_VALUE_NONE && p->lives[v].made && p->runs[p->lives[v].begin].segment != segment)
                values[v].flags |= GR_VALUE_IMPORT;
        }
    }
    return values;
}

static gr_status make_segment(planning *p, uint32_t index, uint32_t first, uint32_t end) {
    const gr_graph *graph = p->graph;
    gr_plan_segment *segment = &p->plan->segments[index];
    uint32_t count = 0;
    for (uint32_t r = first; r < end; r++)
        count += 1 + graph->nodes[p->runs[r].node].subtree;
    gr_node *nodes = calloc(count + 1, sizeof *nodes);
    gr_value *values = segment_values(p, index);
    segment->device = p->runs[first].device;
    segment->segment = (gr_segment){.struct_size = sizeof segment->segment,
                                    .value_count = graph->value_count,
                                    .value_stride = sizeof *values,
                                    .node_stride = sizeof *nodes,
                                    .values = values,
                                    .nodes = nodes};
    p->plan->segment_count = index + 1;
    if (!nodes || !values)
        return out_of_memory(p);
    for (uint32_t r = first; r < end; r++) {
        const gr_node *from = &graph->nodes[p->runs[r].node];
        gr_node *to = &nodes[segment->segment.node_count];
        memcpy(to, from, (1 + from->subtree) * sizeof *to);
        to->flags |= GR_NODE_RUN;
        segment->segment.node_count += 1 + from->subtree;
    }
    return GR_OK;
}

static gr_status make_segments(planning *p) {
    uint32_t count = p->run_count ? p->runs[p->run_count - 1].segment + 1 : 0;
    p->plan->segments = calloc(count + 1, sizeof *p->plan->segments);
    if (!p->plan->segments)
        return out_of_memory(p);
    for (uint32_t s = 0, first = 0; s < count; s++) {
        uint32_t end = first;
        while (end < p->run_count && p->runs[end].segment == s)
            end++;
        gr_status status = make_segment(p, s, first, end);
        if (status != GR_OK)
            return status;
        first = end;
    }
    return GR_OK;
}

gr_status gr_plan_create(const gr_graph *graph, gr_node_chooser chooser, void *context, bool no_fusion, uint32_t rows,
                         uint32_t seqs, uint32_t outputs, gr_plan **out_plan, gr_error *error) {
    *out_plan = NULL;
    planning p = {.graph = graph, .rows = rows, .seqs = seqs, .outputs = outputs, .error = error};
    p.plan = calloc(1, sizeof *p.plan);
    p.runs = calloc(graph->node_count + 1, sizeof *p.runs);
    p.lives = calloc(graph->value_count + 1, sizeof *p.lives);
    gr_status status = GR_OK;
    if (p.plan) {
        p.plan->value_count = graph->value_count;
        p.plan->offsets = calloc(graph->value_count + 1, sizeof *p.plan->offsets);
    }
    if (!p.plan || !p.runs || !p.lives || !p.plan->offsets)
        status = out_of_memory(&p);
    if (status == GR_OK)
        status = choose_runs(&p, chooser, context, no_fusion);
    if (status == GR_OK) {
        find_lives(&p);
        status = lay_out(&p);
    }
    if (status == GR_OK)
        status = make_segments(&p);
    free(p.runs);
    free(p.lives);
    if (status != GR_OK)
        gr_plan_destroy(p.plan);
    else
        *out_plan = p.plan;
    return status;
}

void gr_plan_destroy(gr_plan *plan) {
    if (!plan)
        return;
    for (uint32_t i = 0; i < plan->segment_count; i++) {
        free((void *)(uintptr_t)plan->segments[i].segment.values);
        free((void *)(uintptr_t)plan->segments[i].segment.nodes);
    }
    free(plan->segments);
    free(plan->offsets);
    free(plan);
}

uint32_t gr_plan_segment_count(const gr_plan *plan) {
    return plan ? plan->segment_count : 0;
}
const gr_plan_segment *gr_plan_segment_at(const gr_plan *plan, uint32_t index) {
    return &plan->segments[index];
}
uint64_t gr_plan_arena_bytes(const gr_plan *plan) {
    return plan->arena_bytes;
}
uint64_t gr_plan_offset(const gr_plan *plan, uint32_t value) {
    return value < plan->value_count ? plan->offsets[value] : GR_NO_OFFSET;
}
