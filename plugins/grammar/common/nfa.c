// SPDX-License-Identifier: Apache-2.0
#include "plugins/grammar/common/nfa.h"

#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/automaton.h"

enum {
    UNROLL_SIZE = 1 << 17, // states that one repetition may take
    INLINE_STATES = 1 << 17 // beyond, rules are called rather than inlined
};

// ---- Horizons

// Whether a repetition is better made of blocks than of copies.
static bool is_long(const gr_grammar_builder *b, const uint32_t *repeat) {
    uint64_t copies = repeat[3] == GR_UNBOUNDED ? repeat[2] : repeat[3];
    return copies > 64 && copies * (b->sizes[repeat[1]] + 1u) > UNROLL_SIZE;
}

// What `expr` looks like to a text of at most `longest` bytes: a repetition that such a text cannot
// exhaust is one without a limit.
static gr_expr seen_from_afar(gr_grammar_builder *b, gr_expr expr) {
    const uint32_t *e = gr_expr_get(b, expr);
    if (e[0] == GR_KIND_REGULAR)
        return gr_expr_make(b, GR_KIND_HORIZON, b->regulars[e[1]].horizon[e[2]], 0, 0);
    if (e[0] != GR_KIND_REPEAT || b->nullable[e[1]] || is_long(b, e))
        return expr;
    uint32_t x = e[1], least = e[2], most = e[3];
    if (least > b->longest)
        least = b->longest + 1, most = GR_UNBOUNDED;
    else if (most > b->longest)
        most = GR_UNBOUNDED;
    return least == e[2] && most == e[3] ? expr : gr_expr_make(b, GR_KIND_REPEAT, x, least, most);
}

static uint32_t horizon(gr_grammar_builder *b, gr_expr expr, uint32_t behind) {
    gr_expr seen = seen_from_afar(b, expr);
    uint32_t number = gr_pair_find(&b->horizon_pairs, seen, behind);
    if (number != GR_TABLE_FULL)
        return number;
    if (!gr_pair_add(&b->horizon_pairs, seen, behind, ++b->horizon_count))
        gr_rules_no_memory(b);
    return b->horizon_count;
}

// ---- States and edges

// The state of `expr` with `behind` after it; new ones get their edges later.
static uint32_t want(gr_nfa *nfa, gr_expr expr, uint32_t behind) {
    gr_grammar_builder *b = nfa->builder;
    if (expr == GR_EXPR_EMPTY)
        return behind;
    uint32_t state = gr_pair_find(&nfa->made, expr, behind);
    if (state != GR_TABLE_FULL || b->status != GR_OK)
        return state != GR_TABLE_FULL ? state : 0;
    if (nfa->state_count >= GR_LIMIT_NFA) {
        gr_rules_fail(b, GR_ERROR_OUT_OF_RANGE,
                        "the grammar is too large: more than %d states", GR_LIMIT_NFA);
        return 0;
    }
    state = nfa->state_count;
    if (!gr_grow(&nfa->states, &nfa->state_capacity, state + 1u, sizeof *nfa->states) ||
        !gr_pair_add(&nfa->made, expr, behind, state)) {
        gr_rules_no_memory(b);
        return 0;
    }
    nfa->state_count++;
    uint32_t number = horizon(b, expr, nfa->states[behind].horizon);
    nfa->states[state] = (gr_nfa_state){.expr = expr, .behind = behind, .horizon = number};
    return state;
}

static void link(gr_nfa *nfa, uint32_t from, uint32_t kind, uint32_t label, uint32_t to) {
    if (!gr_grow(&nfa->edges, &nfa->edge_capacity, nfa->edge_count + 1u, sizeof *nfa->edges)) {
        gr_rules_no_memory(nfa->builder);
        return;
    }
    nfa->edges[nfa->edge_count] = (gr_nfa_edge){kind, label, to, nfa->states[from].edges};
    nfa->states[from].edges = nfa->edge_count++;
}

