// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <string.h>

#include "gregale/linked/registry.h"
#include "plugins/tokenizer/common/base.h"

gr_status gr_tokenizer_create(const gr_model_file *file, gr_tokenizer **out_tokenizer,
                              gr_error *error) {
    *out_tokenizer = NULL;
    const gr_tokenizer_type *best = NULL;
    uint32_t best_score = 0;
    for (const gr_tokenizer_type *const *type = gr_linked_tokenizers(); *type; type++) {
        uint32_t score = (*type)->match(file);
        if (score > best_score) {
            best_score = score;
            best = *type;
        }
    }
    if (best)
        return best->create(file, out_tokenizer, error);
    gr_str model;
    char line[64];
    if (!gr_meta_get_string(file, "tokenizer.ggml.model", &model))
        return gr_fail(error, GR_ERROR_NOT_FOUND, GR_TOKENIZER_ORIGIN,
                       "%s: no tokenizer in this file (tokenizer.ggml.model is missing)",
                       gr_model_file_path(file));
    return gr_fail(error, GR_ERROR_UNSUPPORTED, GR_TOKENIZER_ORIGIN,
                   "%s: tokenizer.ggml.model is '%s'; known are llama (SentencePiece BPE) and gpt2 "
                   "(byte-level BPE)",
                   gr_model_file_path(file), gr_printable(model, line));
}

void gr_tokenizer_destroy(gr_tokenizer *tokenizer) {
    if (tokenizer)
        tokenizer->destroy(tokenizer);
}

gr_status gr_tokenizer_encode(const gr_tokenizer *tokenizer, gr_str text, gr_encode_flags flags,
                              gr_tokens *tokens, gr_error *error) {
    assert(tokenizer && tokens);
    size_t before = tokens->count;
    gr_status status = tokenizer->encode(tokenizer, text, flags, tokens, error);
    if (status)
        tokens->count = before;
    return status;
}

size_t gr_tokenizer_piece(const gr_tokenizer *tokenizer, gr_token token, bool render_control,
                          char *out_bytes, size_t capacity) {
    if (token < 0 || (uint32_t)token >= tokenizer->vocab.size)
        return 0;
    return tokenizer->piece(tokenizer, token, render_control, out_bytes, capacity);
}

gr_token gr_tokenizer_find(const gr_tokenizer *tokenizer, const char *piece) {
    const gr_base_tokenizer *base = (const gr_base_tokenizer *)tokenizer;
    return gr_matcher_find(&base->specials, piece, strlen(piece));
}

bool gr_tokenizer_is_end(const gr_tokenizer *tokenizer, gr_token token) {
    const gr_base_tokenizer *base = (const gr_base_tokenizer *)tokenizer;
    for (uint32_t i = 0; i < base->end_count; i++)
        if (base->ends[i] == token)
            return true;
    return false;
}

size_t gr_base_copy(const char *bytes, size_t size, char *out_bytes, size_t capacity) {
    size_t count = size < capacity ? size : capacity;
    if (count)
        memcpy(out_bytes, bytes, count);
    return size;
}

// Plain text and the tokens spelled in it, in turn. A dummy space goes before text that begins the
// sequence or follows a control token, as if it were encoded alone.
static gr_status encode_parts(const gr_base_tokenizer *base, const gr_matcher *matcher, gr_str text,
                              bool begins, gr_tokens *tokens, gr_error *error) {
    for (size_t at = 0; at < text.size;) {
        gr_token found;
        size_t size,
            gap = gr_matcher_search(matcher, text.data + at, text.size - at, &found, &size);
        gr_status status = GR_OK;
        if (gap)
            status = base->encode_text(base, (gr_str){text.data + at, gap}, begins, tokens, error);
        if (!status && size) {
            begins = base->types[found] == GR_TOKEN_CONTROL;
            status = gr_tokens_push(tokens, found) ? gr_base_out_of_memory(error) : GR_OK;
        }
        if (status)
            return status;
        at += gap + size;
    }
    return GR_OK;
}

gr_status gr_base_encode(const gr_tokenizer *tokenizer, gr_str text, gr_encode_flags flags,
                         gr_tokens *tokens, gr_error *error) {
    const gr_base_tokenizer *base = (const gr_base_tokenizer *)tokenizer;
    const gr_vocab *vocab = &tokenizer->vocab;
    const gr_matcher *matcher = flags & GR_ENCODE_PARSE_CONTROL ? &base->parsed : &base->plain;
    bool special = flags & GR_ENCODE_SPECIAL;
    if (text.size > GR_MAX_TEXT_BYTES)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, GR_TOKENIZER_ORIGIN,
                       "a text of %zu bytes; at most %u at once", text.size, GR_MAX_TEXT_BYTES);
    if (special && vocab->add_bos && gr_tokens_push(tokens, vocab->bos))
        return gr_base_out_of_memory(error);
    gr_status status = encode_parts(base, matcher, text, !(flags & GR_ENCODE_NO_PREFIX), tokens,
                                    error);
    if (!status && special && vocab->add_eos && gr_tokens_push(tokens, vocab->eos))
        return gr_base_out_of_memory(error);
    return status;
}
