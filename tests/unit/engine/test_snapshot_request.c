// SPDX-License-Identifier: Apache-2.0
// An answer in progress is saved with its session and goes on: the same tokens, the same text without a gap, the
// same end. One that a function of the caller's takes part in is refused by name.
#include "gguf_writer.h"
#include "snapshot_fixture.h"

static char cheap_path[200];

static gr_model *cheap_model(uint32_t page_tokens) {
    return load_alone(cheap_path, (gr_model_options){.chat_format = "mistral-v1", .page_tokens = page_tokens, .chunk = 4});
}

static gr_request *start(gr_session *session, gr_generate_options options) {
    gr_request *request = NULL;
    options.struct_size = sizeof options;
    OK(gr_request_start(session, &options, &request, error));
    return request;
}

// Takes text that is there; *out_done once all was.
static void take(gr_request *request, gr_strbuf *text, bool *out_done) {
    const char *piece;
    size_t bytes;
    OK(gr_request_read(request, &piece, &bytes, out_done, error));
    gr_strbuf_add(text, piece, bytes);
}

static void finish(gr_request *request, gr_strbuf *text) {
    bool worked, done = false;
    while (!done) {
        take(request, text, &done);
        if (!done)
            OK(gr_engine_step(request->session->model->engine, &worked, error));
    }
}

static gr_session *ask(gr_model *model) {
    gr_session *session = begin(model, 400, NULL, 0);
    OK(gr_session_turn(session, GR_CHAT_USER, "And the king said", 17, error));
    return session;
}

static void same_answers(const gr_request *a, const gr_request *b) {
    gr_request_info x = info_of(a), y = info_of(b);
    assert_int_equal(x.stop_reason, y.stop_reason);
    assert_int_equal(x.prompt_tokens, y.prompt_tokens);
    assert_int_equal(x.generated_tokens, y.generated_tokens);
    assert_int_equal(x.seed, y.seed);
    assert_memory_equal(x.tokens, y.tokens, x.generated_tokens * sizeof *x.tokens);
    assert_memory_equal(x.log_probabilities, y.log_probabilities, x.generated_tokens * sizeof *x.log_probabilities);
    assert_string_equal(x.text, y.text);
}

// Saved after every number of steps, at each of which it may hold back text, before its prompt was read too.
// `regex`, which may be NULL, is what it must match.
static void goes_on(gr_generate_options options, const char *regex, uint32_t steps) {
    gr_model *model = cheap_model(16), *another = cheap_model(8);
    if (regex)
        OK(gr_model_grammar(model, "regex", regex, strlen(regex), &options.grammar, error));
    gr_session *session = ask(model);
    gr_request *request = start(session, options), *resumed = NULL;
    gr_strbuf text = {0}, again = {0};
    bool worked, done = false;
    for (uint32_t i = 0; i < steps; i++) {
        OK(gr_engine_step(model->engine, &worked, error));
        take(request, &text, &done);
        assert_false(done);
    }
    gr_strbuf_add(&again, gr_strbuf_cstr(&text), text.size);
    save(session);
    gr_session *restored = restore(another, &resumed);
    assert_non_null(resumed);
    finish(request, &text);
    finish(resumed, &again);
    same_answers(request, resumed);
    assert_string_equal(gr_strbuf_cstr(&again), gr_strbuf_cstr(&text));
    same_tokens(session, restored);
    assert_int_equal(gr_session_turn_count(restored), 2);
    assert_string_equal(restored->chat.messages[1].content, session->chat.messages[1].content);
    gr_strbuf_deinit(&text);
    gr_strbuf_deinit(&again);
    gr_grammar_release(options.grammar);
    gr_request_release(request);
    gr_request_release(resumed);
    gr_session_release(session);
    gr_session_release(restored);
    gr_model_release(model);
    gr_model_release(another);
    forget_file();
}

