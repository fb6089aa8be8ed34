// SPDX-License-Identifier: Apache-2.0
// fuzz_vocab.h: vocabularies made of fuzz input, for fuzz_tokenizer.c and fuzz_chat.c.
#ifndef GREGALE_FUZZ_VOCAB_H
#define GREGALE_FUZZ_VOCAB_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gregale/linked/tokenizer.h"

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

// Input taken from the front; zeros when it has run out.
typedef struct fuzz_input {
    const uint8_t *data;
    size_t size;
} fuzz_input;

static inline uint8_t fuzz_byte(fuzz_input *input) {
    if (!input->size)
        return 0;
    input->size--;
    return *input->data++;
}

static inline gr_str fuzz_bytes(fuzz_input *input, size_t size) {
    if (size > input->size)
        size = input->size;
    gr_str bytes = {(const char *)input->data, size};
    input->data += size;
    input->size -= size;
    return bytes;
}

enum { FUZZ_PIECES = 600 };

typedef struct fuzz_vocab {
    gr_str pieces[FUZZ_PIECES];
    int32_t types[FUZZ_PIECES];
    float scores[FUZZ_PIECES];
    gr_str merges[FUZZ_PIECES];
    size_t count, merge_count;
    char store[1 << 16]; // of pieces and merges made here
    size_t stored;
} fuzz_vocab;

static inline gr_str fuzz_store(fuzz_vocab *v, gr_str a, const char *between, gr_str b) {
    size_t middle = strlen(between), size = a.size + middle + b.size;
    if (size > sizeof v->store - v->stored)
        return (gr_str){"", 0};
    char *to = v->store + v->stored;
    if (a.size)
        memcpy(to, a.data, a.size);
    memcpy(to + a.size, between, middle);
    if (b.size)
        memcpy(to + a.size + middle, b.data, b.size);
    v->stored += size;
    return (gr_str){to, size};
}

static inline void fuzz_add(fuzz_vocab *v, gr_str piece, int32_t type, float score) {
    if (v->count == FUZZ_PIECES)
        return;
    v->pieces[v->count] = piece;
    v->types[v->count] = type;
    v->scores[v->count++] = score;
}

static inline void fuzz_add_text(fuzz_vocab *v, const char *piece, int32_t type) {
    fuzz_add(v, (gr_str){piece, strlen(piece)}, type, 0);
}

// <unk> <s> </s>, then all 256 bytes as SentencePiece spells them.
static inline void fuzz_spm(fuzz_vocab *v) {
    fuzz_add_text(v, "<unk>", GR_TOKEN_UNKNOWN);
    fuzz_add_text(v, "<s>", GR_TOKEN_CONTROL);
    fuzz_add_text(v, "</s>", GR_TOKEN_CONTROL);
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        fuzz_add(v, fuzz_store(v, (gr_str){text, 6}, "", (gr_str){0}), GR_TOKEN_BYTE, 0);
    }
}

// <unk> <s> </s>, then all 256 bytes in the byte-level alphabet, spelled out here once more.
static inline void fuzz_bpe(fuzz_vocab *v) {
    uint32_t next = 0x100;
    fuzz_add_text(v, "<unk>", GR_TOKEN_UNKNOWN);
    fuzz_add_text(v, "<s>", GR_TOKEN_CONTROL);
    fuzz_add_text(v, "</s>", GR_TOKEN_CONTROL);
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool itself = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
        uint32_t point = itself ? byte : next++;
        char text[2] = {(char)(point < 0x80 ? point : 0xC0 | point >> 6),
                        (char)(0x80 | (point & 0x3F))};
        fuzz_add(v, fuzz_store(v, (gr_str){text, point < 0x80 ? 1 : 2}, "", (gr_str){0}),
                 GR_TOKEN_NORMAL, 0);
    }
}

// A merge of two pieces that are there, and the piece they make.
static inline void fuzz_merge(fuzz_vocab *v, size_t left, size_t right) {
    gr_str a = v->pieces[left % v->count], b = v->pieces[right % v->count];
    if (v->merge_count == FUZZ_PIECES || v->count == FUZZ_PIECES || !a.size || !b.size ||
        a.size + b.size > 64)
        return;
    gr_str joined = fuzz_store(v, a, "", b), merge = fuzz_store(v, a, " ", b);
    if (!joined.size || !merge.size)
        return;
    fuzz_add(v, joined, GR_TOKEN_NORMAL, 0);
    v->merges[v->merge_count++] = merge;
}

static inline void fuzz_put(gr_model_file *file, const char *key, gr_meta_type type, size_t width,
                            size_t count, const void *data) {
    gr_meta meta = {.key = {key, strlen(key)}, .type = GR_META_ARRAY};
    meta.value.array.type = type;
    meta.value.array.element_bytes = (uint32_t)width;
    meta.value.array.count = count;
    meta.value.array.data = data;
    FUZZ_CHECK(!gr_model_file_add_meta(file, &meta, NULL));
}

static inline void fuzz_put_text(gr_model_file *file, const char *key, const char *value) {
    gr_meta meta = {.key = {key, strlen(key)}, .type = GR_META_STRING};
    meta.value.string = (gr_str){value, strlen(value)};
    FUZZ_CHECK(!gr_model_file_add_meta(file, &meta, NULL));
}

static inline void fuzz_put_number(gr_model_file *file, const char *key, uint64_t value) {
    gr_meta meta = {.key = {key, strlen(key)}, .type = GR_META_U64};
    meta.value.u64 = value;
    FUZZ_CHECK(!gr_model_file_add_meta(file, &meta, NULL));
}

// `pre` NULL: SentencePiece.
static inline gr_model_file *fuzz_file(const fuzz_vocab *v, const char *pre, uint32_t bos,
                                       uint32_t eos) {
    gr_model_file *file;
    FUZZ_CHECK(!gr_model_file_create("fuzz.gguf", "fuzz", &file, NULL));
    fuzz_put_text(file, "tokenizer.ggml.model", pre ? "gpt2" : "llama");
    fuzz_put_text(file, "tokenizer.ggml.pre", pre ? pre : "default");
    fuzz_put(file, "tokenizer.ggml.tokens", GR_META_STRING, sizeof *v->pieces, v->count, v->pieces);
    fuzz_put(file, "tokenizer.ggml.token_type", GR_META_I64, 4, v->count, v->types);
    fuzz_put(file, "tokenizer.ggml.scores", GR_META_F64, 4, v->count, v->scores);
    fuzz_put(file, "tokenizer.ggml.merges", GR_META_STRING, sizeof *v->merges, v->merge_count,
             v->merges);
    fuzz_put_number(file, "tokenizer.ggml.bos_token_id", bos);
    fuzz_put_number(file, "tokenizer.ggml.eos_token_id", eos);
    FUZZ_CHECK(!gr_model_file_seal(file, NULL));
    return file;
}

#endif
