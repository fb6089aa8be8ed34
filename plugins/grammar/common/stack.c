// SPDX-License-Identifier: Apache-2.0
#include "plugins/grammar/common/stack.h"

#include <stdlib.h>
#include <string.h>

static void no_memory(gr_stacks *s) {
    s->status = GR_ERROR_OUT_OF_MEMORY;
}

// ---- Sets

static void start_print(bool complete, uint64_t print[2]) {
    print[0] = gr_mix(complete + 1u);
    print[1] = gr_mix(complete + 0x5851F42Du);
}

static void add_print(const gr_stacks *s, uint32_t state, uint32_t after, uint64_t print[2]) {
    print[0] = gr_mix(print[0] ^ gr_mix(s->prints[after][0] + state));
    print[1] = gr_mix(print[1] ^ gr_mix(s->prints[after][1] ^ state));
}

static uint32_t intern(gr_stacks *s, const uint32_t *list, uint32_t count) {
    bool fresh;
    if (s->status != GR_OK)
        return GR_STACK_NOTHING;
    uint32_t set = gr_list_intern(&s->sets, list, count, &fresh);
    if (set == GR_TABLE_FULL || !gr_grow(&s->close, &s->close_capacity, set + 1u, 4) ||
        !gr_grow(&s->depth, &s->depth_capacity, set + 1u, 4) ||
        !gr_grow(&s->prints, &s->print_capacity, set + 1u, sizeof *s->prints)) {
        no_memory(s);
        return GR_STACK_NOTHING;
    }
    if (set >= GR_LIMIT_SETS)
        s->status = GR_ERROR_OUT_OF_RANGE;
    if (!fresh)
        return set;
    start_print(list[0], s->prints[set]);
    s->close[set] = list[0] ? 0 : GR_CLOSE_NEVER;
    s->depth[set] = 0;
    for (uint32_t i = 1; i < count; i += 2) {
        uint32_t close = s->grammar->close.tokens[list[i]] + s->close[list[i + 1]];
        if (close < s->close[set])
            s->close[set] = close;
        if (s->depth[list[i + 1]] >= s->depth[set])
            s->depth[set] = s->depth[list[i + 1]] + 1;
        add_print(s, list[i], list[i + 1], s->prints[set]);
    }
    return set;
}

static bool scratch_push(gr_stacks *s, uint32_t number) {
    if (!gr_grow(&s->scratch, &s->scratch_capacity, s->scratch_count + 1u, 4)) {
        no_memory(s);
        return false;
    }
    s->scratch[s->scratch_count++] = number;
    return true;
}

static uint32_t unite(gr_stacks *s, uint32_t a, uint32_t b);

// Merges two sorted lists onto the scratch stack. Uniting what follows may move the lists, so they
// are read by index.
static void merge(gr_stacks *s, uint32_t a, uint32_t b) {
    size_t x = s->sets.starts[a], x_end = s->sets.starts[a + 1];
    size_t y = s->sets.starts[b], y_end = s->sets.starts[b + 1];
    scratch_push(s, s->sets.items[x++] | s->sets.items[y++]);
    while ((x < x_end || y < y_end) && s->status == GR_OK) {
        const uint32_t *items = s->sets.items;
        bool left = y >= y_end || (x < x_end && items[x] <= items[y]);
        bool right = x >= x_end || (y < y_end && items[y] <= items[x]);
        uint32_t state = left ? items[x] : items[y], after = left ? items[x + 1] : items[y + 1];
        if (left && right)
            after = unite(s, after, items[y + 1]);
        scratch_push(s, state);
        scratch_push(s, after);
        x += left ? 2 : 0;
        y += right ? 2 : 0;
    }
}

static uint32_t unite(gr_stacks *s, uint32_t a, uint32_t b) {
    if (a == b || a == GR_STACK_NOTHING || b == GR_STACK_NOTHING)
        return a == GR_STACK_NOTHING ? b : a;
    uint32_t low = a < b ? a : b, high = a < b ? b : a;
    uint32_t set = gr_pair_find(&s->unions, low, high);
    if (set != GR_TABLE_FULL || s->status != GR_OK)
        return set != GR_TABLE_FULL ? set : GR_STACK_NOTHING;
    uint32_t base = s->scratch_count;
    merge(s, low, high);
    if (s->status == GR_OK)
        set = intern(s, s->scratch + base, s->scratch_count - base);
    s->scratch_count = base;
    if (s->status == GR_OK && !gr_pair_add(&s->unions, low, high, set))
        no_memory(s);
    return s->status == GR_OK ? set : GR_STACK_NOTHING;
}

gr_stacks *gr_stacks_create(gr_grammar *grammar) {
    static const uint32_t no = 0, yes = 1;
    gr_stacks *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->references = 1;
    s->grammar = grammar;
    intern(s, &no, 1);
    intern(s, &yes, 1);
    if (s->status == GR_OK)
        return s;
    gr_stacks_release(s);
    return NULL;
}

void gr_stacks_release(gr_stacks *s) {
    if (!s || --s->references)
        return;
    gr_list_deinit(&s->sets);
    gr_pair_deinit(&s->unions);
    free(s->close);
    free(s->depth);
    free(s->prints);
    free(s->scratch);
    for (int i = 0; i < GR_TOKEN_BYTES_MAX + 2; i++)
        free(s->level[i].data);
    free(s);
}

