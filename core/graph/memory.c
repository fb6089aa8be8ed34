// SPDX-License-Identifier: Apache-2.0
// memory.c: where in the arena each computed value lies. Two values may share bytes only when no
// step of the execution order needs both.
//
// A value is needed from the run that writes it to the last run that reads it, both included, so
// that an output never overlaps an input of its node. Values touched inside a composite that was
// taken apart are needed to the composite's end, and graph outputs to the end of all. Placement is
// greedy: the largest first, each at the lowest offset that is free for as long as it is needed
// (Pisarchyk and Lee 2020, arXiv 2001.03288, "greedy by size").
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "graph/plan.h"

#define ALIGNMENT 64

typedef struct lifetime {
    uint32_t value;
    uint32_t first, last; // runs
    uint64_t bytes;       // a multiple of ALIGNMENT
    uint64_t offset;
} lifetime;

typedef struct layout {
    const gr_lowering *lowering;
    const gr_segment *segment;
    uint32_t *last;   // [values]
    lifetime *items;  // those with a size, largest first
    lifetime *placed; // by offset
    uint32_t count;
} layout;

static bool is_stored(const layout *l, uint32_t value) {
    return value != GR_VALUE_NONE && l->lowering->producer[value] != UINT32_MAX &&
           gr_segment_value(l->segment, value)->kind == GR_VALUE_ACTIVATION;
}

static void extend(layout *l, uint32_t value, uint32_t run) {
    if (is_stored(l, value) && l->last[value] < run)
        l->last[value] = run;
}

static void find_lifetimes(layout *l) {
    const gr_lowering *lowering = l->lowering;
    for (uint32_t run = 0; run < lowering->run_count; run++) {
        const gr_node *node = gr_segment_node(l->segment, lowering->runs[run]);
        for (uint32_t i = 0; i < node->in_count; i++)
            extend(l, node->in[i], lowering->hold[run]);
        for (uint32_t i = 0; i < node->out_count; i++)
            extend(l, node->out[i], lowering->hold[run]);
    }
    for (uint32_t i = 0; i < gr_graph_output_count(lowering->graph); i++)
        extend(l, gr_graph_output_at(lowering->graph, i)->value, UINT32_MAX - 1);
}

// Bytes of a value at these step sizes, rounded up; false when they overflow.
static bool value_bytes(const gr_value *value, uint32_t rows, uint32_t seqs, uint32_t outputs,
                        uint64_t *out_bytes) {
    uint64_t elements = gr_value_elements(value, rows, seqs, outputs);
    uint64_t bytes = elements ? gr_dtype_row_bytes(value->dtype, elements) : 0;
    if ((elements && !bytes) || bytes > UINT64_MAX - ALIGNMENT)
        return false;
    *out_bytes = gr_align_up(bytes, ALIGNMENT);
    return true;
}

// By size, larger first; equal ones by age, so that the result does not depend on the sort.
static int compare_items(const void *a, const void *b) {
    const lifetime *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

static gr_status list_items(layout *l, uint64_t *offsets, uint32_t rows, uint32_t seqs,
                            uint32_t outputs, gr_error *error) {
    for (uint32_t v = 0; v < l->segment->value_count; v++) {
        uint64_t bytes;
        offsets[v] = GR_NO_OFFSET;
        if (!is_stored(l, v))
            continue;
        if (!value_bytes(gr_segment_value(l->segment, v), rows, seqs, outputs, &bytes))
            return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "graph",
                           "the size of value %u overflows at %u rows", v, rows);
        if (!bytes)
            offsets[v] = 0; // nothing to store
        else
            l->items[l->count++] = (lifetime){v, l->lowering->producer[v], l->last[v], bytes, 0};
    }
    qsort(l->items, l->count, sizeof *l->items, compare_items);
    return GR_OK;
}

// Puts `item` at the lowest offset where it meets none of the `placed` ones that live at the same
// time.
static bool place(lifetime *placed, uint32_t count, lifetime item, uint64_t *out_end) {
    uint64_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (placed[i].last < item.first || item.last < placed[i].first)
            continue;
        if (placed[i].offset > offset && placed[i].offset - offset >= item.bytes)
            break;
        uint64_t end = placed[i].offset + placed[i].bytes;
        offset = end > offset ? end : offset;
    }
    if (!gr_add_u64(offset, item.bytes, out_end) || *out_end > INT64_MAX)
        return false;
    item.offset = offset;
    uint32_t at = count;
    while (at && placed[at - 1].offset > offset)
        at--;
    memmove(&placed[at + 1], &placed[at], (count - at) * sizeof *placed);
    placed[at] = item;
    return true;
}

static gr_status place_all(layout *l, gr_plan *plan, gr_error *error) {
    for (uint32_t i = 0; i < l->count; i++) {
        uint64_t end;
        if (!place(l->placed, i, l->items[i], &end))
            return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "graph",
                           "the activations' size overflows");
        if (end > plan->arena_bytes)
            plan->arena_bytes = end;
    }
    for (uint32_t i = 0; i < l->count; i++)
        plan->offsets[l->placed[i].value] = l->placed[i].offset;
    return GR_OK;
}

gr_status gr_lay_out(gr_plan *plan, uint32_t rows, uint32_t seqs, uint32_t outputs,
                     gr_error *error) {
    const gr_segment *segment = gr_graph_segment(plan->lowering.graph);
    size_t values = segment->value_count;
    layout l = {.lowering = &plan->lowering, .segment = segment};
    l.last = calloc(values + 1, sizeof *l.last);
    l.items = calloc(values + 1, sizeof *l.items);
    l.placed = calloc(values + 1, sizeof *l.placed);
    plan->offsets = gr_arena_alloc(&plan->memory, (uint64_t)values * sizeof *plan->offsets);
    gr_status status;
    if (!l.last || !l.items || !l.placed || !plan->offsets) {
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "graph",
                         "no memory for a plan of %zu values", values);
    } else {
        find_lifetimes(&l);
        status = list_items(&l, plan->offsets, rows, seqs, outputs, error);
        if (status == GR_OK)
            status = place_all(&l, plan, error);
    }
    free(l.last);
    free(l.items);
    free(l.placed);
    return status;
}
