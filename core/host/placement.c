// SPDX-License-Identifier: Apache-2.0
// placement.c: a device for every node of a graph.
//
// The wanted device gets all it can do. Another one takes a node only where the wanted one refuses
// it (or would emulate it while the other has it natively). What remains open is decided by least
// time: a dynamic programme over positions in the node order, whose state is the device last used.
// At a composite it may take the whole and skip its subtree, or step inside. The device of each
// cache layer is fixed first, since all nodes that touch the layer must share it. Neither names nor
// load order take part; equal times go to the device listed first.
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "host/placement.h"

enum { MAX_DEVICES = 16 };

static gr_status no_memory(gr_error *error) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "placement", "no memory to place the graph");
}

static const gr_node *node_at(const gr_planner *p, uint32_t index) {
    return gr_segment_node(p->segment, index);
}

// ---- What the devices say ----

static void ask_one(const gr_planner *p, uint32_t node, uint32_t device, bool no_fusion) {
    const gr_opened_device *d = p->devices[device];
    gr_support *support = gr_planner_support(p, node, device);
    if (no_fusion && node_at(p, node)->subtree) {
        *support = (gr_support){.struct_size = sizeof *support};
        snprintf(support->reason, sizeof support->reason, "fusion is off");
        return;
    }
    if (!gr_abi_knows_node(d->backend, p->segment, node, support))
        return;
    *support = (gr_support){.struct_size = sizeof *support};
    d->backend->node_support(d->device, p->segment, node, support);
    gr_abi_settle_support(support);
}

static void ask_all(const gr_planner *p, bool no_fusion) {
    for (uint32_t i = 0; i < p->node_count; i++) {
        for (uint32_t d = 0; d < p->device_count; d++)
            ask_one(p, i, d, no_fusion);
    }
}

// ---- The shape of the tree ----

static void find_parents(const gr_planner *p) {
    for (uint32_t i = 0; i < p->node_count; i++)
        p->parent[i] = UINT32_MAX;
    for (uint32_t i = 0; i < p->node_count; i++) {
        // Preorder: an inner composite comes later and overwrites the outer one.
        for (uint32_t k = i + 1; k <= i + node_at(p, i)->subtree && k < p->node_count; k++)
            p->parent[k] = i;
    }
}

static int32_t own_cache_layer(const gr_planner *p, uint32_t index) {
    const gr_node *node = node_at(p, index);
    const gr_attrs_attention *attrs = node->attrs;
    if ((node->op != GR_OP_KV_WRITE && node->op != GR_OP_ATTENTION) || !attrs ||
        attrs->flags & GR_ATTENTION_DENSE || attrs->cache_layer >= p->placement->cache_layer_count)
        return -1;
    return (int32_t)attrs->cache_layer;
}

// Nodes outside layers go with the layer before them, those in front with the first.
static void find_wanted(const gr_planner *p, const uint32_t *layer_devices) {
    uint32_t layer = 0;
    for (uint32_t i = 0; i < p->node_count; i++) {
        layer = node_at(p, i)->layer >= 0 ? (uint32_t)node_at(p, i)->layer : layer;
        p->wanted[i] = layer_devices ? layer_devices[layer] : 0;
    }
}

static void find_cache_layers(const gr_planner *p) {
    for (uint32_t i = 0; i < p->node_count; i++)
        p->cache_layer[i] = -1;
    for (uint32_t i = 0; i < p->node_count; i++) {
        int32_t layer = own_cache_layer(p, i);
        for (uint32_t k = i; layer >= 0 && k != UINT32_MAX; k = p->parent[k])
            p->cache_layer[k] = layer;
    }
}

// ---- Devices of cache layers ----

// How well `device` does primitive `node`, by itself or inside a composite that it does as a whole.
static gr_support_level covered(const gr_planner *p, uint32_t node, uint32_t device) {
    gr_support_level best = GR_SUPPORT_NO;
    for (uint32_t k = node; k != UINT32_MAX; k = p->parent[k]) {
        gr_support_level level = gr_planner_support(p, k, device)->level;
        best = level > best ? level : best;
    }
    return best;
}

