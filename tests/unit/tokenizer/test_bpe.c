// SPDX-License-Identifier: Apache-2.0
#include "plugins/tokenizer/bpe/alphabet.h"
#include "tests/unit/tokenizer/vocab.h"

static void check(const gr_tokenizer *tokenizer, gr_str text, gr_encode_flags flags, size_t count,
                  const gr_token *expected) {
    gr_tokens tokens = {0};
    gr_error error;
    gr_error_init(&error);
    if (gr_tokenizer_encode(tokenizer, text, flags, &tokens, &error))
        fail_msg("%s", error.message);
    for (size_t i = 0; i < tokens.count && i < count; i++)
        assert_int_equal(tokens.data[i], expected[i]);
    assert_int_equal(tokens.count, count);
    gr_tokens_deinit(&tokens);
}

#define CHECK(tokenizer, text, flags, ...)                                                         \
    check(tokenizer, (gr_str){text, sizeof text - 1}, flags,                                       \
          sizeof((gr_token[]){__VA_ARGS__}) / sizeof(gr_token), (gr_token[]){__VA_ARGS__})

static gr_token letter(char c) {
    return VOCAB_BPE_A + (c - 'a');
}

static void test_the_alphabet_spells_every_byte_once(void **state) {
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char spelled[2], back[2];
        size_t size = gr_alphabet_spell((uint8_t)byte, spelled);
        assert_int_equal(gr_alphabet_read(spelled, size, back), 1);
        assert_int_equal((unsigned char)back[0], byte);
    }
    char spelled[2];
    assert_int_equal(gr_alphabet_spell(' ', spelled), 2);
    assert_memory_equal(spelled, "\xC4\xA0", 2);
    assert_int_equal(gr_alphabet_spell(0xAD, spelled), 2);
    assert_memory_equal(spelled, "\xC5\x83", 2);
}

static void test_merges_by_rank(void **state) {
    (void)state;
    vocab v;
    vocab_bpe(&v);
    gr_token ab = vocab_add(&v, "ab", GR_TOKEN_NORMAL, 0),
             bc = vocab_add(&v, "bc", GR_TOKEN_NORMAL, 0);
    gr_token abc = vocab_add(&v, "abc", GR_TOKEN_NORMAL, 0);
    v.score_count = SIZE_MAX;
    vocab_merge(&v, "b c");
    vocab_merge(&v, "a b");
    vocab_merge(&v, "a bc");
    vocab_merge(&v, "a b"); // once more: the first rank stays
    gr_tokenizer *tokenizer = vocab_open(&v);
    CHECK(tokenizer, "ab", 0, ab);
    CHECK(tokenizer, "bc", 0, bc);
    CHECK(tokenizer, "abc", 0, abc);
    CHECK(tokenizer, "ab cabb", 0, ab, VOCAB_BPE_SPACE, letter('c'), ab, letter('b'));
    assert_false(tokenizer->vocab.add_bos);
    gr_tokenizer_destroy(tokenizer);
}

static void test_whole_words_where_the_pattern_says_so(void **state) {
    (void)state;
    vocab v;
    vocab_bpe(&v);
    gr_token word = vocab_add(&v, "xyz", GR_TOKEN_NORMAL, 0); // no merges lead to it
    v.score_count = SIZE_MAX;
    gr_tokenizer *tokenizer = vocab_open(&v);
    CHECK(tokenizer, "xyz", 0, letter('x'), letter('y'), letter('z'));
    gr_tokenizer_destroy(tokenizer);
    static const char *const names[] = {"tekken", "llama-bpe", "llama3", "llama-v3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        v.pre = names[i];
        tokenizer = vocab_open(&v);
        CHECK(tokenizer, "xyz", 0, word);
        CHECK(tokenizer, "xyz", GR_ENCODE_SPECIAL, VOCAB_BPE_BOS, word);
        gr_tokenizer_destroy(tokenizer);
    }
}

