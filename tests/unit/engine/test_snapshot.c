// SPDX-License-Identifier: Apache-2.0
// A session that was saved and restored goes on as the one that was not: on the same device bit for bit, elsewhere
// within what the types of the caches are apart.
#include <math.h>

#include "snapshot_fixture.h"

static const char *const models[] = {SMALL("w16-gqa1"),    SMALL("w8-gqa4"),        SMALL("full-gqa4"),
                                     SMALL("wlist-gqa2"),  SMALL("wpattern-gqa4"),  SMALL("yarn-w16-gqa2"),
                                     SMALL("linear-w16-gqa8"), SMALL("llama3-full-gqa4")};

// Saved past the windows' wrap, read by another engine: the same logits, the same text, the same logits again.
static void goes_on_as_if_nothing_had_been(const char *path, const char *device, gr_dtype dtype, uint32_t count,
                                           uint32_t page_tokens, uint32_t reserve) {
    const gr_model_options first = {
        .device = device, .page_tokens = 8, .rewind_reserve = 8, .chunk = 32, .has_kv_dtype = 1, .kv_dtype = dtype};
    gr_model_options second = first;
    int32_t tokens[200];
    second.page_tokens = page_tokens;
    second.rewind_reserve = reserve;
    gr_model *model = load_alone(path, first);
    fill_tokens(tokens, count, 1, vocab_of(model));
    gr_session *unsaved = begin(model, 300, tokens, count);
    speak(unsaved, 5);
    save(unsaved);
    gr_model *another = load_alone(path, second);
    gr_session *restored = restore(another, NULL);
    assert_int_equal(gr_session_waiting(restored), gr_session_waiting(unsaved));
    assert_int_equal(restored->context, 300);
    same_tokens(unsaved, restored);
    same_logits(unsaved, restored);
    speak(unsaved, 30);
    speak(restored, 30);
    same_tokens(unsaved, restored);
    same_logits(unsaved, restored);
    gr_session_release(restored);
    gr_session_release(unsaved);
    assert_int_equal(gr_kv_cache_bytes_used(another->site->cache), 0);
    gr_model_release(another);
    gr_model_release(model);
    forget_file();
}

static void every_model_goes_on(void **state) {
    (void)state;
    const char *const devices[] = {test_device(), "cpu"};
    for (size_t d = 0; d < 2; d++)
        for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
            goes_on_as_if_nothing_had_been(models[i], devices[d], GR_DTYPE_F16, i % 2 ? 120 : 11, 8, 8);
}

static void other_pages_change_no_bit(void **state) {
    (void)state;
    static const uint32_t pages[] = {1, 4, 16, 64};
    const char *const devices[] = {test_device(), "cpu"};
    for (size_t d = 0; d < 2; d++)
        for (size_t i = 0; i < 4; i++)
            goes_on_as_if_nothing_had_been(SMALL("wlist-gqa2"), devices[d], GR_DTYPE_F32, 117, pages[i], 1 + 20 * (uint32_t)i);
}