// Time of primitive `node` on `device`, or of the smallest composite around it that the device
// takes.
static double covered_seconds(const gr_planner *p, uint32_t node, uint32_t device) {
    for (uint32_t k = node; k != UINT32_MAX; k = p->parent[k]) {
        if (gr_planner_support(p, k, device)->level != GR_SUPPORT_NO)
            return p->seconds[(size_t)k * p->device_count + device];
    }
    return DBL_MAX;
}

// Time of the nodes that touch a cache layer, on one device; infinite when it can't do all of them.
// *out_native tells whether it does them without emulation.
static double cache_seconds(const gr_planner *p, uint32_t layer, uint32_t device,
                            bool *out_native) {
    double seconds = 0;
    *out_native = true;
    for (uint32_t i = 0; i < p->node_count; i++) {
        if (node_at(p, i)->subtree || p->cache_layer[i] != (int32_t)layer)
            continue;
        gr_support_level level = covered(p, i, device);
        if (level == GR_SUPPORT_NO)
            return DBL_MAX;
        *out_native &= level == GR_SUPPORT_NATIVE;
        seconds += covered_seconds(p, i, device);
    }
    return seconds;
}

static gr_status refuse_cache(const gr_planner *p, uint32_t layer, gr_error *error) {
    gr_strbuf text = {0};
    for (uint32_t d = 0; d < p->device_count; d++) {
        for (uint32_t i = 0; i < p->node_count; i++) {
            if (!node_at(p, i)->subtree && p->cache_layer[i] == (int32_t)layer &&
                !covered(p, i, d)) {
                const gr_op_info *op = gr_op_info_find(node_at(p, i)->op);
                gr_strbuf_format(&text, "; %s refuses %s (%s)", p->devices[d]->name,
                                 op ? op->name : "?", gr_planner_support(p, i, d)->reason);
                break;
            }
        }
    }
    gr_status status = gr_fail(error, GR_ERROR_UNSUPPORTED, "placement",
                               "no device takes both KV_WRITE and ATTENTION of cache layer %u%s",
                               layer, gr_strbuf_cstr(&text));
    gr_strbuf_deinit(&text);
    return status;
}

static uint32_t wanted_for_cache(const gr_planner *p, uint32_t layer) {
    uint32_t i = 0;
    while (i < p->node_count && p->cache_layer[i] != (int32_t)layer)
        i++;
    return i < p->node_count ? p->wanted[i] : 0;
}

static gr_status place_cache(const gr_planner *p, uint32_t layer, gr_error *error) {
    uint32_t wanted = wanted_for_cache(p, layer);
    bool native;
    double best = cache_seconds(p, layer, wanted, &native);
    p->placement->cache_device[layer] = wanted;
    if (native && best < DBL_MAX)
        return GR_OK; // nobody else is asked
    for (uint32_t d = 0; d < p->device_count; d++) {
        double seconds = cache_seconds(p, layer, d, &native);
        if (seconds < best) {
            best = seconds;
            p->placement->cache_device[layer] = d;
        }
    }
    return best < DBL_MAX ? GR_OK : refuse_cache(p, layer, error);
}

// ---- Who may take a node ----

static bool away_from_cache(const gr_planner *p, uint32_t node, uint32_t device) {
    return p->cache_layer[node] >= 0 && p->placement->cache_device[p->cache_layer[node]] != device;
}

// The wanted device's level for each node, as a whole or part by part; from the last node to the
// first.
static void find_levels(const gr_planner *p) {
    for (uint32_t i = p->node_count; i-- > 0;) {
        const gr_node *node = node_at(p, i);
        gr_support_level whole = gr_planner_support(p, i, p->wanted[i])->level, parts = GR_SUPPORT_NATIVE;
        if (away_from_cache(p, i, p->wanted[i]))
            whole = GR_SUPPORT_NO;
        for (uint32_t k = i + 1; k <= i + node->subtree; k += 1 + node_at(p, k)->subtree)
            parts = p->level[k] < parts ? p->level[k] : parts;
        p->level[i] = node->subtree && parts > whole ? parts : whole;
    }
}

