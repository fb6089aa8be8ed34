// SPDX-License-Identifier: Apache-2.0
// mask.h: the tokens allowed next. Inside plugins/grammar/common.
#ifndef GREGALE_GRAMMAR_MASK_H
#define GREGALE_GRAMMAR_MASK_H

#include "plugins/grammar/common/stack.h"

struct gr_grammar_state {
    gr_grammar *grammar;
    gr_stacks *stacks;
    gr_places places;  // where the answer stands, closed
    uint64_t print[2]; // of the places
    bool skip_space;   // until the first token
    bool ended;        // an end token came
};

gr_status gr_mask_find(gr_grammar_state *state, uint32_t left, const uint32_t **out_mask,
                       gr_error *error);

#endif