static void every_cache_type_goes_on(void **state) {
    (void)state;
    static const gr_dtype types[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
    const char *const devices[] = {test_device(), "cpu"};
    for (size_t d = 0; d < 2; d++)
        for (size_t i = 0; i < 4; i++)
            goes_on_as_if_nothing_had_been(SMALL("yarn-w16-gqa2"), devices[d], types[i], 90, 64, 64); // heads of 32
    goes_on_as_if_nothing_had_been(BREEZE, "cpu", GR_DTYPE_Q8_0, 90, 64, 64);
}

// ---- Elsewhere

// The largest difference of logits over `count` given tokens, in units of their standard deviation.
static double apart(gr_session *a, gr_session *b, const int32_t *tokens, size_t count) {
    uint32_t vocab = vocab_of(a->model);
    double worst = 0;
    for (size_t t = 0; t <= count; t++) {
        double largest = 0, sum = 0, squares = 0;
        const float *x = logits_of(a), *y = logits_of(b);
        for (uint32_t i = 0; i < vocab; i++) {
            largest = fmax(largest, fabs((double)x[i] - y[i]));
            sum += x[i];
            squares += (double)x[i] * x[i];
        }
        worst = fmax(worst, largest / sqrt(squares / vocab - sum * sum / vocab / vocab));
        if (t < count) {
            OK(gr_session_append_tokens(a, &tokens[t], 1, error));
            OK(gr_session_append_tokens(b, &tokens[t], 1, error));
        }
    }
    return worst;
}

static double moved_apart(const char *from, gr_dtype from_type, const char *to, gr_dtype to_type) {
    int32_t tokens[120];
    const gr_model_options source = {.device = from, .has_kv_dtype = 1, .kv_dtype = from_type};
    const gr_model_options target = {.device = to, .has_kv_dtype = 1, .kv_dtype = to_type, .page_tokens = 16};
    static const char path[] = SMALL("yarn-w16-gqa2"); // F32 weights: no device rounds activations
    gr_model *model = load_alone(path, source), *another = load_alone(path, target);
    fill_tokens(tokens, 120, 2, vocab_of(model));
    gr_session *unsaved = begin(model, 300, tokens, 100);
    logits_of(unsaved);
    save(unsaved);
    gr_session *restored = restore(another, NULL);
    same_logits(unsaved, restored); // as saved
    double worst = apart(unsaved, restored, tokens + 100, 20);
    gr_session_release(restored);
    gr_session_release(unsaved);
    gr_model_release(another);
    gr_model_release(model);
    forget_file();
    return worst;
}

static void other_devices_and_types_are_near(void **state) {
    (void)state;
    const struct {
        const char *from;
        gr_dtype from_type;
        const char *to;
        gr_dtype to_type;
        double bound;
    } cases[] = {
        {test_device(), GR_DTYPE_F32, "cpu", GR_DTYPE_F32, 5e-5},
        {"cpu", GR_DTYPE_F16, test_device(), GR_DTYPE_F16, 1e-3},
        {test_device(), GR_DTYPE_F32, test_device(), GR_DTYPE_F16, 3e-2},
        {test_device(), GR_DTYPE_F16, test_device(), GR_DTYPE_F32, 3e-2},
        {test_device(), GR_DTYPE_F16, test_device(), GR_DTYPE_BF16, 0.2},
        {test_device(), GR_DTYPE_F16, test_device(), GR_DTYPE_Q8_0, 0.5},
        {test_device(), GR_DTYPE_Q8_0, "cpu", GR_DTYPE_F16, 0.5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double worst = moved_apart(cases[i].from, cases[i].from_type, cases[i].to, cases[i].to_type);
        print_message("%s %s to %s %s: %.2g\n", cases[i].from, gr_dtype_name(cases[i].from_type), cases[i].to,
                      gr_dtype_name(cases[i].to_type), worst);
        assert_true(worst > 0 && worst < cases[i].bound);
    }
}

// ---- What a session can do

static gr_model *small_model(uint32_t page_tokens) {
    return load_alone(SMALL("w16-gqa1"),
                      (gr_model_options){.page_tokens = page_tokens, .rewind_reserve = 8, .chunk = 32});
}

// Forks, rewinds within the reserve and far behind it: on ref and far all of it bit for bit.
static void a_restored_session_is_a_session(void **state) {
    (void)state;
    static const uint64_t stops[] = {120, 119, 115, 113, 60, 3};
    gr_model *model = small_model(8), *another = small_model(32);
    gr_session *fork;
    int32_t tokens[200];
    fill_tokens(tokens, 200, 3, vocab_of(model));
    gr_session *session = begin(model, 250, tokens, 120);
    logits_of(session);
    save(session);
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        gr_session *restored = restore(another, NULL);
        same_as_fresh(restored);
        assert_int_equal(gr_session_can_rewind(restored, stops[i]), gr_session_can_rewind(session, stops[i]));
        OK(gr_session_fork(restored, &fork, error));
        OK(gr_session_rewind(restored, stops[i], error));
        same_as_fresh(restored);
        OK(gr_session_append_tokens(restored, tokens + 130, 40, error));
        same_as_fresh(restored);
        OK(gr_session_append_tokens(fork, tokens + 150, 45, error));
        same_as_fresh(fork);
        OK(gr_session_rewind(fork, 119, error));
        same_as_fresh(fork);
        gr_session_release(restored);
        gr_session_release(fork);
    }
    assert_int_equal(gr_kv_cache_bytes_used(another->site->cache), 0);
    gr_session_release(session);
    gr_model_release(another);
    gr_model_release(model);
    forget_file();
}

// Tokens that wait are saved waiting; an empty session is one too; forks are saved apart.
static void whatever_state_it_is_in(void **state) {
    (void)state;
    gr_model *model = small_model(8);
    int32_t tokens[200];
    gr_session *fork;
    bool worked;
    fill_tokens(tokens, 200, 4, vocab_of(model));
    gr_session *session = begin(model, 250, NULL, 0);
    save(session);
    gr_session *restored = restore(model, NULL);
    assert_int_equal(restored->tokens.count, 0);
    gr_session_release(restored);
    OK(gr_session_append_tokens(session, tokens, 150, error));
    save(session); // nothing evaluated
    restored = restore(model, NULL);
    assert_int_equal(gr_session_waiting(restored), 150);
    same_as_fresh(restored);
    gr_session_release(restored);
    gr_session_release(session);
    session = begin(model, 250, tokens, 150);
    OK(gr_engine_step(model->engine, &worked, error)); // a chunk of it
    assert_int_equal(gr_session_evaluated(session), 32);
    save(session);
    restored = restore(model, NULL);
    assert_int_equal(gr_session_evaluated(restored), 32);
    same_as_fresh(restored);
    gr_session_release(restored);
    logits_of(session);
    OK(gr_session_append_tokens(session, tokens + 150, 3, error));
    OK(gr_session_fork(session, &fork, error));
    logits_of(fork);
    save(fork);
    gr_session_release(fork);
    restored = restore(model, NULL);
    same_as_fresh(restored);
    same_as_fresh(session);
    OK(gr_session_append_tokens(session, tokens + 153, 3, error));
    save(session); // waiting, with the logits of what is evaluated
    gr_session *back = restore(model, NULL);
    OK(gr_session_rewind(back, 153, error));
    assert_int_equal(gr_session_waiting(back), 0);
    OK(gr_session_rewind(session, 153, error));
    same_logits(back, session);
    same_as_fresh(back);
    gr_session_release(back);
    save(restored); // a snapshot of a snapshot
    gr_session_release(restored);
    restored = restore(model, NULL);
    same_as_fresh(restored);
    gr_session_release(restored);
    gr_session_release(session);
    assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), 0);
    gr_model_release(model);
    forget_file();
}

