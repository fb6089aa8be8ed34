// SPDX-License-Identifier: Apache-2.0
// merge.h: the merging loop that both tokenizers share. Threads: a gr_merger belongs to one.
//
// Byte-pair encoding (Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with
// Subword Units", 2016): of all neighbouring pairs that may merge, the best ranked merges first,
// the leftmost among equals, until none may. A heap of candidates makes that O(n log n) in a word
// of n symbols.
#ifndef GREGALE_TOKENIZER_MERGE_H
#define GREGALE_TOKENIZER_MERGE_H

#include <stdbool.h>

#include "gregale/linked/tokenizer.h"

typedef struct gr_symbol {
    uint32_t start, size;   // its bytes in the word; size 0: merged into a neighbour
    int32_t previous, next; // neighbours; -1: none
    gr_token token;         // GR_TOKEN_NONE: not looked up, or none
} gr_symbol;

typedef struct gr_merge_candidate {
    uint64_t order; // rank, then position
    uint32_t size;  // bytes of both halves; differs when either has changed since
    gr_token merged;
} gr_merge_candidate;

// Whether two neighbours merge, how early, and into which token.
typedef bool (*gr_merge_rule)(const void *context, const gr_symbol *left, const gr_symbol *right,
                              uint32_t *out_rank, gr_token *out_merged);

// Working memory, reused from word to word. All zero is empty.
typedef struct gr_merger {
    gr_symbol *symbols;
    size_t count, capacity;
    gr_merge_candidate *heap;
    size_t heap_count, heap_capacity;
} gr_merger;

// Begins a new word.
void gr_merger_clear(gr_merger *merger);
// Appends a symbol, `size` bytes (at least 1) at `start`.
gr_status gr_merger_add(gr_merger *merger, uint32_t start, uint32_t size, gr_token token);
// Merges until nothing merges; what is left is read with gr_merger_next.
gr_status gr_merger_run(gr_merger *merger, gr_merge_rule rule, const void *context);
// The symbol after `symbol` (NULL: the first), or NULL at the end.
const gr_symbol *gr_merger_next(const gr_merger *merger, const gr_symbol *symbol);
void gr_merger_deinit(gr_merger *merger);

#endif
