// SPDX-License-Identifier: Apache-2.0
// SentencePiece's BPE model with an identity normaliser (Kudo and Richardson, "SentencePiece",
// 2018), as Mistral's v1 to v3 and v7 vocabularies use it: spaces are written U+2581, the best
// scored piece that two neighbours spell together is merged first, and what is not in the
// vocabulary goes byte by byte.
//
// Bytes that are not UTF-8 go through the byte tokens as they are, so decoding gives them back.
// (SentencePiece itself would replace each by U+FFFD.) Pieces of type UNUSED are never produced.
#include <stdlib.h>
#include <string.h>

#include "plugins/tokenizer/common/base.h"
#include "plugins/tokenizer/common/index.h"
#include "plugins/tokenizer/common/merge.h"
#include "plugins/tokenizer/common/utf8.h"

#define SPACE "\xE2\x96\x81" // U+2581
#define SPACE_BYTES 3u

extern const gr_tokenizer_type gr_tokenizer_spm;

typedef struct spm_tokenizer {
    gr_base_tokenizer base; // first
    gr_piece_index pieces;  // that merging may produce
    uint32_t *ranks;        // by token: 0 is the best score
    gr_matcher user;        // user-defined pieces, found in escaped text
    gr_token bytes[256];    // GR_TOKEN_NONE where the vocabulary lacks one
    bool split;             // no piece goes on past a space: words can be merged one by one
} spm_tokenizer;

// ---- Encoding ----

// One call's working memory.
typedef struct spm_run {
    const spm_tokenizer *spm;
    const char *word; // being merged
    gr_merger merger;
    gr_tokens *tokens;
    gr_error *error;
} spm_run;

static bool merge_by_score(const void *context, const gr_symbol *left, const gr_symbol *right,
                           uint32_t *out_rank, gr_token *out_merged) {
    const spm_run *run = context;
    gr_token merged = gr_piece_index_find(&run->spm->pieces, run->word + left->start,
                                          (size_t)left->size + right->size);
    if (merged == GR_TOKEN_NONE)
        return false;
    *out_rank = run->spm->ranks[merged];
    *out_merged = merged;
    return true;
}

static gr_status push_bytes(spm_run *run, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        gr_token token = run->spm->bytes[(uint8_t)bytes[i]];
        if (token == GR_TOKEN_NONE)
            token = run->spm->base.tokenizer.vocab.unk;
        if (token == GR_TOKEN_NONE)
            return gr_fail(
                run->error, GR_ERROR_UNSUPPORTED, GR_TOKENIZER_ORIGIN,
                "the vocabulary has no token for byte 0x%02X and none for what is unknown",
                (unsigned)(uint8_t)bytes[i]);
        if (gr_tokens_push(run->tokens, token))
            return gr_base_out_of_memory(run->error);
    }
    return GR_OK;
}

// Merges the symbols gathered since run->word and appends their tokens.
static gr_status flush(spm_run *run) {
    if (!run->merger.count)
        return GR_OK;
    if (gr_merger_run(&run->merger, merge_by_score, run))
        return gr_base_out_of_memory(run->error);
    gr_status status = GR_OK;
    for (const gr_symbol *s = NULL; !status && (s = gr_merger_next(&run->merger, s));) {
        gr_token token = s->token;
        if (token == GR_TOKEN_NONE)
            token = gr_piece_index_find(&run->spm->pieces, run->word + s->start, s->size);
        if (token == GR_TOKEN_NONE)
            status = push_bytes(run, run->word + s->start, s->size);
        else if (gr_tokens_push(run->tokens, token))
            status = gr_base_out_of_memory(run->error);
    }
    gr_merger_clear(&run->merger);
    return status;
}

static bool is_space(const char *bytes, size_t size) {
    return size == SPACE_BYTES && !memcmp(bytes, SPACE, SPACE_BYTES);
}

