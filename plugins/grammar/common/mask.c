// SPDX-License-Identifier: Apache-2.0
// mask.c: tokens that stay within a rule are known for its states (reach.c); here what leaves the
// rule is followed through its callers, and what is left of the answer's length is kept to.
#include "plugins/grammar/common/mask.h"

#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 1 << 25 };

typedef struct job {
    gr_grammar *g;
    gr_stacks *stacks;
    uint32_t *bits;
    uint32_t left;  // a token is taken when an answer can be completed with so many more
    uint32_t worst; // the most that one of those taken needs
    uint32_t steps;
} job;

// Takes tokens [first, end) of the tree, as far from a complete answer as `distance` at most.
static void take_range(job *j, uint32_t first, uint32_t end, uint32_t distance) {
    const gr_token *tokens = j->g->trie->tokens;
    j->worst = distance > j->worst ? distance : j->worst;
    for (uint32_t i = first; i < end; i++)
        j->bits[(uint32_t)tokens[i] / 32] |= 1u << (uint32_t)tokens[i] % 32;
}

static void take(job *j, const gr_trie_node *node, uint32_t distance) {
    if (distance <= j->left)
        take_range(j, node->tokens, node->tokens + node->count, distance);
}

// Whether the whole subtree of `node` goes on from a place before its byte; it is taken.
static bool take_run(job *j, const gr_trie_node *node, gr_place place) {
    if (node->kind >= GR_TEXT_KINDS)
        return false;
    const gr_run *run = &j->g->survey.runs[node->kind][place.state];
    uint32_t distance = run->farthest + j->stacks->close[place.after];
    if (run->length < node->height || distance > j->left)
        return false;
    take_range(j, node->tokens, j->g->trie->nodes[node->end].tokens, distance);
    return true;
}

static void count_steps(job *j, uint32_t steps) {
    j->steps += steps;
    if (j->steps > STEPS_MAX && j->stacks->status == GR_OK)
        j->stacks->status = GR_ERROR_OUT_OF_RANGE;
}

// Near the limit on depth, what is known of states does not hold.
static bool is_deep(const job *j, gr_place place) {
    return j->stacks->depth[place.after] + j->g->deepest_close > GR_LIMIT_DEPTH;
}

static void walk_set(job *j, uint32_t node, const gr_places *places);

// The subtree of `from` from one plain place.
static void walk_place(job *j, uint32_t from, gr_place place) {
    const gr_automaton *a = &j->g->automaton;
    const gr_trie_node *nodes = j->g->trie->nodes;
    uint32_t states[GR_TOKEN_BYTES_MAX + 1];
    states[nodes[from].depth] = place.state;
    uint32_t close = j->stacks->close[place.after], depth = j->stacks->depth[place.after];
    bool deep = is_deep(j, place);
    for (uint32_t at = from + 1, end = nodes[from].end; at < end;) {
        const gr_trie_node *node = &nodes[at];
        uint32_t before = states[node->depth - 1], state = gr_next(a, before, node->byte);
        j->steps++;
        if (!deep && take_run(j, node, (gr_place){before, place.after})) {
            at = node->end;
            continue;
        }
        states[node->depth] = state;
        if (state == GR_STATE_DEAD || depth + j->g->close.depth[state] > GR_LIMIT_DEPTH) {
            at = node->end;
            continue;
        }
        if (node->count)
            take(j, node, j->g->close.tokens[state] + close);
        if (gr_state_is_plain(a, state)) {
            at++;
            continue;
        }
        if (node->end > at + 1) {
            gr_places *set = &j->stacks->level[node->depth];
            set->count = 0;
            set->complete = false;
            gr_places_add(j->stacks, set, state, place.after);
            gr_places_close(j->stacks, set);
            walk_set(j, at, set);
        }
        at = node->end;
    }
}

