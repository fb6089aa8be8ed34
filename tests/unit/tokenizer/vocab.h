// SPDX-License-Identifier: Apache-2.0
// vocab.h: small vocabularies written by hand, as model files, for the tokenizer and chat tests.
#ifndef GREGALE_TESTS_TOKENIZER_VOCAB_H
#define GREGALE_TESTS_TOKENIZER_VOCAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gregale/linked/tokenizer.h"

enum { VOCAB_MAX = 512 };

// Fill it, change what a test wants different, and open it. A NULL string or a count of SIZE_MAX
// leaves the key out.
typedef struct vocab {
    const char *model, *pre, *chat_template, *name;
    gr_str pieces[VOCAB_MAX];
    int32_t types[VOCAB_MAX];
    float scores[VOCAB_MAX];
    gr_str merges[VOCAB_MAX];
    size_t count, type_count, score_count, merge_count;
    int64_t bos, eos;                       // -1: left out
    int add_bos, add_eos, add_space_prefix; // -1: left out
} vocab;

static inline int32_t vocab_add(vocab *v, const char *piece, gr_token_type type, float score) {
    assert_true(v->count < VOCAB_MAX);
    v->pieces[v->count] = (gr_str){piece, strlen(piece)};
    v->types[v->count] = (int32_t)type;
    v->scores[v->count] = score;
    v->type_count = v->score_count = v->count + 1;
    return (int32_t)v->count++;
}

static inline void vocab_merge(vocab *v, const char *merge) {
    assert_true(v->merge_count < VOCAB_MAX);
    v->merges[v->merge_count++] = (gr_str){merge, strlen(merge)};
}

static inline gr_meta vocab_meta(const char *key, gr_meta_type type) {
    return (gr_meta){.key = {key, strlen(key)}, .type = type};
}

static inline void vocab_put_string(gr_model_file *file, const char *key, const char *value) {
    gr_meta meta = vocab_meta(key, GR_META_STRING);
    if (!value)
        return;
    meta.value.string = (gr_str){value, strlen(value)};
    assert_int_equal(gr_model_file_add_meta(file, &meta, NULL), GR_OK);
}

static inline void vocab_put_id(gr_model_file *file, const char *key, int64_t value) {
    gr_meta meta = vocab_meta(key, GR_META_U64);
    if (value < 0)
        return;
    meta.value.u64 = (uint64_t)value;
    assert_int_equal(gr_model_file_add_meta(file, &meta, NULL), GR_OK);
}

static inline void vocab_put_bool(gr_model_file *file, const char *key, int value) {
    gr_meta meta = vocab_meta(key, GR_META_BOOL);
    if (value < 0)
        return;
    meta.value.boolean = value != 0;
    assert_int_equal(gr_model_file_add_meta(file, &meta, NULL), GR_OK);
}

static inline void vocab_put_array(gr_model_file *file, const char *key, gr_meta_type type,
                                   size_t width, size_t count, const void *data) {
    gr_meta meta = vocab_meta(key, GR_META_ARRAY);
    if (count == SIZE_MAX)
        return;
    meta.value.array.type = type;
    meta.value.array.element_bytes = (uint32_t)width;
    meta.value.array.count = count;
    meta.value.array.data = data;
    assert_int_equal(gr_model_file_add_meta(file, &meta, NULL), GR_OK);
}

// The file borrows from `v`.
static inline gr_model_file *vocab_file(const vocab *v) {
    gr_model_file *file;
    assert_int_equal(gr_model_file_create("small.gguf", "test", &file, NULL), GR_OK);
    vocab_put_string(file, "general.name", v->name);
    vocab_put_string(file, "tokenizer.chat_template", v->chat_template);
    vocab_put_string(file, "tokenizer.ggml.model", v->model);
    vocab_put_string(file, "tokenizer.ggml.pre", v->pre);
    vocab_put_array(file, "tokenizer.ggml.tokens", GR_META_STRING, sizeof *v->pieces, v->count,
                    v->pieces);
    vocab_put_array(file, "tokenizer.ggml.token_type", GR_META_I64, 4, v->type_count, v->types);
    vocab_put_array(file, "tokenizer.ggml.scores", GR_META_F64, 4, v->score_count, v->scores);
    vocab_put_array(file, "tokenizer.ggml.merges", GR_META_STRING, sizeof *v->merges,
                    v->merge_count, v->merges);
    vocab_put_id(file, "tokenizer.ggml.bos_token_id", v->bos);
    vocab_put_id(file, "tokenizer.ggml.eos_token_id", v->eos);
    vocab_put_bool(file, "tokenizer.ggml.add_bos_token", v->add_bos);
    vocab_put_bool(file, "tokenizer.ggml.add_eos_token", v->add_eos);
    vocab_put_bool(file, "tokenizer.ggml.add_space_prefix", v->add_space_prefix);
    assert_int_equal(gr_model_file_seal(file, NULL), GR_OK);
    return file;
}