static void skip(gr_nfa *nfa, uint32_t from, gr_expr expr, uint32_t behind) {
    uint32_t to = want(nfa, expr, behind);
    link(nfa, from, GR_EDGE_EMPTY, 0, to);
}

// The rule that is `x` so many times.
static gr_expr block_of(gr_grammar_builder *b, gr_expr x, uint32_t count) {
    uint32_t rule = gr_pair_find(&b->blocks, x, count);
    if (rule == GR_TABLE_FULL) {
        rule = gr_rule_add(b, (gr_str){"repetition", 10}, true);
        gr_rule_define(b, rule, gr_expr_repeat(b, x, count, count));
        if (!gr_pair_add(&b->blocks, x, count, rule))
            gr_rules_no_memory(b);
    }
    return gr_expr_rule(b, rule);
}

// A long repetition as one of blocks.
static gr_expr in_blocks(gr_grammar_builder *b, gr_expr x, uint32_t least, uint32_t most) {
    uint32_t block = UNROLL_SIZE / 4 / (b->sizes[x] + 1);
    block = block < 16 ? 16 : block;
    gr_expr blocks = block_of(b, x, block), some = gr_expr_repeat(b, x, 0, block - 1), expr;
    if (most != GR_UNBOUNDED) {
        // Between 0 and `rest` times: some whole blocks, then less than one; or all of it.
        uint32_t rest = most - least, whole = rest / block;
        expr = gr_expr_seq(b, gr_expr_repeat(b, blocks, whole, whole),
                           gr_expr_repeat(b, x, 0, rest % block));
        if (whole)
            expr = gr_expr_alt(b, gr_expr_seq(b, gr_expr_repeat(b, blocks, 0, whole - 1), some),
                               expr);
    } else
        expr = gr_expr_repeat(b, x, 0, GR_UNBOUNDED);
    expr = gr_expr_seq(b, gr_expr_repeat(b, x, least % block, least % block), expr);
    return gr_expr_seq(b, gr_expr_repeat(b, blocks, least / block, least / block), expr);
}

static void expand_repeat(gr_nfa *nfa, uint32_t state) {
    gr_grammar_builder *b = nfa->builder;
    uint32_t behind = nfa->states[state].behind;
    const uint32_t *e = gr_expr_get(b, nfa->states[state].expr);
    gr_expr x = e[1];
    uint32_t least = e[2], most = e[3];
    if (most == GR_UNBOUNDED && !least) {
        link(nfa, state, GR_EDGE_EMPTY, 0, behind);
        skip(nfa, state, x, state);
        return;
    }
    if (nfa->calls && is_long(b, e)) {
        skip(nfa, state, in_blocks(b, x, least, most), behind);
        return;
    }
    gr_expr fewer = gr_expr_repeat(b, x, least ? least - 1 : 0,
                                   most == GR_UNBOUNDED ? most : most - 1);
    if (!least)
        link(nfa, state, GR_EDGE_EMPTY, 0, behind);
    uint32_t rest = want(nfa, fewer, behind);
    skip(nfa, state, x, rest);
}

static void expand_regular(gr_nfa *nfa, uint32_t state) {
    gr_grammar_builder *b = nfa->builder;
    const uint32_t *e = gr_expr_get(b, nfa->states[state].expr);
    uint32_t which = e[1], at = e[2], behind = nfa->states[state].behind;
    const gr_automaton *a = &b->regulars[which];
    if (a->accept[at])
        link(nfa, state, GR_EDGE_EMPTY, 0, behind);
    for (uint32_t class = 0; class < a->classes; class++) {
        uint32_t to = a->next[(size_t)at * a->classes + class];
        bool seen = to == GR_STATE_DEAD;
        for (uint32_t before = 0; before < class && !seen; before++)
            seen = a->next[(size_t)at * a->classes + before] == to;
        if (seen)
            continue;
        gr_expr set = GR_EXPR_NONE;
        for (uint32_t byte = 0; byte < 256; byte++)
            if (gr_next(a, at, (uint8_t)byte) == to)
                set = gr_expr_alt(b, set, gr_expr_bytes(b, (uint8_t)byte, (uint8_t)byte));
        uint32_t rest = want(nfa, gr_expr_make(b, GR_KIND_REGULAR, which, to, 0), behind);
        skip(nfa, state, set, rest);
    }
}

