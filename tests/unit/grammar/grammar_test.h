// SPDX-License-Identifier: Apache-2.0
// grammar_test.h: grammars over a small vocabulary: every byte, and words that span what grammars
// tell apart.
#ifndef GREGALE_TESTS_GRAMMAR_TEST_H
#define GREGALE_TESTS_GRAMMAR_TEST_H

#include "gregale/linked/grammar.h"
#include "tests/unit/tokenizer/vocab.h"

static gr_token_trie *test_trie;
static gr_tokenizer *test_tokenizer;

static inline int open_vocabulary(void **state) {
    static const char *const words[] = {
        " ",     "a",       "ab",   "abc",   "b",    "ba",    "aaaa",  "the",  " the", "\"",     "\",",
        "\":",   "\": \"",  "\"}",  "{\"",   "\"a\"", "\", \"", "[[",   "]]",   "],",   "}}",     "},",
        "0",     "00",      "12",   "1",     "-1",   "2024",  "-",     ".5",   "true", "false",  "null",
        ": ",    ", ",      "\n",   "\n  ",  "1,2",  "1]",    "(a",    ")",    "))",   "\xC3\xA9", "\xE2\x82",
        "\xAC",  "\xF0\x9F", "\\\"", "\\u00", "e5",   "+",     "1+1",   "*(",   "yes",  "no",     "maybe"};
    (void)state;
    static vocab v;
    vocab_spm(&v);
    v.add_space_prefix = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        vocab_add(&v, words[i], GR_TOKEN_NORMAL, (float)-(double)i);
    test_tokenizer = vocab_open(&v);
    return gr_token_trie_create(test_tokenizer, test_tokenizer->vocab.size + 5, &test_trie, NULL);
}

static inline int close_vocabulary(void **state) {
    (void)state;
    gr_token_trie_release(test_trie);
    gr_tokenizer_destroy(test_tokenizer);
    return 0;
}

static inline gr_grammar *compile(const char *kind, const char *text) {
    gr_grammar *grammar;
    gr_error error;
    gr_error_init(&error);
    if (gr_grammar_create(test_trie, kind, (gr_str){text, strlen(text)}, &grammar, &error))
        fail_msg("%s: %s", text, error.message);
    return grammar;
}

// The text is refused with a message that holds `part`.
static inline void refuses(const char *kind, const char *text, gr_status status, const char *part) {
    gr_grammar *grammar;
    gr_error error;
    gr_error_init(&error);
    gr_status found =
        gr_grammar_create(test_trie, kind, (gr_str){text, strlen(text)}, &grammar, &error);
    if (found == GR_OK)
        fail_msg("%s: taken", text);
    if (found != status || !strstr(error.message, part))
        fail_msg("%s: expected '%s', found: %s (%d)", text, part, error.message, found);
    assert_null(grammar);
}

static inline gr_grammar_state *begin(gr_grammar *grammar) {
    gr_grammar_state *state;
    assert_int_equal(gr_grammar_state_create(grammar, false, &state, NULL), GR_OK);
    return state;
}

// 2: a whole answer; 1: the beginning of one; 0: neither. Byte by byte.
static inline int follow(gr_grammar *grammar, const char *text, size_t size) {
    gr_grammar_state *state = begin(grammar);
    int found = 1;
    for (size_t i = 0; i < size && found; i++)
        found = gr_grammar_state_advance(state, VOCAB_BYTES + (uint8_t)text[i], NULL) == GR_OK;
    if (found && gr_grammar_state_can_end(state))
        found = 2;
    gr_grammar_state_destroy(state);
    return found;
}

static inline void matches(gr_grammar *grammar, const char *text) {
    if (follow(grammar, text, strlen(text)) != 2)
        fail_msg("expected a match: '%s'", text);
}

static inline void differs(gr_grammar *grammar, const char *text) {
    if (follow(grammar, text, strlen(text)) == 2)
        fail_msg("expected no match: '%s'", text);
}

static inline bool allowed(const uint32_t *mask, gr_token token) {
    return mask[token / 32] >> token % 32 & 1;
}

static inline uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

#endif