// What creating a tokenizer over `v` gives; the tokenizer outlives the file.
static inline gr_status vocab_try(const vocab *v, gr_tokenizer **out_tokenizer, gr_error *error) {
    gr_model_file *file = vocab_file(v);
    gr_error_init(error);
    gr_status status = gr_tokenizer_create(file, out_tokenizer, error);
    gr_model_file_close(file);
    return status;
}

static inline gr_tokenizer *vocab_open(const vocab *v) {
    gr_tokenizer *tokenizer;
    gr_error error;
    if (vocab_try(v, &tokenizer, &error))
        fail_msg("%s", error.message);
    return tokenizer;
}

static inline void vocab_bytes(vocab *v) {
    static char names[256][8];
    for (int byte = 0; byte < 256; byte++) {
        snprintf(names[byte], sizeof names[byte], "<0x%02X>", byte);
        vocab_add(v, names[byte], GR_TOKEN_BYTE, 0);
    }
}

// <unk> <s> </s> [INST] [USER], then 256 bytes, then what the caller adds: from VOCAB_SPM_FIRST on.
enum {
    VOCAB_UNK,
    VOCAB_BOS,
    VOCAB_EOS,
    VOCAB_INST,
    VOCAB_USER,
    VOCAB_BYTES,
    VOCAB_SPM_FIRST = VOCAB_BYTES + 256
};
static inline void vocab_spm(vocab *v) {
    *v = (vocab){.model = "llama",
                 .merge_count = SIZE_MAX,
                 .bos = VOCAB_BOS,
                 .eos = VOCAB_EOS,
                 .add_bos = 1,
                 .add_eos = -1,
                 .add_space_prefix = -1};
    vocab_add(v, "<unk>", GR_TOKEN_UNKNOWN, 0);
    vocab_add(v, "<s>", GR_TOKEN_CONTROL, 0);
    vocab_add(v, "</s>", GR_TOKEN_CONTROL, 0);
    vocab_add(v, "[INST]", GR_TOKEN_CONTROL, 0);
    vocab_add(v, "[USER]", GR_TOKEN_USER_DEFINED, 0);
    vocab_bytes(v);
}

// <s> </s> [USER] and the printable letters a to z, space (as U+0120), "<", ">"; no merges yet.
enum {
    VOCAB_BPE_BOS,
    VOCAB_BPE_EOS,
    VOCAB_BPE_USER,
    VOCAB_BPE_A,
    VOCAB_BPE_SPACE = VOCAB_BPE_A + 26,
    VOCAB_BPE_LESS,
    VOCAB_BPE_MORE,
    VOCAB_BPE_FIRST
};
static inline void vocab_bpe(vocab *v) {
    static char letters[26][2];
    *v = (vocab){.model = "gpt2",
                 .pre = "gpt2",
                 .bos = VOCAB_BPE_BOS,
                 .eos = VOCAB_BPE_EOS,
                 .add_bos = -1,
                 .add_eos = -1,
                 .add_space_prefix = -1};
    vocab_add(v, "<s>", GR_TOKEN_CONTROL, 0);
    vocab_add(v, "</s>", GR_TOKEN_CONTROL, 0);
    vocab_add(v, "[USER]", GR_TOKEN_USER_DEFINED, 0);
    for (int i = 0; i < 26; i++) {
        letters[i][0] = (char)('a' + i);
        vocab_add(v, letters[i], GR_TOKEN_NORMAL, 0);
    }
    vocab_add(v, "\xC4\xA0", GR_TOKEN_NORMAL, 0);
    vocab_add(v, "<", GR_TOKEN_NORMAL, 0);
    vocab_add(v, ">", GR_TOKEN_NORMAL, 0);
    v->score_count = SIZE_MAX;
}

#endif
