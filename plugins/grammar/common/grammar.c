// SPDX-License-Identifier: Apache-2.0
// grammar.c: compiling a grammar, and states.
#include <stdlib.h>
#include <string.h>

#include "gregale/engine.h"
#include "gregale/linked/registry.h"
#include "plugins/grammar/common/mask.h"

const gr_grammar_type *const *gr_grammar_types(void) {
    return gr_linked_grammars();
}

// ---- Grammars

static const gr_grammar_type *find_type(const char *kind, gr_error *error) {
    for (const gr_grammar_type *const *type = gr_grammar_types(); *type; type++)
        if (strcmp((*type)->name, kind) == 0)
            return *type;
    gr_fail(error, GR_ERROR_NOT_FOUND, GR_GRAMMAR_ORIGIN, "no kind of grammar is called '%s'", kind);
    return NULL;
}

static void fingerprint(gr_grammar *g, const char *kind, gr_str text) {
    uint64_t first = UINT64_C(0x9E3779B97F4A7C15), second = UINT64_C(0xC2B2AE3D27D4EB4F);
    for (const char *c = kind; *c; c++)
        first = gr_mix(first ^ (uint8_t)*c);
    for (size_t i = 0; i < text.size; i++) {
        first = gr_mix(first ^ (uint8_t)text.data[i]);
        second = gr_mix(second + (uint8_t)text.data[i]);
    }
    g->print[0] = first;
    g->print[1] = second;
}

static gr_status allocate_caches(gr_grammar *g, const gr_grammar_builder *b, gr_error *error) {
    const gr_automaton *a = &g->automaton;
    g->horizon_count = b->horizon_lists.count;
    g->reaches = calloc((size_t)g->horizon_count + 1, sizeof *g->reaches);
    g->spare = malloc((size_t)g->trie->words * 4 + 4);
    if (!g->reaches || !g->spare || !gr_survey_make(&g->survey, a, &g->close))
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_GRAMMAR_ORIGIN, "no memory for a grammar");
    for (uint32_t s = 0; s < a->states; s++)
        if (g->close.depth[s] > g->deepest_close)
            g->deepest_close = g->close.depth[s];
    g->shortest = g->close.tokens[a->entry[0]];
    return GR_OK;
}

gr_status gr_grammar_create(gr_token_trie *trie, const char *kind, gr_str text,
                            gr_grammar **out_grammar, gr_error *error) {
    gr_grammar_builder builder = {0};
    *out_grammar = NULL;
    const gr_grammar_type *type = find_type(kind, error);
    if (!type)
        return GR_ERROR_NOT_FOUND;
    gr_grammar *g = calloc(1, sizeof *g);
    if (!g)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_GRAMMAR_ORIGIN, "no memory for a grammar");
    g->references = 1;
    g->trie = gr_token_trie_retain(trie);
    g->type = type;
    g->text = malloc(text.size + 1);
    g->text_bytes = text.size;
    if (g->text && text.size)
        memcpy(g->text, text.data, text.size);
    fingerprint(g, kind, text);
    gr_status status = g->text ? gr_rules_init(&builder, trie->longest, error)
                               : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_GRAMMAR_ORIGIN, "no memory for a grammar");
    if (status == GR_OK)
        status = type->build(&builder, text, error);
    if (status == GR_OK)
        status = gr_automaton_build(&builder, &g->automaton);
    if (status == GR_OK)
        status = gr_close_find(&builder, &g->automaton, trie, &g->close);
    if (status == GR_OK)
        status = allocate_caches(g, &builder, error);
    gr_rules_deinit(&builder);
    if (status == GR_OK)
        *out_grammar = g;
    else
        gr_grammar_release(g);
    return status;
}

gr_grammar *gr_grammar_retain(gr_grammar *grammar) {
    grammar->references++;
    return grammar;
}

void gr_grammar_release(gr_grammar *g) {
    if (!g || --g->references)
        return;
    for (uint32_t i = 0; g->reaches && i < g->horizon_count; i++)
        gr_reach_deinit(&g->reaches[i]);
    for (int i = 0; i < GR_MASKS; i++)
        free(g->masks[i].bits);
    free(g->reaches);
    free(g->spare);
    free(g->text);
    gr_automaton_deinit(&g->automaton);
    gr_close_deinit(&g->close);
    gr_survey_deinit(&g->survey);
    gr_token_trie_release(g->trie);
    free(g);
}

gr_str gr_grammar_source(const gr_grammar *grammar, const char **out_kind) {
    *out_kind = grammar->type->name;
    return (gr_str){grammar->text, grammar->text_bytes};
}

const gr_token_trie *gr_grammar_trie(const gr_grammar *grammar) {
    return grammar->trie;
}

void gr_grammar_info_get(const gr_grammar *g, gr_grammar_info *out_info) {
    const gr_automaton *a = &g->automaton;
    *out_info = (gr_grammar_info){.rules = a->rules,
                                  .states = a->states,
                                  .classes = a->classes,
                                  .shortest = g->shortest,
                                  .bytes = (uint64_t)a->states * (a->classes + 7) * 4 +
                                           g->horizon_count * sizeof *g->reaches + g->reach_bytes};
    for (int i = 0; i < GR_MASKS; i++)
        out_info->bytes += g->masks[i].bits ? g->trie->words * 4u : 0;
}

// ---- States

