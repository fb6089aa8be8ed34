// SPDX-License-Identifier: Apache-2.0
// product.c: two finite automata run side by side: what both match, or one but not the other.
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/automaton.h"

typedef struct product {
    gr_grammar_builder *builder;
    const gr_automaton *a, *b;
    bool except; // match with a, not with b
    gr_list_table pairs; // of states; the index is the new state
    gr_automaton result;
    uint8_t example[256];
} product;

static void join_classes(product *p) {
    gr_automaton *r = &p->result;
    for (int byte = 255; byte >= 0; byte--) {
        int before = 255;
        while (before > byte && (p->a->byte_class[before] != p->a->byte_class[byte] ||
                                 p->b->byte_class[before] != p->b->byte_class[byte]))
            before--;
        r->byte_class[byte] = before > byte ? r->byte_class[before] : (uint8_t)r->classes++;
        p->example[r->byte_class[byte]] = (uint8_t)byte;
    }
}

// Pairs from which nothing is matched are one, the dead state; that of a alone decides.
static uint32_t pair(product *p, uint32_t x, uint32_t y) {
    bool dead = x == GR_STATE_DEAD || (y == GR_STATE_DEAD && !p->except);
    const uint32_t list[2] = {dead ? GR_STATE_DEAD : x, dead ? GR_STATE_DEAD : y};
    uint32_t state = gr_list_intern(&p->pairs, list, 2, NULL);
    if (state == GR_TABLE_FULL)
        gr_rules_no_memory(p->builder);
    else if (state >= GR_LIMIT_STATES || (uint64_t)state * p->result.classes > GR_LIMIT_TABLE / 4)
        gr_rules_fail(p->builder, GR_ERROR_OUT_OF_RANGE,
                        "the grammar is too large: a combination needs more than %u states", state);
    return p->builder->status == GR_OK ? state : GR_STATE_DEAD;
}

static uint32_t joint_horizon(product *p, uint32_t x, uint32_t y) {
    // Not the list of any subset: those are sorted and without repetition.
    const uint32_t list[4] = {UINT32_MAX - p->except, p->a->horizon[x], p->b->horizon[y], 0};
    uint32_t horizon = gr_list_intern(&p->builder->horizon_lists, list, 4, NULL);
    if (horizon == GR_TABLE_FULL)
        gr_rules_no_memory(p->builder);
    return horizon;
}

static void walk(product *p) {
    gr_automaton *r = &p->result;
    uint32_t next = 0, accept = 0, horizon = 0;
    pair(p, GR_STATE_DEAD, GR_STATE_DEAD);
    r->entry[0] = pair(p, p->a->entry[0], p->b->entry[0]);
    for (; r->states < p->pairs.count && p->builder->status == GR_OK; r->states++) {
        uint32_t x = p->pairs.items[r->states * 2], y = p->pairs.items[r->states * 2 + 1];
        if (!gr_grow(&r->next, &next, (size_t)(r->states + 1) * r->classes, 4) ||
            !gr_grow(&r->accept, &accept, r->states + 1u, 1) ||
            !gr_grow(&r->horizon, &horizon, r->states + 1u, 4)) {
            gr_rules_no_memory(p->builder);
            return;
        }
        r->accept[r->states] = p->a->accept[x] && p->b->accept[y] == !p->except;
        r->horizon[r->states] = joint_horizon(p, x, y);
        for (uint32_t class = 0; class < r->classes; class++) {
            uint8_t byte = p->example[class];
            uint32_t to = x == GR_STATE_DEAD ? GR_STATE_DEAD
                                             : pair(p, gr_next(p->a, x, byte), gr_next(p->b, y, byte));
            r->next[(size_t)r->states * r->classes + class] = to;
        }
    }
}

// Takes the moves away that lead nowhere: to states from which no accepting one can be reached.
static void trim(product *p) {
    gr_automaton *r = &p->result;
    size_t cells = (size_t)r->states * r->classes;
    uint32_t *start = calloc((size_t)r->states + 2, 4), *from = malloc(cells * 4 + 4);
    uint32_t *queue = malloc((size_t)r->states * 4 + 4), tail = 0;
    uint8_t *live = calloc(1, (size_t)r->states + 1);
    if (start && from && queue && live) {
        for (size_t i = 0; i < cells; i++)
            start[r->next[i] + 2]++;
        for (uint32_t s = 0; s < r->states; s++)
            start[s + 2] += start[s + 1];
        for (size_t i = 0; i < cells; i++)
            from[start[r->next[i] + 1]++] = (uint32_t)(i / r->classes);
        for (uint32_t s = 0; s < r->states; s++)
            if (r->accept[s])
                live[s] = 1, queue[tail++] = s;
        for (uint32_t head = 0; head < tail; head++)
            for (uint32_t i = start[queue[head]]; i < start[queue[head] + 1]; i++)
                if (!live[from[i]])
                    live[from[i]] = 1, queue[tail++] = from[i];
        for (size_t i = 0; i < cells; i++)
            if (!live[r->next[i]])
                r->next[i] = GR_STATE_DEAD;
        if (!live[r->entry[0]])
            r->entry[0] = GR_STATE_DEAD;
    } else
        gr_rules_no_memory(p->builder);
    free(start);
    free(from);
    free(queue);
    free(live);
}

