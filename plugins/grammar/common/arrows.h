// SPDX-License-Identifier: Apache-2.0
// arrows.h: moves and calls by where they lead, for who walks an automaton backwards. Inside
// plugins/grammar/common.
#ifndef GREGALE_GRAMMAR_ARROWS_H
#define GREGALE_GRAMMAR_ARROWS_H

#include "plugins/grammar/common/automaton.h"

typedef struct gr_arrow {
    uint32_t from, label; // a state; a class of bytes, or the index of a call
} gr_arrow;

typedef struct gr_arrows {
    uint32_t *start; // those that lead to i: [start[i], start[i + 1])
    gr_arrow *data;
} gr_arrows;

// The moves on bytes of the classes whose cost is not 0, by state. Of neighbouring classes with one
// target the cheaper one may stand for both. False without memory.
bool gr_arrows_moves(gr_arrows *arrows, const gr_automaton *automaton, const uint32_t cost[256]);
// The calls, by the state they come back to and by rule.
bool gr_arrows_calls(gr_arrows *by_state, gr_arrows *by_rule, const gr_automaton *automaton);
void gr_arrows_deinit(gr_arrows *arrows);

#endif
