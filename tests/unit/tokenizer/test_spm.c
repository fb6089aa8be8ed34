// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/tokenizer/vocab.h"

#define SPACE "\xE2\x96\x81"

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

enum { SPACE_ID = VOCAB_SPM_FIRST, A, B, AB, SPACE_AB, AA };

static void fill(vocab *v) {
    vocab_spm(v);
    vocab_add(v, SPACE, GR_TOKEN_NORMAL, -10);
    vocab_add(v, "a", GR_TOKEN_NORMAL, -11);
    vocab_add(v, "b", GR_TOKEN_NORMAL, -12);
    vocab_add(v, "ab", GR_TOKEN_NORMAL, -1);
    vocab_add(v, SPACE "ab", GR_TOKEN_NORMAL, -3);
    vocab_add(v, "aa", GR_TOKEN_NORMAL, -2);
}

static void test_best_score_first_leftmost_among_equals(void **state) {
    (void)state;
    vocab v;
    fill(&v);
    gr_tokenizer *tokenizer = vocab_open(&v);
    CHECK(tokenizer, "ab", 0, SPACE_AB);
    CHECK(tokenizer, "aab", 0, SPACE_ID, A, AB);
    CHECK(tokenizer, "aaa", 0, SPACE_ID, AA, A);
    CHECK(tokenizer, "ab ab", 0, SPACE_AB, SPACE_AB);
    check(tokenizer, (gr_str){0}, 0, 0, NULL);
    gr_tokenizer_destroy(tokenizer);
}

static void test_flags(void **state) {
    (void)state;
    vocab v;
    fill(&v);
    v.add_eos = 1;
    gr_tokenizer *tokenizer = vocab_open(&v);
    CHECK(tokenizer, "ab", GR_ENCODE_SPECIAL, VOCAB_BOS, SPACE_AB, VOCAB_EOS);
    CHECK(tokenizer, "", GR_ENCODE_SPECIAL, VOCAB_BOS, VOCAB_EOS);
    CHECK(tokenizer, "ab", GR_ENCODE_NO_PREFIX, AB);
    // Text behind a control token is encoded as if it were alone.
    CHECK(tokenizer, "[INST]ab</s>a", GR_ENCODE_PARSE_CONTROL, VOCAB_INST, SPACE_AB, VOCAB_EOS,
          SPACE_ID, A);
    CHECK(tokenizer, "ab[INST]ab", GR_ENCODE_PARSE_CONTROL | GR_ENCODE_NO_PREFIX, AB, VOCAB_INST,
          SPACE_AB);
    gr_tokenizer_destroy(tokenizer);
    v.add_space_prefix = 0;
    tokenizer = vocab_open(&v);
    CHECK(tokenizer, "ab", 0, AB);
    gr_tokenizer_destroy(tokenizer);
}

static void test_control_tokens_in_text_stay_text(void **state) {
    (void)state;
    vocab v;
    fill(&v);
    gr_tokenizer *tokenizer = vocab_open(&v);
    CHECK(tokenizer, "<s>", GR_ENCODE_NO_PREFIX, VOCAB_BYTES + '<', VOCAB_BYTES + 's',
          VOCAB_BYTES + '>');
    CHECK(tokenizer, "<0x41>", GR_ENCODE_NO_PREFIX | GR_ENCODE_PARSE_CONTROL, VOCAB_BYTES + '<',
          VOCAB_BYTES + '0', VOCAB_BYTES + 'x', VOCAB_BYTES + '4', VOCAB_BYTES + '1',
          VOCAB_BYTES + '>');
    gr_tokenizer_destroy(tokenizer);
}

static void test_user_defined_pieces_are_cut_out(void **state) {
    (void)state;
    vocab v;
    fill(&v);
    gr_tokenizer *tokenizer = vocab_open(&v);
    CHECK(tokenizer, "ab[USER]ab", 0, SPACE_AB, VOCAB_USER, AB);
    CHECK(tokenizer, "[USER]", 0, SPACE_ID, VOCAB_USER);
    CHECK(tokenizer, "[USER]", GR_ENCODE_PARSE_CONTROL, SPACE_ID, VOCAB_USER);
    gr_tokenizer_destroy(tokenizer);
}