// The subtree of `node` from a closed set.
static void walk_set(job *j, uint32_t node, const gr_places *places) {
    const gr_trie_node *nodes = j->g->trie->nodes;
    if (places->count == 1 && gr_state_is_plain(&j->g->automaton, places->data[0].state)) {
        walk_place(j, node, places->data[0]);
        return;
    }
    gr_places *next = &j->stacks->level[nodes[node].depth + 1];
    for (uint32_t at = node + 1; at < nodes[node].end; at = nodes[at].end) {
        bool taken = false;
        for (uint32_t i = 0; i < places->count && !taken; i++)
            taken = !is_deep(j, places->data[i]) && take_run(j, &nodes[at], places->data[i]);
        if (taken)
            continue;
        gr_places_step(j->stacks, places, nodes[at].byte, next);
        count_steps(j, places->count + next->count);
        if (j->stacks->status != GR_OK)
            return;
        if (!gr_places_any(next))
            continue;
        if (nodes[at].count)
            take(j, &nodes[at], gr_places_distance(j->stacks, next));
        if (nodes[at].end > at + 1) {
            gr_places_close(j->stacks, next);
            walk_set(j, at, next);
        }
    }
}

// ---- By what is known of states

static uint32_t state_at(const gr_grammar *g, const gr_reach *reach, const gr_exit *exit,
                         uint32_t state) {
    if (state == reach->owner)
        return exit->state;
    const uint8_t *path = gr_trie_path(g->trie, exit->node);
    for (uint32_t i = 0; i < g->trie->nodes[exit->node].depth; i++)
        state = gr_next(&g->automaton, state, path[i]);
    return state;
}

static void add_reach(job *j, const gr_reach *reach) {
    if (gr_reach_is_list(j->g, reach))
        for (uint32_t i = 0; i < reach->token_count; i++)
            j->bits[reach->tokens[i] / 32] |= 1u << reach->tokens[i] % 32;
    else
        for (uint32_t i = 0; i < j->g->trie->words; i++)
            j->bits[i] |= reach->tokens[i];
}

static void add_exits(job *j, const gr_reach *reach, gr_place place, bool with_tokens) {
    gr_places *out = &j->stacks->level[0];
    uint32_t before = GR_STATE_DEAD, after = j->stacks->close[place.after];
    for (uint32_t i = 0; i < reach->exit_count && j->stacks->status == GR_OK; i++) {
        const gr_exit *exit = &reach->exits[i];
        const gr_trie_node *node = &j->g->trie->nodes[exit->node];
        bool inner = node->end > exit->node + 1;
        if (!inner && !with_tokens)
            continue;
        uint32_t state = state_at(j->g, reach, exit, place.state);
        if (with_tokens)
            take(j, node, j->g->close.tokens[state] + after);
        if (inner && state != before)
            gr_places_leave(j->stacks, before = state, place.after, out);
        if (inner && out->count)
            walk_set(j, exit->node, out);
    }
}

// The tokens of one place. Those that stay within the rule all leave enough tokens, or none does but
// at an exit, or it has to be seen one by one. A place that is itself too far from the end is left
// to others: there is one that is not.
static void add_place(job *j, gr_place place) {
    uint32_t after = j->stacks->close[place.after], most = j->g->survey.farthest[place.state] + after;
    if (j->g->close.tokens[place.state] + after > j->left + 1)
        return;
    const gr_reach *reach = gr_reach_get(j->g, place.state);
    if (!reach) {
        j->stacks->status = GR_ERROR_OUT_OF_MEMORY;
    } else if (most <= j->left && !is_deep(j, place)) {
        j->worst = most > j->worst ? most : j->worst;
        add_reach(j, reach);
        add_exits(j, reach, place, false);
    } else if (j->left <= after && !is_deep(j, place)) {
        add_exits(j, reach, place, true);
    } else
        walk_set(j, 0, &(gr_places){.data = &place, .count = 1});
}

// ---- Masks

static void add_places(job *j, const gr_places *places) {
    const gr_token_trie *trie = j->g->trie;
    for (uint32_t i = 0; i < places->count && j->stacks->status == GR_OK; i++)
        add_place(j, places->data[i]);
    for (uint32_t i = 0; places->complete && i < trie->end_count; i++)
        j->bits[trie->ends[i] / 32] |= 1u << trie->ends[i] % 32;
}

