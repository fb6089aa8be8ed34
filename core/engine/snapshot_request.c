// SPDX-License-Identifier: Apache-2.0
// snapshot_request.c: block "request": the answer in progress. Draws are keyed by seed and position, and a chain
// describes what it has learnt, so this is what was asked for and what came of it so far; the text follows from
// the tokens. Block "grammar": what the answer must belong to; where it stands there follows from the tokens too.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/snapshot.h"

enum { IGNORE_END = 1, RAW = 2, CHAT_TURN = 4, CANCELLED = 8, ALL_FLAGS = 15 };

static uint32_t flags_of(const gr_request *request) {
    return (request->options.ignore_end ? IGNORE_END : 0u) | (request->options.raw ? RAW : 0u) |
           (request->chat_turn ? CHAT_TURN : 0u) | (atomic_load(&request->cancelled) ? CANCELLED : 0u);
}

static void put_chain(const gr_sampler_chain *chain, gr_strbuf *out) {
    size_t size = gr_sampler_chain_describe(chain, NULL, 0);
    char *text = size < SIZE_MAX ? malloc(size + 1) : NULL;
    out->failed = out->failed || !text || gr_sampler_chain_describe(chain, text, size + 1) != size;
    gr_put_text(out, (gr_str){text, size});
    free(text);
}

void gr_snapshot_put_request(const gr_session *session, gr_strbuf *out) {
    const gr_request *request = session->request;
    if (!request)
        return;
    gr_put_u32(out, flags_of(request));
    gr_put_u32(out, request->options.max_tokens);
    gr_put_u64(out, request->options.seed);
    gr_put_u64(out, request->prompt_tokens);
    gr_put_u64(out, request->read);
    put_chain(request->chain, out);
    uint64_t stops = 0;
    while (request->stop[stops])
        stops++;
    gr_put_u64(out, stops);
    for (uint64_t i = 0; i < stops; i++)
        gr_put_text(out, (gr_str){request->stop[i], strlen(request->stop[i])});
    gr_put_u64(out, request->tokens.count);
    for (size_t i = 0; i < request->tokens.count; i++) {
        gr_put_u32(out, (uint32_t)request->tokens.data[i]);
        gr_put_f64(out, request->log_probabilities[i]);
    }
}

void gr_snapshot_put_grammar(const gr_session *session, gr_strbuf *out) {
    const char *kind;
    if (!session->request || !session->request->options.grammar)
        return;
    gr_str text = gr_grammar_source(session->request->options.grammar, &kind);
    gr_put_text(out, (gr_str){kind, strlen(kind)});
    gr_put_text(out, text);
}

// ---- Taking

typedef struct saved_request {
    uint32_t flags;
    uint64_t prompt_tokens, read;
    gr_generate_options options;
} saved_request;

static gr_status take_stops(gr_snapshot_file *file, gr_snapshot_block *block, saved_request *saved, gr_error *error) {
    gr_status status = GR_OK;
    uint64_t count = gr_take_count(block, 8);
    char **stops = gr_arena_alloc(&file->arena, (count + 1) * sizeof *stops);
    if (!stops)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "snapshot", "%s: no memory to read it", file->path);
    for (uint64_t i = 0; status == GR_OK && i < count; i++) {
        status = gr_snapshot_string(file, block, gr_take_text(block), &stops[i], error);
        if (status == GR_OK && !stops[i])
            status = gr_snapshot_damaged(block, error, "stop string %llu is absent", (unsigned long long)i);
    }
    saved->options.stop = (const char *const *)stops;
    return status;
}

static gr_status take_options(gr_snapshot_file *file, gr_snapshot_block *block, saved_request *saved, gr_error *error) {
    char *chain = NULL;
    *saved = (saved_request){.flags = gr_take_u32(block), .options = {.struct_size = sizeof saved->options}};
    saved->options.ignore_end = (saved->flags & IGNORE_END) != 0;
    saved->options.raw = (saved->flags & RAW) != 0;
    saved->options.max_tokens = gr_take_u32(block);
    saved->options.seed = gr_take_u64(block);
    saved->prompt_tokens = gr_take_u64(block);
    saved->read = gr_take_u64(block);
    gr_status status = gr_snapshot_string(file, block, gr_take_text(block), &chain, error);
    saved->options.sampler = chain;
    if (status == GR_OK && saved->flags > ALL_FLAGS)
        status = gr_snapshot_damaged(block, error, "flags %#x, of which this build knows %#x", saved->flags, ALL_FLAGS);
    return status == GR_OK ? take_stops(file, block, saved, error) : status;
}

