// SPDX-License-Identifier: Apache-2.0
// Requests: what is shown and when, why they end, and that a seed repeats them in any company. On
// ref, where every bit repeats. Most of it needs a vocabulary and no sense, so the model is a few
// thousand random numbers.
#include <unistd.h>

#include "fixture.h"
#include "gguf_writer.h"

#define TEXT                                                                                       \
    "And the wind went over the waters, and \xC3\xA9t\xC3\xA9 came: stop, stopping; the end of "   \
    "the wind."

// Plays given tokens in place of a sampler.
typedef struct played {
    gr_tokens tokens;
    size_t next;
} played;

static gr_status play(void *context, const gr_session *session, const float *logits, uint32_t vocab,
                      int32_t *out_token, gr_error *out_error) {
    played *s = context;
    (void)session, (void)logits, (void)vocab, (void)out_error;
    *out_token = s->tokens.data[s->next < s->tokens.count ? s->next : s->tokens.count - 1];
    s->next++;
    return GR_OK;
}

static char text_path[256];

// Bytes, and some of the words of TEXT.
static const char *const words[] = {
    "th",   "the",         "\u2581the", "wi",  "win",  "wind",        "\u2581wind", "st", "sto",
    "stop", "\u2581stop", "an",         "and", "en",   "end",         "\u2581end",  "er", "ter",
    "ov",   "over",        "pp",         "in",  "ping", "ing",         "\u2581"};

static int make_text_model(void **state) {
    gguf_writer writer;
    gguf_tiny tiny = {
        .layers = 1, .dim = 16, .ffn_dim = 16, .heads = 2, .kv_heads = 1, .context = 512};
    (void)state;
    snprintf(text_path, sizeof text_path, GREGALE_BINARY_DIR "/tests/text-%d.gguf", (int)getpid());
    gguf_writer_init(&writer);
    tiny.vocab = gguf_writer_vocabulary(&writer, true, words, sizeof words / sizeof words[0]);
    gguf_writer_tiny(&writer, &tiny);
    bool saved = gguf_writer_save(&writer, text_path);
    gguf_writer_deinit(&writer);
    return saved ? 0 : -1;
}

static int remove_text_model(void **state) {
    (void)state;
    return unlink(text_path);
}

static gr_model *text_model(void) {
    return load_alone(text_path, (gr_model_options){.chunk = 64});
}

static void run(gr_model *model) {
    for (bool worked = true; worked;)
        OK(gr_engine_step(model->engine, &worked, error));
}

// Tokens of TEXT, one byte or word piece each as the vocabulary cuts it; with `bytes`, one a byte,
// so that every place in the text is a border.
static void make_script(gr_model *model, bool bytes, played *out) {
    *out = (played){0};
    if (!bytes) {
        OK(gr_tokenizer_encode(model->tokenizer, (gr_str){TEXT, strlen(TEXT)}, GR_ENCODE_NO_PREFIX,
                               &out->tokens, error));
        return;
    }
    for (const char *at = TEXT; *at; at++) {
        char piece[8];
        int32_t found = -1;
        for (uint32_t t = 0; t < vocab_of(model) && found < 0; t++)
            if (gr_tokenizer_piece(model->tokenizer, (gr_token)t, false, piece, sizeof piece) ==
                    1 &&
                piece[0] == *at)
                found = (int32_t)t;
        assert_true(found >= 0);
        assert_int_equal(gr_tokens_push(&out->tokens, found), GR_OK);
    }
}

