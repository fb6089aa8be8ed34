// SPDX-License-Identifier: Apache-2.0
// automaton.h: rules as one deterministic automaton that calls. Inside plugins/grammar/common.
//
// Each rule has a state it begins in; a rule is over in any accepting state. A state moves on bytes,
// and may call rules: at a call (rule, to) the rule may begin, and once it is over the caller stands
// in `to`. All rules share one automaton, so equal rests of rules are equal states; a rule used at
// another's very end is no call but a part of it.
#ifndef GREGALE_GRAMMAR_AUTOMATON_H
#define GREGALE_GRAMMAR_AUTOMATON_H

#include "plugins/grammar/common/builder.h"

enum { GR_STATE_DEAD = 0, GR_STATE_END = 1 }; // no way on; nothing but the end of a rule

typedef struct gr_call {
    uint32_t rule, to;
} gr_call;

typedef struct gr_automaton {
    uint32_t states, classes;
    uint8_t byte_class[256];
    uint32_t *next;       // [states][classes]
    uint8_t *accept;      // [states]
    gr_call *calls;       // of state s: [call_start[s], call_start[s + 1])
    uint32_t *call_start; // [states + 1]
    uint32_t *horizon;    // [states]: equal numbers, equal moves, calls and ends, for as long as any
                          // token is, but for where the calls come back to
    uint32_t *entry;      // [rules]: where they begin; DEAD for one that is never called
    uint32_t rules;
} gr_automaton;

static inline uint32_t gr_next(const gr_automaton *a, uint32_t state, uint8_t byte) {
    return a->next[(size_t)state * a->classes + a->byte_class[byte]];
}

// Whether a state does nothing but move.
static inline bool gr_state_is_plain(const gr_automaton *a, uint32_t state) {
    return !a->accept[state] && a->call_start[state] == a->call_start[state + 1];
}

// Compiles rule 0 and all that it uses.
gr_status gr_automaton_build(gr_grammar_builder *builder, gr_automaton *out_automaton);
// Compiles one expression without rules; it begins in entry[0].
gr_status gr_automaton_build_expr(gr_grammar_builder *builder, gr_expr expr,
                                  gr_automaton *out_automaton);
void gr_automaton_deinit(gr_automaton *automaton);

#endif