static void call(gr_nfa *nfa, uint32_t state, uint32_t rule) {
    gr_grammar_builder *b = nfa->builder;
    uint32_t behind = nfa->states[state].behind;
    if (!nfa->calls) {
        gr_rules_fail(b, GR_ERROR_INTERNAL, "a rule inside a regular expression");
        return;
    }
    if (!behind || (b->rules[rule].inlined && nfa->state_count < INLINE_STATES)) {
        skip(nfa, state, b->rules[rule].body, behind);
        return;
    }
    link(nfa, state, GR_EDGE_CALL, rule, behind);
    uint32_t before = nfa->is_called_capacity;
    if (!gr_grow(&nfa->is_called, &nfa->is_called_capacity, rule + 1u, 1) ||
        !gr_grow(&nfa->called, &nfa->called_capacity, nfa->called_count + 1u, 4)) {
        gr_rules_no_memory(b);
        return;
    }
    memset(nfa->is_called + before, 0, nfa->is_called_capacity - before);
    if (!nfa->is_called[rule])
        nfa->called[nfa->called_count++] = rule;
    nfa->is_called[rule] = 1;
}

static void expand(gr_nfa *nfa, uint32_t state) {
    uint32_t behind = nfa->states[state].behind;
    const uint32_t *e = gr_expr_get(nfa->builder, nfa->states[state].expr);
    switch (e[0]) {
    case GR_KIND_SET: link(nfa, state, GR_EDGE_SET, e[1], behind); break;
    case GR_KIND_SEQ: {
        gr_expr first = e[1];
        uint32_t rest = want(nfa, e[2], behind);
        skip(nfa, state, first, rest);
        break;
    }
    case GR_KIND_ALT: {
        gr_expr other = e[2];
        skip(nfa, state, e[1], behind);
        skip(nfa, state, other, behind);
        break;
    }
    case GR_KIND_REPEAT: expand_repeat(nfa, state); break;
    case GR_KIND_RULE: call(nfa, state, e[1]); break;
    case GR_KIND_REGULAR: expand_regular(nfa, state); break;
    default: break; // NONE leads nowhere
    }
}

gr_status gr_nfa_init(gr_nfa *nfa, gr_grammar_builder *builder, bool calls) {
    *nfa = (gr_nfa){.builder = builder, .calls = calls, .state_count = 1, .edge_count = 1};
    if (!gr_grow(&nfa->states, &nfa->state_capacity, 1, sizeof *nfa->states) ||
        !gr_grow(&nfa->edges, &nfa->edge_capacity, 1, sizeof *nfa->edges))
        return gr_rules_no_memory(builder);
    nfa->states[0] = (gr_nfa_state){0};
    nfa->done = 1;
    return GR_OK;
}

uint32_t gr_nfa_add(gr_nfa *nfa, gr_expr expr) {
    gr_grammar_builder *b = nfa->builder;
    uint32_t from = want(nfa, expr, 0), first = nfa->called_count;
    for (uint32_t rule = first; b->status == GR_OK; rule++) {
        while (nfa->done < nfa->state_count && b->status == GR_OK)
            expand(nfa, nfa->done++);
        if (rule >= nfa->called_count)
            break;
        want(nfa, b->rules[nfa->called[rule]].body, 0);
    }
    return from;
}

void gr_nfa_deinit(gr_nfa *nfa) {
    free(nfa->states);
    free(nfa->edges);
    gr_pair_deinit(&nfa->made);
    free(nfa->called);
    free(nfa->is_called);
}