// Plays the script with one stop string, reading after every step. What has been read is at each
// moment a beginning of what comes before the stop string.
static void stop_at(gr_model *model, played *script, const char *stop) {
    const char *stops[] = {stop, NULL};
    const gr_generate_options options = {.struct_size = sizeof options,
                                         .max_tokens = (uint32_t)script->tokens.count,
                                         .seed = 1,
                                         .stop = stops,
                                         .ignore_end = 1,
                                         .choose = play,
                                         .choose_context = script};
    const char *found = strstr(TEXT, stop);
    size_t expected = found ? (size_t)(found - TEXT) : strlen(TEXT), read = 0;
    gr_session *session = begin(model, 512, (int32_t[]){1}, 1);
    gr_request *request = NULL;
    script->next = 0;
    OK(gr_request_start(session, &options, &request, error));
    for (bool done = false; !done;) {
        const char *text;
        size_t bytes;
        bool worked;
        OK(gr_engine_step(model->engine, &worked, error));
        OK(gr_request_read(request, &text, &bytes, &done, error));
        if (read + bytes > expected || memcmp(text, TEXT + read, bytes) != 0)
            fail_msg("stop '%s': '%.*s' was shown at byte %zu", stop, (int)bytes, text, read);
        read += bytes;
    }
    assert_int_equal(read, expected);
    assert_int_equal(info_of(request).stop_reason, found ? GR_STOP_TEXT : GR_STOP_LIMIT);
    assert_int_equal(info_of(request).text_bytes, expected);
    gr_request_release(request);
    gr_session_release(session);
}

// The text holds accented letters of two bytes; a stop string begins and ends at whole ones.
static bool whole_characters(const char *begin, size_t count) {
    return ((unsigned char)begin[0] & 0xC0) != 0x80 && ((unsigned char)begin[count] & 0xC0) != 0x80;
}

static void stop_strings_never_leak(void **state) {
    (void)state;
    gr_model *model = text_model();
    played script;
    uint32_t tried = 0;
    make_script(model, false, &script);
    for (size_t at = 1; at + 9 < strlen(TEXT); at += 11) {
        for (size_t count = 1; count <= 9; count += 4) {
            char stop[16] = "";
            if (!whole_characters(TEXT + at, count))
                continue;
            memcpy(stop, TEXT + at, count);
            stop_at(model, &script, stop);
            tried++;
        }
    }
    stop_at(model, &script, "stopped"); // begins twice, never comes
    stop_at(model, &script, "wind.");   // the first wind is not it
    stop_at(model, &script, "wind.x");  // held back to the end, then shown
    stop_at(model, &script, "\xC3\xA9t");
    assert_true(tried > 10);
    gr_tokens_deinit(&script.tokens);
    gr_model_release(model);
}

// One token a byte: accented letters come whole, and stop strings are found across every border.
static void bytes_come_as_whole_characters(void **state) {
    (void)state;
    gr_model *model = text_model();
    played script;
    make_script(model, true, &script);
    stop_at(model, &script, "stopped");
    stop_at(model, &script,
            "\xA9t\xC3\xA9 c"); // not whole characters: found all the same or not at all
    gr_tokens_deinit(&script.tokens);
    gr_model_release(model);
}

static gr_request *start(gr_session *session, uint64_t seed, uint32_t max_tokens) {
    const gr_generate_options options = {.struct_size = sizeof options,
                                         .max_tokens = max_tokens,
                                         .seed = seed,
                                         .sampler = "temperature(1.5)",
                                         .ignore_end = 1};
    gr_request *request = NULL;
    OK(gr_request_start(session, &options, &request, error));
    return request;
}

static void same_answer(const gr_request *a, const gr_request *b) {
    gr_request_info x = info_of(a), y = info_of(b);
    assert_int_equal(x.generated_tokens, y.generated_tokens);
    assert_memory_equal(x.tokens, y.tokens, x.generated_tokens * sizeof *x.tokens);
    assert_memory_equal(x.log_probabilities, y.log_probabilities,
                        x.generated_tokens * sizeof *x.log_probabilities);
    assert_string_equal(x.text, y.text);
}

