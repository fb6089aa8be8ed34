// SPDX-License-Identifier: Apache-2.0
// linked/grammar.h: languages that an answer must belong to, as masks of the tokens allowed next.
// Private to the project: linked in, not installed. For the engine, and for who adds a kind of
// grammar. docs/constraints.md says what each kind takes.
//
// A grammar is text compiled for one vocabulary. A state says where in it an answer stands: it
// advances by tokens, gives the mask of the next ones, and is cheap to clone. A token is allowed
// when the answer with it can still be completed; an end token exactly when it is complete.
//
// Threads: a trie is immutable. A grammar and its states share caches: one thread at a time.
#ifndef GREGALE_LINKED_GRAMMAR_H
#define GREGALE_LINKED_GRAMMAR_H

#include <stdbool.h>

#include "gregale/linked/tokenizer.h"
#include "gregale/status.h"

// ---- Vocabularies

// The tokens that stand for text, by their bytes. Counted.
typedef struct gr_token_trie gr_token_trie;

// `vocab` is how many logits the model has, at least as many as the tokenizer has tokens.
gr_status gr_token_trie_create(const gr_tokenizer *tokenizer, uint32_t vocab,
                               gr_token_trie **out_trie, gr_error *error);
gr_token_trie *gr_token_trie_retain(gr_token_trie *trie);
void gr_token_trie_release(gr_token_trie *trie);

// ---- Grammars

typedef struct gr_grammar gr_grammar; // counted
typedef struct gr_grammar_builder gr_grammar_builder;

// A kind of grammar, linked in: `const gr_grammar_type gr_grammar_<name>` in
// plugins/grammar/<name>.c or plugins/grammar/<name>/.
typedef struct gr_grammar_type {
    uint32_t struct_size;
    const char *name; // "json-schema"
    const char *help; // one line
    // Writes the language down with the calls of plugins/grammar/common/build.h. What is wrong with
    // the text is INVALID_ARGUMENT or, where it is well-formed, UNSUPPORTED; the message says where.
    gr_status (*build)(gr_grammar_builder *builder, gr_str text, gr_error *error);
} gr_grammar_type;

// All kinds that are linked in; ends with NULL.
const gr_grammar_type *const *gr_grammar_types(void);

// Compiles `text`. OUT_OF_RANGE when it is beyond the limits on size, INVALID_ARGUMENT when it is
// wrong or nothing at all satisfies it. The grammar keeps the trie.
gr_status gr_grammar_create(gr_token_trie *trie, const char *kind, gr_str text,
                            gr_grammar **out_grammar, gr_error *error);
gr_grammar *gr_grammar_retain(gr_grammar *grammar);
void gr_grammar_release(gr_grammar *grammar);
const gr_token_trie *gr_grammar_trie(const gr_grammar *grammar);
// What it was compiled from; borrowed.
gr_str gr_grammar_source(const gr_grammar *grammar, const char **out_kind);

typedef struct gr_grammar_info {
    uint32_t rules, states, classes; // of the automaton
    uint32_t shortest;               // tokens that suffice for a whole answer
    uint64_t bytes;                  // memory, caches included
} gr_grammar_info;
void gr_grammar_info_get(const gr_grammar *grammar, gr_grammar_info *out_info);

// ---- States

typedef struct gr_grammar_state gr_grammar_state;

// The beginning. `skip_space`: a space that the first token begins with is not part of the answer.
gr_status gr_grammar_state_create(gr_grammar *grammar, bool skip_space,
                                  gr_grammar_state **out_state, gr_error *error);
gr_status gr_grammar_state_clone(const gr_grammar_state *state, gr_grammar_state **out_state,
                                 gr_error *error);
void gr_grammar_state_destroy(gr_grammar_state *state);
// Takes a token. INVALID_ARGUMENT, and the state as it was, when it is not allowed.
gr_status gr_grammar_state_advance(gr_grammar_state *state, gr_token token, gr_error *error);
// The tokens allowed, bit t%32 of word t/32, out of [vocab]; borrowed until the next call on the
// grammar or one of its states. With at most `left` tokens to come only those are allowed that
// leave enough of them to complete the answer; where gr_grammar_state_shortest exceeds `left`
// nothing may be allowed. OUT_OF_RANGE when the grammar is too ambiguous.
gr_status gr_grammar_state_mask(gr_grammar_state *state, uint32_t left, const uint32_t **out_mask,
                                gr_error *error);
// Whether the answer is complete; whether nothing can follow it.
bool gr_grammar_state_can_end(const gr_grammar_state *state);
bool gr_grammar_state_is_over(const gr_grammar_state *state);
// Tokens, the end token not counted, that suffice to complete the answer.
uint32_t gr_grammar_state_shortest(const gr_grammar_state *state);
// Equal for equal states of equal grammars, in any process.
void gr_grammar_state_fingerprint(const gr_grammar_state *state, uint8_t out_fingerprint[16]);

#endif
