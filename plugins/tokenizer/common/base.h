// SPDX-License-Identifier: Apache-2.0
// base.h: what every tokenizer's object begins with, and how it is read from a model file's
// metadata. For the tokenizers. Threads: built by one, then read by any.
#ifndef GREGALE_TOKENIZER_BASE_H
#define GREGALE_TOKENIZER_BASE_H

#include "gregale/linked/tokenizer.h"
#include "plugins/tokenizer/common/matcher.h"

#define GR_TOKENIZER_ORIGIN "tokenizer"
#define GR_MAX_TEXT_BYTES 0x1FFFFFFFu // positions in it fit 32 bits, also three times over
#define GR_MAX_ENDS 16u
// Control and user-defined pieces are searched for in text, so their length is bounded.
#define GR_MAX_SPECIAL_BYTES 512u

typedef struct gr_base_tokenizer gr_base_tokenizer;
struct gr_base_tokenizer {
    gr_tokenizer tokenizer; // first
    char *bytes;            // of all pieces
    gr_str *pieces;
    float *scores;
    uint8_t *types;
    gr_matcher specials; // control and user-defined
    gr_matcher plain;    // cut out of any text
    gr_matcher parsed;   // cut out of text under GR_ENCODE_PARSE_CONTROL
    gr_token ends[GR_MAX_ENDS];
    uint32_t end_count;
    // Appends the tokens of plain text. `begins`: a dummy space goes before it where the vocabulary
    // wants one.
    gr_status (*encode_text)(const gr_base_tokenizer *base, gr_str text, bool begins,
                             gr_tokens *tokens, gr_error *error);
};

// What differs between kinds of vocabulary.
typedef struct gr_base_rules {
    const gr_tokenizer_type *type;
    bool need_scores, need_types;
    bool add_bos;          // where the file does not say
    bool add_space_prefix; // where the file does not say
    bool cut_user_defined; // user-defined pieces are cut out of text before encode_text sees it
} gr_base_rules;

// Reads and checks pieces, scores, types and special ids. The pieces are copied, so the file may be
// closed. CORRUPT with a line that names the file, the key and what was expected. On failure, too,
// the caller calls gr_base_deinit.
gr_status gr_base_init(gr_base_tokenizer *base, const gr_base_rules *rules,
                       const gr_model_file *file, gr_error *error);
void gr_base_deinit(gr_base_tokenizer *base);
// Mixes more of what makes this tokenizer encode as it does into its fingerprint.
void gr_base_fingerprint(gr_base_tokenizer *base, const void *bytes, size_t size);

// Implements gr_tokenizer.encode over encode_text: BOS and EOS, control tokens where asked for.
gr_status gr_base_encode(const gr_tokenizer *tokenizer, gr_str text, gr_encode_flags flags,
                         gr_tokens *tokens, gr_error *error);
// Copies at most `capacity` of `size` bytes; returns `size`.
size_t gr_base_copy(const char *bytes, size_t size, char *out_bytes, size_t capacity);
// `text` as one short printable line, for messages.
const char *gr_printable(gr_str text, char out_text[64]);
gr_status gr_base_out_of_memory(gr_error *error);

#endif