// Twice alone, then beside two others: the seed gives the same tokens and the same
// log-probabilities.
static void a_seed_repeats_alone_and_in_company(void **state) {
    (void)state;
    enum { COUNT = 30 };
    gr_model *model = load_alone(SMALL("w16-gqa1"), (gr_model_options){.chunk = 16});
    int32_t tokens[40];
    fill_tokens(tokens, 40, 1, vocab_of(model));
    gr_session *sessions[5];
    gr_request *requests[5];
    for (uint32_t i = 0; i < 2; i++) {
        sessions[i] = begin(model, 128, tokens, 20);
        requests[i] = start(sessions[i], 7, COUNT);
        run(model);
    }
    for (uint32_t i = 2; i < 5; i++) {
        sessions[i] = begin(model, 128, tokens, i == 3 ? 20 : 30 + i);
        requests[i] = start(sessions[i], i == 3 ? 7 : i, COUNT);
    }
    run(model);
    same_answer(requests[0], requests[1]);
    same_answer(requests[0], requests[3]);
    assert_memory_not_equal(info_of(requests[0]).tokens, info_of(requests[2]).tokens,
                            COUNT * sizeof(int32_t));
    gr_session *other = begin(model, 128, tokens, 20);
    gr_request *another = start(other, 8, COUNT);
    run(model);
    assert_memory_not_equal(info_of(requests[0]).tokens, info_of(another).tokens,
                            COUNT * sizeof(int32_t));
    gr_request *unseeded = NULL;
    gr_request_release(another);
    unseeded = start(other, 0, 1);
    assert_true(info_of(unseeded).seed != 0);
    gr_request_release(unseeded);
    gr_session_release(other);
    for (uint32_t i = 0; i < 5; i++) {
        gr_request_release(requests[i]);
        gr_session_release(sessions[i]);
    }
    gr_model_release(model);
}

static void ends_for_the_reason_it_says(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("w8-gqa4"), (gr_model_options){.chunk = 16});
    int32_t tokens[40];
    fill_tokens(tokens, 40, 1, vocab_of(model));
    gr_session *session = begin(model, 30, tokens, 10);
    gr_request *request = start(session, 1, 5);
    gr_request *second = NULL;
    assert_int_equal(gr_request_start(session, NULL, &second, NULL), GR_ERROR_BUSY);
    assert_null(second);
    assert_int_equal(gr_session_rewind(session, 1, NULL), GR_ERROR_BUSY);
    run(model);
    assert_int_equal(info_of(request).stop_reason, GR_STOP_LIMIT);
    assert_int_equal(info_of(request).generated_tokens, 5);
    assert_int_equal(info_of(request).prompt_tokens, 10);
    gr_request_release(request);

    request = start(session, 1, 0); // until the context of 30 is full
    run(model);
    assert_int_equal(info_of(request).stop_reason, GR_STOP_CONTEXT);
    assert_int_equal(info_of(request).generated_tokens, 15);
    gr_request_release(request);

    OK(gr_session_rewind(session, 10, error));
    request = start(session, 1, 0);
    bool worked;
    for (uint32_t i = 0; i < 4; i++)
        OK(gr_engine_step(model->engine, &worked, error));
    gr_request_cancel(request);
    run(model);
    assert_int_equal(info_of(request).stop_reason, GR_STOP_CANCELLED);
    gr_request_release(request);
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// A token that the answer has in its middle ends it there; a moment long past ends it before a step.
static void tokens_and_time_end_an_answer(void **state) {
    (void)state;
    gr_model *model = text_model();
    gr_generate_options options = {.struct_size = sizeof options, .max_tokens = 30, .seed = 3, .ignore_end = 1};
    gr_session *session = begin(model, 512, (int32_t[]){1}, 1), *again = begin(model, 512, (int32_t[]){1}, 1);
    gr_request *whole = NULL, *ended = NULL;
    OK(gr_session_generate(session, &options, NULL, NULL, &whole, error));
    const int32_t *tokens = info_of(whole).tokens;
    uint32_t at = 0;
    while (tokens[at] != tokens[12] && tokens[at] != (int32_t)vocab_of(model) - 1)
        at++;
    const int32_t stops[] = {(int32_t)vocab_of(model) - 1, tokens[12]};
    options.stop_tokens = stops;
    options.stop_token_count = 2;
    OK(gr_session_generate(again, &options, NULL, NULL, &ended, error));
    assert_int_equal(info_of(ended).stop_reason, GR_STOP_TOKEN);
    assert_int_equal(info_of(ended).generated_tokens, at);
    assert_memory_equal(info_of(ended).tokens, tokens, at * sizeof *tokens);
    gr_request_release(ended);
    options.stop_token_count = 0;
    options.time_limit_ms = 1;
    options.max_tokens = 0;
    OK(gr_session_rewind(again, 1, error));
    OK(gr_session_generate(again, &options, NULL, NULL, &ended, error));
    assert_int_equal(info_of(ended).stop_reason, GR_STOP_TIME);
    assert_true(info_of(ended).generated_tokens < 200);
    assert_string_equal(gr_stop_reason_name(info_of(ended).stop_reason), "time");
    gr_request_release(ended);
    gr_request_release(whole);
    gr_session_release(session);
    gr_session_release(again);
    gr_model_release(model);
}

