// SPDX-License-Identifier: Apache-2.0
// placement.h: what placement.c and cost.c share. Not for other files.
#ifndef GREGALE_HOST_PLACEMENT_H
#define GREGALE_HOST_PLACEMENT_H

#include "host/internal.h"

struct gr_placement {
    gr_arena arena;
    uint32_t node_count, device_count, cache_layer_count;
    int32_t *choice;        // by node
    gr_support *supports;   // [node][device]
    uint32_t *cache_device; // by cache layer
};

// What is worked with while choosing.
typedef struct gr_planner {
    gr_placement *placement;
    const gr_segment *segment;
    const gr_opened_device *const *devices;
    uint32_t node_count, device_count;
    gr_arena arena;          // gone once the choice is made
    double *seconds;         // [node][device] as one piece, 0 work for crossings
    uint32_t *wanted;        // by node: the device that gets all it can do
    uint32_t *parent;        // composite around a node, UINT32_MAX: none
    int32_t *cache_layer;    // that a node reads or writes, itself or within; -1: none
    gr_support_level *level; // of the wanted device for a node, whole or in parts
    uint64_t
        *live[2]; // bytes of activations alive before node i: [0] decoding, [1] reading a prompt
} gr_planner;

static inline gr_support *gr_planner_support(const gr_planner *p, uint32_t node, uint32_t device) {
    return &p->placement->supports[(size_t)node * p->device_count + device];
}

// Fills planner->live and planner->seconds (`supports` being known). False without memory.
bool gr_cost_prepare(gr_planner *planner);
// Seconds lost by going from device `from` to `to` before node `node`, in the same measure.
double gr_cost_crossing(const gr_planner *planner, uint32_t node, uint32_t from, uint32_t to);

#endif