static void same_text(const char *a, const char *b) {
    assert_int_equal(a != NULL, b != NULL);
    if (a)
        assert_string_equal(a, b);
}

static void conversations_are_kept(void **state) {
    (void)state;
    static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"wind\",\"parameters\":{}}}]";
    gr_model *model = load_alone(BREEZE, (gr_model_options){.chat_format = "mistral-v1"});
    gr_session *session = begin(model, 500, NULL, 0);
    const gr_tool_call calls[] = {{"a1", "wind", "{\"at\": \"sea\"}"}, {NULL, "calm", NULL}};
    OK(gr_session_turn(session, GR_CHAT_SYSTEM, "Be brief.", 9, error));
    OK(gr_session_turn(session, GR_CHAT_USER, "a\0b", 3, error));
    OK(gr_session_turn(session, GR_CHAT_ASSISTANT, "", 0, error));
    OK(gr_chat_add_tool_calls(&session->chat, (gr_str){"calling", 7}, calls, 2, error));
    OK(gr_session_tool_result(session, "a1", "wind", "\xff", 1, error));
    OK(gr_session_tools(session, tools, error));
    session->chat.messages[2].partial = true;
    save(session);
    gr_session *restored = restore(model, NULL);
    const gr_chat *a = &session->chat, *b = &restored->chat;
    assert_int_equal(b->count, 5);
    same_text(a->tools, b->tools);
    for (size_t i = 0; i < a->count; i++) {
        const gr_message *x = &a->messages[i], *y = &b->messages[i];
        assert_int_equal(x->role, y->role);
        assert_int_equal(x->partial, y->partial);
        assert_int_equal(x->content_bytes, y->content_bytes);
        assert_memory_equal(x->content, y->content, x->content_bytes + 1);
        same_text(x->tool_call_id, y->tool_call_id);
        same_text(x->tool_name, y->tool_name);
        assert_int_equal(x->tool_call_count, y->tool_call_count);
        for (size_t c = 0; c < x->tool_call_count; c++) {
            same_text(x->tool_calls[c].id, y->tool_calls[c].id);
            same_text(x->tool_calls[c].name, y->tool_calls[c].name);
            same_text(x->tool_calls[c].arguments, y->tool_calls[c].arguments);
        }
    }
    gr_session_release(restored);
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

// What the tokens hold of a conversation is not evaluated again.
static void the_next_turn_costs_itself(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.chat_format = "mistral-v1"});
    gr_session *session = begin(model, 800, NULL, 0);
    const gr_generate_options options = {.struct_size = sizeof options, .max_tokens = 20, .seed = 3};
    OK(gr_session_turn(session, GR_CHAT_USER, "And it came to pass", 19, error));
    OK(gr_session_generate(session, &options, NULL, NULL, NULL, error));
    save(session);
    gr_session *restored = restore(model, NULL);
    assert_int_equal(gr_session_turn_count(restored), 2);
    gr_session *both[] = {session, restored};
    for (int i = 0; i < 2; i++) {
        OK(gr_session_turn(both[i], GR_CHAT_USER, "Who came?", 9, error));
        OK(gr_session_apply_turns(both[i], error));
    }
    assert_true(gr_session_evaluated(restored) > 5);
    assert_int_equal(gr_session_evaluated(restored), gr_session_evaluated(session));
    for (int i = 0; i < 2; i++)
        OK(gr_session_generate(both[i], &options, NULL, NULL, NULL, error));
    same_tokens(session, restored);
    same_logits(session, restored);
    gr_session_release(session);
    gr_session_release(restored);
    gr_model_release(model);
    forget_file();
}

