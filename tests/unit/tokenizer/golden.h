// SPDX-License-Identifier: Apache-2.0
// golden.h: reads tests/golden/tokenizers (its README describes the files) for the tokenizer and
// chat tests.
#ifndef GREGALE_TESTS_TOKENIZER_GOLDEN_H
#define GREGALE_TESTS_TOKENIZER_GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gregale/linked/tokenizer.h"

static inline gr_model_file *golden_open(const char *name) {
    char path[512];
    gr_model_file *file;
    gr_error error;
    gr_error_init(&error);
    snprintf(path, sizeof path, "%s/tests/golden/tokenizers/%s", GREGALE_SOURCE_DIR, name);
    if (gr_model_file_open(path, &file, &error))
        fail_msg("%s", error.message);
    return file;
}

GR_PRINTF(2, 3)
static inline const gr_tensor_info *golden_tensor(const gr_model_file *file, const char *format,
                                                  ...) {
    char name[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    return gr_model_file_tensor(file, name);
}

// A byte array; one left out is empty.
static inline gr_str golden_bytes(const gr_tensor_info *tensor) {
    return tensor ? (gr_str){tensor->data, (size_t)tensor->bytes} : (gr_str){"", 0};
}

// An array of ids; one left out is empty.
static inline const int32_t *golden_ids(const gr_tensor_info *tensor, size_t *out_count) {
    *out_count = tensor ? (size_t)tensor->bytes / sizeof(int32_t) : 0;
    return tensor ? tensor->data : NULL;
}

static inline uint32_t golden_u32(const gr_model_file *file, const char *key) {
    uint32_t value = 0;
    if (!gr_meta_get_u32(file, key, &value))
        fail_msg("%s: no %s", gr_model_file_path(file), key);
    return value;
}

static inline gr_meta golden_numbers(const char *key, gr_meta_type type, uint32_t width,
                                     uint64_t count, const void *data) {
    gr_meta meta = {.key = {key, strlen(key)}, .type = GR_META_ARRAY};
    meta.value.array.type = type;
    meta.value.array.element_bytes = width;
    meta.value.array.count = count;
    meta.value.array.data = data;
    return meta;
}

static inline bool golden_is(const gr_meta *meta, const char *key) {
    return meta->key.size == strlen(key) && !memcmp(meta->key.data, key, meta->key.size);
}

// Columns of the whole vocabulary: pieces that the golden leaves out are UNUSED and spell nothing.
static inline void golden_expand(const gr_model_file *reduced, gr_model_file *whole) {
    uint32_t size = golden_u32(reduced, "golden.vocab.size");
    const gr_meta *ids = gr_model_file_meta(reduced, "golden.vocab.ids");
    const gr_meta *pieces = gr_model_file_meta(reduced, "tokenizer.ggml.tokens");
    const gr_meta *types = gr_model_file_meta(reduced, "tokenizer.ggml.token_type");
    const gr_meta *scores = gr_model_file_meta(reduced, "tokenizer.ggml.scores");
    gr_str *strings = gr_model_file_alloc(whole, size * sizeof *strings);
    int32_t *kinds = gr_model_file_alloc(whole, size * sizeof *kinds);
    float *numbers = gr_model_file_alloc(whole, size * sizeof *numbers);
    for (uint32_t i = 0; i < size; i++) {
        char *name = gr_model_file_alloc(whole, 16);
        strings[i] = (gr_str){name, (size_t)snprintf(name, 16, "\xFF%u", i)};
        kinds[i] = GR_TOKEN_UNUSED;
        numbers[i] = 0;
    }
    for (uint64_t k = 0; k < ids->value.array.count; k++) {
        int64_t id = gr_meta_array_i64(ids, k);
        assert_in_range(id, 0, size - 1);
        strings[id] = gr_meta_array_string(pieces, k);
        kinds[id] = (int32_t)gr_meta_array_i64(types, k);
        numbers[id] = scores ? (float)gr_meta_array_f64(scores, k) : 0;
    }
    gr_meta columns[] = {
        golden_numbers("tokenizer.ggml.tokens", GR_META_STRING, sizeof *strings, size, strings),
        golden_numbers("tokenizer.ggml.token_type", GR_META_I64, sizeof *kinds, size, kinds),
        golden_numbers("tokenizer.ggml.scores", GR_META_F64, sizeof *numbers, size, numbers),
    };
    for (int c = 0; c < (scores ? 3 : 2); c++)
        assert_int_equal(gr_model_file_add_meta(whole, &columns[c], NULL), GR_OK);
}

// The vocabulary `name` ("spm-v1") in full size as a model file; `pre` (NULL: its own) replaces
// tokenizer.ggml.pre. It borrows from `reduced`.
static inline gr_model_file *golden_vocab(const gr_model_file *reduced, const char *pre) {
    gr_model_file *whole;
    assert_int_equal(gr_model_file_create("golden", "golden", &whole, NULL), GR_OK);
    golden_expand(reduced, whole);
    for (uint32_t i = 0; i < gr_model_file_meta_count(reduced); i++) {
        gr_meta meta = *gr_model_file_meta_at(reduced, i);
        bool column = golden_is(&meta, "tokenizer.ggml.tokens") ||
                      golden_is(&meta, "tokenizer.ggml.token_type") ||
                      golden_is(&meta, "tokenizer.ggml.scores");
        if (column || meta.key.size < 10 || memcmp(meta.key.data, "tokenizer.", 10))
            continue;
        if (pre && golden_is(&meta, "tokenizer.ggml.pre"))
            meta.value.string = (gr_str){pre, strlen(pre)};
        assert_int_equal(gr_model_file_add_meta(whole, &meta, NULL), GR_OK);
    }
    assert_int_equal(gr_model_file_seal(whole, NULL), GR_OK);
    return whole;
}

// A tokenizer over a golden vocabulary, with the files it came from.
typedef struct golden_tokenizer {
    gr_model_file *reduced, *file;
    gr_tokenizer *tokenizer;
} golden_tokenizer;

static inline golden_tokenizer golden_tokenizer_open(const char *vocab, const char *pre) {
    golden_tokenizer golden;
    char name[64];
    gr_error error;
    gr_error_init(&error);
    snprintf(name, sizeof name, "vocab-%s.gguf", vocab);
    golden.reduced = golden_open(name);
    golden.file = golden_vocab(golden.reduced, pre);
    if (gr_tokenizer_create(golden.file, &golden.tokenizer, &error))
        fail_msg("%s: %s", vocab, error.message);
    return golden;
}

static inline void golden_tokenizer_close(golden_tokenizer *golden) {
    gr_tokenizer_destroy(golden->tokenizer);
    gr_model_file_close(golden->file);
    gr_model_file_close(golden->reduced);
}

// Fails with the first place where two token lists part.
static inline void golden_compare(const char *what, const int32_t *expected, size_t count,
                                  const gr_tokens *got) {
    size_t at = 0;
    while (at < count && at < got->count && expected[at] == got->data[at])
        at++;
    if (at < count || at < got->count)
        fail_msg("%s: token %zu is %d, expected %d (%zu tokens, expected %zu)", what, at,
                 at < got->count ? got->data[at] : -1, at < count ? expected[at] : -1, got->count,
                 count);
}

#endif
