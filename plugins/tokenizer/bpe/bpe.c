// SPDX-License-Identifier: Apache-2.0
// Byte-level byte-pair encoding (Radford et al., "Language Models are Unsupervised Multitask
// Learners", 2019): text is cut into words by a pattern, a word's bytes are spelled in a printable
// alphabet, and neighbours merge in the order of the vocabulary's list of merges.
//
// A byte that the vocabulary lacks vanishes before merging, as in the implementations that such
// vocabularies come from. Merges that would spell a control token never happen.
#include <stdlib.h>
#include <string.h>

#include "plugins/tokenizer/bpe/alphabet.h"
#include "plugins/tokenizer/bpe/splitter.h"
#include "plugins/tokenizer/common/base.h"
#include "plugins/tokenizer/common/index.h"
#include "plugins/tokenizer/common/merge.h"

extern const gr_tokenizer_type gr_tokenizer_bpe;

typedef struct bpe_tokenizer {
    gr_base_tokenizer base; // first
    gr_splitter splitter;
    gr_pair_index merges;
    char *word_bytes;
    gr_str *words;        // what pieces stand for
    gr_piece_index whole; // words taken unmerged; empty where the vocabulary wants none
    gr_token bytes[256];  // GR_TOKEN_NONE where the vocabulary lacks one
} bpe_tokenizer;

// ---- Encoding ----

// One call's working memory.
typedef struct bpe_run {
    const bpe_tokenizer *bpe;
    gr_merger merger;
    gr_tokens *tokens;
} bpe_run;

static bool merge_by_rank(const void *context, const gr_symbol *left, const gr_symbol *right,
                          uint32_t *out_rank, gr_token *out_merged) {
    const bpe_tokenizer *bpe = context;
    const gr_pair_slot *slot = gr_pair_index_find(&bpe->merges, left->token, right->token);
    if (!slot)
        return false;
    *out_rank = slot->rank;
    *out_merged = slot->merged;
    return true;
}

static gr_status merge_word(bpe_run *run, const char *word, size_t size) {
    gr_status status = GR_OK;
    gr_merger_clear(&run->merger);
    for (size_t i = 0; !status && i < size; i++) {
        gr_token token = run->bpe->bytes[(uint8_t)word[i]];
        if (token != GR_TOKEN_NONE)
            status = gr_merger_add(&run->merger, (uint32_t)i, 1, token);
    }
    if (!status)
        status = gr_merger_run(&run->merger, merge_by_rank, run->bpe);
    for (const gr_symbol *s = NULL; !status && (s = gr_merger_next(&run->merger, s));)
        status = gr_tokens_push(run->tokens, s->token);
    return status;
}

static gr_status encode_word(void *context, const char *word, size_t size, gr_error *error) {
    bpe_run *run = context;
    gr_token whole = gr_piece_index_find(&run->bpe->whole, word, size);
    gr_status status = whole != GR_TOKEN_NONE ? gr_tokens_push(run->tokens, whole)
                                              : merge_word(run, word, size);
    return status ? gr_base_out_of_memory(error) : GR_OK;
}

static gr_status encode_text(const gr_base_tokenizer *base, gr_str text, bool begins,
                             gr_tokens *tokens, gr_error *error) {
    (void)begins;
    bpe_run run = {.bpe = (const bpe_tokenizer *)base, .tokens = tokens};
    gr_status status = gr_splitter_visit(&run.bpe->splitter, text, encode_word, &run, error);
    gr_merger_deinit(&run.merger);
    return status;
}

// ---- Decoding ----

static size_t piece_bytes(const gr_tokenizer *tokenizer, gr_token token, bool render_control,
                          char *out_bytes, size_t capacity) {
    const bpe_tokenizer *bpe = (const bpe_tokenizer *)tokenizer;
    gr_str piece = tokenizer->vocab.pieces[token];
    switch (tokenizer->vocab.types[token]) {
    case GR_TOKEN_NORMAL:
        return gr_base_copy(bpe->words[token].data, bpe->words[token].size, out_bytes, capacity);
    case GR_TOKEN_USER_DEFINED: // written as it is read
        return gr_base_copy(piece.data, piece.size, out_bytes, capacity);
    default: return render_control ? gr_base_copy(piece.data, piece.size, out_bytes, capacity) : 0;
    }
}

// ---- Making one ----

static void destroy(gr_tokenizer *tokenizer) {
    bpe_tokenizer *bpe = (bpe_tokenizer *)tokenizer;
    gr_splitter_deinit(&bpe->splitter);
    gr_pair_index_deinit(&bpe->merges);
    gr_piece_index_deinit(&bpe->whole);
    free(bpe->words);
    free(bpe->word_bytes);
    gr_base_deinit(&bpe->base);
    free(bpe);
}

