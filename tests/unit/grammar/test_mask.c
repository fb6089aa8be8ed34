// SPDX-License-Identifier: Apache-2.0
// Masks say exactly what advancing takes, keep to the tokens left, and every answer ends whole.
#include "tests/unit/grammar/grammar_test.h"

static const struct {
    const char *kind, *text;
} grammars[] = {
    {"regex", "(a|ab|abc)*[0-9]{3,20}"},
    {"regex", ".{5,40}"},
    {"regex", "(the |a)*(yes|no|maybe)"},
    {"regex", "[^x]{0,300}!"},
    {"regex", "\"[a-z\xC3\xA9\xE2\x82\xAC]{3000,40000}\""},
    {"gbnf", "root ::= value\nvalue ::= \"[\" (value (\",\" value)*)? \"]\" | \"\\\"\" [^\"\\n]* \"\\\"\" | num | \"{\" pair \"}\"\n"
             "pair ::= \"\\\"a\\\": \" value\nnum ::= \"-\"? [0-9]+ (\".\" [0-9]+)?"},
    {"gbnf", "root ::= t\nt ::= ([^()] | \"(\" t \")\")*"},
    {"gbnf", "root ::= s\ns ::= \"a\" s \"x\" | \"a\" s \"ab\" | b s? | \"\"\nb ::= \"a\" | \"b\" s"},
    {"gbnf", "root ::= x{2,5000} y\nx ::= w \" \"\nw ::= [a-z]+ | \"(\" w \")\"\ny ::= \"\" | \"!\" y"},
    {"gbnf", "root ::= \"0\" a b c\na ::= \"1\"*\nb ::= \"1\"* | \"(\" b \")\"\nc ::= \"2\" c | \"\""},
};

static uint32_t shortest_after(const gr_grammar_state *state, gr_token token) {
    gr_grammar_state *next;
    assert_int_equal(gr_grammar_state_clone(state, &next, NULL), GR_OK);
    uint32_t tokens = UINT32_MAX;
    if (gr_grammar_state_advance(next, token, NULL) == GR_OK)
        tokens = gr_grammar_state_shortest(next);
    gr_grammar_state_destroy(next);
    return tokens;
}

static void check_mask(gr_grammar_state *state, uint32_t left, const char *text) {
    const uint32_t *mask;
    gr_error error;
    gr_error_init(&error);
    if (gr_grammar_state_mask(state, left, &mask, &error) != GR_OK)
        fail_msg("%s: %s", text, error.message);
    for (gr_token token = 0; token < (gr_token)test_tokenizer->vocab.size + 5; token++) {
        bool expected;
        if (token == VOCAB_EOS)
            expected = gr_grammar_state_can_end(state);
        else
            expected = shortest_after(state, token) <= left - 1;
        if (allowed(mask, token) != expected)
            fail_msg("%s, %u tokens left: token %d should %sbe allowed", text, left, token, expected ? "" : "not ");
    }
}

static gr_token draw(const uint32_t *mask, uint64_t *seed) {
    gr_token chosen = GR_TOKEN_NONE;
    uint64_t seen = 0;
    for (gr_token token = 0; token < (gr_token)test_tokenizer->vocab.size + 5; token++)
        if (allowed(mask, token) && next_random(seed) % ++seen == 0)
            chosen = token;
    return chosen;
}

// One answer of at most `limit` tokens; every so often the mask is checked token by token.
static void walk(gr_grammar *g, const char *text, uint32_t limit, uint64_t seed) {
    gr_grammar_state *state;
    bool skip_space = seed % 2;
    assert_int_equal(gr_grammar_state_create(g, skip_space, &state, NULL), GR_OK);
    for (uint32_t left = limit; left && !gr_grammar_state_is_over(state); left--) {
        const uint32_t *mask;
        bool plain = !skip_space || left < limit; // no space is to be skipped
        if (plain && (limit < 100 || left < 5 || next_random(&seed) % 64 == 0)) {
            check_mask(state, left, text);
            check_mask(state, UINT32_MAX, text);
        }
        assert_int_equal(gr_grammar_state_mask(state, left, &mask, NULL), GR_OK);
        gr_token token = draw(mask, &seed);
        assert_int_equal(gr_grammar_state_advance(state, token, NULL), GR_OK);
        if (token == VOCAB_EOS)
            break;
        assert_true(gr_grammar_state_shortest(state) <= left - 1);
    }
    assert_true(gr_grammar_state_can_end(state));
    gr_grammar_state_destroy(state);
}

