// SPDX-License-Identifier: Apache-2.0
// close.h: how far each state is from the end of its rule. Inside plugins/grammar/common.
#ifndef GREGALE_GRAMMAR_CLOSE_H
#define GREGALE_GRAMMAR_CLOSE_H

#include "plugins/grammar/common/automaton.h"
#include "plugins/grammar/common/trie.h"

enum { GR_CLOSE_NEVER = 1 << 30 };

typedef struct gr_close {
    uint32_t *tokens; // [states]: that suffice to the end of the rule; each lies within one rule
    uint32_t *depth;  // [states]: calls inside calls on that way
} gr_close;

// Finds the ways, and takes moves and calls away that lead nowhere, so that from every state left
// there is one. INVALID_ARGUMENT when rule 0 has none, or when a rule begins with itself.
gr_status gr_close_find(gr_grammar_builder *builder, gr_automaton *automaton,
                        const gr_token_trie *trie, gr_close *out_close);
void gr_close_deinit(gr_close *close);

#endif
