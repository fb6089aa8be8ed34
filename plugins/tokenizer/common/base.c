// SPDX-License-Identifier: Apache-2.0
#include "plugins/tokenizer/common/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *gr_printable(gr_str text, char out_text[64]) {
    size_t at = 0;
    for (; at < text.size && at < 60; at++)
        out_text[at] = text.data[at] >= 0x20 && text.data[at] < 0x7F ? text.data[at] : '?';
    if (at < text.size) {
        memcpy(out_text + at, "...", 3);
        at += 3;
    }
    out_text[at] = '\0';
    return out_text;
}

gr_status gr_base_out_of_memory(gr_error *error) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_TOKENIZER_ORIGIN,
                   "no memory for the tokenizer");
}

GR_PRINTF(3, 4)
static gr_status corrupt(const gr_model_file *file, gr_error *error, const char *format, ...) {
    char line[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return gr_fail(error, GR_ERROR_CORRUPT, GR_TOKENIZER_ORIGIN, "%s: %s", gr_model_file_path(file),
                   line);
}

// The array at `key`, whose elements must be numbers or strings as `want_strings` says; NULL when
// absent.
static gr_status find_array(const gr_model_file *file, const char *key, bool want_strings,
                            bool required, const gr_meta **out_array, gr_error *error) {
    *out_array = NULL;
    const gr_meta *meta = gr_model_file_meta(file, key);
    if (!meta)
        return required ? corrupt(file, error, "%s is missing; this vocabulary needs it", key)
                        : GR_OK;
    if (meta->type != GR_META_ARRAY || (meta->value.array.type == GR_META_STRING) != want_strings)
        return corrupt(file, error, "%s: expected an array of %s", key,
                       want_strings ? "strings" : "numbers");
    *out_array = meta;
    return GR_OK;
}

static gr_status read_pieces(gr_base_tokenizer *base, const gr_model_file *file, gr_error *error) {
    const gr_meta *array;
    gr_status status = find_array(file, "tokenizer.ggml.tokens", true, true, &array, error);
    if (status)
        return status;
    uint64_t count = array->value.array.count, total = 0;
    if (count == 0 || count > INT32_MAX / 2)
        return corrupt(file, error, "tokenizer.ggml.tokens has %llu entries; expected 1 to %d",
                       (unsigned long long)count, INT32_MAX / 2);
    for (uint64_t i = 0; i < count; i++)
        total += gr_meta_array_string(array, i).size;
    base->pieces = calloc((size_t)count, sizeof *base->pieces);
    base->bytes = total < SIZE_MAX ? malloc((size_t)total + 1) : NULL;
    if (!base->pieces || !base->bytes)
        return gr_base_out_of_memory(error);
    char *at = base->bytes;
    for (uint64_t i = 0; i < count; i++) {
        gr_str piece = gr_meta_array_string(array, i);
        if (piece.size)
            memcpy(at, piece.data, piece.size);
        base->pieces[i] = (gr_str){at, piece.size};
        at += piece.size;
    }
    base->tokenizer.vocab.size = (uint32_t)count;
    base->tokenizer.vocab.pieces = base->pieces;
    return GR_OK;
}

// An array that must have one number a piece.
static gr_status find_column(const gr_base_tokenizer *base, const gr_model_file *file,
                             const char *key, bool required, const gr_meta **out_array,
                             gr_error *error) {
    gr_status status = find_array(file, key, false, required, out_array, error);
    if (!status && *out_array && (*out_array)->value.array.count != base->tokenizer.vocab.size)
        return corrupt(
            file, error, "%s has %llu entries, tokenizer.ggml.tokens %u; expected as many", key,
            (unsigned long long)(*out_array)->value.array.count, base->tokenizer.vocab.size);
    return status;
}

static gr_status read_scores(gr_base_tokenizer *base, bool required, const gr_model_file *file,
                             gr_error *error) {
    const gr_meta *array;
    gr_status status = find_column(base, file, "tokenizer.ggml.scores", required, &array, error);
    if (status || !array)
        return status;
    uint32_t count = base->tokenizer.vocab.size;
    base->scores = malloc(count * sizeof *base->scores);
    if (!base->scores)
        return gr_base_out_of_memory(error);
    for (uint32_t i = 0; i < count; i++) {
        base->scores[i] = (float)gr_meta_array_f64(array, i);
        if (isnan(base->scores[i]))
            return corrupt(file, error, "tokenizer.ggml.scores[%u] is not a number", i);
    }
    base->tokenizer.vocab.scores = base->scores;
    return GR_OK;
}

static gr_status read_types(gr_base_tokenizer *base, bool required, const gr_model_file *file,
                            gr_error *error) {
    const gr_meta *array;
    gr_status status = find_column(base, file, "tokenizer.ggml.token_type", required, &array,
                                   error);
    if (status)
        return status;
    uint32_t count = base->tokenizer.vocab.size;
    base->types = malloc(count);
    if (!base->types)
        return gr_base_out_of_memory(error);
    for (uint32_t i = 0; i < count; i++) {
        int64_t type = array ? gr_meta_array_i64(array, i) : GR_TOKEN_NORMAL;
        if (type < GR_TOKEN_NORMAL || type > GR_TOKEN_BYTE)
            return corrupt(file, error, "tokenizer.ggml.token_type[%u] is %lld; expected 1 to 6", i,
                           (long long)type);
        if ((type == GR_TOKEN_CONTROL || type == GR_TOKEN_USER_DEFINED) &&
            base->pieces[i].size > GR_MAX_SPECIAL_BYTES)
            return corrupt(
                file, error,
                "tokenizer.ggml.tokens[%u] has %zu bytes; a control or user-defined token "
                "has at most %u",
                i, base->pieces[i].size, GR_MAX_SPECIAL_BYTES);
        base->types[i] = (uint8_t)type;
    }
    base->tokenizer.vocab.types = base->types;
    return GR_OK;
}

static gr_status read_id(const gr_base_tokenizer *base, const gr_model_file *file, const char *key,
                         gr_token *out_id, gr_error *error) {
    *out_id = GR_TOKEN_NONE;
    if (!gr_model_file_meta(file, key))
        return GR_OK;
    uint32_t id;
    if (!gr_meta_get_u32(file, key, &id))
        return corrupt(file, error, "%s: expected a token id", key);
    if (id >= base->tokenizer.vocab.size)
        return corrupt(file, error, "%s is %u; the vocabulary has %u tokens", key, id,
                       base->tokenizer.vocab.size);
    *out_id = (gr_token)id;
    return GR_OK;
}

static void add_end(gr_base_tokenizer *base, gr_token token) {
    if (token != GR_TOKEN_NONE && base->end_count < GR_MAX_ENDS &&
        !gr_tokenizer_is_end(&base->tokenizer, token))
        base->ends[base->end_count++] = token;
}

// Turn and text ends by the names that model families give them: many files name one of several.
static void add_named_ends(gr_base_tokenizer *base) {
    static const char *const names[] = {"<|eot_id|>", "<|im_end|>",    "<end_of_turn>",
                                        "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>"};
    gr_vocab *vocab = &base->tokenizer.vocab;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        gr_token token = gr_tokenizer_find(&base->tokenizer, names[i]);
        if (token == GR_TOKEN_NONE || base->types[token] != GR_TOKEN_CONTROL)
            continue;
        if (vocab->eot == GR_TOKEN_NONE && i < 3)
            vocab->eot = token;
        add_end(base, token);
    }
}

