// SPDX-License-Identifier: Apache-2.0
// nfa.h: expressions as a nondeterministic automaton. Inside plugins/grammar/common.
//
// A state stands for an expression and the state behind it, and is made once. State 0 is the end of
// every rule.
#ifndef GREGALE_GRAMMAR_NFA_H
#define GREGALE_GRAMMAR_NFA_H

#include "plugins/grammar/common/builder.h"

enum { GR_EDGE_EMPTY, GR_EDGE_SET, GR_EDGE_CALL };

typedef struct gr_nfa_edge {
    uint32_t kind, label, to, next; // set or rule; next of the same state, 0: none
} gr_nfa_edge;

typedef struct gr_nfa_state {
    gr_expr expr;
    uint32_t behind, edges, horizon;
} gr_nfa_state;

typedef struct gr_nfa {
    gr_grammar_builder *builder;
    bool calls; // whether rules may be called
    gr_nfa_state *states;
    gr_nfa_edge *edges; // the first is unused
    uint32_t state_count, state_capacity, edge_count, edge_capacity;
    gr_pair_table made; // (expression, behind) to state
    uint32_t done;      // states that have their edges
    uint32_t *called;   // rules
    uint32_t called_count, called_capacity;
    uint8_t *is_called; // [rules]
    uint32_t is_called_capacity;
} gr_nfa;

gr_status gr_nfa_init(gr_nfa *nfa, gr_grammar_builder *builder, bool calls);
void gr_nfa_deinit(gr_nfa *nfa);
// The state of `expr` at the end of a rule, with all that it leads to, and all rules these call.
uint32_t gr_nfa_add(gr_nfa *nfa, gr_expr expr);

#endif
