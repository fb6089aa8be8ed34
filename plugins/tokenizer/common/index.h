// SPDX-License-Identifier: Apache-2.0
// index.h: finds a vocabulary's piece by its bytes, and a merge by its two halves. For the
// tokenizers. Threads: built by one, then read by any.
//
// Both are open-addressing tables. Vocabularies come from files that nobody vouches for, so the
// hash is seeded per table: keys that all fall into one chain cannot be prepared beforehand.
#ifndef GREGALE_TOKENIZER_INDEX_H
#define GREGALE_TOKENIZER_INDEX_H

#include <stdbool.h>

#include "gregale/linked/tokenizer.h"

typedef struct gr_piece_slot {
    uint32_t hash;
    gr_token token; // GR_TOKEN_NONE: free
} gr_piece_slot;

// Pieces by their bytes; borrows them. All zero is empty.
typedef struct gr_piece_index {
    const gr_str *pieces;
    gr_piece_slot *slots;
    size_t mask; // slots - 1
    uint64_t seed;
    size_t longest; // bytes of the longest piece added
} gr_piece_index;

// Makes room for `count` pieces out of `pieces`, which must outlive the index.
gr_status gr_piece_index_init(gr_piece_index *index, const gr_str *pieces, size_t count);
// Adds pieces[token] unless its bytes are there already: the first of duplicates stays. At most the
// `count` given at init.
void gr_piece_index_add(gr_piece_index *index, gr_token token);
// The token whose piece is these bytes, or GR_TOKEN_NONE.
gr_token gr_piece_index_find(const gr_piece_index *index, const char *bytes, size_t size);
void gr_piece_index_deinit(gr_piece_index *index);

typedef struct gr_pair_slot {
    gr_token left, right; // left GR_TOKEN_NONE: free
    uint32_t rank;
    gr_token merged;
} gr_pair_slot;

// Merges by the two tokens they join. All zero is empty.
typedef struct gr_pair_index {
    gr_pair_slot *slots;
    size_t mask;
    uint64_t seed;
} gr_pair_index;

gr_status gr_pair_index_init(gr_pair_index *index, size_t count);
// Adds a merge unless the pair has one: the first of duplicates, the best ranked, stays.
void gr_pair_index_add(gr_pair_index *index, gr_token left, gr_token right, uint32_t rank,
                       gr_token merged);
// NULL when the two do not merge.
const gr_pair_slot *gr_pair_index_find(const gr_pair_index *index, gr_token left, gr_token right);
void gr_pair_index_deinit(gr_pair_index *index);

#endif
