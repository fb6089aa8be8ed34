// SPDX-License-Identifier: Apache-2.0
// request.c: one answer being generated: choose a token, show its text, see whether it ends.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "engine/output.h"

#define DEFAULT_SAMPLER "top-k(40);top-p(0.95);temperature(0.7)"

// ---- Making one

static gr_status copy_stops(gr_request *request, const char *const *stop, gr_error *error) {
    size_t count = 0;
    while (stop && stop[count])
        count++;
    request->stop = calloc(count + 1, sizeof *request->stop);
    for (size_t i = 0; request->stop && i < count; i++)
        if (!(request->stop[i] = strdup(stop[i])))
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for stop strings");
    return request->stop ? GR_OK : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for stop strings");
}

// Whatever is wrong with the text, it is the caller's argument.
static gr_status make_chain(gr_sampler_chain **out_chain, const char *text, gr_error *error) {
    gr_status status = gr_sampler_chain_create(out_chain, error);
    if (status == GR_OK)
        status = gr_sampler_chain_parse(*out_chain, text ? text : DEFAULT_SAMPLER, error);
    if (status == GR_OK || status == GR_ERROR_OUT_OF_MEMORY)
        return status;
    if (error)
        error->code = GR_ERROR_INVALID_ARGUMENT;
    return GR_ERROR_INVALID_ARGUMENT;
}

gr_status gr_sampler_check(const char *sampler, gr_error *error) {
    gr_sampler_chain *chain = NULL;
    gr_status status = make_chain(&chain, sampler, error);
    gr_sampler_chain_destroy(chain);
    return status;
}

// What the answer continues: the turns, the tokens so far, or a bare beginning token.
static gr_status ready_prompt(gr_request *request, gr_error *error) {
    gr_session *session = request->session;
    gr_status status = GR_OK;
    request->chat_turn = session->chat.count && !request->options.raw;
    if (request->chat_turn)
        status = gr_turns_apply(session, error);
    else if (!session->tokens.count)
        status = gr_session_append_text(session, "", 0, error);
    if (status == GR_OK && !session->tokens.count)
        status = gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "nothing to continue: append a prompt first");
    request->prompt_tokens = session->tokens.count;
    return status;
}

gr_status gr_request_create(gr_session *session, const gr_generate_options *options, gr_request **out_request,
                            gr_error *error) {
    static const gr_generate_options defaults = {.struct_size = sizeof defaults};
    *out_request = NULL;
    gr_request *request = calloc(1, sizeof *request);
    if (!request)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a request");
    request->references = 1;
    request->session = gr_session_retain(session);
    request->options = options ? *options : defaults;
    request->start_ns = gr_os_now_ns();
    gr_error_init(&request->error);
    gr_status status = copy_stops(request, request->options.stop, error);
    if (status == GR_OK)
        status = make_chain(&request->chain, request->options.sampler, error);
    request->options.stop = NULL;
    request->options.sampler = NULL;
    if (status == GR_OK)
        *out_request = request;
    else
        gr_request_release(request);
    return status;
}

gr_status gr_request_start(gr_session *session, const gr_generate_options *options, gr_request **out_request,
                           gr_error *error) {
    gr_request *request = NULL;
    *out_request = NULL;
    if (session->request)
        return gr_fail(error, GR_ERROR_BUSY, "engine", "the session is generating already");
    gr_status status = gr_request_create(session, options, &request, error);
    if (status != GR_OK)
        return status;
    if (!request->options.seed && getentropy(&request->options.seed, sizeof request->options.seed) != 0)
        request->options.seed = gr_os_now_ns() | 1;
    request->options.seed &= UINT64_C(0x1FFFFFFFFFFFFF); // fits a double, so that any language can hand it back
    status = ready_prompt(request, error);
    if (status != GR_OK) {
        gr_request_release(request);
        return status;
    }
    session->paused = false;
    session->request = request;
    *out_request = request;
    return GR_OK;
}

void gr_request_release(gr_request *request) {
    if (!request || --request->references)
        return;
    if (request->session->request == request)
        request->session->request = NULL;
    for (char **stop = request->stop; stop && *stop; stop++)
        free(*stop);
    free(request->stop);
    gr_sampler_chain_destroy(request->chain);
    gr_tokens_deinit(&request->tokens);
    free(request->log_probabilities);
    gr_chat_deinit(&request->calls);
    gr_strbuf_deinit(&request->pending);
    gr_strbuf_deinit(&request->text);
    gr_session_release(request->session);
    free(request);
}

// ---- Ending one