static gr_status encode_escaped(spm_run *run, const char *text, size_t size) {
    bool after_space = true;
    for (size_t at = 0, step; at < size; at += step) {
        gr_token user;
        bool maybe_user = run->spm->user.begins[(uint8_t)text[at]];
        step = maybe_user ? gr_matcher_longest(&run->spm->user, text + at, size - at, &user) : 0;
        if (step) {
            gr_status status = flush(run);
            if (!status && gr_tokens_push(run->tokens, user))
                status = gr_base_out_of_memory(run->error);
            if (status)
                return status;
            continue;
        }
        step = gr_char_size(text + at, size - at);
        if (!step)
            step = 1;
        bool space = is_space(text + at, step);
        if (space && !after_space && run->spm->split) {
            gr_status status = flush(run);
            if (status)
                return status;
        }
        after_space = space;
        if (!run->merger.count)
            run->word = text + at;
        if (gr_merger_add(&run->merger, (uint32_t)(text + at - run->word), (uint32_t)step,
                          GR_TOKEN_NONE))
            return gr_base_out_of_memory(run->error);
    }
    return flush(run);
}

// Writes `text` with its spaces as U+2581; the caller frees it. NULL when there is no memory.
static char *escape(gr_str text, bool prefix, size_t *out_size) {
    size_t size = text.size + (prefix ? SPACE_BYTES : 0);
    for (size_t i = 0; i < text.size; i++)
        size += text.data[i] == ' ' ? SPACE_BYTES - 1 : 0;
    char *escaped = malloc(size + 1), *to = escaped;
    if (!escaped)
        return NULL;
    if (prefix) {
        memcpy(to, SPACE, SPACE_BYTES);
        to += SPACE_BYTES;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == ' ') {
            memcpy(to, SPACE, SPACE_BYTES);
            to += SPACE_BYTES;
        } else {
            *to++ = text.data[i];
        }
    }
    *out_size = size;
    return escaped;
}

static gr_status encode_text(const gr_base_tokenizer *base, gr_str text, bool begins,
                             gr_tokens *tokens, gr_error *error) {
    if (!text.size)
        return GR_OK;
    size_t size;
    char *escaped = escape(text, begins && base->tokenizer.vocab.add_space_prefix, &size);
    if (!escaped)
        return gr_base_out_of_memory(error);
    spm_run run = {.spm = (const spm_tokenizer *)base, .tokens = tokens, .error = error};
    gr_status status = encode_escaped(&run, escaped, size);
    gr_merger_deinit(&run.merger);
    free(escaped);
    return status;
}

// ---- Decoding ----

static size_t unescape(gr_str piece, char *out_bytes, size_t capacity) {
    size_t count = 0;
    for (size_t at = 0; at < piece.size; count++) {
        bool space = piece.size - at >= SPACE_BYTES && is_space(piece.data + at, SPACE_BYTES);
        if (count < capacity)
            out_bytes[count] = space ? ' ' : piece.data[at];
        at += space ? SPACE_BYTES : 1;
    }
    return count;
}

