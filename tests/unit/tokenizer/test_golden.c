// SPDX-License-Identifier: Apache-2.0
// Both tokenizers against what sentencepiece, tiktoken (through mistral-common) and Hugging Face's
// tokenizers made of the same texts.
#include "tests/unit/tokenizer/golden.h"

typedef struct golden_oracle {
    const char *name, *vocab, *pre;
} golden_oracle;

static const golden_oracle oracles[] = {
    {"spm-v1", "spm-v1", NULL},
    {"spm-v2", "spm-v2", NULL},
    {"spm-v3", "spm-v3", NULL},
    {"tekken", "tekken", NULL},
    {"smollm2", "smollm2", NULL},
    {"smollm2-as-gpt2", "smollm2", "gpt2"},
    {"smollm2-as-llama3", "smollm2", "llama-bpe"},
};
enum { ORACLES = sizeof oracles / sizeof *oracles };

static bool is_spm(const golden_tokenizer *golden) {
    return !strcmp(golden->tokenizer->type->name, "spm");
}

static void encode(const golden_tokenizer *golden, gr_str text, gr_encode_flags flags,
                   gr_tokens *tokens) {
    gr_error error;
    gr_error_init(&error);
    tokens->count = 0;
    if (gr_tokenizer_encode(golden->tokenizer, text, flags, tokens, &error))
        fail_msg("%s", error.message);
}

// The bytes of all tokens, without the dummy space; the caller frees them.
static char *decode(const golden_tokenizer *golden, const gr_tokens *tokens, size_t *out_size) {
    size_t size = 0;
    for (size_t i = 0; i < tokens->count; i++)
        size += gr_tokenizer_piece(golden->tokenizer, tokens->data[i], false, NULL, 0);
    char *bytes = malloc(size + 1);
    assert_non_null(bytes);
    size_t at = 0;
    for (size_t i = 0; i < tokens->count; i++)
        at += gr_tokenizer_piece(golden->tokenizer, tokens->data[i], false, bytes + at, size - at);
    assert_int_equal(at, size);
    if (is_spm(golden) && size && bytes[0] == ' ')
        memmove(bytes, bytes + 1, --size);
    *out_size = size;
    return bytes;
}

static void check_decoded(const char *what, const golden_tokenizer *golden, const gr_tokens *tokens,
                          gr_str expected) {
    size_t size;
    char *bytes = decode(golden, tokens, &size);
    if (size != expected.size || memcmp(bytes, expected.data, size))
        fail_msg("%s: decodes to other text: %.*s", what, (int)size, bytes);
    free(bytes);
}

static void check_texts(const gr_model_file *raw, const golden_oracle *oracle,
                        const golden_tokenizer *golden) {
    gr_tokens tokens = {0};
    uint32_t count = golden_u32(raw, "golden.text.count");
    const gr_meta *names = gr_model_file_meta(raw, "golden.text.names");
    assert_true(count > 50);
    for (uint32_t n = 0; n < count; n++) {
        char what[128];
        gr_str name = gr_meta_array_string(names, n),
               text = golden_bytes(golden_tensor(raw, "text.%u", n));
        snprintf(what, sizeof what, "%s on %.*s", oracle->name, (int)name.size, name.data);
        size_t expected;
        const int32_t *ids = golden_ids(golden_tensor(raw, "ids.%s.%u", oracle->name, n),
                                        &expected);
        encode(golden, text, 0, &tokens);
        golden_compare(what, ids, expected, &tokens);
        const gr_tensor_info *decoded = golden_tensor(raw, "decoded.%s.%u", oracle->name, n);
        check_decoded(what, golden, &tokens, decoded ? golden_bytes(decoded) : text);
    }
    gr_tokens_deinit(&tokens);
}

// head, then cycle as often as it takes, then tail: `count` tokens in all.
static void read_cycle(const gr_model_file *raw, uint32_t n, const char *oracle, size_t count,
                       gr_tokens *out_tokens) {
    size_t head, cycle, tail;
    const int32_t *first = golden_ids(golden_tensor(raw, "repeat.%u.head.%s", n, oracle), &head);
    const int32_t *middle = golden_ids(golden_tensor(raw, "repeat.%u.cycle.%s", n, oracle), &cycle);
    const int32_t *last = golden_ids(golden_tensor(raw, "repeat.%u.tail.%s", n, oracle), &tail);
    out_tokens->count = 0;
    assert_true(head + tail <= count);
    assert_int_equal(gr_tokens_append(out_tokens, first, head), GR_OK);
    for (size_t i = 0; i < count - head - tail; i++)
        assert_int_equal(gr_tokens_push(out_tokens, middle[i % cycle]), GR_OK);
    assert_int_equal(gr_tokens_append(out_tokens, last, tail), GR_OK);
}

// A mebibyte of one character.
static void check_repeats(const gr_model_file *raw, const golden_oracle *oracle,
                          const golden_tokenizer *golden) {
    gr_tokens tokens = {0}, expected = {0};
    for (uint32_t n = 0; n < golden_u32(raw, "golden.repeat.count"); n++) {
        char what[128];
        snprintf(what, sizeof what, "golden.repeat.%u.%s.ids", n, oracle->name);
        uint32_t count = golden_u32(raw, what);
        snprintf(what, sizeof what, "golden.repeat.%u.%s.times", n, oracle->name);
        uint32_t times = golden_u32(raw, what);
        gr_str unit = golden_bytes(golden_tensor(raw, "repeat.%u.unit", n));
        char *text = malloc(times * unit.size);
        assert_non_null(text);
        for (uint32_t i = 0; i < times; i++)
            memcpy(text + i * unit.size, unit.data, unit.size);
        read_cycle(raw, n, oracle->name, count, &expected);
        encode(golden, (gr_str){text, times * unit.size}, 0, &tokens);
        golden_compare(what, expected.data, expected.count, &tokens);
        free(text);
    }
    gr_tokens_deinit(&tokens);
    gr_tokens_deinit(&expected);
}