static void record_turn(gr_request *request) {
    gr_session *session = request->session;
    const gr_chat_format *format = session->model->chat_format;
    size_t turns = session->chat.count;
    bool found = false;
    if (session->chat.tools && format && format->parse_tool_calls && !session->encode_turns)
        format->parse_tool_calls(session->model->tokenizer, request->tokens.data, request->tokens.count, &session->chat,
                                 &found, &request->error);
    if (found && session->chat.count > turns) {
        const gr_message *message = &session->chat.messages[turns];
        gr_chat_add_tool_calls(&request->calls, (gr_str){"", 0}, message->tool_calls, message->tool_call_count,
                               &request->error);
    } else
        gr_chat_add(&session->chat, GR_ROLE_ASSISTANT, (gr_str){gr_strbuf_cstr(&request->text), request->text.size},
                    &request->error);
}

void gr_request_end(gr_request *request, gr_stop_reason reason) {
    request->reason = reason;
    request->end_ns = gr_os_now_ns();
    gr_output_end(request);
    if (request->chat_turn && reason != GR_STOP_ERROR)
        record_turn(request);
    request->session->request = NULL;
}

void gr_request_fail(gr_request *request, gr_status status, const gr_error *error) {
    request->status = status;
    if (error)
        request->error = *error;
    gr_request_end(request, GR_STOP_ERROR);
}

void gr_request_cancel(gr_request *request) {
    atomic_store(&request->cancelled, true);
}

// ---- Advancing one

static gr_status choose(gr_request *request, gr_token *out_token, double *out_log_probability, gr_error *error) {
    gr_session *session = request->session;
    uint32_t vocab = session->model->source->hparams.vocab;
    if (request->options.choose) {
        gr_status status = request->options.choose(request->options.choose_context, session, session->logits, vocab,
                                                   out_token, error);
        if (status == GR_OK && (*out_token < 0 || (uint32_t)*out_token >= vocab))
            status = gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine", "the chosen token %d is not in the vocabulary of %u",
                             *out_token, vocab);
        if (status == GR_OK)
            *out_log_probability = gr_log_probability(session->logits, vocab, *out_token);
        return status;
    }
    const gr_sampler_context context = {.seed = request->options.seed,
                                        .position = session->tokens.count,
                                        .history = session->tokens.data,
                                        .history_count = session->tokens.count,
                                        .tokenizer = session->model->tokenizer};
    *out_token = gr_sampler_chain_sample(request->chain, &context, session->logits, vocab, NULL, out_log_probability);
    return *out_token >= 0 ? GR_OK : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to sample a token");
}

static gr_status keep(gr_request *request, gr_token token, double log_probability, gr_error *error) {
    size_t count = request->tokens.count;
    if (count == request->log_probability_capacity) {
        size_t capacity = count * 2 + 64;
        double *values = realloc(request->log_probabilities, capacity * sizeof *values);
        if (!values)
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for log-probabilities");
        request->log_probabilities = values;
        request->log_probability_capacity = capacity;
    }
    if (gr_tokens_push(&request->tokens, token) != GR_OK)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for tokens");
    request->log_probabilities[count] = log_probability;
    return gr_session_append_tokens(request->session, &token, 1, error);
}

// The space that an SPM vocabulary puts before the first word of an answer is not part of the answer.
bool gr_request_show(gr_request *request, gr_token token) {
    char small[64], *bytes = small;
    const gr_tokenizer *tokenizer = request->session->model->tokenizer;
    size_t count = gr_tokenizer_piece(tokenizer, token, false, small, sizeof small);
    if (count > sizeof small) {
        if (!(bytes = malloc(count)))
            return false;
        gr_tokenizer_piece(tokenizer, token, false, bytes, count);
    }
    bool dummy = request->chat_turn && request->tokens.count == 1 && tokenizer->vocab.add_space_prefix && count &&
                 bytes[0] == ' ';
    bool stopped = gr_output_add(request, bytes + dummy, count - dummy);
    if (bytes != small)
        free(bytes);
    return stopped;
}

