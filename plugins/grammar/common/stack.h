// SPDX-License-Identifier: Apache-2.0
// stack.h: where an answer stands in a grammar. Inside plugins/grammar/common.
//
// A place is a state of the automaton and what follows once its rule is over. What follows is again
// a set of places: the callers'. Sets are stored once, so the whole is a stack that branches, shared
// between moments and never changed; a state occurs once in a set, and where two ways lead to it
// what follows them is united. So the set after a text depends on the language alone, and its size
// on the grammar, however ambiguous.
#ifndef GREGALE_GRAMMAR_STACK_H
#define GREGALE_GRAMMAR_STACK_H

#include "plugins/grammar/common/grammar.h"

enum {
    GR_STACK_NOTHING = 0, // no way on
    GR_STACK_ROOT = 1,    // the answer is complete
    GR_LIMIT_DEPTH = 256, // calls inside calls
    GR_LIMIT_PLACES = 1024,
    GR_LIMIT_SETS = 1 << 22
};

typedef struct gr_place {
    uint32_t state, after; // after: a set
} gr_place;

// A set of places that is being made.
typedef struct gr_places {
    gr_place *data;
    uint32_t count, capacity;
    bool complete; // the answer may end here
} gr_places;

// All sets that occur in one answer and its forks. Counted.
typedef struct gr_stacks {
    uint32_t references;
    gr_grammar *grammar; // borrowed: states keep it
    gr_list_table sets; // complete, then state and after of each place, by state
    gr_pair_table unions;
    uint32_t *close, *depth; // tokens to a complete answer; calls open
    uint64_t (*prints)[2];   // fingerprints
    uint32_t close_capacity, depth_capacity, print_capacity;
    uint32_t *scratch, scratch_count, scratch_capacity;
    gr_places level[GR_TOKEN_BYTES_MAX + 2]; // for who walks tokens: places by depth
    gr_status status; // of the call in progress; later steps do nothing
} gr_stacks;

gr_stacks *gr_stacks_create(gr_grammar *grammar); // NULL without memory
void gr_stacks_release(gr_stacks *stacks);
// Brings the places into order and gives their fingerprint.
void gr_places_print(const gr_stacks *stacks, gr_places *places, uint64_t out_print[2]);
// The places behind `byte`, from a closed set: *out_places is not closed.
void gr_places_step(gr_stacks *stacks, const gr_places *from, uint8_t byte, gr_places *out_places);
// Adds the places that calls and ends of rules lead to, before any byte.
void gr_places_close(gr_stacks *stacks, gr_places *places);
void gr_places_add(gr_stacks *stacks, gr_places *places, uint32_t state, uint32_t after);
// Those of gr_places_close({state, after}) other than itself.
void gr_places_leave(gr_stacks *stacks, uint32_t state, uint32_t after, gr_places *out_places);
// Tokens to a complete answer, at most.
uint32_t gr_places_distance(const gr_stacks *stacks, const gr_places *places);
static inline bool gr_places_any(const gr_places *places) {
    return places->count || places->complete;
}

#endif
