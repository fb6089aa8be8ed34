// SPDX-License-Identifier: Apache-2.0
// cost.c: what a node costs on a device, and what it costs to change devices.
//
// The measure is the time of a nominal piece of conversation: one prompt of 512 rows, then 128
// tokens one by one. The constants only have to rank choices: they are orders of magnitude, not
// measurements.
#include "host/placement.h"

static const struct {
    uint32_t rows, outputs;
    uint64_t visible; // keys a row sees
    double times;
} steps[2] = {{1, 1, 512, 128}, {512, 1, 256, 1}};

static const double node_overhead = 2e-6;    // joining workers or launching a kernel
static const double emulation_factor = 4;    // a generic path instead of a made one
static const double shared_crossing = 2e-6;  // both devices in host memory: only a hand-over
static const double copied_crossing = 20e-6; // else a copy, this much to begin with
static const double copied_bandwidth = 10e9;

static gr_dtype weight_dtype(const gr_segment *segment, const gr_node *node) {
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (node->in[i] == GR_VALUE_NONE)
            continue;
        const gr_value *value = gr_segment_value(segment, node->in[i]);
        if (value->kind == GR_VALUE_WEIGHT && value->rank > 1)
            return value->dtype;
    }
    return GR_DTYPE_F32;
}

// Time of the primitives in node `index`, itself included, without overhead.
static double work_seconds(const gr_planner *p, uint32_t index, const gr_device_facts *facts) {
    const gr_node *node = gr_segment_node(p->segment, index);
    double seconds = 0;
    for (uint32_t i = index; i <= index + node->subtree; i++) {
        const gr_node *part = gr_segment_node(p->segment, i);
        gr_dtype dtype = weight_dtype(p->segment, part);
        for (uint32_t k = 0; k < 2 && !part->subtree; k++) {
            uint64_t bytes = 0, operations = 0;
            gr_node_cost(p->segment, i, steps[k].rows, steps[k].outputs, steps[k].visible, &bytes,
                         &operations);
            seconds += steps[k].times * gr_score_seconds(facts, dtype, bytes, operations);
        }
    }
    return seconds;
}

static void fill_seconds(gr_planner *p) {
    double overhead = node_overhead * (steps[0].times + steps[1].times);
    for (uint32_t i = 0; i < p->node_count; i++) {
        for (uint32_t d = 0; d < p->device_count; d++) {
            gr_support_level level = gr_planner_support(p, i, d)->level;
            double factor = level == GR_SUPPORT_EMULATED ? emulation_factor : 1;
            if (level != GR_SUPPORT_NO)
                p->seconds[(size_t)i * p->device_count + d] =
                    overhead + factor * work_seconds(p, i, &p->devices[d]->facts);
        }
    }
}

// Where each activation is last made and last read; UINT32_MAX: never.
static void find_lives(const gr_planner *p, uint32_t *made, uint32_t *read) {
    for (uint32_t v = 0; v < p->segment->value_count; v++)
        made[v] = read[v] = UINT32_MAX;
    for (uint32_t i = 0; i < p->node_count; i++) {
        const gr_node *node = gr_segment_node(p->segment, i);
        for (uint32_t k = 0; k < node->in_count; k++) {
            if (node->in[k] != GR_VALUE_NONE)
                read[node->in[k]] = i;
        }
        for (uint32_t k = 0; k < node->out_count; k++)
            made[node->out[k]] = i;
    }
}

static void fill_live(gr_planner *p, const uint32_t *made, const uint32_t *read) {
    for (uint32_t v = 0; v < p->segment->value_count; v++) {
        const gr_value *value = gr_segment_value(p->segment, v);
        if (value->kind != GR_VALUE_ACTIVATION || made[v] == UINT32_MAX || read[v] == UINT32_MAX)
            continue;
        for (uint32_t k = 0; k < 2; k++) {
            uint64_t elements = gr_value_elements(value, steps[k].rows, 1, steps[k].outputs);
            uint64_t bytes = elements * gr_dtype_block_bytes(value->dtype);
            for (uint32_t i = made[v] + 1; i <= read[v]; i++)
                p->live[k][i] += bytes;
        }
    }
}

bool gr_cost_prepare(gr_planner *planner) {
    uint64_t values = (uint64_t)planner->segment->value_count + 1,
             nodes = (uint64_t)planner->node_count + 1;
    uint32_t *made = gr_arena_alloc(&planner->arena, values * sizeof *made);
    uint32_t *read = gr_arena_alloc(&planner->arena, values * sizeof *read);
    planner->live[0] = gr_arena_alloc(&planner->arena, nodes * sizeof *planner->live[0]);
    planner->live[1] = gr_arena_alloc(&planner->arena, nodes * sizeof *planner->live[1]);
    planner->seconds =
        gr_arena_alloc(&planner->arena, nodes * planner->device_count * sizeof *planner->seconds);
    if (!made || !read || !planner->live[0] || !planner->live[1] || !planner->seconds)
        return false;
    find_lives(planner, made, read);
    fill_live(planner, made, read);
    fill_seconds(planner);
    return true;
}

double gr_cost_crossing(const gr_planner *planner, uint32_t node, uint32_t from, uint32_t to) {
    gr_device_flags both = planner->devices[from]->facts.flags & planner->devices[to]->facts.flags;
    double seconds = 0;
    if (from == to)
        return 0;
    for (uint32_t k = 0; k < 2; k++)
        seconds += steps[k].times *
                   (both & GR_DEVICE_HOST_MEMORY
                        ? shared_crossing
                        : copied_crossing + (double)planner->live[k][node] / copied_bandwidth);
    return seconds;
}
