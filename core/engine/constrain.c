// SPDX-License-Identifier: Apache-2.0
// constrain.c: tokens that may not come next: by a grammar; banned strings, which are taken back when they are
// complete; the beginning that a healed prompt asks for.
#include <stdlib.h>
#include <string.h>

#include "engine/output.h"

enum { SHORT_PIECE = 64, MOST_REWINDS = 10000 };

static gr_status no_memory(gr_error *error) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to constrain an answer");
}

// ---- The mask

static bool mask_all(gr_request *request, uint32_t vocab) {
    size_t words = (vocab + 31) / 32;
    if (!request->allowed)
        request->allowed = malloc(words * sizeof *request->allowed);
    if (request->allowed)
        memset(request->allowed, 0xff, words * sizeof *request->allowed);
    return request->allowed != NULL;
}

static void forbid(gr_request *request, gr_token token) {
    request->allowed[token / 32] &= ~(UINT32_C(1) << (token % 32));
}

// Whether one of a token's bytes and the healed beginning begins with the other.
static bool fits(const gr_request *request, gr_token token) {
    char small[SHORT_PIECE];
    const gr_tokenizer *tokenizer = request->session->model->tokenizer;
    size_t count = gr_tokenizer_piece(tokenizer, token, false, small, sizeof small);
    size_t left = request->heal.size - request->healed, common = count < left ? count : left;
    common = common < sizeof small ? common : sizeof small; // a longer one may fit in what is looked at
    return count && memcmp(small, request->heal.data + request->healed, common) == 0 &&
           !gr_tokenizer_is_end(tokenizer, token);
}

gr_status gr_request_mask(gr_request *request, uint64_t position, const uint32_t **out_mask, gr_error *error) {
    uint32_t vocab = request->session->model->source->hparams.vocab;
    gr_status status = gr_request_grammar_mask(request, position, out_mask, error);
    bool bans = false, heals = request->healed < request->heal.size;
    for (uint32_t i = 0; i < request->ban_count; i++)
        bans |= request->bans[i].position == position;
    if (status != GR_OK || (!bans && !heals))
        return status;
    if (!mask_all(request, vocab))
        return no_memory(error);
    for (uint32_t i = 0; *out_mask && i < (vocab + 31) / 32; i++)
        request->allowed[i] = (*out_mask)[i];
    for (uint32_t i = 0; i < request->ban_count; i++)
        if (request->bans[i].position == position)
            forbid(request, request->bans[i].token);
    for (uint32_t token = 0; heals && token < vocab; token++)
        if (!fits(request, (gr_token)token))
            forbid(request, (gr_token)token);
    *out_mask = request->allowed;
    return GR_OK;
}

// ---- Healing: "http:" encodes otherwise than the beginning of "http://", so the last token is chosen again.

gr_status gr_request_heal(gr_request *request, gr_error *error) {
    gr_session *session = request->session;
    size_t count = session->tokens.count;
    if (count < 2)
        return GR_OK;
    gr_token last = session->tokens.data[count - 1];
    size_t bytes = gr_tokenizer_piece(session->model->tokenizer, last, false, NULL, 0);
    char *piece = malloc(bytes + 1);
    if (!piece)
        return no_memory(error);
    gr_tokenizer_piece(session->model->tokenizer, last, false, piece, bytes);
    gr_strbuf_add(&request->heal, piece, bytes);
    free(piece);
    if (request->heal.failed)
        return no_memory(error);
    gr_status status = bytes ? gr_session_set_length(session, count - 1, error) : GR_OK; // control tokens have no bytes
    request->healing = last;
    request->prompt_tokens = session->tokens.count;
    return status;
}

size_t gr_request_healed(gr_request *request, size_t count) {
    size_t left = request->heal.size - request->healed, known = count < left ? count : left;
    request->healed += known;
    return known;
}

// ---- Going back

// Takes tokens [index, count) of the answer back.
static gr_status take_back(gr_request *request, size_t index, gr_error *error) {
    gr_session *guide = request->options.guide;
    size_t dropped = request->tokens.count - index;
    gr_status status = gr_session_set_length(request->session, request->prompt_tokens + index, error);
    if (status == GR_OK && guide)
        status = gr_session_set_length(guide, guide->tokens.count > dropped ? guide->tokens.count - dropped : 0, error);
    if (status != GR_OK)
        return status;
    request->tokens.count = index;
    gr_speculation_end(request, NULL);
    if (dropped)
        gr_output_go_back(request, &request->places[index]);
    return GR_OK;
}

void gr_request_unheal(gr_request *request) {
    if (request->healed == request->heal.size || take_back(request, 0, NULL) != GR_OK)
        return;
    if (gr_session_log(request->session, &request->healing, 1, NULL) == GR_OK)
        request->prompt_tokens++;
    gr_strbuf_clear(&request->heal);
    request->healed = 0;
}

static gr_status ban(gr_request *request, uint64_t position, gr_token token, gr_error *error) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < request->ban_count; i++) // those further on belong to a text that is gone
        if (request->bans[i].position <= position)
            request->bans[kept++] = request->bans[i];
    gr_ban *bans = realloc(request->bans, (kept + 1) * sizeof *bans);
    if (!bans)
        return no_memory(error);
    request->bans = bans;
    request->bans[kept] = (gr_ban){position, token};
    request->ban_count = kept + 1;
    return GR_OK;
}

gr_status gr_request_go_back(gr_request *request, size_t at, gr_error *error) {
    size_t index = gr_output_token(request, request->tokens.count, at);
    if (++request->rewinds > MOST_REWINDS)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine", "banned strings came back after %d rewinds", MOST_REWINDS);
    uint64_t position = request->prompt_tokens + index;
    gr_status status = ban(request, position, request->tokens.data[index], error);
    return status == GR_OK ? take_back(request, index, error) : status;
}