// The byte that a piece spelled <0x41> stands for, or -1.
static int byte_of(gr_str piece) {
    if (piece.size != 6 || memcmp(piece.data, "<0x", 3) || piece.data[5] != '>')
        return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        char c = piece.data[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static size_t piece_bytes(const gr_tokenizer *tokenizer, gr_token token, bool render_control,
                          char *out_bytes, size_t capacity) {
    gr_str piece = tokenizer->vocab.pieces[token];
    switch (tokenizer->vocab.types[token]) {
    case GR_TOKEN_NORMAL:
    case GR_TOKEN_USER_DEFINED: return unescape(piece, out_bytes, capacity);
    case GR_TOKEN_BYTE: {
        char byte = (char)byte_of(piece);
        return gr_base_copy(&byte, 1, out_bytes, capacity);
    }
    default: return render_control ? gr_base_copy(piece.data, piece.size, out_bytes, capacity) : 0;
    }
}

// ---- Making one ----

static void destroy(gr_tokenizer *tokenizer) {
    spm_tokenizer *spm = (spm_tokenizer *)tokenizer;
    gr_piece_index_deinit(&spm->pieces);
    gr_matcher_deinit(&spm->user);
    free(spm->ranks);
    gr_base_deinit(&spm->base);
    free(spm);
}

// Whether a space stands in the piece behind something else.
static bool passes_space(gr_str piece) {
    bool after_space = true;
    for (size_t at = 0; at < piece.size;) {
        bool space = piece.size - at >= SPACE_BYTES && is_space(piece.data + at, SPACE_BYTES);
        if (space && !after_space)
            return true;
        after_space = space;
        at += space ? SPACE_BYTES : 1;
    }
    return false;
}

static gr_status index_pieces(spm_tokenizer *spm, const gr_model_file *file, gr_error *error) {
    const gr_vocab *vocab = &spm->base.tokenizer.vocab;
    if (gr_piece_index_init(&spm->pieces, vocab->pieces, vocab->size))
        return gr_base_out_of_memory(error);
    spm->split = true;
    for (uint32_t i = 0; i < vocab->size; i++) {
        if (vocab->types[i] == GR_TOKEN_NORMAL) {
            gr_piece_index_add(&spm->pieces, (gr_token)i);
            spm->split = spm->split && !passes_space(vocab->pieces[i]);
        } else if (vocab->types[i] == GR_TOKEN_BYTE) {
            int byte = byte_of(vocab->pieces[i]);
            char line[64];
            if (byte < 0)
                return gr_fail(error, GR_ERROR_CORRUPT, GR_TOKENIZER_ORIGIN,
                               "%s: tokenizer.ggml.tokens[%u] is '%s'; a byte token is spelled "
                               "<0x00> to <0xFF>",
                               gr_model_file_path(file), i, gr_printable(vocab->pieces[i], line));
            if (spm->bytes[byte] == GR_TOKEN_NONE)
                spm->bytes[byte] = (gr_token)i;
        }
    }
    return GR_OK;
}

typedef struct scored {
    float score;
    uint32_t token;
} scored;

static int by_score(const void *a, const void *b) {
    float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x < y) - (x > y);
}

// Equal scores have equal ranks: among them the leftmost pair merges first.
static gr_status rank_pieces(spm_tokenizer *spm, gr_error *error) {
    uint32_t count = spm->base.tokenizer.vocab.size;
    scored *order = malloc(count * sizeof *order);
    spm->ranks = malloc(count * sizeof *spm->ranks);
    if (order && spm->ranks) {
        for (uint32_t i = 0; i < count; i++)
            order[i] = (scored){spm->base.scores[i], i};
        qsort(order, count, sizeof *order, by_score);
        for (uint32_t i = 0, rank = 0; i < count; i++) {
            rank += i && order[i].score != order[i - 1].score;
            spm->ranks[order[i].token] = rank;
        }
    }
    free(order);
    return order && spm->ranks ? GR_OK : gr_base_out_of_memory(error);
}

static uint32_t match(const gr_model_file *file) {
    gr_str model;
    return gr_meta_get_string(file, "tokenizer.ggml.model", &model) && model.size == 5 &&
                   !memcmp(model.data, "llama", 5)
               ? 100
               : 0;
}

static gr_status create(const gr_model_file *file, gr_tokenizer **out_tokenizer, gr_error *error) {
    *out_tokenizer = NULL;
    const gr_base_rules rules = {.type = &gr_tokenizer_spm,
                                 .need_scores = true,
                                 .need_types = true,
                                 .add_bos = true,
                                 .add_space_prefix = true};
    spm_tokenizer *spm = calloc(1, sizeof *spm);
    if (!spm)
        return gr_base_out_of_memory(error);
    for (int i = 0; i < 256; i++)
        spm->bytes[i] = GR_TOKEN_NONE;
    spm->base.encode_text = encode_text;
    spm->base.tokenizer.piece = piece_bytes;
    spm->base.tokenizer.destroy = destroy;
    gr_status status = gr_base_init(&spm->base, &rules, file, error);
    if (!status)
        status = index_pieces(spm, file, error);
    if (!status)
        status = rank_pieces(spm, error);
    if (!status &&
        gr_matcher_init(&spm->user, &spm->base.tokenizer.vocab, GR_TOKEN_USER_DEFINED, 0))
        status = gr_base_out_of_memory(error);
    if (status) {
        destroy(&spm->base.tokenizer);
        return status;
    }
    *out_tokenizer = &spm->base.tokenizer;
    return GR_OK;
}

const gr_tokenizer_type gr_tokenizer_spm = {
    .struct_size = sizeof gr_tokenizer_spm,
    .name = "spm",
    .match = match,
    .create = create,
};