static bool interrupt_at_once(void *context, const char *text, size_t bytes) {
    (void)text, (void)bytes;
    gr_engine_interrupt(context);
    return true;
}

static void an_interrupt_ends_a_blocking_call(void **state) {
    (void)state;
    gr_model *model = text_model();
    const gr_generate_options options = {
        .struct_size = sizeof options, .max_tokens = 200, .seed = 3, .ignore_end = 1};
    gr_session *session = begin(model, 512, (int32_t[]){1}, 1);
    gr_request *request = NULL;
    assert_int_equal(
        gr_session_generate(session, &options, interrupt_at_once, model->engine, &request, NULL),
        GR_ERROR_CANCELLED);
    assert_non_null(request);
    assert_int_equal(info_of(request).stop_reason, GR_STOP_CANCELLED);
    assert_true(info_of(request).generated_tokens < 20);
    gr_request_release(request);
    gr_engine_interrupt(model->engine);
    int32_t tokens[100];
    fill_tokens(tokens, 100, 2, vocab_of(model));
    OK(gr_session_append_tokens(session, tokens, 100, error));
    assert_int_equal(gr_session_evaluate(session, NULL, NULL, NULL), GR_ERROR_CANCELLED);
    gr_engine_interrupt(model->engine);
    assert_true(gr_engine_interrupt_take(model->engine)); // nobody is stopped by it any more
    assert_false(gr_engine_interrupt_take(model->engine));
    OK(gr_session_evaluate(session, NULL, NULL, error));
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

static bool interrupt_the_last(void *context, double fraction, const char *what) {
    (void)what;
    if (fraction >= 1)
        gr_engine_interrupt(context);
    return true;
}

// Nor is one lost that comes when all is done but to return.
static void an_interrupt_in_the_last_step_is_heard(void **state) {
    (void)state;
    gr_model *model = text_model();
    gr_session *session = begin(model, 512, (int32_t[]){1}, 1);
    gr_engine_interrupt(model->engine);
    assert_int_equal(gr_session_evaluate(session, NULL, NULL, NULL), GR_ERROR_CANCELLED);
    assert_int_equal(gr_session_evaluated(session), 1);
    OK(gr_session_append_tokens(session, (int32_t[]){5, 6}, 2, error));
    OK(gr_session_evaluate(session, interrupt_the_last, model->engine, error));
    assert_true(gr_engine_interrupt_take(model->engine)); // it came later: the next call's
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// A caller that knows fewer options gives memory that ends before the others.
static void fewer_options_are_enough(void **state) {
    (void)state;
    gr_model *model = NULL, *full = text_model();
    gr_session *session = NULL;
    const gr_model_options few = {.struct_size = offsetof(gr_model_options, chunk), .device = test_device(), .chunk = 7};
    const gr_session_options fewer = {.struct_size = offsetof(gr_session_options, priority), .context = 20, .priority = 3};
    OK(gr_model_load(full->engine, text_path, &few, &model, error));
    assert_int_equal(model->chunk, 512);
    OK(gr_session_create(model, &fewer, &session, error));
    assert_int_equal(session->context, 20);
    assert_int_equal(session->priority, 0);
    OK(gr_session_score(session, NULL, 0, NULL, error));
    gr_session_release(session);
    gr_model_release(model);
    gr_model_release(full);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_strings_never_leak),
        cmocka_unit_test(bytes_come_as_whole_characters),
        cmocka_unit_test(a_seed_repeats_alone_and_in_company),
        cmocka_unit_test(ends_for_the_reason_it_says),
        cmocka_unit_test(tokens_and_time_end_an_answer),
        cmocka_unit_test(an_interrupt_ends_a_blocking_call),
        cmocka_unit_test(an_interrupt_in_the_last_step_is_heard),
        cmocka_unit_test(fewer_options_are_enough),
    };
    return cmocka_run_group_tests(tests, make_text_model, remove_text_model);
}
