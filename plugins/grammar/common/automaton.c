// SPDX-License-Identifier: Apache-2.0
// automaton.c: the deterministic automaton, by subset construction over bytes and calls alike.
#include "plugins/grammar/common/automaton.h"

#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/nfa.h"

typedef struct numbers {
    uint32_t *data, count, capacity;
} numbers;

typedef struct subsets {
    gr_nfa *nfa;
    gr_automaton *a;
    gr_list_table sets; // of states that move, call or end; the index is the deterministic state
    uint32_t *mark, stamp; // [nfa states]
    numbers stack, closure, subset, targets, before;
    uint32_t next_capacity, accept_capacity, start_capacity, call_capacity, horizon_capacity;
    uint8_t example[256]; // a byte of each class
} subsets;

static bool push(numbers *list, uint32_t number) {
    if (!gr_grow(&list->data, &list->capacity, list->count + 1u, 4))
        return false;
    list->data[list->count++] = number;
    return true;
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sort(numbers *list) {
    if (list->count > 1)
        qsort(list->data, list->count, 4, by_number);
}

// ---- Byte classes: bytes that no set of the automaton tells apart.

static void find_classes(subsets *s) {
    gr_automaton *a = s->a;
    const gr_nfa *nfa = s->nfa;
    uint8_t *known = calloc(1, (size_t)nfa->builder->sets.count + 1);
    a->classes = 1;
    memset(a->byte_class, 0, sizeof a->byte_class);
    if (!known) {
        gr_rules_no_memory(nfa->builder);
        return;
    }
    for (uint32_t e = 1; e < nfa->edge_count; e++) {
        if (nfa->edges[e].kind != GR_EDGE_SET || known[nfa->edges[e].label])
            continue;
        const uint32_t *set = gr_set_get(nfa->builder, nfa->edges[e].label);
        int16_t split[256]; // the new class of those inside, of each old one
        uint32_t inside[256] = {0}, all[256] = {0};
        known[nfa->edges[e].label] = 1;
        for (int byte = 0; byte < 256; byte++) {
            all[a->byte_class[byte]]++;
            inside[a->byte_class[byte]] += set[byte / 32] >> byte % 32 & 1;
        }
        for (uint32_t class = 0, count = a->classes; class < count; class++) {
            bool cut = inside[class] && inside[class] < all[class];
            split[class] = cut ? (int16_t)a->classes++ : (int16_t)class;
        }
        for (int byte = 0; byte < 256; byte++)
            if (set[byte / 32] >> byte % 32 & 1)
                a->byte_class[byte] = (uint8_t)split[a->byte_class[byte]];
    }
    free(known);
    for (int byte = 255; byte >= 0; byte--)
        s->example[a->byte_class[byte]] = (uint8_t)byte;
}

// ---- Subsets

// Adds to `closure` what can be reached from `from` without a move and does something.
static bool close_over(subsets *s, uint32_t from) {
    const gr_nfa *nfa = s->nfa;
    if (s->mark[from] == s->stamp)
        return true;
    s->mark[from] = s->stamp;
    if (!push(&s->stack, from))
        return false;
    while (s->stack.count) {
        uint32_t state = s->stack.data[--s->stack.count];
        bool active = state == 0;
        for (uint32_t e = nfa->states[state].edges; e; e = nfa->edges[e].next) {
            uint32_t to = nfa->edges[e].to;
            active = active || nfa->edges[e].kind != GR_EDGE_EMPTY;
            if (nfa->edges[e].kind != GR_EDGE_EMPTY || s->mark[to] == s->stamp)
                continue;
            s->mark[to] = s->stamp;
            if (!push(&s->stack, to))
                return false;
        }
        if (active && !push(&s->closure, state))
            return false;
    }
    return true;
}

// The deterministic state of all that can be reached from `from`.
static uint32_t intern(subsets *s, const uint32_t *from, uint32_t count) {
    gr_grammar_builder *b = s->nfa->builder;
    bool fine = true;
    s->closure.count = 0;
    s->stamp++;
    for (uint32_t i = 0; i < count && fine; i++)
        fine = close_over(s, from[i]);
    sort(&s->closure);
    uint32_t state =
        fine ? gr_list_intern(&s->sets, s->closure.data, s->closure.count, NULL) : GR_TABLE_FULL;
    if (state == GR_TABLE_FULL)
        gr_rules_no_memory(b);
    else if (state >= GR_LIMIT_STATES || s->sets.item_count > GR_LIMIT_SUBSETS ||
             (uint64_t)s->sets.count * s->a->classes > GR_LIMIT_TABLE)
        gr_rules_fail(b, GR_ERROR_OUT_OF_RANGE,
                        "the grammar is too large: it needs more than %u states", state);
    return b->status == GR_OK ? state : GR_STATE_DEAD;
}

static bool has(const subsets *s, uint32_t set, uint8_t byte) {
    return gr_set_get(s->nfa->builder, set)[byte / 32] >> byte % 32 & 1;
}

static void add_moves(subsets *s, uint32_t state) {
    const gr_nfa *nfa = s->nfa;
    uint32_t previous = GR_STATE_DEAD;
    s->before.count = 0;
    for (uint32_t class = 0; class < s->a->classes; class++) {
        s->targets.count = 0;
        for (uint32_t i = 0; i < s->subset.count; i++)
            for (uint32_t e = nfa->states[s->subset.data[i]].edges; e; e = nfa->edges[e].next)
                if (nfa->edges[e].kind == GR_EDGE_SET &&
                    has(s, nfa->edges[e].label, s->example[class]) &&
                    !push(&s->targets, nfa->edges[e].to))
                    gr_rules_no_memory(nfa->builder);
        bool same = s->targets.count == s->before.count &&
                    (!s->targets.count || memcmp(s->targets.data, s->before.data,
                                                 s->targets.count * sizeof(uint32_t)) == 0);
        if (!same) {
            previous = intern(s, s->targets.data, s->targets.count);
            numbers swap = s->before;
            s->before = s->targets;
            s->targets = swap;
        }
        s->a->next[(size_t)state * s->a->classes + class] = previous;
    }
}

// Calls of one rule from one state come back to one state.
static void add_calls(subsets *s) {
    gr_automaton *a = s->a;
    const gr_nfa *nfa = s->nfa;
    uint32_t count = a->call_start[a->states];
    for (uint32_t i = 0; i < s->subset.count; i++)
        for (uint32_t e = nfa->states[s->subset.data[i]].edges; e; e = nfa->edges[e].next) {
            uint32_t rule = nfa->edges[e].label, at = a->call_start[a->states];
            if (nfa->edges[e].kind != GR_EDGE_CALL)
                continue;
            while (at < count && a->calls[at].rule != rule)
                at++;
            if (at < count)
                continue;
            s->targets.count = 0;
            for (uint32_t j = i; j < s->subset.count; j++)
                for (uint32_t f = nfa->states[s->subset.data[j]].edges; f; f = nfa->edges[f].next)
                    if (nfa->edges[f].kind == GR_EDGE_CALL && nfa->edges[f].label == rule &&
                        !push(&s->targets, nfa->edges[f].to))
                        gr_rules_no_memory(nfa->builder);
            if (!gr_grow(&a->calls, &s->call_capacity, count + 1u, sizeof *a->calls)) {
                gr_rules_no_memory(nfa->builder);
                return;
            }
            a->calls[count++] = (gr_call){rule, intern(s, s->targets.data, s->targets.count)};
        }
    a->call_start[a->states + 1] = count;
}

static uint32_t horizon_of(subsets *s) {
    gr_grammar_builder *b = s->nfa->builder;
    uint32_t count = 0;
    s->targets.count = 0;
    for (uint32_t i = 0; i < s->subset.count; i++)
        if (!push(&s->targets, s->nfa->states[s->subset.data[i]].horizon))
            gr_rules_no_memory(b);
    sort(&s->targets);
    for (uint32_t i = 0; i < s->targets.count; i++)
        if (!count || s->targets.data[count - 1] != s->targets.data[i])
            s->targets.data[count++] = s->targets.data[i];
    uint32_t horizon = gr_list_intern(&b->horizon_lists, s->targets.data, count, NULL);
    if (horizon == GR_TABLE_FULL)
        gr_rules_no_memory(b);
    return horizon;
}

static void add_state(subsets *s) {
    gr_automaton *a = s->a;
    size_t count;
    const uint32_t *items = gr_list_get(&s->sets, a->states, &count);
    bool fine = gr_grow(&s->subset.data, &s->subset.capacity, count + 1, 4) &&
                gr_grow(&a->next, &s->next_capacity, (size_t)(a->states + 1) * a->classes, 4) &&
                gr_grow(&a->accept, &s->accept_capacity, a->states + 1u, 1) &&
                gr_grow(&a->horizon, &s->horizon_capacity, a->states + 1u, 4) &&
                gr_grow(&a->call_start, &s->start_capacity, a->states + 2u, 4);
    if (!fine) {
        gr_rules_no_memory(s->nfa->builder);
        return;
    }
    if (count)
        memcpy(s->subset.data, items, count * sizeof *items);
    s->subset.count = (uint32_t)count;
    if (!a->states)
        a->call_start[0] = 0;
    a->accept[a->states] = count && s->subset.data[0] == 0;
    a->horizon[a->states] = horizon_of(s);
    add_moves(s, a->states);
    add_calls(s);
    a->states++;
}

static gr_status determinise(gr_nfa *nfa, const uint32_t *entries, gr_automaton *a) {
    gr_grammar_builder *b = nfa->builder;
    subsets s = {.nfa = nfa, .a = a};
    const uint32_t end = 0;
    if (b->status == GR_OK)
        find_classes(&s);
    s.mark = calloc(nfa->state_count, 4);
    if (!s.mark)
        gr_rules_no_memory(b);
    if (b->status == GR_OK) {
        intern(&s, NULL, 0);
        intern(&s, &end, 1);
    }
    for (uint32_t i = 0; i < a->rules && b->status == GR_OK; i++)
        a->entry[i] = entries[i] == GR_TABLE_FULL ? GR_STATE_DEAD : intern(&s, &entries[i], 1);
    while (b->status == GR_OK && a->states < s.sets.count)
        add_state(&s);
    gr_list_deinit(&s.sets);
    free(s.mark);
    free(s.stack.data);
    free(s.closure.data);
    free(s.subset.data);
    free(s.targets.data);
    free(s.before.data);
    return b->status;
}

static gr_status build(gr_grammar_builder *b, gr_expr root, bool calls, gr_automaton *a) {
    gr_nfa nfa;
    uint32_t *entries = NULL;
    *a = (gr_automaton){0};
    if (gr_nfa_init(&nfa, b, calls) == GR_OK) {
        uint32_t first = gr_nfa_add(&nfa, root);
        a->rules = calls ? b->rule_count : 1;
        entries = malloc((size_t)a->rules * sizeof *entries);
        a->entry = calloc(a->rules, sizeof *a->entry);
        if (!entries || !a->entry)
            gr_rules_no_memory(b);
        for (uint32_t r = 0; r < a->rules && b->status == GR_OK; r++) {
            bool called = r < nfa.is_called_capacity && nfa.is_called[r];
            entries[r] = !called ? GR_TABLE_FULL
                         : b->rules[r].body == GR_EXPR_EMPTY
                             ? 0
                             : gr_pair_find(&nfa.made, b->rules[r].body, 0);
        }
        if (b->status == GR_OK) {
            entries[0] = first;
            determinise(&nfa, entries, a);
        }
    }
    gr_nfa_deinit(&nfa);
    free(entries);
    if (b->status != GR_OK)
        gr_automaton_deinit(a);
    return b->status;
}

gr_status gr_automaton_build(gr_grammar_builder *builder, gr_automaton *out_automaton) {
    *out_automaton = (gr_automaton){0};
    if (gr_rules_analyse(builder) != GR_OK)
        return builder->status;
    return build(builder, builder->rules[0].body, true, out_automaton);
}

gr_status gr_automaton_build_expr(gr_grammar_builder *builder, gr_expr expr,
                                  gr_automaton *out_automaton) {
    *out_automaton = (gr_automaton){0};
    return builder->status == GR_OK ? build(builder, expr, false, out_automaton) : builder->status;
}

void gr_automaton_deinit(gr_automaton *automaton) {
    free(automaton->next);
    free(automaton->accept);
    free(automaton->calls);
    free(automaton->call_start);
    free(automaton->horizon);
    free(automaton->entry);
    *automaton = (gr_automaton){0};
}