static void advance(gr_request *request) {
    gr_session *session = request->session;
    gr_token token = GR_TOKEN_NONE;
    double log_probability = 0;
    if (!request->first_ns)
        request->first_ns = gr_os_now_ns();
    if (session->tokens.count >= session->context) {
        gr_request_end(request, GR_STOP_CONTEXT);
        return;
    }
    gr_error error;
    gr_error_init(&error);
    gr_status status = choose(request, &token, &log_probability, &error);
    if (status == GR_OK && !request->options.ignore_end && gr_tokenizer_is_end(session->model->tokenizer, token)) {
        gr_request_end(request, GR_STOP_END);
        return;
    }
    if (status == GR_OK)
        status = keep(request, token, log_probability, &error);
    if (status != GR_OK)
        gr_request_fail(request, status, &error);
    else if (gr_request_show(request, token))
        gr_request_end(request, GR_STOP_TEXT);
    else if (request->options.max_tokens && request->tokens.count >= request->options.max_tokens)
        gr_request_end(request, GR_STOP_LIMIT);
}

bool gr_requests_advance(gr_model *model) {
    bool any = false;
    for (uint32_t i = 0; i < model->session_count; i++) {
        gr_session *session = model->sessions[i];
        gr_request *request = session->request;
        if (!request)
            continue;
        bool cancelled = atomic_load(&request->cancelled);
        if (!cancelled && (gr_session_waiting(session) || session->logits_behind != session->tokens.count))
            continue;
        any = true;
        request->references++; // a hook may let go of it
        if (cancelled)
            gr_request_end(request, GR_STOP_CANCELLED);
        else
            advance(request);
        gr_request_release(request);
    }
    return any;
}

// ---- Reading one

gr_status gr_request_read(gr_request *request, const char **out_text, size_t *out_bytes, bool *out_done,
                          gr_error *error) {
    *out_text = gr_strbuf_cstr(&request->text) + request->read;
    *out_bytes = request->shown - request->read;
    request->read = request->shown;
    *out_done = request->reason != GR_STOP_NONE;
    if (request->reason != GR_STOP_ERROR)
        return GR_OK;
    return gr_fail(error, request->status, request->error.origin, "%s", request->error.message);
}

static uint32_t calls_of(const gr_request *request) {
    return request->calls.count ? (uint32_t)request->calls.messages[0].tool_call_count : 0;
}

gr_status gr_request_tool_call(const gr_request *request, uint32_t index, gr_tool_call_info *out_info) {
    return gr_chat_call_info(&request->calls, 0, index, out_info);
}

gr_status gr_request_info_get(const gr_request *request, gr_request_info *out_info) {
    uint32_t size = out_info->struct_size;
    uint64_t end = request->end_ns ? request->end_ns : gr_os_now_ns();
    uint64_t first = request->first_ns ? request->first_ns : end;
    gr_request_info info = {.struct_size = size,
                            .stop_reason = request->reason,
                            .prompt_tokens = (uint32_t)request->prompt_tokens,
                            .generated_tokens = (uint32_t)request->tokens.count,
                            .seed = request->options.seed,
                            .tokens = request->tokens.data,
                            .log_probabilities = request->log_probabilities,
                            .text = gr_strbuf_cstr(&request->text),
                            .text_bytes = request->text.size,
                            .tool_calls = calls_of(request),
                            .prefill_seconds = (double)(first - request->start_ns) * 1e-9,
                            .decode_seconds = (double)(end - first) * 1e-9};
    memcpy(out_info, &info, size < sizeof info ? size : sizeof info);
    return GR_OK;
}

// Steps until the request has ended, handing text on as it comes.
static gr_status run(gr_request *request, bool (*on_text)(void *, const char *, size_t), void *context, gr_error *error) {
    gr_engine *engine = request->session->model->engine;
    bool done = false, interrupted = false;
    while (!done) {
        const char *text;
        size_t bytes;
        bool worked;
        gr_engine_step(engine, &worked, NULL); // a failure that concerns us is in the request
        if (atomic_exchange(&engine->interrupted, false)) {
            interrupted = true;
            gr_request_cancel(request);
        }
        gr_status status = gr_request_read(request, &text, &bytes, &done, error);
        if (bytes && on_text && !on_text(context, text, bytes))
            gr_request_cancel(request);
        if (status != GR_OK)
            return status;
    }
    return interrupted ? gr_fail(error, GR_ERROR_CANCELLED, "engine", "generation was interrupted") : GR_OK;
}

gr_status gr_session_generate(gr_session *session, const gr_generate_options *options,
                              bool (*on_text)(void *context, const char *text, size_t bytes), void *context,
                              gr_request **out_request, gr_error *error) {
    gr_request *request;
    if (out_request)
        *out_request = NULL;
    gr_status status = gr_request_start(session, options, &request, error);
    if (status != GR_OK)
        return status;
    status = run(request, on_text, context, error);
    if (out_request)
        *out_request = request;
    else
        gr_request_release(request);
    return status;
}