static gr_status read_special_ids(gr_base_tokenizer *base, const gr_model_file *file,
                                  gr_error *error) {
    gr_vocab *vocab = &base->tokenizer.vocab;
    gr_token eom;
    const struct {
        const char *key;
        gr_token *id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", &vocab->bos},
               {"tokenizer.ggml.eos_token_id", &vocab->eos},
               {"tokenizer.ggml.unknown_token_id", &vocab->unk},
               {"tokenizer.ggml.padding_token_id", &vocab->pad},
               {"tokenizer.ggml.eot_token_id", &vocab->eot},
               {"tokenizer.ggml.eom_token_id", &eom}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        gr_status status = read_id(base, file, ids[i].key, ids[i].id, error);
        if (status)
            return status;
    }
    for (uint32_t i = 0; i < vocab->size && vocab->unk == GR_TOKEN_NONE; i++)
        if (vocab->types[i] == GR_TOKEN_UNKNOWN)
            vocab->unk = (gr_token)i;
    add_end(base, vocab->eos);
    add_end(base, vocab->eot);
    add_end(base, eom);
    add_named_ends(base);
    return GR_OK;
}

static gr_status read_bool(const gr_model_file *file, const char *key, bool fallback,
                           bool *out_value, gr_error *error) {
    *out_value = fallback;
    if (gr_model_file_meta(file, key) && !gr_meta_get_bool(file, key, out_value))
        return corrupt(file, error, "%s: expected true or false", key);
    return GR_OK;
}

