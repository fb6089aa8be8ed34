// SPDX-License-Identifier: Apache-2.0
// linked/tokenizer.h: text to token ids and back. Private to the project: linked in, not installed.
// Threads: a gr_tokenizer is immutable once made; any thread, each with its own gr_tokens.
#ifndef GREGALE_LINKED_TOKENIZER_H
#define GREGALE_LINKED_TOKENIZER_H

#include <stdbool.h>

#include "gregale/linked/format.h"
#include "gregale/status.h"

typedef int32_t gr_token;
#define GR_TOKEN_NONE (-1)

// A growable list of tokens; zero it to begin. Caller-owned.
typedef struct gr_tokens {
    gr_token *data;
    size_t count, capacity;
} gr_tokens;
gr_status gr_tokens_push(gr_tokens *tokens, gr_token token);
gr_status gr_tokens_append(gr_tokens *tokens, const gr_token *data, size_t count);
void gr_tokens_deinit(gr_tokens *tokens);

typedef uint32_t gr_token_type; // as tokenizer.ggml.token_type
enum {
    GR_TOKEN_NORMAL = 1,
    GR_TOKEN_UNKNOWN = 2,
    GR_TOKEN_CONTROL = 3,
    GR_TOKEN_USER_DEFINED = 4,
    GR_TOKEN_UNUSED = 5,
    GR_TOKEN_BYTE = 6
};

typedef uint32_t gr_encode_flags;
enum {
    GR_ENCODE_SPECIAL = 1u << 0,  // add BOS (and EOS) where the model's metadata asks for it
    GR_ENCODE_PARSE_CONTROL = 1u << 1, // text that spells a control token becomes it (trusted text only)
    GR_ENCODE_NO_PREFIX = 1u << 2 // a continuation: no dummy space before the text
};

typedef struct gr_tokenizer gr_tokenizer;

// The calls a tokenizer plugin implements.
typedef struct gr_tokenizer_type {
    uint32_t struct_size;
    const char *name; // "spm", "bpe"
    // 0: not mine; the highest answer wins. By tokenizer.ggml.model and .pre.
    uint32_t (*match)(const gr_model_file *file);
    gr_status (*create)(const gr_model_file *file, gr_tokenizer **out_tokenizer, gr_error *error);
} gr_tokenizer_type;

// Vocabulary shared by all tokenizers; a plugin's object begins with it.
typedef struct gr_vocab {
    uint32_t size;
    const gr_str *pieces;        // as stored in the file (SPM: U+2581 for space; BPE: byte-level alphabet)
    const float *scores;         // NULL when the file has none
    const uint8_t *types;        // gr_token_type
    gr_token bos, eos, unk, pad, eot; // GR_TOKEN_NONE when absent
    bool add_bos, add_eos, add_space_prefix;
} gr_vocab;

struct gr_tokenizer {
    const gr_tokenizer_type *type;
    gr_vocab vocab;
    uint8_t fingerprint[16];
    // Appends the tokens of `text` (any bytes; invalid UTF-8 goes through byte fallback or is an error
    // that names the offset).
    gr_status (*encode)(const gr_tokenizer *tokenizer, gr_str text, gr_encode_flags flags,
                        gr_tokens *tokens, gr_error *error);
    // Writes the bytes a token stands for, at most `capacity`, and returns how many there are in all.
    // Control tokens give none unless `render_control`. A leading dummy space is the caller's business.
    size_t (*piece)(const gr_tokenizer *tokenizer, gr_token token, bool render_control, char *out_bytes,
                    size_t capacity);
    void (*destroy)(gr_tokenizer *tokenizer);
};

// Makes the tokenizer that the file's metadata calls for.
gr_status gr_tokenizer_create(const gr_model_file *file, gr_tokenizer **out_tokenizer, gr_error *error);
void gr_tokenizer_destroy(gr_tokenizer *tokenizer);
gr_status gr_tokenizer_encode(const gr_tokenizer *tokenizer, gr_str text, gr_encode_flags flags,
                              gr_tokens *tokens, gr_error *error);
size_t gr_tokenizer_piece(const gr_tokenizer *tokenizer, gr_token token, bool render_control, char *out_bytes,
                          size_t capacity);
// The control or user-defined token spelled exactly `piece`, or GR_TOKEN_NONE.
gr_token gr_tokenizer_find(const gr_tokenizer *tokenizer, const char *piece);
// Whether generation ends at `token`: eos, eot and what the file's metadata adds.
bool gr_tokenizer_is_end(const gr_tokenizer *tokenizer, gr_token token);

#endif
