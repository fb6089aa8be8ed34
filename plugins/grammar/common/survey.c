// SPDX-License-Identifier: Apache-2.0
#include "plugins/grammar/common/survey.h"

#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/arrows.h"

// ---- The farthest of all that can be reached

// Arrows by where they lead: those to i come from from[start[i]] to from[start[i + 1] - 1].
typedef struct graph {
    uint32_t count, *start, *from;
} graph;

typedef struct ranked {
    uint32_t value, node;
} ranked;

static int by_value(const void *a, const void *b) { // descending
    uint32_t x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
    return (x < y) - (x > y);
}

// Turns the value of each node into the largest of all nodes it leads to: from the largest ones
// backwards, whoever comes first is done.
static bool spread(const graph *g, uint32_t *values) {
    ranked *order = malloc((size_t)g->count * sizeof *order);
    uint32_t *stack = malloc((size_t)g->count * 4);
    uint8_t *done = calloc(g->count, 1);
    bool fine = order && stack && done;
    for (uint32_t node = 0; fine && node < g->count; node++)
        order[node] = (ranked){values[node], node};
    if (fine)
        qsort(order, g->count, sizeof *order, by_value);
    for (uint32_t i = 0; fine && i < g->count; i++) {
        uint32_t count = 0;
        if (!done[order[i].node])
            stack[count++] = order[i].node;
        done[order[i].node] = 1;
        while (count) {
            uint32_t to = stack[--count];
            values[to] = order[i].value;
            for (uint32_t m = g->start[to]; m < g->start[to + 1]; m++)
                if (!done[g->from[m]]) {
                    done[g->from[m]] = 1;
                    stack[count++] = g->from[m];
                }
        }
    }
    free(order);
    free(stack);
    free(done);
    return fine;
}

static bool find_farthest(gr_survey *survey, const gr_automaton *a, const gr_close *close) {
    gr_arrows moves;
    uint32_t cost[256];
    for (int class = 0; class < 256; class++)
        cost[class] = 1;
    graph g = {.count = a->states};
    bool fine = gr_arrows_moves(&moves, a, cost);
    if (fine) {
        uint32_t total = moves.start[a->states];
        g.start = moves.start;
        g.from = malloc((size_t)total * 4 + 4);
        for (uint32_t i = 0; g.from && i < total; i++)
            g.from[i] = moves.data[i].from;
        memcpy(survey->farthest, close->tokens, (size_t)a->states * 4);
        fine = g.from && spread(&g, survey->farthest);
    }
    gr_arrows_deinit(&moves);
    free(g.from);
    return fine;
}

// ---- Runs of text

// A state beside what is left of a character. Those from which some byte of the kind leads to an end,
// a call or nowhere have a run of 0; the others one more than the shortest run behind them.
typedef struct runs {
    const gr_automaton *a;
    gr_text_kind kind;
    uint8_t bytes[GR_REST_COUNT][256]; // of each class one byte for each way on
    uint32_t byte_count[GR_REST_COUNT];
    gr_pair_table known; // (state, rest) to number
    uint32_t *pairs, pair_count, pair_capacity; // state, rest
    uint32_t *behind, behind_count, behind_capacity; // number, the number it leads to
    uint8_t *lengths;
    uint32_t length_capacity;
} runs;

static void choose_bytes(runs *r) {
    for (gr_text_rest rest = 0; rest < GR_REST_COUNT; rest++) {
        bool seen[256][GR_REST_COUNT] = {{false}};
        for (int byte = 0; byte < 256; byte++) {
            gr_text_rest next = gr_text_step(r->kind, rest, (uint8_t)byte);
            uint8_t class = r->a->byte_class[byte];
            if (next == GR_REST_WRONG || seen[class][next])
                continue;
            seen[class][next] = true;
            r->bytes[rest][r->byte_count[rest]++] = (uint8_t)byte;
        }
    }
}

static uint32_t number(runs *r, uint32_t state, gr_text_rest rest) {
    uint32_t pair = gr_pair_find(&r->known, state, rest);
    if (pair != GR_TABLE_FULL)
        return pair;
    if (!gr_grow(&r->pairs, &r->pair_capacity, r->pair_count * 2u + 2, 4) ||
        !gr_grow(&r->lengths, &r->length_capacity, r->pair_count + 1u, 1) ||
        !gr_pair_add(&r->known, state, rest, r->pair_count))
        return GR_TABLE_FULL;
    r->pairs[r->pair_count * 2] = state;
    r->pairs[r->pair_count * 2 + 1] = rest;
    return r->pair_count++;
}

