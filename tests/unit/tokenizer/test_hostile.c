// SPDX-License-Identifier: Apache-2.0
// Vocabularies that no correct file has: each is refused with one line that says where and what was
// expected, or tolerated as the formats demand.
#include <math.h>

#include "tests/unit/tokenizer/vocab.h"

static void refuse(const vocab *v, gr_status expected, const char *part) {
    gr_tokenizer *tokenizer = (gr_tokenizer *)(uintptr_t)1;
    gr_error error;
    gr_status status = vocab_try(v, &tokenizer, &error);
    assert_null(tokenizer);
    if (status != expected || !strstr(error.message, part) || !strstr(error.message, "small.gguf"))
        fail_msg("%d (expected %d): \"%s\" should say \"%s\"", status, expected, error.message,
                 part);
    assert_null(strchr(error.message, '\n'));
    assert_string_equal(error.origin, "tokenizer");
}

static vocab spm(void) {
    vocab v;
    vocab_spm(&v);
    vocab_add(&v, "a", GR_TOKEN_NORMAL, -1);
    return v;
}

static vocab bpe(void) {
    vocab v;
    vocab_bpe(&v);
    vocab_add(&v, "ab", GR_TOKEN_NORMAL, 0);
    v.score_count = SIZE_MAX;
    vocab_merge(&v, "a b");
    return v;
}

static void test_models_and_patterns_must_be_known(void **state) {
    (void)state;
    vocab v = spm();
    v.model = "unigram\n";
    refuse(&v, GR_ERROR_UNSUPPORTED, "'unigram?'; known are llama");
    v.model = NULL;
    refuse(&v, GR_ERROR_NOT_FOUND, "tokenizer.ggml.model is missing");
    v = bpe();
    v.pre = "deepseek-llm";
    refuse(&v, GR_ERROR_UNSUPPORTED, "'deepseek-llm'; known are: gpt2");
    v.pre = NULL;
    refuse(&v, GR_ERROR_UNSUPPORTED, "tokenizer.ggml.pre is missing");
}

static void test_columns_must_fit_each_other(void **state) {
    (void)state;
    vocab v = spm();
    v.count = 0;
    refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.tokens has 0 entries");
    v.count = SIZE_MAX;
    refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.tokens is missing");
    v = spm();
    v.type_count--;
    refuse(&v, GR_ERROR_CORRUPT,
           "tokenizer.ggml.token_type has 261 entries, tokenizer.ggml.tokens 262");
    v.type_count = SIZE_MAX;
    refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.token_type is missing");
    v = spm();
    v.score_count = 1;
    refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.scores has 1 entries");
    v.score_count = SIZE_MAX;
    refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.scores is missing");
    v = bpe();
    v.type_count = SIZE_MAX; // optional here: all are ordinary
    gr_tokenizer_destroy(vocab_open(&v));
}

static void test_values_must_be_in_range(void **state) {
    (void)state;
    static const int32_t types[] = {0, 7, -1, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        vocab v = spm();
        v.types[9] = types[i];
        refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.token_type[9] is");
    }
    vocab v = spm();
    v.scores[3] = NAN;
    refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.scores[3] is not a number");
    v = spm();
    v.bos = 262;
    refuse(&v, GR_ERROR_CORRUPT, "bos_token_id is 262; the vocabulary has 262 tokens");
    v.bos = INT64_MAX;
    refuse(&v, GR_ERROR_CORRUPT, "bos_token_id: expected a token id");
    v.bos = -1;
    refuse(&v, GR_ERROR_CORRUPT, "add_bos_token is set, but there is no bos_token_id");
    v = spm();
    v.eos = -1;
    v.add_eos = 1;
    refuse(&v, GR_ERROR_CORRUPT, "add_eos_token is set");
}

static void test_pieces_must_be_what_their_type_says(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "<0x1>", "<0xGG>", "<0x000>", "a", "<0x41", "<0x41>>"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vocab v = spm();
        v.pieces[VOCAB_BYTES + 7] = (gr_str){wrong[i], strlen(wrong[i])};
        refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.tokens[12] is '");
    }
    static char longest[600];
    memset(longest, 'x', sizeof longest);
    vocab v = spm();
    v.pieces[VOCAB_INST] = (gr_str){longest, 512};
    gr_tokenizer_destroy(vocab_open(&v));
    v.pieces[VOCAB_INST] = (gr_str){longest, 513};
    refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.tokens[3] has 513 bytes");
}

static void test_merges_must_be_well_formed(void **state) {
    (void)state;
    static const char *const wrong[] = {"", " ", "ab", "a ", " b", "a  b", "a b ", " a b", "a b c"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vocab v = bpe();
        vocab_merge(&v, wrong[i]);
        refuse(&v, GR_ERROR_CORRUPT, "expected two pieces and a space between");
    }
    static const char *const unknown[] = {"b a", "\xC3\x84 b", "ab ab"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        vocab v = bpe();
        vocab_merge(&v, unknown[i]);
        refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.merges[1] is '");
    }
    vocab v = bpe();
    v.merge_count = SIZE_MAX;
    refuse(&v, GR_ERROR_CORRUPT, "tokenizer.ggml.merges: expected an array of strings");
}

