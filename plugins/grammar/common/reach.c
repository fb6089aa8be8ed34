// SPDX-License-Identifier: Apache-2.0
// reach.c: which tokens stay within a rule, found once for each horizon.
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/stack.h"

#define REACH_BYTES_MAX (UINT64_C(64) << 20) // beyond, all are forgotten and found again when needed

void gr_reach_deinit(gr_reach *reach) {
    free(reach->tokens);
    free(reach->exits);
    *reach = (gr_reach){0};
}

typedef struct finder {
    gr_grammar *g;
    uint32_t *mask;
    gr_reach reach;
    uint32_t exit_capacity, list_capacity;
    bool failed;
} finder;

static void take(finder *f, uint32_t first, uint32_t end) {
    const gr_token *tokens = f->g->trie->tokens;
    for (uint32_t i = first; i < end; i++)
        f->mask[(uint32_t)tokens[i] / 32] |= 1u << (uint32_t)tokens[i] % 32;
    f->reach.token_count += end - first;
}

static void leave(finder *f, uint32_t node, uint32_t state) {
    gr_reach *r = &f->reach;
    if (gr_grow(&r->exits, &f->exit_capacity, r->exit_count + 1u, sizeof *r->exits))
        r->exits[r->exit_count++] = (gr_exit){node, state};
    else
        f->failed = true;
}

// Walks the tree beside the automaton, calls and ends aside.
static void walk(finder *f, uint32_t from) {
    const gr_automaton *a = &f->g->automaton;
    const gr_token_trie *trie = f->g->trie;
    uint32_t states[GR_TOKEN_BYTES_MAX + 1] = {from};
    for (uint32_t at = 1; at < trie->node_count;) {
        const gr_trie_node *node = &trie->nodes[at];
        uint32_t before = states[node->depth - 1];
        if (node->kind < GR_TEXT_KINDS && f->g->survey.runs[node->kind][before].length >= node->height) {
            take(f, node->tokens, trie->nodes[node->end].tokens);
            at = node->end;
            continue;
        }
        uint32_t state = gr_next(a, before, node->byte);
        states[node->depth] = state;
        if (state == GR_STATE_DEAD) {
            at = node->end;
            continue;
        }
        if (node->count)
            take(f, node->tokens, node->tokens + node->count);
        if (!gr_state_is_plain(a, state))
            leave(f, at, state);
        at++;
    }
}

// A short mask becomes a list.
static bool pack(finder *f) {
    gr_reach *r = &f->reach;
    uint32_t words = f->g->trie->words, count = 0;
    if (!gr_reach_is_list(f->g, r)) {
        r->tokens = f->mask;
        f->mask = NULL;
        return true;
    }
    r->tokens = malloc(((size_t)r->token_count + 1) * sizeof *r->tokens);
    for (uint32_t word = 0; r->tokens && word < words; word++)
        for (uint32_t bits = f->mask[word]; bits; bits &= bits - 1)
            r->tokens[count++] = word * 32 + (uint32_t)__builtin_ctz(bits);
    return r->tokens != NULL;
}

static void forget(gr_grammar *g) {
    for (uint32_t i = 0; i < g->horizon_count; i++)
        gr_reach_deinit(&g->reaches[i]);
    g->reach_bytes = 0;
}

const gr_reach *gr_reach_get(gr_grammar *g, uint32_t state) {
    gr_reach *known = &g->reaches[g->automaton.horizon[state]];
    if (known->owner != GR_STATE_DEAD)
        return known;
    finder f = {.g = g, .mask = calloc(g->trie->words + 1u, 4), .reach = {.owner = state}};
    f.failed = !f.mask;
    if (!f.failed)
        walk(&f, state);
    if (!f.failed)
        f.failed = !pack(&f);
    free(f.mask);
    if (f.failed) {
        gr_reach_deinit(&f.reach);
        return NULL;
    }
    if (g->reach_bytes > REACH_BYTES_MAX)
        forget(g);
    uint32_t words = gr_reach_is_list(g, &f.reach) ? f.reach.token_count : g->trie->words;
    g->reach_bytes += words * 4u + f.exit_capacity * sizeof *f.reach.exits;
    *known = f.reach;
    return known;
}