static gr_status read_words(bpe_tokenizer *bpe, gr_error *error) {
    const gr_vocab *vocab = &bpe->base.tokenizer.vocab;
    size_t total = 0;
    for (uint32_t i = 0; i < vocab->size; i++)
        total += vocab->pieces[i].size;
    bpe->word_bytes = malloc(total + 1);
    bpe->words = calloc(vocab->size, sizeof *bpe->words);
    if (!bpe->word_bytes || !bpe->words)
        return gr_base_out_of_memory(error);
    char *at = bpe->word_bytes;
    for (uint32_t i = 0; i < vocab->size; i++) {
        size_t size = gr_alphabet_read(vocab->pieces[i].data, vocab->pieces[i].size, at);
        bpe->words[i] = (gr_str){at, size};
        at += size;
    }
    return GR_OK;
}

static gr_status index_whole_words(bpe_tokenizer *bpe, gr_error *error) {
    const gr_vocab *vocab = &bpe->base.tokenizer.vocab;
    if (gr_piece_index_init(&bpe->whole, bpe->words, vocab->size))
        return gr_base_out_of_memory(error);
    for (uint32_t i = 0; i < vocab->size; i++)
        if (vocab->types[i] == GR_TOKEN_NORMAL)
            gr_piece_index_add(&bpe->whole, (gr_token)i);
    return GR_OK;
}

// All pieces as they are spelled; of duplicates the ordinary one.
static gr_status index_pieces(const gr_vocab *vocab, gr_piece_index *index, gr_error *error) {
    if (gr_piece_index_init(index, vocab->pieces, vocab->size))
        return gr_base_out_of_memory(error);
    for (int ordinary = 1; ordinary >= 0; ordinary--)
        for (uint32_t i = 0; i < vocab->size; i++)
            if ((vocab->types[i] == GR_TOKEN_NORMAL) == ordinary)
                gr_piece_index_add(index, (gr_token)i);
    return GR_OK;
}

static bool is_control(const gr_vocab *vocab, gr_token token) {
    return vocab->types[token] == GR_TOKEN_CONTROL || vocab->types[token] == GR_TOKEN_UNKNOWN;
}

static gr_status bad_merge(const gr_model_file *file, uint64_t at, gr_str merge, const char *why,
                           gr_error *error) {
    char line[64];
    return gr_fail(error, GR_ERROR_CORRUPT, GR_TOKENIZER_ORIGIN,
                   "%s: tokenizer.ggml.merges[%llu] is '%s'; %s", gr_model_file_path(file),
                   (unsigned long long)at, gr_printable(merge, line), why);
}

// Reads "left right". Both and what they spell together must be in the vocabulary. `joined` holds
// the merge.
static gr_status add_merge(bpe_tokenizer *bpe, const gr_piece_index *index,
                           const gr_model_file *file, uint64_t at, gr_str merge, char *joined,
                           gr_error *error) {
    const gr_vocab *vocab = &bpe->base.tokenizer.vocab;
    const char *space = merge.size ? memchr(merge.data, ' ', merge.size) : NULL;
    size_t left = space ? (size_t)(space - merge.data) : 0,
           right = space ? merge.size - left - 1 : 0;
    if (!left || !right || memchr(space + 1, ' ', right))
        return bad_merge(file, at, merge, "expected two pieces and a space between", error);
    memcpy(joined, merge.data, left);
    memcpy(joined + left, space + 1, right);
    gr_token a = gr_piece_index_find(index, joined, left);
    gr_token b = gr_piece_index_find(index, joined + left, right);
    gr_token merged = gr_piece_index_find(index, joined, left + right);
    if (a == GR_TOKEN_NONE || b == GR_TOKEN_NONE || merged == GR_TOKEN_NONE)
        return bad_merge(file, at, merge,
                         "both pieces and the two together must be in the vocabulary", error);
    if (!is_control(vocab, a) && !is_control(vocab, b) && !is_control(vocab, merged))
        gr_pair_index_add(&bpe->merges, a, b, (uint32_t)at, merged);
    return GR_OK;
}