// A space that the first token begins with is none of the answer's.
static void skip_space(job *j, const gr_places *places) {
    uint32_t space = j->g->trie->root[' '];
    if (!space)
        return;
    const gr_trie_node *node = &j->g->trie->nodes[space];
    for (uint32_t i = node->tokens; i < j->g->trie->nodes[node->end - 1].tokens +
                                            j->g->trie->nodes[node->end - 1].count; i++) {
        uint32_t token = (uint32_t)j->g->trie->tokens[i];
        j->bits[token / 32] &= ~(1u << token % 32);
    }
    take(j, node, gr_places_distance(j->stacks, places));
    walk_set(j, space, places);
}

static gr_mask *find_slot(gr_grammar *g, const uint64_t print[2], bool *out_found) {
    gr_mask *slot = &g->masks[0];
    for (int i = 0; i < GR_MASKS; i++) {
        gr_mask *mask = &g->masks[i];
        *out_found = mask->used && mask->print[0] == print[0] && mask->print[1] == print[1];
        if (*out_found)
            return mask;
        if (mask->used < slot->used)
            slot = mask;
    }
    return slot;
}

static gr_status report(job *j, gr_error *error) {
    gr_status status = j->stacks->status;
    j->stacks->status = GR_OK;
    if (status == GR_ERROR_OUT_OF_MEMORY)
        return gr_fail(error, status, GR_GRAMMAR_ORIGIN, "no memory for a mask");
    if (status != GR_OK)
        return gr_fail(error, status, GR_GRAMMAR_ORIGIN,
                       "the grammar is too ambiguous here: too many ways to go on");
    for (uint32_t i = 0; i < j->g->trie->words; i++)
        if (j->bits[i])
            return GR_OK;
    return gr_fail(error, GR_ERROR_UNSUPPORTED, GR_GRAMMAR_ORIGIN,
                   "no token of the vocabulary goes on from here within the tokens left");
}

// With no regard to how many tokens are left, through the cache.
static gr_status find_any(gr_grammar_state *state, gr_mask **out_mask, gr_error *error) {
    gr_grammar *g = state->grammar;
    bool found;
    gr_mask *mask = find_slot(g, state->print, &found);
    *out_mask = mask;
    if (!found) {
        job j = {.g = g, .stacks = state->stacks, .left = GR_CLOSE_NEVER};
        mask->used = 0;
        if (!mask->bits && !(mask->bits = malloc((size_t)g->trie->words * 4 + 4)))
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_GRAMMAR_ORIGIN,
                           "no memory for a mask");
        memset(mask->bits, 0, (size_t)g->trie->words * 4);
        j.bits = mask->bits;
        add_places(&j, &state->places);
        gr_status status = report(&j, error);
        if (status != GR_OK)
            return status;
        memcpy(mask->print, state->print, sizeof mask->print);
        mask->safe = j.worst;
    }
    mask->used = ++g->clock;
    return GR_OK;
}

gr_status gr_mask_find(gr_grammar_state *state, uint32_t left, const uint32_t **out_mask,
                       gr_error *error) {
    gr_grammar *g = state->grammar;
    uint32_t rest = left ? left - 1 : 0; // behind the token
    *out_mask = NULL;
    if (left && !state->skip_space) {
        gr_mask *mask;
        gr_status status = find_any(state, &mask, error);
        if (status != GR_OK || rest >= mask->safe) {
            *out_mask = status == GR_OK ? mask->bits : NULL;
            return status;
        }
    }
    job j = {.g = g, .stacks = state->stacks, .bits = g->spare};
    j.left = rest < GR_CLOSE_NEVER ? rest : GR_CLOSE_NEVER;
    memset(g->spare, 0, (size_t)g->trie->words * 4);
    const gr_places none = {.complete = state->places.complete};
    add_places(&j, left ? &state->places : &none);
    if (left && state->skip_space)
        skip_space(&j, &state->places);
    gr_status status = report(&j, error);
    *out_mask = status == GR_OK ? g->spare : NULL;
    return status;
}
