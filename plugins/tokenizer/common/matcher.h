// SPDX-License-Identifier: Apache-2.0
// matcher.h: finds pieces that text spells out, longest first: control and user-defined tokens.
// For the tokenizers. Threads: built by one, then read by any.
#ifndef GREGALE_TOKENIZER_MATCHER_H
#define GREGALE_TOKENIZER_MATCHER_H

#include <stdbool.h>

#include "gregale/linked/tokenizer.h"

// Pieces in byte order; borrows them. All zero matches nothing.
typedef struct gr_matcher {
    const gr_str *pieces;
    gr_token *sorted;
    size_t count;
    bool begins[256]; // some piece begins with this byte
} gr_matcher;

// Takes the vocabulary's pieces of either type (0: none). Empty pieces are left out.
gr_status gr_matcher_init(gr_matcher *matcher, const gr_vocab *vocab, gr_token_type type,
                          gr_token_type or_type);
// Bytes of the longest piece that `text` begins with, and its token; 0 when there is none.
size_t gr_matcher_longest(const gr_matcher *matcher, const char *text, size_t size,
                          gr_token *out_token);
// Offset of the first place in `text` where a piece stands (`size` when there is none), its token,
// length.
size_t gr_matcher_search(const gr_matcher *matcher, const char *text, size_t size,
                         gr_token *out_token, size_t *out_size);
// The token spelled exactly so, the first of duplicates, or GR_TOKEN_NONE.
gr_token gr_matcher_find(const gr_matcher *matcher, const char *text, size_t size);
void gr_matcher_deinit(gr_matcher *matcher);

#endif