static void test_a_piece_may_go_on_past_a_space(void **state) {
    (void)state;
    vocab v;
    fill(&v);
    vocab_add(&v, SPACE "a", GR_TOKEN_NORMAL, -4);
    gr_token both = vocab_add(&v, "b" SPACE "a", GR_TOKEN_NORMAL, -5);
    gr_tokenizer *tokenizer = vocab_open(&v);
    CHECK(tokenizer, "b a", GR_ENCODE_NO_PREFIX, both);
    gr_tokenizer_destroy(tokenizer);
}

static void test_what_is_not_in_the_vocabulary_goes_by_bytes(void **state) {
    (void)state;
    vocab v;
    fill(&v);
    gr_tokenizer *tokenizer = vocab_open(&v);
    CHECK(tokenizer, "\xC3\xA9", GR_ENCODE_NO_PREFIX, VOCAB_BYTES + 0xC3, VOCAB_BYTES + 0xA9);
    CHECK(tokenizer, "a\xFF\xC3z", GR_ENCODE_NO_PREFIX, A, VOCAB_BYTES + 0xFF, VOCAB_BYTES + 0xC3,
          VOCAB_BYTES + 'z');
    gr_tokenizer_destroy(tokenizer);

    v.types[VOCAB_BYTES + 'z'] = GR_TOKEN_UNUSED;
    tokenizer = vocab_open(&v);
    CHECK(tokenizer, "z", GR_ENCODE_NO_PREFIX, VOCAB_UNK);
    gr_tokenizer_destroy(tokenizer);

    v.types[VOCAB_UNK] = GR_TOKEN_UNUSED;
    tokenizer = vocab_open(&v);
    gr_tokens tokens = {0};
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(gr_tokenizer_encode(tokenizer, (gr_str){"abz", 3}, 0, &tokens, &error),
                     GR_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "0x7A"));
    assert_int_equal(tokens.count, 0);
    gr_tokens_deinit(&tokens);
    gr_tokenizer_destroy(tokenizer);
}

static void test_pieces(void **state) {
    (void)state;
    vocab v;
    fill(&v);
    gr_tokenizer *tokenizer = vocab_open(&v);
    char bytes[16] = "................";
    assert_int_equal(gr_tokenizer_piece(tokenizer, SPACE_AB, false, bytes, sizeof bytes), 3);
    assert_memory_equal(bytes, " ab.", 4);
    assert_int_equal(gr_tokenizer_piece(tokenizer, SPACE_AB, false, bytes + 8, 2), 3);
    assert_memory_equal(bytes + 8, " a.", 3);
    assert_int_equal(gr_tokenizer_piece(tokenizer, VOCAB_BYTES + 0xE9, false, bytes, 16), 1);
    assert_int_equal((unsigned char)bytes[0], 0xE9);
    assert_int_equal(gr_tokenizer_piece(tokenizer, VOCAB_INST, false, bytes, 16), 0);
    assert_int_equal(gr_tokenizer_piece(tokenizer, VOCAB_INST, true, bytes, 16), 6);
    assert_memory_equal(bytes, "[INST]", 6);
    assert_int_equal(gr_tokenizer_piece(tokenizer, VOCAB_USER, false, NULL, 0), 6);
    assert_int_equal(gr_tokenizer_piece(tokenizer, -1, true, bytes, 16), 0);
    assert_int_equal(gr_tokenizer_piece(tokenizer, (gr_token)v.count, true, bytes, 16), 0);
    gr_tokenizer_destroy(tokenizer);
}

static void test_special_tokens_are_found_and_end(void **state) {
    (void)state;
    vocab v;
    fill(&v);
    gr_token turn = vocab_add(&v, "<|im_end|>", GR_TOKEN_CONTROL, 0);
    gr_tokenizer *tokenizer = vocab_open(&v);
    assert_int_equal(gr_tokenizer_find(tokenizer, "[INST]"), VOCAB_INST);
    assert_int_equal(gr_tokenizer_find(tokenizer, "[USER]"), VOCAB_USER);
    assert_int_equal(gr_tokenizer_find(tokenizer, "[INST"), GR_TOKEN_NONE);
    assert_int_equal(gr_tokenizer_find(tokenizer, "[INST]]"), GR_TOKEN_NONE);
    assert_int_equal(gr_tokenizer_find(tokenizer, "ab"), GR_TOKEN_NONE);
    assert_int_equal(gr_tokenizer_find(tokenizer, ""), GR_TOKEN_NONE);
    assert_int_equal(tokenizer->vocab.unk, VOCAB_UNK);
    assert_int_equal(tokenizer->vocab.eot, turn);
    assert_true(gr_tokenizer_is_end(tokenizer, VOCAB_EOS));
    assert_true(gr_tokenizer_is_end(tokenizer, turn));
    assert_false(gr_tokenizer_is_end(tokenizer, VOCAB_BOS));
    assert_false(gr_tokenizer_is_end(tokenizer, GR_TOKEN_NONE));
    gr_tokenizer_destroy(tokenizer);
}

