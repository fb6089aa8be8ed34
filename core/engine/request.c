// SPDX-License-Identifier: Apache-2.0
// request.c: one answer being generated: choose a token, show its text, see whether it ends.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "engine/output.h"

#define DEFAULT_SAMPLER "top-k(40);top-p(0.95);temperature(0.7)"

// ---- Making one

static gr_status copy_strings(const char *const *strings, char ***out_copy, gr_error *error) {
    size_t count = 0;
    while (strings && strings[count])
        count++;
    char **copy = *out_copy = calloc(count + 1, sizeof *copy);
    for (size_t i = 0; copy && i < count; i++)
        if (!(copy[i] = strdup(strings[i])))
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for stop strings");
    return copy ? GR_OK : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for stop strings");
}

static void free_strings(char **strings) {
    for (char **string = strings; string && *string; string++)
        free(*string);
    free(strings);
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

gr_request *gr_request_guided_by(const gr_session *guide) {
    const gr_engine *engine = guide->model->engine;
    for (uint32_t m = 0; m < engine->model_count; m++)
        for (uint32_t i = 0; i < engine->models[m]->session_count; i++) {
            gr_request *request = engine->models[m]->sessions[i]->request;
            if (request && request->options.guide == guide)
                return request;
        }
    return NULL;
}

static gr_status check_guide(const gr_request *request, gr_error *error) {
    const gr_session *guide = request->options.guide;
    if (!guide)
        return GR_OK;
    if (guide == request->session || guide->model->source->hparams.vocab != request->session->model->source->hparams.vocab)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "a guide is another session, of the same vocabulary");
    if (guide->request || gr_request_guided_by(guide))
        return gr_fail(error, GR_ERROR_BUSY, "engine", "the guide %s",
                       guide->request ? "is generating" : "guides another answer");
    return guide->tokens.count ? GR_OK
                               : gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "the guide is empty: append something to it");
}

// Strings are copied, sessions kept alive.
static gr_status take_options(gr_request *request, const gr_generate_options *options, gr_error *error) {
    gr_generate_options *own = &request->options;
    *own = (gr_generate_options){.struct_size = sizeof *own};
    gr_take_options(own, sizeof *own, options);
    gr_status status = copy_strings(own->stop, &request->stop, error);
    if (status == GR_OK)
        status = copy_strings(own->banned, &request->banned, error);
    if (status == GR_OK)
        status = make_chain(&request->chain, own->sampler, error);
    if (status == GR_OK && own->stop_token_count &&
        gr_tokens_append(&request->stop_tokens, own->stop_tokens, own->stop_token_count) != GR_OK)
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for stop tokens");
    request->deadline_ns = own->time_limit_ms ? request->start_ns + own->time_limit_ms * UINT64_C(1000000) : 0;
    own->stop = own->banned = NULL;
    own->stop_tokens = NULL;
    own->sampler = NULL;
    if (own->guide)
        gr_session_retain(own->guide);
    if (own->grammar)
        gr_grammar_retain(own->grammar);
    if (status == GR_OK && own->top_tokens > 64)
        status = gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine", "%u likely tokens: at most 64", own->top_tokens);
    return status == GR_OK ? check_guide(request, error) : status;
}

gr_status gr_request_create(gr_session *session, const gr_generate_options *options, gr_request **out_request,
                            gr_error *error) {
    *out_request = NULL;
    gr_request *request = calloc(1, sizeof *request);
    if (!request)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a request");
    request->references = 1;
    request->session = gr_session_retain(session);
    request->start_ns = gr_os_now_ns();
    gr_error_init(&request->error);
    gr_status status = take_options(request, options, error);
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
    if (gr_request_guided_by(session))
        return gr_fail(error, GR_ERROR_BUSY, "engine", "the session guides another's answer");
    gr_status status = gr_request_create(session, options, &request, error);
    if (status != GR_OK)
        return status;
    if (!request->options.seed && getentropy(&request->options.seed, sizeof request->options.seed) != 0)
        request->options.seed = gr_os_now_ns() | 1;
    request->options.seed &= UINT64_C(0x1FFFFFFFFFFFFF); // fits a double, so that any language can hand it back
    status = gr_speculation_create(request, error);
    if (status == GR_OK)
        status = ready_prompt(request, error);
    if (status == GR_OK)
        status = gr_request_grammar_begin(request, error);
    if (status == GR_OK && request->options.heal) // the last that may fail: who is refused keeps the prompt
        status = gr_request_heal(request, error);
    if (status != GR_OK) {
        gr_request_release(request);
        return status;
    }
    gr_session_ask(session);
    if (request->options.guide)
        gr_session_ask(request->options.guide);
    session->request = request;
    *out_request = request;
    return GR_OK;
}