static gr_status read_merges(bpe_tokenizer *bpe, const gr_piece_index *index,
                             const gr_model_file *file, gr_error *error) {
    const gr_meta *array = gr_model_file_meta(file, "tokenizer.ggml.merges");
    if (!array || array->type != GR_META_ARRAY || array->value.array.type != GR_META_STRING)
        return gr_fail(error, GR_ERROR_CORRUPT, GR_TOKENIZER_ORIGIN,
                       "%s: tokenizer.ggml.merges: expected an array of strings",
                       gr_model_file_path(file));
    uint64_t count = array->value.array.count;
    size_t longest = 0;
    for (uint64_t i = 0; i < count; i++)
        if (gr_meta_array_string(array, i).size > longest)
            longest = gr_meta_array_string(array, i).size;
    char *joined = malloc(longest + 1);
    if (!joined || count > UINT32_MAX || gr_pair_index_init(&bpe->merges, (size_t)count)) {
        free(joined);
        return gr_base_out_of_memory(error);
    }
    gr_status status = GR_OK;
    for (uint64_t i = 0; !status && i < count; i++) {
        gr_str merge = gr_meta_array_string(array, i);
        status = add_merge(bpe, index, file, i, merge, joined, error);
        gr_base_fingerprint(&bpe->base, merge.data, merge.size);
    }
    free(joined);
    return status;
}

// Merges, and the tokens of single bytes, by their spelling.
static gr_status read_spelled(bpe_tokenizer *bpe, const gr_model_file *file, gr_error *error) {
    gr_piece_index index = {0};
    const gr_vocab *vocab = &bpe->base.tokenizer.vocab;
    gr_status status = index_pieces(vocab, &index, error);
    for (int byte = 0; !status && byte < 256; byte++) {
        char spelled[2];
        gr_token token = gr_piece_index_find(&index, spelled,
                                             gr_alphabet_spell((uint8_t)byte, spelled));
        bpe->bytes[byte] = token != GR_TOKEN_NONE && is_control(vocab, token) ? GR_TOKEN_NONE
                                                                              : token;
    }
    if (!status)
        status = read_merges(bpe, &index, file, error);
    gr_piece_index_deinit(&index);
    return status;
}

static gr_status find_kind(const gr_model_file *file, const gr_split_kind **out_kind,
                           gr_error *error) {
    gr_str pre;
    char line[64];
    *out_kind = NULL;
    if (!gr_meta_get_string(file, "tokenizer.ggml.pre", &pre))
        return gr_fail(error, GR_ERROR_UNSUPPORTED, GR_TOKENIZER_ORIGIN,
                       "%s: tokenizer.ggml.pre is missing, so how to cut text into words is not "
                       "known; it names one of: %s",
                       gr_model_file_path(file), gr_split_known());
    *out_kind = gr_split_kind_find(pre);
    if (*out_kind)
        return GR_OK;
    return gr_fail(error, GR_ERROR_UNSUPPORTED, GR_TOKENIZER_ORIGIN,
                   "%s: tokenizer.ggml.pre is '%s'; known are: %s", gr_model_file_path(file),
                   gr_printable(pre, line), gr_split_known());
}

static uint32_t match(const gr_model_file *file) {
    gr_str model;
    return gr_meta_get_string(file, "tokenizer.ggml.model", &model) && model.size == 4 &&
                   !memcmp(model.data, "gpt2", 4)
               ? 100
               : 0;
}

static gr_status fill(bpe_tokenizer *bpe, const gr_model_file *file, gr_error *error) {
    const gr_split_kind *kind;
    gr_status status = find_kind(file, &kind, error);
    if (status)
        return status;
    const gr_base_rules rules = {
        .type = &gr_tokenizer_bpe, .add_bos = kind->add_bos, .cut_user_defined = true};
    status = gr_base_init(&bpe->base, &rules, file, error);
    if (!status)
        status = gr_splitter_init(&bpe->splitter, kind, error);
    if (!status)
        gr_base_fingerprint(&bpe->base, kind->names[0], strlen(kind->names[0]));
    if (!status)
        status = read_words(bpe, error);
    if (!status && kind->whole_words)
        status = index_whole_words(bpe, error);
    if (!status)
        status = read_spelled(bpe, file, error);
    bpe->base.tokenizer.vocab
        .add_space_prefix = false; // byte-level text begins with what it begins with
    return status;
}

static gr_status create(const gr_model_file *file, gr_tokenizer **out_tokenizer, gr_error *error) {
    *out_tokenizer = NULL;
    bpe_tokenizer *bpe = calloc(1, sizeof *bpe);
    if (!bpe)
        return gr_base_out_of_memory(error);
    bpe->base.encode_text = encode_text;
    bpe->base.tokenizer.piece = piece_bytes;
    bpe->base.tokenizer.destroy = destroy;
    gr_status status = fill(bpe, file, error);
    if (status)
        destroy(&bpe->base.tokenizer);
    else
        *out_tokenizer = &bpe->base.tokenizer;
    return status;
}

const gr_tokenizer_type gr_tokenizer_bpe = {
    .struct_size = sizeof gr_tokenizer_bpe,
    .name = "bpe",
    .match = match,
    .create = create,
};