// ---- Against merging done the slow way ----

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static gr_token slow_find(const vocab *v, const char *bytes, size_t size) {
    for (size_t i = VOCAB_SPM_FIRST; i < v->count; i++)
        if (v->pieces[i].size == size && !memcmp(v->pieces[i].data, bytes, size))
            return (gr_token)i;
    return GR_TOKEN_NONE;
}

// Merges over the whole text at once, looking at every pair each time.
static size_t slow_encode(const vocab *v, const char *text, size_t size, gr_token *out_tokens) {
    size_t starts[256], count = 0, written = 0;
    for (size_t i = 0; i < size; i += (unsigned char)text[i] == 0xE2 ? 3 : 1)
        starts[count++] = i;
    starts[count] = size;
    for (;;) {
        size_t best = SIZE_MAX;
        float best_score = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            gr_token found = slow_find(v, text + starts[i], starts[i + 2] - starts[i]);
            if (found != GR_TOKEN_NONE && (best == SIZE_MAX || v->scores[found] > best_score)) {
                best = i;
                best_score = v->scores[found];
            }
        }
        if (best == SIZE_MAX)
            break;
        memmove(starts + best + 1, starts + best + 2, (count - best - 1) * sizeof *starts);
        count--;
    }
    for (size_t i = 0; i < count; i++) {
        gr_token found = slow_find(v, text + starts[i], starts[i + 1] - starts[i]);
        for (size_t k = starts[i]; found == GR_TOKEN_NONE && k < starts[i + 1]; k++)
            out_tokens[written++] = VOCAB_BYTES + (unsigned char)text[k];
        if (found != GR_TOKEN_NONE)
            out_tokens[written++] = found;
    }
    return written;
}

static size_t random_letters(uint32_t *seed, size_t count, bool spaces, char *out_text) {
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t r = next_random(seed) % 5;
        if (r < 3 || !spaces)
            out_text[size++] = (char)('a' + r % 3);
        else
            memcpy(out_text + size, SPACE, 3), size += 3;
    }
    out_text[size] = '\0';
    return size;
}

static void test_random_vocabularies(void **state) {
    (void)state;
    static char names[40][32];
    uint32_t seed = 20261123;
    for (int round = 0; round < 200; round++) {
        vocab v;
        vocab_spm(&v);
        for (int i = 0; i < 40; i++) {
            bool spaces = round % 2 || i % 3 == 0; // in even rounds mostly words
            size_t size = random_letters(&seed, 1 + next_random(&seed) % 5, spaces, names[i]);
            if (slow_find(&v, names[i], size) == GR_TOKEN_NONE)
                vocab_add(&v, names[i], GR_TOKEN_NORMAL, -(float)(next_random(&seed) % 12));
        }
        gr_tokenizer *tokenizer = vocab_open(&v);
        for (int k = 0; k < 10; k++) {
            char text[256];
            gr_token expected[256];
            size_t size = random_letters(&seed, 60, true, text);
            size_t count = slow_encode(&v, text, size, expected);
            check(tokenizer, (gr_str){text, size}, GR_ENCODE_NO_PREFIX, count, expected);
        }
        gr_tokenizer_destroy(tokenizer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_score_first_leftmost_among_equals),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_control_tokens_in_text_stay_text),
        cmocka_unit_test(test_user_defined_pieces_are_cut_out),
        cmocka_unit_test(test_a_piece_may_go_on_past_a_space),
        cmocka_unit_test(test_what_is_not_in_the_vocabulary_goes_by_bytes),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_special_tokens_are_found_and_end),
        cmocka_unit_test(test_random_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