static gr_status read_flags(gr_base_tokenizer *base, const gr_base_rules *rules,
                            const gr_model_file *file, gr_error *error) {
    gr_vocab *vocab = &base->tokenizer.vocab;
    gr_status status = read_bool(file, "tokenizer.ggml.add_bos_token",
                                 rules->add_bos && vocab->bos != GR_TOKEN_NONE, &vocab->add_bos,
                                 error);
    if (!status)
        status = read_bool(file, "tokenizer.ggml.add_eos_token", false, &vocab->add_eos, error);
    if (!status)
        status = read_bool(file, "tokenizer.ggml.add_space_prefix", rules->add_space_prefix,
                           &vocab->add_space_prefix, error);
    if (status)
        return status;
    if (vocab->add_bos && vocab->bos == GR_TOKEN_NONE)
        return corrupt(file, error,
                       "tokenizer.ggml.add_bos_token is set, but there is no bos_token_id");
    if (vocab->add_eos && vocab->eos == GR_TOKEN_NONE)
        return corrupt(file, error,
                       "tokenizer.ggml.add_eos_token is set, but there is no eos_token_id");
    return GR_OK;
}

static uint64_t fold(uint64_t hash, const void *bytes, size_t size, uint64_t factor) {
    const uint8_t *b = bytes;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ b[i]) * factor;
    return (hash ^ size ^ (hash >> 29)) * UINT64_C(0x9e3779b97f4a7c15);
}

// Tells vocabularies apart; it is no defence against one made to collide.
void gr_base_fingerprint(gr_base_tokenizer *base, const void *bytes, size_t size) {
    uint64_t halves[2];
    memcpy(halves, base->tokenizer.fingerprint, sizeof halves);
    halves[0] = fold(halves[0], bytes, size, UINT64_C(0x100000001b3));
    halves[1] = fold(halves[1], bytes, size, UINT64_C(0xd6e8feb86659fd93));
    memcpy(base->tokenizer.fingerprint, halves, sizeof halves);
}

static void make_fingerprint(gr_base_tokenizer *base) {
    const gr_vocab *vocab = &base->tokenizer.vocab;
    const gr_token ids[] = {vocab->bos,     vocab->eos,     vocab->unk,
                            vocab->add_bos, vocab->add_eos, vocab->add_space_prefix};
    gr_base_fingerprint(base, base->tokenizer.type->name, strlen(base->tokenizer.type->name));
    gr_base_fingerprint(base, ids, sizeof ids);
    gr_base_fingerprint(base, base->types, vocab->size);
    if (base->scores)
        gr_base_fingerprint(base, base->scores, vocab->size * sizeof *base->scores);
    for (uint32_t i = 0; i < vocab->size; i++)
        gr_base_fingerprint(base, vocab->pieces[i].data, vocab->pieces[i].size);
}

gr_status gr_base_init(gr_base_tokenizer *base, const gr_base_rules *rules,
                       const gr_model_file *file, gr_error *error) {
    base->tokenizer.type = rules->type;
    base->tokenizer.encode = gr_base_encode;
    gr_status status = read_pieces(base, file, error);
    if (!status)
        status = read_scores(base, rules->need_scores, file, error);
    if (!status)
        status = read_types(base, rules->need_types, file, error);
    if (status)
        return status;
    const gr_vocab *vocab = &base->tokenizer.vocab;
    gr_token_type cut = rules->cut_user_defined ? GR_TOKEN_USER_DEFINED : 0;
    if (gr_matcher_init(&base->specials, vocab, GR_TOKEN_CONTROL, GR_TOKEN_USER_DEFINED) ||
        gr_matcher_init(&base->plain, vocab, cut, cut) ||
        gr_matcher_init(&base->parsed, vocab, GR_TOKEN_CONTROL, cut))
        return gr_base_out_of_memory(error);
    status = read_special_ids(base, file, error);
    if (!status)
        status = read_flags(base, rules, file, error);
    if (!status)
        make_fingerprint(base);
    return status;
}

void gr_base_deinit(gr_base_tokenizer *base) {
    gr_matcher_deinit(&base->specials);
    gr_matcher_deinit(&base->plain);
    gr_matcher_deinit(&base->parsed);
    free(base->bytes);
    free(base->pieces);
    free(base->scores);
    free(base->types);
}
