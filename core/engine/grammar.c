// SPDX-License-Identifier: Apache-2.0
// grammar.c: grammars compiled for a model, and answers that belong to one. Where an answer stands follows from
// its tokens: a state takes those that came since it was asked last, and begins anew when some were taken back.
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"

// ---- Of a model

static gr_status make_trie(gr_model *model, gr_error *error) {
    if (model->trie)
        return GR_OK;
    return gr_token_trie_create(model->tokenizer, model->source->hparams.vocab, &model->trie, error);
}

static bool is_kept(const gr_kept_grammar *kept, const char *kind, const char *text, size_t bytes) {
    return kept->grammar && kept->bytes == bytes && strcmp(kept->kind, kind) == 0 &&
           (!bytes || memcmp(kept->text, text, bytes) == 0);
}

static void forget(gr_kept_grammar *kept) {
    gr_grammar_release(kept->grammar);
    free(kept->kind);
    free(kept->text);
    *kept = (gr_kept_grammar){0};
}

// Keeps a grammar in place of the one that was used least lately. Without memory it is not kept.
static void keep(gr_model *model, gr_grammar *grammar, const char *kind, const char *text, size_t bytes) {
    gr_kept_grammar *slot = model->grammars;
    for (uint32_t i = 0; i < GR_KEPT_GRAMMARS; i++)
        if (model->grammars[i].used < slot->used)
            slot = &model->grammars[i];
    forget(slot);
    char *own_kind = strdup(kind), *own_text = malloc(bytes + 1);
    if (!own_kind || !own_text) {
        free(own_kind);
        free(own_text);
        return;
    }
    if (bytes)
        memcpy(own_text, text, bytes);
    *slot = (gr_kept_grammar){gr_grammar_retain(grammar), own_kind, own_text, bytes, ++model->grammars_used};
}

gr_status gr_model_grammar(gr_model *model, const char *kind, const char *text, size_t bytes, gr_grammar **out_grammar,
                           gr_error *error) {
    *out_grammar = NULL;
    for (uint32_t i = 0; i < GR_KEPT_GRAMMARS; i++) {
        gr_kept_grammar *kept = &model->grammars[i];
        if (!is_kept(kept, kind, text, bytes))
            continue;
        kept->used = ++model->grammars_used;
        *out_grammar = gr_grammar_retain(kept->grammar);
        return GR_OK;
    }
    gr_status status = make_trie(model, error);
    if (status == GR_OK)
        status = gr_grammar_create(model->trie, kind, (gr_str){text, bytes}, out_grammar, error);
    if (status == GR_OK)
        keep(model, *out_grammar, kind, text, bytes);
    return status;
}

void gr_grammars_drop(gr_model *model) {
    for (uint32_t i = 0; i < GR_KEPT_GRAMMARS; i++)
        forget(&model->grammars[i]);
    gr_token_trie_release(model->trie);
}

// ---- Of a request

// Tokens that may still come at `position`.
static uint32_t tokens_left(const gr_request *request, uint64_t position) {
    const gr_session *session = request->session;
    uint64_t taken = position - request->prompt_tokens, most = request->options.max_tokens;
    uint64_t left = session->context > position ? session->context - position : 0;
    if (most)
        left = most > taken ? (most - taken < left ? most - taken : left) : 0;
    return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX - 1;
}

// Brings the state behind tokens [prompt, position) of the log. *out_ended: an end token is among them.
static gr_status follow(gr_request *request, uint64_t position, bool *out_ended, gr_error *error) {
    const gr_session *session = request->session;
    gr_status status = GR_OK;
    *out_ended = false;
    if (request->grammar && request->grammar_position > position) {
        gr_grammar_state_destroy(request->grammar);
        request->grammar = NULL;
    }
    if (!request->grammar) {
        bool skip_space = request->chat_turn && session->model->tokenizer->vocab.add_space_prefix;
        request->grammar_position = request->prompt_tokens;
        status = gr_grammar_state_create(request->options.grammar, skip_space, &request->grammar, error);
    }
    while (status == GR_OK && !*out_ended && request->grammar_position < position) {
        gr_token token = session->tokens.data[request->grammar_position];
        *out_ended = gr_tokenizer_is_end(session->model->tokenizer, token);
        if (!*out_ended)
            status = gr_grammar_state_advance(request->grammar, token, error);
        request->grammar_position += status == GR_OK && !*out_ended;
    }
    return status;
}

gr_status gr_request_grammar_begin(gr_request *request, gr_error *error) {
    const gr_generate_options *options = &request->options;
    uint32_t left = tokens_left(request, request->prompt_tokens);
    bool ended;
    if (!options->grammar)
        return GR_OK;
    if (gr_grammar_trie(options->grammar) != request->session->model->trie)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "engine", "the grammar was compiled for another model");
    if (options->choose || options->heal || options->ignore_end)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine",
                       "a grammar goes without a choose function, without healing, and ends where it ends");
    gr_status status = follow(request, request->prompt_tokens, &ended, error);
    uint32_t shortest = status == GR_OK ? gr_grammar_state_shortest(request->grammar) : 0;
    if (shortest > left)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine",
                       "the shortest answer that the grammar allows may take %u tokens, and %u are left", shortest, left);
    return status;
}

gr_status gr_request_grammar_mask(gr_request *request, uint64_t position, const uint32_t **out_mask, gr_error *error) {
    bool ended = false;
    *out_mask = NULL;
    if (!request->options.grammar)
        return GR_OK;
    gr_status status = follow(request, position, &ended, error);
    if (status != GR_OK || ended) // behind an end nothing will be taken
        return status;
    return gr_grammar_state_mask(request->grammar, tokens_left(request, position), out_mask, error);
}

bool gr_request_grammar_is_over(gr_request *request) {
    bool ended;
    if (!request->options.grammar || request->speculation) // what was guessed ahead ends by its end token
        return false;
    return follow(request, request->prompt_tokens + request->tokens.count, &ended, NULL) == GR_OK &&
           gr_grammar_state_is_over(request->grammar);
}

void gr_request_grammar_end(gr_request *request) {
    gr_grammar_state_destroy(request->grammar);
    gr_grammar_release(request->options.grammar);
}