static bool goes_on(const runs *r, uint32_t state, gr_text_rest rest) {
    for (uint32_t i = 0; i < r->byte_count[rest]; i++) {
        uint32_t to = gr_next(r->a, state, r->bytes[rest][i]);
        if (to == GR_STATE_DEAD || !gr_state_is_plain(r->a, to))
            return false;
    }
    return true;
}

// Finds the ways of all pairs that states in front of a character lead to.
static bool find_ways(runs *r) {
    for (uint32_t state = 0; state < r->a->states; state++)
        if (number(r, state, GR_REST_NONE) == GR_TABLE_FULL)
            return false;
    for (uint32_t pair = 0; pair < r->pair_count; pair++) {
        uint32_t state = r->pairs[pair * 2], before = GR_TABLE_FULL;
        gr_text_rest rest = r->pairs[pair * 2 + 1];
        r->lengths[pair] = goes_on(r, state, rest) ? UINT8_MAX : 0;
        for (uint32_t i = 0; r->lengths[pair] && i < r->byte_count[rest]; i++) {
            uint8_t byte = r->bytes[rest][i];
            uint32_t to = number(r, gr_next(r->a, state, byte), gr_text_step(r->kind, rest, byte));
            if (to == GR_TABLE_FULL || !gr_grow(&r->behind, &r->behind_capacity, r->behind_count + 2u, 4))
                return false;
            if (to == before)
                continue;
            r->behind[r->behind_count++] = pair;
            r->behind[r->behind_count++] = before = to;
        }
    }
    return true;
}

static bool turn_round(const runs *r, graph *g) {
    g->count = r->pair_count;
    g->start = calloc((size_t)g->count + 2, 4);
    g->from = malloc((size_t)r->behind_count * 2 + 4);
    if (!g->start || !g->from)
        return false;
    for (uint32_t i = 1; i < r->behind_count; i += 2)
        g->start[r->behind[i] + 2]++;
    for (uint32_t pair = 0; pair < g->count; pair++)
        g->start[pair + 2] += g->start[pair + 1];
    for (uint32_t i = 1; i < r->behind_count; i += 2)
        g->from[g->start[r->behind[i] + 1]++] = r->behind[i - 1];
    return true;
}

static bool measure(runs *r, const graph *g) {
    uint32_t *queue = malloc((size_t)g->count * 4 + 4), tail = 0;
    for (uint32_t pair = 0; queue && pair < g->count; pair++)
        if (!r->lengths[pair])
            queue[tail++] = pair;
    for (uint32_t head = 0; head < tail && r->lengths[queue[head]] + 1 < UINT8_MAX; head++)
        for (uint32_t i = g->start[queue[head]]; i < g->start[queue[head] + 1]; i++)
            if (r->lengths[g->from[i]] == UINT8_MAX) {
                r->lengths[g->from[i]] = (uint8_t)(r->lengths[queue[head]] + 1);
                queue[tail++] = g->from[i];
            }
    free(queue);
    return queue != NULL;
}

static bool find_runs(gr_run *out_runs, const gr_automaton *a, const gr_close *close, gr_text_kind kind) {
    runs r = {.a = a, .kind = kind};
    graph g = {0};
    choose_bytes(&r);
    bool fine = find_ways(&r) && turn_round(&r, &g) && measure(&r, &g);
    uint32_t *values = fine ? malloc((size_t)g.count * 4 + 4) : NULL;
    for (uint32_t pair = 0; values && pair < g.count; pair++)
        values[pair] = close->tokens[r.pairs[pair * 2]];
    fine = values && spread(&g, values);
    // The first pairs are the states, in front of a character.
    for (uint32_t state = 0; fine && state < a->states; state++)
        out_runs[state] = (gr_run){values[state], r.lengths[state]};
    gr_pair_deinit(&r.known);
    free(values);
    free(g.start);
    free(g.from);
    free(r.pairs);
    free(r.behind);
    free(r.lengths);
    return fine;
}

bool gr_survey_make(gr_survey *survey, const gr_automaton *automaton, const gr_close *close) {
    *survey = (gr_survey){.farthest = malloc((size_t)automaton->states * 4)};
    bool fine = survey->farthest && find_farthest(survey, automaton, close);
    for (gr_text_kind kind = 0; kind < GR_TEXT_KINDS && fine; kind++) {
        survey->runs[kind] = malloc((size_t)automaton->states * sizeof *survey->runs[kind]);
        fine = survey->runs[kind] && find_runs(survey->runs[kind], automaton, close, kind);
    }
    return fine;
}

void gr_survey_deinit(gr_survey *survey) {
    free(survey->farthest);
    for (gr_text_kind kind = 0; kind < GR_TEXT_KINDS; kind++)
        free(survey->runs[kind]);
    *survey = (gr_survey){0};
}