static void test_walks(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++) {
        gr_grammar *g = compile(grammars[i].kind, grammars[i].text);
        gr_grammar_info info;
        gr_grammar_info_get(g, &info);
        uint32_t wide = info.shortest > 1000 ? 5 : 40;
        for (uint64_t seed = 1; seed < 9; seed++)
            walk(g, grammars[i].text, info.shortest + (uint32_t)(seed * seed) % wide, seed * 0x9E3779B9 + i);
        gr_grammar_release(g);
    }
}

// A space that the first token begins with is none of the answer's.
static void test_skipped_space(void **state) {
    (void)state;
    gr_grammar *g = compile("regex", "the|a| b");
    gr_grammar_state *s;
    const uint32_t *mask;
    assert_int_equal(gr_grammar_state_create(g, true, &s, NULL), GR_OK);
    assert_int_equal(gr_grammar_state_mask(s, UINT32_MAX, &mask, NULL), GR_OK);
    for (gr_token token = 0; token < (gr_token)test_tokenizer->vocab.size; token++)
        assert_int_equal(allowed(mask, token), shortest_after(s, token) != UINT32_MAX);
    gr_token the = GR_TOKEN_NONE, space_the = GR_TOKEN_NONE;
    for (gr_token token = VOCAB_SPM_FIRST; token < (gr_token)test_tokenizer->vocab.size; token++) {
        gr_str piece = test_tokenizer->vocab.pieces[token];
        the = piece.size == 3 && !memcmp(piece.data, "the", 3) ? token : the;
        space_the = piece.size == 4 && !memcmp(piece.data, " the", 4) ? token : space_the;
    }
    assert_true(allowed(mask, the) && allowed(mask, space_the));
    assert_int_equal(gr_grammar_state_mask(s, 1, &mask, NULL), GR_OK);
    assert_true(allowed(mask, space_the) && !allowed(mask, VOCAB_BYTES + ' '));
    assert_int_equal(gr_grammar_state_advance(s, space_the, NULL), GR_OK);
    assert_true(gr_grammar_state_is_over(s));
    gr_grammar_state_destroy(s);
    gr_grammar_release(g);
}

static void test_states(void **state) {
    (void)state;
    gr_grammar *g = compile("gbnf", "root ::= \"(\" root \")\" | [a-z]*"), *other = compile("regex", "[a-z]*");
    gr_grammar_state *a = begin(g), *b, *c = begin(other);
    uint8_t x[16], y[16];
    assert_int_equal(gr_grammar_state_advance(a, VOCAB_BYTES + '(', NULL), GR_OK);
    assert_int_equal(gr_grammar_state_clone(a, &b, NULL), GR_OK);
    gr_grammar_state_fingerprint(a, x);
    assert_int_equal(gr_grammar_state_advance(b, VOCAB_BYTES + 'q', NULL), GR_OK);
    assert_int_equal(gr_grammar_state_advance(b, VOCAB_BYTES + 'q', NULL), GR_OK);
    gr_grammar_state_fingerprint(a, y);
    assert_memory_equal(x, y, 16); // a stands where it stood
    gr_grammar_state_fingerprint(b, y);
    assert_memory_not_equal(x, y, 16);
    assert_int_equal(gr_grammar_state_advance(a, VOCAB_BYTES + 'x', NULL), GR_OK);
    gr_grammar_state_fingerprint(a, x);
    assert_memory_equal(x, y, 16); // equal places, whatever led there
    // What is refused changes nothing; a control token and one that is none are refused.
    const gr_token refused[] = {VOCAB_EOS, VOCAB_BOS, VOCAB_UNK, VOCAB_INST, VOCAB_BYTES + '(', -1, 1000000};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_int_equal(gr_grammar_state_advance(a, refused[i], NULL), GR_ERROR_INVALID_ARGUMENT);
    gr_grammar_state_fingerprint(a, y);
    assert_memory_equal(x, y, 16);
    assert_int_equal(gr_grammar_state_advance(a, VOCAB_BYTES + ')', NULL), GR_OK);
    assert_true(gr_grammar_state_is_over(a));
    gr_grammar_state_fingerprint(a, x);
    assert_int_equal(gr_grammar_state_advance(a, VOCAB_EOS, NULL), GR_OK);
    assert_int_equal(gr_grammar_state_advance(a, VOCAB_EOS, NULL), GR_ERROR_INVALID_ARGUMENT);
    gr_grammar_state_fingerprint(a, y);
    assert_memory_not_equal(x, y, 16);
    gr_grammar_state_fingerprint(c, x);
    gr_grammar_release(g);
    gr_grammar_release(other);
    gr_grammar_state_destroy(a); // states keep their grammar
    gr_grammar_state_destroy(b);
    gr_grammar_state_destroy(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_walks), cmocka_unit_test(test_skipped_space),
                                       cmocka_unit_test(test_states)};
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