static void test_text_never_spells_a_control_token(void **state) {
    (void)state;
    vocab v;
    vocab_bpe(&v);
    gr_token en = vocab_add(&v, "en", GR_TOKEN_NORMAL, 0);
    gr_token end = vocab_add(&v, "end", GR_TOKEN_CONTROL, 0);
    v.score_count = SIZE_MAX;
    vocab_merge(&v, "e n");
    vocab_merge(&v, "en d");
    static const char *const names[] = {"gpt2", "tekken"}; // the second takes whole words
    for (int i = 0; i < 2; i++) {
        v.pre = names[i];
        gr_tokenizer *tokenizer = vocab_open(&v);
        CHECK(tokenizer, "end", 0, en, letter('d'));
        CHECK(tokenizer, "aend", GR_ENCODE_PARSE_CONTROL, letter('a'), end);
        gr_tokenizer_destroy(tokenizer);
    }
}

static void test_user_defined_pieces_are_cut_out(void **state) {
    (void)state;
    vocab v;
    vocab_bpe(&v);
    gr_tokenizer *tokenizer = vocab_open(&v);
    CHECK(tokenizer, "a[USER]b", 0, letter('a'), VOCAB_BPE_USER, letter('b'));
    char bytes[8];
    assert_int_equal(gr_tokenizer_piece(tokenizer, VOCAB_BPE_USER, false, bytes, 8), 6);
    assert_memory_equal(bytes, "[USER]", 6);
    assert_int_equal(gr_tokenizer_piece(tokenizer, VOCAB_BPE_SPACE, false, bytes, 8), 1);
    assert_int_equal(bytes[0], ' ');
    assert_int_equal(gr_tokenizer_piece(tokenizer, VOCAB_BPE_BOS, false, bytes, 8), 0);
    assert_int_equal(gr_tokenizer_piece(tokenizer, VOCAB_BPE_BOS, true, bytes, 8), 3);
    gr_tokenizer_destroy(tokenizer);
}

static void test_bytes_without_a_token_vanish(void **state) {
    (void)state;
    vocab v;
    vocab_bpe(&v);
    gr_token ab = vocab_add(&v, "ab", GR_TOKEN_NORMAL, 0);
    v.score_count = SIZE_MAX;
    vocab_merge(&v, "a b");
    gr_tokenizer *tokenizer = vocab_open(&v);
    CHECK(tokenizer,
          "a\xFF\xFE"
          "b",
          0, letter('a'), letter('b')); // not UTF-8: words of their own
    CHECK(tokenizer,
          "a\xC3\xA9"
          "b",
          0, ab); // one word
    check(tokenizer, (gr_str){"\xFF", 1}, 0, 0, NULL);
    gr_tokenizer_destroy(tokenizer);
}

static void test_one_mebibyte_of_anything_is_cut(void **state) {
    (void)state;
    static const char *const names[] = {"gpt2", "smollm", "llama-bpe", "tekken"};
    static const char *const units[] = {"a", "A",        "7",  " ",   "\n",   "\t ",
                                        ".", "\xCC\x81", "aA", " \n", "\xFF", "'s"};
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE);
    assert_non_null(text);
    for (size_t n = 0; n < 4; n++) {
        vocab v;
        vocab_bpe(&v);
        v.pre = names[n];
        gr_tokenizer *tokenizer = vocab_open(&v);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            size_t unit = strlen(units[u]), letters = 0;
            gr_tokens tokens = {0};
            for (size_t i = 0; i < SIZE; i++) {
                text[i] = units[u][i % unit];
                letters += (text[i] >= 'a' && text[i] <= 'z') || text[i] == ' ';
            }
            assert_int_equal(gr_tokenizer_encode(tokenizer, (gr_str){text, SIZE}, 0, &tokens, NULL),
                             GR_OK);
            assert_int_equal(tokens.count, letters);
            gr_tokens_deinit(&tokens);
        }
        gr_tokenizer_destroy(tokenizer);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_alphabet_spells_every_byte_once),
        cmocka_unit_test(test_merges_by_rank),
        cmocka_unit_test(test_whole_words_where_the_pattern_says_so),
        cmocka_unit_test(test_text_never_spells_a_control_token),
        cmocka_unit_test(test_user_defined_pieces_are_cut_out),
        cmocka_unit_test(test_bytes_without_a_token_vanish),
        cmocka_unit_test(test_one_mebibyte_of_anything_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