static bool allowed(const gr_planner *p, uint32_t node, uint32_t device) {
    gr_support_level level = gr_planner_support(p, node, device)->level;
    if (level == GR_SUPPORT_NO || away_from_cache(p, node, device))
        return false;
    return device == p->wanted[node] || p->level[node] == GR_SUPPORT_NO || level > p->level[node];
}

// ---- The dynamic programme ----

typedef struct cell {
    double seconds; // of everything before this position, ending on this device
    uint32_t from_position, from_device;
    bool took; // the node at from_position was taken whole, here
} cell;

static void relax(cell *target, double seconds, uint32_t position, uint32_t device, bool took) {
    if (seconds < target->seconds)
        *target = (cell){seconds, position, device, took};
}

static void advance(const gr_planner *p, cell *cells, uint32_t position, uint32_t device) {
    const gr_node *node = node_at(p, position);
    uint32_t count = p->device_count;
    double before = cells[(size_t)position * count + device].seconds;
    if (before == DBL_MAX)
        return;
    for (uint32_t e = 0; e < count; e++) {
        if (allowed(p, position, e))
            relax(&cells[((size_t)position + 1 + node->subtree) * count + e],
                  before + p->seconds[(size_t)position * count + e] +
                      gr_cost_crossing(p, position, device, e),
                  position, device, true);
    }
    if (node->subtree)
        relax(&cells[((size_t)position + 1) * count + device], before, position, device, false);
}

static gr_status refuse_node(const gr_planner *p, gr_error *error) {
    uint32_t culprit = 0;
    for (uint32_t i = 0; i < p->node_count; i++) {
        bool taken = false;
        for (uint32_t k = i; k != UINT32_MAX && !node_at(p, i)->subtree; k = p->parent[k]) {
            for (uint32_t d = 0; d < p->device_count; d++)
                taken |= allowed(p, k, d);
        }
        if (!taken && !node_at(p, i)->subtree) {
            culprit = i;
            break;
        }
    }
    gr_strbuf text = {0};
    for (uint32_t d = 0; d < p->device_count; d++)
        gr_strbuf_format(&text, "%s %s: %s", d ? ";" : "", p->devices[d]->name,
                         gr_planner_support(p, culprit, d)->reason);
    const gr_op_info *op = gr_op_info_find(node_at(p, culprit)->op);
    gr_status status = gr_fail(error, GR_ERROR_UNSUPPORTED, "placement",
                               "no device takes %s of layer %d (node %u):%s", op ? op->name : "?",
                               node_at(p, culprit)->layer, culprit, gr_strbuf_cstr(&text));
    gr_strbuf_deinit(&text);
    return status;
}

static gr_status choose(gr_planner *p, gr_error *error) {
    uint32_t count = p->device_count, best = 0;
    size_t size = ((size_t)p->node_count + 1) * count;
    cell *cells = gr_arena_alloc(&p->arena, size * sizeof *cells);
    if (!cells)
        return no_memory(error);
    for (size_t i = 0; i < size; i++)
        cells[i].seconds = i < count ? 0 : DBL_MAX; // the first node may start anywhere
    for (uint32_t i = 0; i < p->node_count; i++) {
        for (uint32_t d = 0; d < count; d++)
            advance(p, cells, i, d);
    }
    const cell *last = &cells[(size_t)p->node_count * count];
    for (uint32_t d = 1; d < count; d++)
        best = last[d].seconds < last[best].seconds ? d : best;
    if (last[best].seconds == DBL_MAX)
        return refuse_node(p, error);
    for (uint32_t position = p->node_count, device = best; position > 0;) {
        const cell *c = &cells[(size_t)position * count + device];
        p->placement->choice[c->from_position] = c->took ? (int32_t)device : -1;
        position = c->from_position;
        device = c->from_device;
    }
    return GR_OK;
}