// Bytes that are not UTF-8 come back as they were, but for those that the vocabulary lacks
// altogether.
static void check_bytes_return(const char *what, const golden_tokenizer *golden, gr_str text,
                               const gr_tokens *tokens) {
    gr_tokens alone = {0};
    char *known = malloc(text.size + 1);
    assert_non_null(known);
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++) {
        encode(golden, (gr_str){text.data + i, 1}, GR_ENCODE_NO_PREFIX, &alone);
        if (alone.count)
            known[count++] = text.data[i];
    }
    check_decoded(what, golden, tokens, (gr_str){known, count});
    free(known);
    gr_tokens_deinit(&alone);
}

// Leaves out byte tokens, and U+FFFD where it is a piece.
static void without_bytes(const gr_tokenizer *tokenizer, const gr_token *tokens, size_t count,
                          gr_tokens *out_tokens) {
    out_tokens->count = 0;
    for (size_t i = 0; i < count; i++) {
        gr_str piece = tokenizer->vocab.pieces[tokens[i]];
        bool replacement = piece.size == 3 && !memcmp(piece.data, "\xEF\xBF\xBD", 3);
        if (tokenizer->vocab.types[tokens[i]] != GR_TOKEN_BYTE && !replacement)
            assert_int_equal(gr_tokens_push(out_tokens, tokens[i]), GR_OK);
    }
}

// sentencepiece reads U+FFFD for each byte that is not UTF-8; around them everything is as it has
// it.
static void check_invalid(const gr_model_file *raw, const golden_oracle *oracle,
                          const golden_tokenizer *golden) {
    gr_tokens tokens = {0}, ours = {0}, theirs = {0};
    for (uint32_t n = 0; n < golden_u32(raw, "golden.invalid.count"); n++) {
        char what[64];
        snprintf(what, sizeof what, "%s on invalid.%u", oracle->name, n);
        gr_str text = golden_bytes(golden_tensor(raw, "invalid.%u", n));
        encode(golden, text, 0, &tokens);
        check_bytes_return(what, golden, text, &tokens);
        const gr_tensor_info *ids = golden_tensor(raw, "invalid.%u.ids.%s", n, oracle->name);
        assert_int_equal(ids != NULL, is_spm(golden));
        if (!ids)
            continue;
        size_t count;
        const int32_t *expected = golden_ids(ids, &count);
        without_bytes(golden->tokenizer, tokens.data, tokens.count, &ours);
        without_bytes(golden->tokenizer, expected, count, &theirs);
        golden_compare(what, theirs.data, theirs.count, &ours);
    }
    gr_tokens_deinit(&tokens);
    gr_tokens_deinit(&ours);
    gr_tokens_deinit(&theirs);
}

static void check_oracle(const golden_oracle *oracle) {
    gr_model_file *raw = golden_open("raw.gguf");
    golden_tokenizer golden = golden_tokenizer_open(oracle->vocab, oracle->pre);
    check_texts(raw, oracle, &golden);
    check_repeats(raw, oracle, &golden);
    check_invalid(raw, oracle, &golden);
    golden_tokenizer_close(&golden);
    gr_model_file_close(raw);
}

static void test_oracle(void **state) {
    check_oracle(*state);
}

static void test_every_oracle_is_here(void **state) {
    (void)state;
    gr_model_file *raw = golden_open("raw.gguf");
    const gr_meta *names = gr_model_file_meta(raw, "golden.oracles");
    assert_int_equal(names->value.array.count, ORACLES);
    for (int i = 0; i < ORACLES; i++) {
        gr_str name = gr_meta_array_string(names, (uint64_t)i);
        assert_int_equal(name.size, strlen(oracles[i].name));
        assert_memory_equal(name.data, oracles[i].name, name.size);
    }
    gr_model_file_close(raw);
}

static void test_control_tokens_are_parsed_only_when_asked(void **state) {
    (void)state;
    gr_model_file *raw = golden_open("raw.gguf");
    golden_tokenizer golden = golden_tokenizer_open("smollm2", NULL);
    gr_tokens tokens = {0};
    for (uint32_t n = 0; n < golden_u32(raw, "golden.special.count"); n++) {
        size_t count;
        const int32_t *ids = golden_ids(golden_tensor(raw, "special.%u.ids.smollm2", n), &count);
        gr_str text = golden_bytes(golden_tensor(raw, "special.%u", n));
        encode(&golden, text, GR_ENCODE_PARSE_CONTROL, &tokens);
        golden_compare("special", ids, count, &tokens);
        encode(&golden, text, 0, &tokens);
        for (size_t i = 0; i < tokens.count; i++)
            assert_int_not_equal(golden.tokenizer->vocab.types[tokens.data[i]], GR_TOKEN_CONTROL);
    }
    gr_tokens_deinit(&tokens);
    golden_tokenizer_close(&golden);
    gr_model_file_close(raw);
}

int main(void) {
    struct CMUnitTest tests[ORACLES + 2] = {
        cmocka_unit_test(test_every_oracle_is_here),
        cmocka_unit_test(test_control_tokens_are_parsed_only_when_asked),
    };
    for (int i = 0; i < ORACLES; i++)
        tests[i + 2] = (struct CMUnitTest){oracles[i].name, test_oracle, NULL, NULL,
                                           (void *)&oracles[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
