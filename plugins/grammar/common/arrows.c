// SPDX-License-Identifier: Apache-2.0
#include "plugins/grammar/common/arrows.h"

#include <stdlib.h>

static bool init(gr_arrows *arrows, uint32_t count, const uint32_t *counts) {
    size_t total = 0;
    arrows->start = malloc(((size_t)count + 1) * sizeof *arrows->start);
    if (!arrows->start)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        arrows->start[i] = (uint32_t)total;
        total += counts[i];
    }
    arrows->start[count] = (uint32_t)total;
    arrows->data = malloc((total + 1) * sizeof *arrows->data);
    return arrows->data != NULL;
}

// `left`: how many are still to come, by where they lead.
static void add(gr_arrows *arrows, uint32_t *left, uint32_t to, gr_arrow one) {
    arrows->data[arrows->start[to + 1] - left[to]--] = one;
}

bool gr_arrows_moves(gr_arrows *arrows, const gr_automaton *a, const uint32_t cost[256]) {
    uint32_t *counts = calloc(a->states, sizeof *counts);
    bool fine = counts != NULL;
    *arrows = (gr_arrows){0};
    for (int pass = 0; pass < 2 && fine; pass++) {
        for (uint32_t state = 0; state < a->states; state++) {
            uint32_t before = GR_STATE_DEAD, paid = 0; // the last target, and what it cost
            for (uint32_t class = 0; class < a->classes; class++) {
                uint32_t to = a->next[(size_t)state * a->classes + class];
                if (!cost[class] || to == GR_STATE_DEAD || (to == before && cost[class] >= paid))
                    continue;
                before = to;
                paid = cost[class];
                if (pass == 0)
                    counts[to]++;
                else
                    add(arrows, counts, to, (gr_arrow){state, class});
            }
        }
        if (pass == 0)
            fine = init(arrows, a->states, counts);
    }
    free(counts);
    return fine;
}

bool gr_arrows_calls(gr_arrows *by_state, gr_arrows *by_rule, const gr_automaton *a) {
    uint32_t *states = calloc(a->states, sizeof *states);
    uint32_t *rules = calloc((size_t)a->rules + 1, sizeof *rules);
    bool fine = states && rules;
    *by_state = *by_rule = (gr_arrows){0};
    for (int pass = 0; pass < 2 && fine; pass++) {
        for (uint32_t state = 0; state < a->states; state++)
            for (uint32_t i = a->call_start[state]; i < a->call_start[state + 1]; i++) {
                const gr_call *call = &a->calls[i];
                if (pass == 0) {
                    states[call->to]++;
                    rules[call->rule]++;
                } else {
                    add(by_state, states, call->to, (gr_arrow){state, i});
                    add(by_rule, rules, call->rule, (gr_arrow){state, i});
                }
            }
        if (pass == 0)
            fine = init(by_state, a->states, states) && init(by_rule, a->rules, rules);
    }
    free(states);
    free(rules);
    return fine;
}

void gr_arrows_deinit(gr_arrows *arrows) {
    free(arrows->start);
    free(arrows->data);
    *arrows = (gr_arrows){0};
}