static gr_status fail_state(gr_stacks *stacks, gr_error *error) {
    gr_status status = stacks->status;
    stacks->status = GR_OK;
    if (status == GR_ERROR_OUT_OF_MEMORY)
        return gr_fail(error, status, GR_GRAMMAR_ORIGIN, "no memory to follow the grammar");
    return gr_fail(error, status, GR_GRAMMAR_ORIGIN,
                   "the grammar is too ambiguous here: too many ways to go on");
}

gr_status gr_grammar_state_create(gr_grammar *grammar, bool skip_space,
                                  gr_grammar_state **out_state, gr_error *error) {
    gr_grammar_state *state = calloc(1, sizeof *state);
    gr_stacks *stacks = state ? gr_stacks_create(grammar) : NULL;
    *out_state = NULL;
    if (!stacks) {
        free(state);
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_GRAMMAR_ORIGIN,
                       "no memory to follow the grammar");
    }
    *state = (gr_grammar_state){
        .grammar = gr_grammar_retain(grammar), .stacks = stacks, .skip_space = skip_space};
    gr_places_add(stacks, &state->places, grammar->automaton.entry[0], GR_STACK_ROOT);
    gr_places_close(stacks, &state->places);
    gr_places_print(stacks, &state->places, state->print);
    if (stacks->status == GR_OK) {
        *out_state = state;
        return GR_OK;
    }
    gr_status status = fail_state(stacks, error);
    gr_grammar_state_destroy(state);
    return status;
}

gr_status gr_grammar_state_clone(const gr_grammar_state *state, gr_grammar_state **out_state,
                                 gr_error *error) {
    gr_grammar_state *clone = malloc(sizeof *clone);
    gr_place *places = malloc((state->places.count + 1u) * sizeof *places);
    *out_state = NULL;
    if (!clone || !places) {
        free(clone);
        free(places);
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_GRAMMAR_ORIGIN,
                       "no memory to follow the grammar");
    }
    *clone = *state;
    if (state->places.count)
        memcpy(places, state->places.data, state->places.count * sizeof *places);
    clone->places.data = places;
    clone->places.capacity = state->places.count + 1u;
    gr_grammar_retain(clone->grammar);
    clone->stacks->references++;
    *out_state = clone;
    return GR_OK;
}

void gr_grammar_state_destroy(gr_grammar_state *state) {
    if (!state)
        return;
    free(state->places.data);
    gr_stacks_release(state->stacks);
    gr_grammar_release(state->grammar);
    free(state);
}

static gr_status refuse(gr_token token, gr_error *error) {
    return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_GRAMMAR_ORIGIN,
                   "token %d is not allowed here", token);
}

static bool is_end(const gr_token_trie *trie, gr_token token) {
    for (uint32_t i = 0; i < trie->end_count; i++)
        if (trie->ends[i] == token)
            return true;
    return false;
}

gr_status gr_grammar_state_advance(gr_grammar_state *state, gr_token token, gr_error *error) {
    const gr_token_trie *trie = state->grammar->trie;
    gr_stacks *stacks = state->stacks;
    if (token < 0 || (uint32_t)token >= trie->vocab || state->ended)
        return refuse(token, error);
    if (is_end(trie, token)) {
        state->ended = state->places.complete;
        return state->ended ? GR_OK : refuse(token, error);
    }
    gr_str text = gr_trie_text(trie, token);
    size_t at = state->skip_space && text.size && text.data[0] == ' ';
    const gr_places *from = &state->places;
    gr_places *to = &stacks->level[0], *other = &stacks->level[1];
    if (!text.size)
        return refuse(token, error);
    for (; at < text.size && gr_places_any(from) && stacks->status == GR_OK; at++) {
        gr_places_step(stacks, from, (uint8_t)text.data[at], to);
        gr_places_close(stacks, to);
        from = to;
        to = other;
        other = (gr_places *)from;
    }
    if (stacks->status != GR_OK)
        return fail_state(stacks, error);
    if (!gr_places_any(from))
        return refuse(token, error);
    if (from != &state->places) {
        gr_places swap = state->places;
        state->places = *from;
        *other = swap;
    }
    state->skip_space = false;
    gr_places_print(stacks, &state->places, state->print);
    return GR_OK;
}

gr_status gr_grammar_state_mask(gr_grammar_state *state, uint32_t left, const uint32_t **out_mask,
                                gr_error *error) {
    if (state->ended) {
        *out_mask = NULL;
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_GRAMMAR_ORIGIN, "the answer has ended");
    }
    return gr_mask_find(state, left, out_mask, error);
}

bool gr_grammar_state_can_end(const gr_grammar_state *state) {
    return state->places.complete;
}

bool gr_grammar_state_is_over(const gr_grammar_state *state) {
    return state->ended || (state->places.complete && !state->places.count);
}

uint32_t gr_grammar_state_shortest(const gr_grammar_state *state) {
    return gr_places_distance(state->stacks, &state->places);
}

void gr_grammar_state_fingerprint(const gr_grammar_state *state, uint8_t out_fingerprint[16]) {
    const uint64_t *of_grammar = state->grammar->print;
    const uint64_t both[2] = {
        gr_mix(state->print[0] ^ of_grammar[0]) + (state->ended ? 1 : 0) + (state->skip_space ? 2 : 0),
        gr_mix(state->print[1] + of_grammar[1])};
    memcpy(out_fingerprint, both, sizeof both);
}
