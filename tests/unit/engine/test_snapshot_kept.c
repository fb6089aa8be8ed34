// SPDX-License-Identifier: Apache-2.0
// A snapshot that an earlier build wrote (tests/data/snapshots) is still read, and means the same. Snapshots are
// kept by version: a new one is written by `unit-engine-snapshot_kept --write FILE`, old ones stay.
#include "base/os.h"
#include "snapshot_fixture.h"

#define KEPT GREGALE_SOURCE_DIR "/tests/data/snapshots/breeze-1.grs"

static const char question[] =
    "And it came to pass in those days, that there went out a decree from the king, that all the people of the land should "
    "be gathered together unto the city, every man to his own house, with his flocks and his herds and all that he had.";
static const char *const stops[] = {"Amen", NULL};
static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"wind\",\"parameters\":{}}}]";

static gr_model *kept_model(void) {
    return load_alone(BREEZE, (gr_model_options){.device = "ref",
                                                 .chat_format = "mistral-v1",
                                                 .page_tokens = 4,
                                                 .rewind_reserve = 1,
                                                 .has_kv_dtype = 1,
                                                 .kv_dtype = GR_DTYPE_Q8_0});
}

// A conversation past the window's wrap, an answer in progress, and turns of every kind behind it.
static void write_one(const char *path) {
    const gr_generate_options options = {.struct_size = sizeof options,
                                         .max_tokens = 24,
                                         .seed = 20261126,
                                         .sampler = "penalties(repeat=1.2);temperature(1.1);mirostat(4,eta=0.3)",
                                         .stop = stops,
                                         .ignore_end = 1};
    const gr_tool_call calls[] = {{"a1", "wind", "{\"at\":\"sea\"}"}, {NULL, "calm", NULL}};
    gr_model *model = kept_model();
    gr_session *session = begin(model, 300, NULL, 0);
    gr_request *request = NULL;
    const char *text;
    size_t bytes;
    bool worked, done;
    OK(gr_session_turn(session, GR_CHAT_SYSTEM, "Speak as of old.", 16, error));
    OK(gr_session_turn(session, GR_CHAT_USER, question, strlen(question), error));
    OK(gr_request_start(session, &options, &request, error));
    for (int i = 0; i < 9; i++)
        OK(gr_engine_step(model->engine, &worked, error));
    OK(gr_request_read(request, &text, &bytes, &done, error));
    for (int i = 0; i < 4; i++)
        OK(gr_engine_step(model->engine, &worked, error));
    OK(gr_chat_add_tool_calls(&session->chat, (gr_str){"calling", 7}, calls, 2, error));
    OK(gr_session_tool_result(session, "a1", "wind", "north", 5, error));
    OK(gr_session_tools(session, tools, error));
    session->chat.messages[2].partial = true;
    OK(gr_session_save(session, path, NULL, NULL, error));
    gr_request_release(request);
    gr_session_release(session);
    gr_model_release(model);
}

static gr_session *restore_kept(gr_model *model, gr_request **out_request) {
    gr_session *session = NULL;
    OK(gr_session_restore(model, KEPT, NULL, NULL, NULL, &session, out_request, error));
    return session;
}

static void what_it_holds_is_there(void **state) {
    (void)state;
    gr_model *model = kept_model();
    gr_request *request = NULL;
    gr_session *session = restore_kept(model, &request);
    const gr_message *messages = session->chat.messages;
    assert_int_equal(session->context, 300);
    assert_int_equal(session->chat.count, 4);
    assert_string_equal(messages[0].content, "Speak as of old.");
    assert_string_equal(messages[1].content, question);
    assert_int_equal(messages[2].role, GR_ROLE_ASSISTANT);
    assert_true(messages[2].partial && messages[2].tool_call_count == 2 && !messages[2].tool_calls[1].id);
    assert_string_equal(messages[2].tool_calls[0].arguments, "{\"at\":\"sea\"}");
    assert_string_equal(messages[3].tool_call_id, "a1");
    assert_string_equal(messages[3].tool_name, "wind");
    assert_string_equal(session->chat.tools, tools);
    assert_true(stats_of(session).evicted_pages > 0); // past the wrap
    assert_string_equal(request->stop[0], "Amen");
    assert_int_equal(request->options.seed, 20261126);
    assert_int_equal(request->options.max_tokens, 24);
    assert_true(request->options.ignore_end && request->chat_turn && request->read > 0);
    gr_request_release(request);
    gr_session_release(session);
    gr_model_release(model);
}

// The answer goes on as it did when it was saved: on ref with the cache's own type, and in another one.
static void the_answer_goes_on(void **state) {
    (void)state;
    static const char ends[] =
        "also because the father daily founded, yet was there a stone left of the piper man.\n";
    gr_model *model = kept_model();
    gr_request *request = NULL;
    gr_session *session = restore_kept(model, &request);
    bool worked;
    while (request->reason == GR_STOP_NONE)
        OK(gr_engine_step(model->engine, &worked, error));
    assert_int_equal(request->reason, GR_STOP_LIMIT);
    assert_string_equal(gr_strbuf_cstr(&request->text), ends);
    gr_request_release(request);
    gr_session_release(session);
    gr_model_release(model);
    model = load_alone(BREEZE, (gr_model_options){.chat_format = "mistral-v1"});
    session = restore_kept(model, NULL);
    logits_of(session);
    gr_session_release(session);
    gr_model_release(model);
}

// While the version is the same, what is read is what would be written.
static void written_again_it_is_the_same(void **state) {
    (void)state;
    gr_model *model = kept_model();
    gr_request *request = NULL;
    gr_session *session = restore_kept(model, &request);
    gr_strbuf kept = {0}, again = {0};
    save(session);
    OK(gr_file_read(KEPT, 1 << 24, &kept, error));
    OK(gr_file_read(file_name(), 1 << 24, &again, error));
    assert_int_equal(kept.size, again.size);
    assert_memory_equal(kept.data, again.data, kept.size);
    gr_strbuf_deinit(&kept);
    gr_strbuf_deinit(&again);
    gr_request_release(request);
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_holds_is_there),
        cmocka_unit_test(the_answer_goes_on),
        cmocka_unit_test(written_again_it_is_the_same),
    };
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        write_one(argv[2]);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
