// SPDX-License-Identifier: Apache-2.0
// splitter.h: cuts text into the words within which merges happen ("pre-tokenizer"), by the
// patterns that tokenizer.ggml.pre names. For the bpe tokenizer. Threads: a gr_splitter is built by
// one, then used by any, each with its own gr_splitter_run.
#ifndef GREGALE_TOKENIZER_SPLITTER_H
#define GREGALE_TOKENIZER_SPLITTER_H

#include <stdbool.h>

#include "gregale/status.h"

// One way to cut. Each pass cuts the pieces of the one before; matches and the gaps between are
// pieces.
typedef struct gr_split_kind {
    const char *names[4];    // values of tokenizer.ggml.pre; ends with NULL
    const char *patterns[2]; // PCRE2, with UTF and UCP
    bool whole_words;        // a word that is in the vocabulary is one token, unmerged
    bool add_bos;            // where the file does not say
} gr_split_kind;

// The kind called `name`, or NULL. `gr_split_known` lists all names for messages.
const gr_split_kind *gr_split_kind_find(gr_str name);
const char *gr_split_known(void);

typedef struct gr_splitter {
    void *codes[2]; // pcre2_code
} gr_splitter;

gr_status gr_splitter_init(gr_splitter *splitter, const gr_split_kind *kind, gr_error *error);
void gr_splitter_deinit(gr_splitter *splitter);

typedef gr_status (*gr_word_visitor)(void *context, const char *word, size_t size, gr_error *error);

// Calls `visit` with the words of `text` in order; together they are the text. Bytes that are not
// UTF-8 are words of one byte. Stops at the first failure.
gr_status gr_splitter_visit(const gr_splitter *splitter, gr_str text, gr_word_visitor visit,
                            void *context, gr_error *error);

#endif
