// SPDX-License-Identifier: Apache-2.0
// grammar.h: a compiled grammar and its caches of masks. Inside plugins/grammar/common.
#ifndef GREGALE_GRAMMAR_GRAMMAR_H
#define GREGALE_GRAMMAR_GRAMMAR_H

#include "plugins/grammar/common/survey.h"

// A place in tokens where their rule may be left: for a caller, or for a rule that is called.
typedef struct gr_exit {
    uint32_t node, state; // of the trie, of the automaton
} gr_exit;

// The tokens that stay within the rule that they begin in, from a state of the automaton: they are
// allowed whatever follows the rule. And where tokens come to a state that does not only move.
typedef struct gr_reach {
    uint32_t owner;        // the state it was found from; others have the same horizon
    uint32_t *tokens;      // a mask, when token_count is beyond what a list is good for; else a list
    uint32_t token_count;
    gr_exit *exits;
    uint32_t exit_count;
} gr_reach;

// A mask that was found, by the fingerprint of the set of places.
typedef struct gr_mask {
    uint64_t print[2];
    uint32_t *bits;  // [words]
    uint32_t safe;   // with so many tokens left, and more, it holds
    uint64_t used;   // when
} gr_mask;

enum { GR_MASKS = 64 };

struct gr_grammar {
    uint32_t references;
    gr_token_trie *trie;
    gr_automaton automaton;
    gr_close close;
    const gr_grammar_type *type;
    char *text;              // what it was compiled from
    size_t text_bytes;
    uint64_t print[2];       // of kind and text
    gr_survey survey;
    uint32_t deepest_close;  // calls inside calls on the way of any state
    uint32_t shortest;
    gr_reach *reaches;       // by horizon; owner DEAD: not found yet
    uint32_t horizon_count;
    uint64_t reach_bytes;
    gr_mask masks[GR_MASKS];
    uint64_t clock;
    uint32_t *spare;         // [words]: the mask that is no one's
};

// The tokens from `state` that stay within its rule. NULL without memory.
const gr_reach *gr_reach_get(gr_grammar *grammar, uint32_t state);
void gr_reach_deinit(gr_reach *reach);
static inline bool gr_reach_is_list(const gr_grammar *grammar, const gr_reach *reach) {
    return reach->token_count < grammar->trie->words;
}

#endif