// *out_grammar: a reference, or NULL where there is none.
static gr_status take_grammar(gr_snapshot_file *file, gr_model *model, gr_grammar **out_grammar, gr_error *error) {
    gr_snapshot_block *block = &file->blocks[GR_SNAPSHOT_GRAMMAR];
    char *kind = NULL;
    gr_error inner;
    *out_grammar = NULL;
    if (!block->data)
        return GR_OK;
    gr_status status = gr_snapshot_string(file, block, gr_take_text(block), &kind, error);
    gr_str text = gr_take_text(block);
    if (status == GR_OK)
        status = gr_snapshot_block_end(block, error);
    if (status != GR_OK)
        return status;
    if (!kind || !text.data)
        return gr_snapshot_damaged(block, error, "a grammar without %s", kind ? "text" : "a kind");
    gr_error_init(&inner);
    return gr_snapshot_refused(block, gr_model_grammar(model, kind, text.data, text.size, out_grammar, &inner), &inner, error);
}

// The answer so far must be one that its grammar allows.
static gr_status check_grammar(gr_snapshot_file *file, gr_request *request, gr_error *error) {
    const uint32_t *mask;
    gr_error inner;
    gr_error_init(&inner);
    gr_status status = gr_request_grammar_mask(request, request->prompt_tokens + request->tokens.count, &mask, &inner);
    return gr_snapshot_refused(&file->blocks[GR_SNAPSHOT_GRAMMAR], status, &inner, error);
}

// Tokens, and the text that they make.
static gr_status take_answer(gr_snapshot_block *block, gr_request *request, gr_error *error) {
    uint64_t count = gr_take_count(block, 12);
    uint32_t vocab = request->session->model->source->hparams.vocab;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t token = gr_take_u32(block);
        double log_probability = gr_take_f64(block);
        size_t at;
        if (token >= vocab)
            return gr_snapshot_damaged(block, error, "token %u: the vocabulary has %u", token, vocab);
        if (!gr_request_make_room(request) || gr_tokens_push(&request->tokens, (gr_token)token) != GR_OK)
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "snapshot", "%s: no memory for an answer", block->path);
        request->log_probabilities[i] = log_probability;
        if (gr_request_show(request, (gr_token)token, &at) != GR_OUTPUT_GOES_ON)
            return gr_snapshot_damaged(block, error, "the answer ended before");
    }
    return gr_snapshot_block_end(block, error);
}

// What is answered stands behind the prompt, at the end of the log.
static bool is_logged(const gr_request *request) {
    const gr_tokens *log = &request->session->tokens, *answer = &request->tokens;
    return request->prompt_tokens && request->prompt_tokens <= log->count &&
           answer->count == log->count - request->prompt_tokens &&
           (!answer->count ||
            memcmp(log->data + request->prompt_tokens, answer->data, answer->count * sizeof *answer->data) == 0);
}

gr_status gr_snapshot_take_request(gr_snapshot_file *file, gr_session *session, gr_request **out_request, gr_error *error) {
    gr_snapshot_block *block = &file->blocks[GR_SNAPSHOT_REQUEST];
    gr_request *request = NULL;
    saved_request saved;
    gr_error inner;
    *out_request = NULL;
    if (!block->data)
        return GR_OK;
    gr_error_init(&inner);
    gr_status status = take_options(file, block, &saved, error);
    if (status == GR_OK)
        status = take_grammar(file, session->model, &saved.options.grammar, error);
    if (status == GR_OK)
        status = gr_snapshot_refused(block, gr_request_create(session, &saved.options, &request, &inner), &inner, error);
    gr_grammar_release(saved.options.grammar);
    if (status != GR_OK)
        return status;
    request->chat_turn = (saved.flags & CHAT_TURN) != 0;
    status = take_answer(block, request, error);
    request->prompt_tokens = saved.prompt_tokens;
    if (status == GR_OK && (!is_logged(request) || saved.read > request->shown))
        status = gr_snapshot_damaged(block, error, "a prompt of %llu tokens, an answer of %zu, %llu bytes handed out",
                                     (unsigned long long)saved.prompt_tokens, request->tokens.count,
                                     (unsigned long long)saved.read);
    if (status == GR_OK && (request->text.failed || request->pending.failed))
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "snapshot", "%s: no memory for an answer", file->path);
    request->read = (size_t)saved.read;
    if (status == GR_OK)
        status = check_grammar(file, request, error);
    if (status != GR_OK) {
        gr_request_release(request);
        return status;
    }
    atomic_store(&request->cancelled, (saved.flags & CANCELLED) != 0);
    session->request = *out_request = request;
    return GR_OK;
}