// ---- Public ----

static bool make_arrays(gr_planner *p) {
    gr_placement *q = p->placement;
    uint64_t nodes = (uint64_t)p->node_count + 1;
    q->choice = gr_arena_alloc(&q->arena, nodes * sizeof *q->choice);
    q->supports = gr_arena_alloc(&q->arena, nodes * p->device_count * sizeof *q->supports);
    q->cache_device =
        gr_arena_alloc(&q->arena, ((uint64_t)q->cache_layer_count + 1) * sizeof *q->cache_device);
    p->wanted = gr_arena_alloc(&p->arena, nodes * sizeof *p->wanted);
    p->parent = gr_arena_alloc(&p->arena, nodes * sizeof *p->parent);
    p->cache_layer = gr_arena_alloc(&p->arena, nodes * sizeof *p->cache_layer);
    p->level = gr_arena_alloc(&p->arena, nodes * sizeof *p->level);
    for (uint32_t i = 0; q->choice && i < p->node_count; i++)
        q->choice[i] = -1;
    return q->choice && q->supports && q->cache_device && p->wanted && p->parent && p->cache_layer && p->level;
}

static gr_status plan(gr_planner *p, const uint32_t *layer_devices, bool no_fusion, gr_error *error) {
    gr_status status = GR_OK;
    if (!make_arrays(p))
        return no_memory(error);
    ask_all(p, no_fusion);
    find_parents(p);
    find_wanted(p, layer_devices);
    find_cache_layers(p);
    if (!gr_cost_prepare(p))
        return no_memory(error);
    for (uint32_t layer = 0; layer < p->placement->cache_layer_count && status == GR_OK; layer++)
        status = place_cache(p, layer, error);
    if (status != GR_OK)
        return status;
    find_levels(p);
    return choose(p, error);
}

gr_status gr_placement_create(const gr_graph *graph, const gr_opened_device *const *devices,
                              uint32_t count, const uint32_t *layer_devices, bool no_fusion,
                              gr_placement **out_placement, gr_error *error) {
    *out_placement = NULL;
    if (!count || count > MAX_DEVICES)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "placement",
                       "%u devices: 1 to %d can be placed on", count, MAX_DEVICES);
    gr_placement *placement = calloc(1, sizeof *placement);
    if (!placement)
        return no_memory(error);
    gr_planner planner = {.placement = placement,
                          .segment = gr_graph_segment(graph),
                          .devices = devices,
                          .device_count = count};
    planner.node_count = planner.segment->node_count;
    placement->node_count = planner.node_count;
    placement->device_count = count;
    placement->cache_layer_count = gr_graph_cache_layer_count(graph);
    gr_status status = plan(&planner, layer_devices, no_fusion, error);
    gr_arena_deinit(&planner.arena);
    if (status != GR_OK) {
        gr_placement_destroy(placement);
        return status;
    }
    *out_placement = placement;
    return GR_OK;
}

void gr_placement_destroy(gr_placement *placement) {
    if (!placement)
        return;
    gr_arena_deinit(&placement->arena);
    free(placement);
}

int32_t gr_placement_choose(void *placement, uint32_t node) {
    const gr_placement *p = placement;
    return node < p->node_count ? p->choice[node] : -1;
}

uint32_t gr_placement_cache_device(const gr_placement *placement, uint32_t layer) {
    return layer < placement->cache_layer_count ? placement->cache_device[layer] : 0;
}

const gr_support *gr_placement_support(const gr_placement *placement, uint32_t node) {
    if (node >= placement->node_count)
        return NULL;
    uint32_t device = placement->choice[node] >= 0 ? (uint32_t)placement->choice[node] : 0;
    return &placement->supports[(size_t)node * placement->device_count + device];
}