static int by_state(const void *a, const void *b) {
    uint32_t x = ((const gr_place *)a)->state, y = ((const gr_place *)b)->state;
    return (x > y) - (x < y);
}

void gr_places_print(const gr_stacks *s, gr_places *places, uint64_t out_print[2]) {
    if (places->count > 1)
        qsort(places->data, places->count, sizeof *places->data, by_state);
    start_print(places->complete, out_print);
    for (uint32_t i = 0; i < places->count; i++)
        add_print(s, places->data[i].state, places->data[i].after, out_print);
}

// ---- Places

// Returns where the place stands when that is new or changed, else UINT32_MAX. A way that could
// not be completed within the limit on depth is left out; completing never needs one.
static uint32_t put(gr_stacks *s, gr_places *places, uint32_t state, uint32_t after) {
    if (s->status != GR_OK ||
        s->depth[after] + s->grammar->close.depth[state] > GR_LIMIT_DEPTH)
        return UINT32_MAX;
    for (uint32_t i = 0; i < places->count; i++)
        if (places->data[i].state == state) {
            uint32_t both = unite(s, places->data[i].after, after);
            if (both == places->data[i].after)
                return UINT32_MAX;
            places->data[i].after = both;
            return i;
        }
    if (places->count == GR_LIMIT_PLACES)
        s->status = GR_ERROR_OUT_OF_RANGE;
    else if (!gr_grow(&places->data, &places->capacity, places->count + 1u, sizeof *places->data))
        no_memory(s);
    if (s->status != GR_OK)
        return UINT32_MAX;
    places->data[places->count] = (gr_place){state, after};
    return places->count++;
}

void gr_places_add(gr_stacks *s, gr_places *places, uint32_t state, uint32_t after) {
    put(s, places, state, after);
}

// Adds what follows the end of a rule; returns the first place that changed, or UINT32_MAX.
static uint32_t put_after(gr_stacks *s, gr_places *places, uint32_t after) {
    size_t begin = s->sets.starts[after], end = s->sets.starts[after + 1];
    uint32_t changed = UINT32_MAX;
    places->complete = places->complete || s->sets.items[begin];
    for (size_t i = begin + 1; i < end; i += 2) {
        uint32_t at = put(s, places, s->sets.items[i], s->sets.items[i + 1]);
        changed = at < changed ? at : changed;
    }
    return changed;
}

static uint32_t put_call(gr_stacks *s, gr_places *places, const gr_call *call, uint32_t after) {
    const gr_grammar *g = s->grammar;
    uint32_t frame = after;
    if (call->to != GR_STATE_END) {
        const uint32_t list[] = {0, call->to, after};
        if (s->depth[after] + g->close.depth[call->to] > GR_LIMIT_DEPTH)
            return UINT32_MAX;
        frame = intern(s, list, 3);
    }
    return put(s, places, g->automaton.entry[call->rule], frame);
}

// Adds what place `at` leads to; returns the first place that changed.
static uint32_t expand(gr_stacks *s, gr_places *places, gr_place from) {
    const gr_automaton *a = &s->grammar->automaton;
    uint32_t changed = UINT32_MAX;
    for (uint32_t i = a->call_start[from.state]; i < a->call_start[from.state + 1]; i++) {
        uint32_t at = put_call(s, places, &a->calls[i], from.after);
        changed = at < changed ? at : changed;
    }
    if (a->accept[from.state]) {
        uint32_t at = put_after(s, places, from.after);
        changed = at < changed ? at : changed;
    }
    return changed;
}

void gr_places_close(gr_stacks *s, gr_places *places) {
    for (uint32_t i = 0; i < places->count && s->status == GR_OK; i++) {
        uint32_t changed = expand(s, places, places->data[i]);
        if (changed <= i)
            i = changed - 1;
    }
}

void gr_places_step(gr_stacks *s, const gr_places *from, uint8_t byte, gr_places *out_places) {
    const gr_automaton *a = &s->grammar->automaton;
    out_places->count = 0;
    out_places->complete = false;
    for (uint32_t i = 0; i < from->count; i++) {
        uint32_t to = gr_next(a, from->data[i].state, byte);
        if (to == GR_STATE_END)
            put_after(s, out_places, from->data[i].after);
        else if (to != GR_STATE_DEAD)
            put(s, out_places, to, from->data[i].after);
    }
}

void gr_places_leave(gr_stacks *s, uint32_t state, uint32_t after, gr_places *out_places) {
    out_places->count = 0;
    out_places->complete = false;
    expand(s, out_places, (gr_place){state, after});
    gr_places_close(s, out_places);
}

uint32_t gr_places_distance(const gr_stacks *s, const gr_places *places) {
    uint32_t least = places->complete ? 0 : GR_CLOSE_NEVER;
    for (uint32_t i = 0; i < places->count; i++) {
        uint32_t close = s->grammar->close.tokens[places->data[i].state] +
                         s->close[places->data[i].after];
        least = close < least ? close : least;
    }
    return least;
}