void gr_request_release(gr_request *request) {
    if (!request || --request->references)
        return;
    if (request->session->request == request) {
        gr_speculation_end(request, NULL);
        gr_request_unheal(request);
        request->session->request = NULL;
    }
    gr_speculation_destroy(request);
    gr_request_grammar_end(request);
    free_strings(request->stop);
    free_strings(request->banned);
    free(request->bans);
    free(request->places);
    free(request->top);
    free(request->allowed);
    free(request->mixed);
    gr_strbuf_deinit(&request->heal);
    gr_session_release(request->options.guide);
    gr_sampler_chain_destroy(request->chain);
    gr_tokens_deinit(&request->tokens);
    gr_tokens_deinit(&request->stop_tokens);
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
        request->calls_wrong = format->parse_tool_calls(session->model->tokenizer, request->tokens.data,
                                                        request->tokens.count, &session->chat, &found,
                                                        &request->error) != GR_OK;
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
    gr_speculation_end(request, NULL);
    gr_request_unheal(request);
    gr_output_end(request);
    if (request->chat_turn && reason != GR_STOP_ERROR)
        record_turn(request);
    request->session->request = NULL;
    request->session->asked = false; // for its last token
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

// The likeliest tokens where the one at `index` was chosen, as the model had it.
static void note_top(gr_request *request, size_t index) {
    const gr_session *session = request->session;
    const uint32_t most = request->options.top_tokens;
    gr_logits_top(session->logits, session->model->source->hparams.vocab, most, request->top + index * most);
}

static bool grow(gr_request *request, size_t capacity) {
    size_t top = request->options.top_tokens;
    double *values = realloc(request->log_probabilities, capacity * sizeof *values);
    if (values)
        request->log_probabilities = values;
    gr_place *places = realloc(request->places, capacity * sizeof *places);
    if (places)
        request->places = places;
    gr_token_choice *choices = top ? realloc(request->top, capacity * top * sizeof *choices) : NULL;
    if (choices)
        request->top = choices;
    if (!values || !places || (top && !choices))
        return false;
    request->log_probability_capacity = capacity;
    return true;
}

bool gr_request_make_room(gr_request *request) {
    size_t count = request->tokens.count;
    if (count >= request->log_probability_capacity && !grow(request, count * 2 + 64))
        return false;
    request->places[count] = gr_output_place(request);
    return true;
}

// `present`: the session's log has it already.
static gr_status keep(gr_request *request, gr_token token, double log_probability, bool present, gr_error *error) {
    size_t count = request->tokens.count;
    if (!gr_request_make_room(request) || gr_tokens_push(&request->tokens, token) != GR_OK)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for tokens");
    request->log_probabilities[count] = log_probability;
    if (request->options.top_tokens)
        note_top(request, count);
    gr_status status = present ? GR_OK : gr_session_log(request->session, &token, 1, error);
    if (status == GR_OK && request->options.guide) {
        status = gr_session_log(request->options.guide, &token, 1, error);
        request->options.guide->working = true; // it keeps its place
    }
    return status;
}

// Adds the text of a token; the space that an SPM vocabulary puts before the first word of an answer is
// not part of the answer, nor is what a healed prompt had already.
gr_output gr_request_show(gr_request *request, gr_token token, size_t *out_at) {
    char small[64], *bytes = small;
    const gr_tokenizer *tokenizer = request->session->model->tokenizer;
    size_t count = gr_tokenizer_piece(tokenizer, token, false, small, sizeof small);
    if (count > sizeof small) {
        if (!(bytes = malloc(count)))
            return GR_OUTPUT_GOES_ON;
        gr_tokenizer_piece(tokenizer, token, false, bytes, count);
    }
    bool dummy = request->chat_turn && request->tokens.count == 1 && tokenizer->vocab.add_space_prefix && count &&
                 bytes[0] == ' ';
    size_t known = request->healed < request->heal.size ? gr_request_healed(request, count) : dummy;
    gr_output output = gr_output_add(request, bytes + known, count - known, out_at);
    if (bytes != small)
        free(bytes);
    return output;
}

static bool is_stop_token(const gr_request *request, gr_token token) {
    for (size_t i = 0; i < request->stop_tokens.count; i++)
        if (request->stop_tokens.data[i] == token)
            return true;
    return false;
}

// Makes a chosen token part of the answer. Returns whether the answer goes on behind it as it stood.
static bool take(gr_request *request, gr_token token, double log_probability, bool present) {
    gr_session *session = request->session;
    gr_error error;
    gr_error_init(&error);
    if (!request->options.ignore_end && gr_tokenizer_is_end(session->model->tokenizer, token)) {
        gr_request_end(request, GR_STOP_END);
        return false;
    }
    if (is_stop_token(request, token)) {
        gr_request_end(request, GR_STOP_TOKEN);
        return false;
    }
    size_t at;
    gr_status status = keep(request, token, log_probability, present, &error);
    gr_output output = status == GR_OK ? gr_request_show(request, token, &at) : GR_OUTPUT_GOES_ON;
    if (output == GR_OUTPUT_BANNED)
        status = gr_request_go_back(request, at, &error);
    if (status != GR_OK)
        gr_request_fail(request, status, &error);
    else if (output == GR_OUTPUT_STOPPED)
        gr_request_end(request, GR_STOP_TEXT);
    else if (output == GR_OUTPUT_GOES_ON && gr_request_grammar_is_over(request))
        gr_request_end(request, GR_STOP_END);
    else if (request->options.max_tokens && request->tokens.count >= request->options.max_tokens)
        gr_request_end(request, GR_STOP_LIMIT);
    else
        return output == GR_OUTPUT_GOES_ON;
    return false;
}

static bool context_full(gr_request *request) {
    if (request->prompt_tokens + request->tokens.count < request->session->context)
        return false;
    gr_request_end(request, GR_STOP_CONTEXT);
    return true;
}

// What was chosen while guesses were evaluated. Returns whether there was anything; *out_goes_on as take().
static bool take_guessed(gr_request *request, bool *out_goes_on) {
    gr_error error;
    gr_token token;
    double log_probability;
    bool any = false, present;
    gr_status status;
    gr_error_init(&error);
    *out_goes_on = true;
    while (*out_goes_on && gr_speculation_next(request, &token, &log_probability, &present, &status, &error)) {
        any = true;
        if (status != GR_OK)
            gr_request_fail(request, status, &error);
        *out_goes_on = status == GR_OK && !context_full(request) && take(request, token, log_probability, present);
    }
    return any;
}

static void advance(gr_request *request) {
    gr_session *session = request->session;
    gr_token token = GR_TOKEN_NONE;
    double log_probability = 0;
    bool goes_on;
    gr_error error;
    gr_error_init(&error);
    if (!request->first_ns)
        request->first_ns = gr_os_now_ns();
    if (!take_guessed(request, &goes_on)) {
        if (context_full(request))
            return;
        gr_status status =
            gr_request_choose(request, session->logits, session->tokens.count, &token, &log_probability, &error);
        if (status != GR_OK) {
            gr_request_fail(request, status, &error);
            return;
        }
        goes_on = take(request, token, log_probability, false);
    }
    gr_status status = goes_on && request->speculation ? gr_speculate(request, &error) : GR_OK;
    if (status != GR_OK)
        gr_request_fail(request, status, &error);
}

// Whether its pages are there or have gone to others.
static bool is_ready(const gr_session *session) {
    return session->logits_behind == session->tokens.count;
}

bool gr_requests_advance(gr_model *model) {
    bool any = false;
    for (uint32_t i = 0; i < model->session_count; i++) {
        gr_session *session = model->sessions[i];
        gr_request *request = session->request;
        if (!request)
            continue;
        bool cancelled = atomic_load(&request->cancelled);
        bool late = request->deadline_ns && gr_os_now_ns() >= request->deadline_ns;
        if (!cancelled && !late && (!is_ready(session) || (request->options.guide && !is_ready(request->options.guide))))
            continue;
        any = true;
        request->references++; // a hook may let go of it
        if (cancelled || late)
            gr_request_end(request, cancelled ? GR_STOP_CANCELLED : GR_STOP_TIME);
        else
            advance(request);
        gr_request_release(request);
    }
    return any;
}

// ---- Reading one

const char *gr_stop_reason_name(gr_stop_reason reason) {
    static const char *const names[] = {"none", "end", "limit", "text", "context", "cancelled", "error", "token", "time"};
    return reason < sizeof names / sizeof names[0] ? names[reason] : "unknown";
}

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
                            .top = request->top,
                            .top_tokens = request->options.top_tokens,
                            .rewinds = request->rewinds,
                            .guessed = request->guessed,
                            .guessed_right = request->guessed_right,
                            .tool_error = request->calls_wrong ? request->error.message : NULL,
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
        gr_status stepped = gr_engine_step(engine, &worked, NULL); // a failure that concerns us is in the request
        if (atomic_exchange(&engine->interrupted, false)) {
            interrupted = true;
            gr_request_cancel(request);
        }
        if (stepped == GR_OK && !worked && request->reason == GR_STOP_NONE) { // nor will the next step
            gr_error idle;
            gr_error_init(&idle);
            gr_fail(&idle, GR_ERROR_INTERNAL, "engine", "nothing is left to do, and the answer has not ended");
            gr_request_fail(request, idle.code, &idle);
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