static void test_arrays_must_hold_what_they_should(void **state) {
    (void)state;
    static const char *const keys[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
                                       "tokenizer.ggml.scores"};
    vocab v = spm();
    for (int k = 0; k < 3; k++) {
        gr_model_file *file;
        gr_tokenizer *tokenizer;
        gr_error error;
        gr_error_init(&error);
        assert_int_equal(gr_model_file_create("small.gguf", "test", &file, NULL), GR_OK);
        vocab_put_string(file, "tokenizer.ggml.model", "llama");
        for (int i = 0; i < 3; i++) { // strings for numbers, numbers for strings
            if (i == k ? i > 0 : i == 0)
                vocab_put_array(file, keys[i], GR_META_STRING, sizeof *v.pieces, v.count, v.pieces);
            else
                vocab_put_array(file, keys[i], GR_META_I64, 4, v.count, v.types);
        }
        assert_int_equal(gr_model_file_seal(file, NULL), GR_OK);
        assert_int_equal(gr_tokenizer_create(file, &tokenizer, &error), GR_ERROR_CORRUPT);
        assert_non_null(strstr(error.message, keys[k]));
        assert_non_null(strstr(error.message, "expected an array of"));
        gr_model_file_close(file);
    }
}

static void test_duplicates_are_tolerated(void **state) {
    (void)state;
    vocab v = spm();
    vocab_add(&v, "a", GR_TOKEN_NORMAL, 5);
    vocab_add(&v, "[INST]", GR_TOKEN_CONTROL, 0);
    vocab_add(&v, "", GR_TOKEN_NORMAL, 0);
    vocab_add(&v, "", GR_TOKEN_CONTROL, 0);
    vocab_add(&v, "<0x41>", GR_TOKEN_BYTE, 0);
    gr_tokenizer *tokenizer = vocab_open(&v);
    gr_tokens tokens = {0};
    assert_int_equal(gr_tokenizer_encode(tokenizer, (gr_str){"aA[INST]", 8},
                                         GR_ENCODE_NO_PREFIX | GR_ENCODE_PARSE_CONTROL, &tokens,
                                         NULL),
                     GR_OK);
    assert_int_equal(tokens.count, 3);
    assert_int_equal(tokens.data[0], VOCAB_SPM_FIRST);
    assert_int_equal(tokens.data[1], VOCAB_BYTES + 'A');
    assert_int_equal(tokens.data[2], VOCAB_INST);
    gr_tokens_deinit(&tokens);
    gr_tokenizer_destroy(tokenizer);
}

static void test_fingerprints_tell_vocabularies_apart(void **state) {
    (void)state;
    vocab v = spm();
    gr_tokenizer *a = vocab_open(&v), *b = vocab_open(&v);
    assert_memory_equal(a->fingerprint, b->fingerprint, sizeof a->fingerprint);
    gr_tokenizer_destroy(b);
    for (int change = 0; change < 4; change++) {
        v = spm();
        if (change == 0)
            v.pieces[VOCAB_SPM_FIRST] = (gr_str){"b", 1};
        else if (change == 1)
            v.types[VOCAB_SPM_FIRST] = GR_TOKEN_UNUSED;
        else if (change == 2)
            v.scores[VOCAB_SPM_FIRST] = 3;
        else
            v.add_space_prefix = 0;
        b = vocab_open(&v);
        assert_memory_not_equal(a->fingerprint, b->fingerprint, sizeof a->fingerprint);
        gr_tokenizer_destroy(b);
    }
    gr_tokenizer_destroy(a);
    v = bpe();
    a = vocab_open(&v);
    v.pre = "tekken";
    b = vocab_open(&v);
    assert_memory_not_equal(a->fingerprint, b->fingerprint, sizeof a->fingerprint);
    gr_tokenizer_destroy(b);
    v.pre = "gpt2";
    v.merge_count = 0;
    b = vocab_open(&v);
    assert_memory_not_equal(a->fingerprint, b->fingerprint, sizeof a->fingerprint);
    gr_tokenizer_destroy(b);
    gr_tokenizer_destroy(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models_and_patterns_must_be_known),
        cmocka_unit_test(test_columns_must_fit_each_other),
        cmocka_unit_test(test_values_must_be_in_range),
        cmocka_unit_test(test_pieces_must_be_what_their_type_says),
        cmocka_unit_test(test_merges_must_be_well_formed),
        cmocka_unit_test(test_arrays_must_hold_what_they_should),
        cmocka_unit_test(test_duplicates_are_tolerated),
        cmocka_unit_test(test_fingerprints_tell_vocabularies_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