// Text put behind turns that are encoded, for the answer to begin with, is not taken for a turn that is not.
static void a_begun_answer_stays(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.chat_format = "mistral-v1"});
    const gr_generate_options options = {.struct_size = sizeof options, .max_tokens = 6, .seed = 3};
    gr_session *session = begin(model, 300, NULL, 0);
    OK(gr_session_turn(session, GR_CHAT_USER, "Who came?", 9, error));
    OK(gr_session_apply_turns(session, error));
    OK(gr_session_append_text(session, "Behold, it was", 14, error));
    size_t length = session->tokens.count;
    save(session);
    gr_session *restored = restore(model, NULL);
    OK(gr_session_generate(session, &options, NULL, NULL, NULL, error));
    OK(gr_session_generate(restored, &options, NULL, NULL, NULL, error));
    assert_true(session->tokens.count > length);
    same_tokens(session, restored);
    gr_session_release(session);
    gr_session_release(restored);
    gr_model_release(model);
    forget_file();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_goes_on),
        cmocka_unit_test(other_pages_change_no_bit),
        cmocka_unit_test(every_cache_type_goes_on),
        cmocka_unit_test(other_devices_and_types_are_near),
        cmocka_unit_test(a_restored_session_is_a_session),
        cmocka_unit_test(whatever_state_it_is_in),
        cmocka_unit_test(conversations_are_kept),
        cmocka_unit_test(the_next_turn_costs_itself),
        cmocka_unit_test(a_begun_answer_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