static gr_expr keep(gr_grammar_builder *b, gr_automaton *automaton) {
    if (b->status == GR_OK && automaton->entry[0] != GR_STATE_DEAD) {
        if (gr_grow(&b->regulars, &b->regular_capacity, b->regular_count + 1u, sizeof *automaton)) {
            b->regulars[b->regular_count] = *automaton;
            return gr_expr_make(b, GR_KIND_REGULAR, b->regular_count++, automaton->entry[0], 0);
        }
        gr_rules_no_memory(b);
    }
    gr_automaton_deinit(automaton);
    return GR_EXPR_NONE;
}

static gr_expr combine(gr_grammar_builder *b, gr_expr x, gr_expr y, bool except) {
    gr_automaton left, right;
    product p = {.builder = b, .a = &left, .b = &right, .except = except};
    gr_expr expr = GR_EXPR_NONE;
    gr_automaton_build_expr(b, x, &left);
    if (gr_automaton_build_expr(b, y, &right) == GR_OK) {
        p.result.rules = 1;
        p.result.entry = calloc(1, sizeof *p.result.entry);
        join_classes(&p);
        if (p.result.entry)
            walk(&p);
        else
            gr_rules_no_memory(b);
        if (b->status == GR_OK)
            trim(&p);
        expr = keep(b, &p.result);
    }
    gr_list_deinit(&p.pairs);
    gr_automaton_deinit(&left);
    gr_automaton_deinit(&right);
    return expr;
}

gr_expr gr_expr_both(gr_grammar_builder *b, gr_expr x, gr_expr y) {
    if (x == y || x == GR_EXPR_NONE || y == GR_EXPR_NONE)
        return x == y ? x : GR_EXPR_NONE;
    return combine(b, x, y, false);
}

gr_expr gr_expr_except(gr_grammar_builder *b, gr_expr x, gr_expr y) {
    if (x == y || x == GR_EXPR_NONE || y == GR_EXPR_NONE)
        return x == y ? GR_EXPR_NONE : x;
    return combine(b, x, y, true);
}

// A state is the rest of what was read, after the dead state and the one before any digit.
gr_expr gr_expr_multiple(gr_grammar_builder *b, uint32_t divisor) {
    uint32_t states = divisor + 2;
    gr_automaton a = {.states = states, .classes = 11, .rules = 1};
    memset(a.byte_class, 10, sizeof a.byte_class);
    for (int digit = 0; digit < 10; digit++)
        a.byte_class['0' + digit] = (uint8_t)digit;
    a.next = calloc((size_t)states * a.classes, sizeof *a.next);
    a.accept = calloc(states, 1);
    a.horizon = calloc(states, sizeof *a.horizon);
    a.entry = calloc(1, sizeof *a.entry);
    if (!a.next || !a.accept || !a.horizon || !a.entry) {
        gr_automaton_deinit(&a);
        gr_rules_no_memory(b);
        return GR_EXPR_NONE;
    }
    a.entry[0] = 1;
    a.accept[2] = 1;
    for (uint32_t state = 0; state < states && b->status == GR_OK; state++) {
        const uint32_t list[4] = {UINT32_MAX - 2, divisor, state, 0};
        a.horizon[state] = gr_list_intern(&b->horizon_lists, list, 4, NULL);
        if (a.horizon[state] == GR_TABLE_FULL)
            gr_rules_no_memory(b);
        uint64_t rest = state > 1 ? state - 2 : 0;
        for (uint32_t digit = 0; state && digit < 10; digit++)
            a.next[(size_t)state * a.classes + digit] = (uint32_t)((rest * 10 + digit) % divisor) + 2;
    }
    return keep(b, &a);
}

bool gr_expr_matches(gr_grammar_builder *b, gr_expr x, gr_str text) {
    gr_automaton a;
    bool matches = false;
    if (gr_automaton_build_expr(b, x, &a) == GR_OK) {
        uint32_t state = a.entry[0];
        for (size_t i = 0; i < text.size && state; i++)
            state = gr_next(&a, state, (uint8_t)text.data[i]);
        matches = a.accept[state];
    }
    gr_automaton_deinit(&a);
    return matches;
}