static void answers_go_on(void **state) {
    (void)state;
    static const char *const stops[] = {"LORD of hosts", "zq", NULL};
    static const gr_generate_options options[] = {
        {.max_tokens = 60, .seed = 11, .sampler = "temperature(1.3);mirostat(4,eta=0.4)", .ignore_end = 1},
        {.max_tokens = 60, .seed = 12, .sampler = "penalties(repeat=1.3);top-k(40);temperature(0.8)", .stop = stops},
        {.max_tokens = 40, .seed = 13}};
    for (size_t i = 0; i < 3; i++)
        for (uint32_t steps = 0; steps < 40; steps = steps * 2 + 1)
            goes_on(options[i], NULL, steps);
}

// Only the restored grammar knows that a letter is missing.
static void constraints_go_on(void **state) {
    (void)state;
    const gr_generate_options options = {.max_tokens = 60, .seed = 17, .sampler = "temperature(1.5)"};
    for (uint32_t steps = 0; steps < 16; steps = steps * 2 + 1)
        goes_on(options, "([a-z]{4}, ){5}[a-z]{4}\\.", steps);
}

// Without what mirostat has learnt the rest would differ: the state is in the file, not in luck.
static void the_sampler_goes_on_with_what_it_learnt(void **state) {
    (void)state;
    gr_model *model = cheap_model(16);
    gr_session *session = ask(model);
    bool worked;
    gr_request *request = start(session, (gr_generate_options){.max_tokens = 60, .seed = 11, .ignore_end = 1,
                                                               .sampler = "temperature(1.3);mirostat(4,eta=0.4)"});
    char described[200];
    for (uint32_t i = 0; i < 20; i++)
        OK(gr_engine_step(model->engine, &worked, error));
    gr_sampler_chain_describe(request->chain, described, sizeof described);
    assert_null(strstr(described, "mu=8)")); // where it began
    save(session);
    gr_request *resumed = NULL;
    gr_session *restored = restore(model, &resumed);
    char again[200];
    gr_sampler_chain_describe(resumed->chain, again, sizeof again);
    assert_string_equal(again, described);
    gr_request_release(resumed);
    gr_request_release(request);
    gr_session_release(restored);
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

// A caller that takes no answer gets the session with what was said so far as its turn.
static void nobody_waits_for_it(void **state) {
    (void)state;
    gr_model *model = cheap_model(16);
    gr_session *session = ask(model);
    bool worked;
    gr_request *request = start(session, (gr_generate_options){.seed = 5, .ignore_end = 1});
    while (info_of(request).text_bytes < 5)
        OK(gr_engine_step(model->engine, &worked, error));
    save(session);
    gr_session *restored = restore(model, NULL);
    assert_null(restored->request);
    assert_int_equal(gr_session_turn_count(restored), 2);
    assert_string_equal(restored->chat.messages[1].content, info_of(request).text);
    OK(gr_session_turn(restored, GR_CHAT_USER, "And then?", 9, error));
    OK(gr_session_generate(restored, &(gr_generate_options){.struct_size = sizeof(gr_generate_options), .max_tokens = 3}, NULL,
                           NULL, NULL, error));
    gr_request_release(request);
    gr_session_release(restored);
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

// One that was cancelled, and has not heard of it, ends as cancelled.
static void a_cancelled_answer_stays_cancelled(void **state) {
    (void)state;
    gr_model *model = cheap_model(16);
    gr_session *session = ask(model);
    gr_request *request = start(session, (gr_generate_options){.seed = 5}), *resumed = NULL;
    gr_strbuf text = {0};
    gr_request_cancel(request);
    save(session);
    gr_session *restored = restore(model, &resumed);
    finish(resumed, &text);
    assert_int_equal(info_of(resumed).stop_reason, GR_STOP_CANCELLED);
    gr_strbuf_deinit(&text);
    gr_request_release(request);
    gr_request_release(resumed);
    gr_session_release(restored);
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

// ---- Functions of the caller's

static gr_status encode(void *context, const gr_session *session, char **out_text, size_t *out_bytes, gr_error *why) {
    (void)session;
    (void)why;
    *out_text = context;
    *out_bytes = strlen(*out_text);
    return GR_OK;
}

static gr_status choose(void *context, const gr_session *session, const float *logits, uint32_t vocab, int32_t *out_token,
                        gr_error *why) {
    (void)context;
    (void)session;
    (void)logits;
    (void)vocab;
    (void)why;
    *out_token = 5;
    return GR_OK;
}

static void cannot_save(gr_session *session, const char *names) {
    gr_error_init(error);
    assert_int_equal(gr_session_save(session, file_name(), NULL, NULL, error), GR_ERROR_UNSUPPORTED);
    if (!strstr(error->message, names) || !strstr(error->message, file_name()))
        fail_msg("expected '%s' in: %s", names, error->message);
    assert_int_equal(access(file_name(), F_OK), -1);
}

static void functions_are_refused_by_name(void **state) {
    (void)state;
    static char text[] = "so be it";
    gr_model *model = cheap_model(16);
    gr_session *session = begin(model, 100, (int32_t[]){1, 7}, 2);
    gr_session_set_chat_encoder(session, encode, text);
    cannot_save(session, "chat encoder");
    gr_session_set_chat_encoder(session, NULL, NULL);
    gr_request *request = start(session, (gr_generate_options){.max_tokens = 3, .choose = choose});
    cannot_save(session, "choose");
    gr_strbuf said = {0};
    finish(request, &said);
    save(session); // it has ended: nobody chooses any more
    gr_strbuf_deinit(&said);
    gr_request_release(request);
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

// What a file has no fields for: refused while the answer goes on, saved when it has ended.
static void answers_without_fields_are_refused_by_name(void **state) {
    (void)state;
    static const char *const banned[] = {"xyzzy", NULL};
    gr_model *model = cheap_model(16);
    gr_session *guide = begin(model, 100, (int32_t[]){1, 9}, 2);
    const struct {
        gr_generate_options options;
        const char *names;
    } cases[] = {{{.guide = guide, .guidance = 1.5}, "a guide"},
                 {{.guesses = 3}, "guesses"},
                 {{.banned = banned}, "banned strings"},
                 {{.top_tokens = 2}, "likely tokens"},
                 {{.heal = 1}, "a healed prompt"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gr_generate_options options = cases[i].options;
        gr_session *session = begin(model, 100, (int32_t[]){1, 7, 8}, 3);
        gr_strbuf text = {0};
        bool worked;
        options.max_tokens = 4;
        options.ignore_end = 1;
        gr_request *request = start(session, options);
        cannot_save(session, cases[i].names);
        for (int s = 0; s < 3; s++)
            OK(gr_engine_step(model->engine, &worked, error));
        if (session->request) // three steps may guess it all
            cannot_save(session, cases[i].names);
        finish(request, &text);
        save(session);
        forget_file();
        gr_strbuf_deinit(&text);
        gr_request_release(request);
        gr_session_release(session);
    }
    gr_session_release(guide);
    gr_model_release(model);
}

// A model that costs nothing to run and writes ASCII.
static int make_cheap_model(void **state) {
    static const char *const words[] = {"th", "the", "an", "and", "ing", "on", "er", "re", "\u2581the"};
    gguf_writer writer;
    gguf_tiny tiny = {.dim = 32, .ffn_dim = 32, .window = 16, .context = 2048, .seed = 1};
    (void)state;
    snprintf(cheap_path, sizeof cheap_path, GREGALE_BINARY_DIR "/tests/cheap-%d.gguf", (int)getpid());
    gguf_writer_init(&writer);
    tiny.vocab = gguf_writer_vocabulary(&writer, true, words, sizeof words / sizeof words[0]);
    gguf_writer_tiny(&writer, &tiny);
    bool saved = gguf_writer_save(&writer, cheap_path);
    gguf_writer_deinit(&writer);
    return saved ? 0 : -1;
}

static int drop_cheap_model(void **state) {
    (void)state;
    return unlink(cheap_path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_go_on),
        cmocka_unit_test(constraints_go_on),
        cmocka_unit_test(the_sampler_goes_on_with_what_it_learnt),
        cmocka_unit_test(nobody_waits_for_it),
        cmocka_unit_test(a_cancelled_answer_stays_cancelled),
        cmocka_unit_test(functions_are_refused_by_name),
        cmocka_unit_test(answers_without_fields_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, make_cheap_model, drop_cheap_model);
}
