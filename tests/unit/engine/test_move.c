// SPDX-License-Identifier: Apache-2.0
// Sessions that change devices: what they go on with, what they share, what a failure leaves.

#include <time.h>

#include "fixture.h"

// Devices that a test goes between: the one it runs on, and another.
static const char *other_device(void) {
    return strcmp(test_device(), "ref") ? "ref" : "far";
}

static gr_move_info move(gr_session *session, const char *device) {
    gr_move_info info = {.struct_size = sizeof info};
    OK(gr_session_move(session, device, NULL, &info, error));
    assert_int_equal(info.stage, GR_MOVE_DONE);
    assert_string_equal(gr_session_device(session), device);
    return info;
}

static void same_logits(gr_session *session, gr_session *expected) {
    assert_memory_equal(logits_of(session), logits_of(expected), vocab_of(session->model) * sizeof(float));
}

// far runs the arithmetic of ref, so what a session says may not change in any bit, wherever it goes on.
static void moved_goes_on(const char *path, uint32_t before, uint32_t after, uint32_t chunk) {
    gr_model *model = load_alone(path, (gr_model_options){.page_tokens = 8, .chunk = chunk});
    int32_t tokens[256];
    fill_tokens(tokens, before + after, 7, vocab_of(model));
    gr_session *stays = begin(model, 300, tokens, before + after), *moves = begin(model, 300, tokens, before);
    logits_of(moves);
    gr_move_info there = move(moves, other_device());
    assert_true(there.pages > 0 && there.bytes > 0 && there.difference <= there.bound);
    assert_string_equal(there.from, test_device());
    OK(gr_session_append_tokens(moves, tokens + before, after / 2, error));
    logits_of(moves);
    move(moves, test_device());
    OK(gr_session_append_tokens(moves, tokens + before + after / 2, after - after / 2, error));
    same_logits(moves, stays);
    assert_int_equal(model->site_count, 1); // nobody lives there any more
    gr_session_release(moves);
    gr_session_release(stays);
    assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), 0);
    gr_model_release(model);
}

static void goes_on_where_it_was(void **state) {
    (void)state;
    moved_goes_on(SMALL("full-gqa4"), 5, 7, 64);
    moved_goes_on(SMALL("full-gqa4"), 64, 64, 64); // full pages alone
    moved_goes_on(SMALL("w8-gqa4"), 40, 60, 16);   // rolled away on both sides
    moved_goes_on(SMALL("wlist-gqa2"), 100, 40, 32);
}

// The needle positions: the window's edge lies within, on and behind what was moved.
static void window_edges(void **state) {
    (void)state;
    for (uint32_t before = 6; before <= 11; before++)
        moved_goes_on(SMALL("w8-gqa4"), before, 9, 16);
    for (uint32_t before = 71; before <= 74; before++) // window and reserve: pages have just gone
        moved_goes_on(SMALL("w8-gqa4"), before, 9, 16);
}

static void within_a_prompt(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("wpattern-gqa4"), (gr_model_options){.page_tokens = 8, .chunk = 16});
    int32_t tokens[200];
    bool worked;
    fill_tokens(tokens, 200, 3, vocab_of(model));
    gr_session *stays = begin(model, 300, tokens, 200), *moves = begin(model, 300, tokens, 200);
    logits_of(stays);
    OK(gr_engine_step(model->engine, &worked, error)); // nothing is waiting but `moves`
    assert_true(gr_session_evaluated(moves) > 0);
    gr_move *going = NULL;
    gr_move_info info = {.struct_size = sizeof info};
    OK(gr_session_move_start(moves, other_device(), NULL, &going, error));
    do {
        OK(gr_engine_step(model->engine, &worked, error));
        OK(gr_move_info_get(going, &info, error));
    } while (info.stage != GR_MOVE_DONE);
    gr_move_release(going);
    same_logits(moves, stays);
    gr_session_release(moves);
    gr_session_release(stays);
    gr_model_release(model);
}

typedef struct seen {
    gr_move *move;
    uint32_t pieces_during;
} seen;

static bool on_text(void *context, const char *text, size_t bytes) {
    seen *s = context;
    gr_move_info info = {.struct_size = sizeof info};
    (void)text;
    (void)bytes;
    gr_move_info_get(s->move, &info, NULL);
    s->pieces_during += info.stage < GR_MOVE_DONE;
    const struct timespec moment = {.tv_nsec = 2000000}; // weights are copied meanwhile
    if (info.stage < GR_MOVE_DONE)
        nanosleep(&moment, NULL);
    return true;
}

// A stream is not disturbed: seeded text is the same, and pieces come while the move goes on.
static void while_generating(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    const gr_generate_options options = {.struct_size = sizeof options, .max_tokens = 12 + sampled(48), .seed = 5};
    gr_request *expected = NULL, *found = NULL;
    gr_session *stays = NULL, *moves = NULL;
    OK(gr_session_create(model, NULL, &stays, error));
    OK(gr_session_append_text(stays, "In the beginning", 16, error));
    OK(gr_session_fork(stays, &moves, error));
    OK(gr_session_generate(stays, &options, NULL, NULL, &expected, error));
    seen s = {0};
    OK(gr_session_move_start(moves, other_device(), NULL, &s.move, error));
    OK(gr_session_generate(moves, &options, on_text, &s, &found, error));
    gr_request_info a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    gr_request_info_get(expected, &a);
    gr_request_info_get(found, &b);
    assert_string_equal(a.text, b.text);
    assert_true(s.pieces_during > 0);
    gr_move_info info = {.struct_size = sizeof info};
    for (bool worked; info.stage < GR_MOVE_DONE;) { // on a slow machine the answer ends first
        OK(gr_engine_step(model->engine, &worked, error));
        OK(gr_move_info_get(s.move, &info, error));
    }
    assert_int_equal(info.stage, GR_MOVE_DONE);
    assert_string_equal(gr_session_device(moves), other_device());
    gr_move_release(s.move);
    gr_request_release(expected);
    gr_request_release(found);
    gr_session_release(stays);
    gr_session_release(moves);
    gr_model_release(model);
}

// A whole model: forks and anchors share pages there as here, and later sessions live there.
static void a_model_with_its_family(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8});
    int32_t tokens[80];
    uint64_t anchor;
    gr_session *fork = NULL;
    fill_tokens(tokens, 80, 1, vocab_of(model));
    gr_session *session = begin(model, 100, tokens, 64);
    OK(gr_session_anchor(session, &anchor, error));
    OK(gr_session_fork(session, &fork, error));
    OK(gr_session_append_tokens(session, tokens + 64, 16, error));
    logits_of(session);
    uint64_t bytes = gr_kv_cache_bytes_used(model->site->cache);
    OK(gr_model_move(model, other_device(), NULL, NULL, error));
    assert_int_equal(model->site_count, 1);
    assert_string_equal(gr_session_device(fork), other_device());
    assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), bytes);
    OK(gr_session_rewind(session, anchor, error));
    gr_session *late = begin(model, 100, tokens, 64);
    assert_string_equal(gr_session_device(late), other_device());
    same_logits(session, late);
    same_logits(fork, late);
    gr_session_release(late);
    gr_session_release(fork);
    gr_session_release(session);
    gr_model_release(model);
}

// Pages that the session let go of or rewrote while the move went on do not come along.
static void rewinds_meanwhile(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8});
    int32_t tokens[120];
    fill_tokens(tokens, 120, 1, vocab_of(model));
    gr_session *session = begin(model, 200, tokens, 64);
    logits_of(session);
    gr_move *going = NULL;
    gr_move_info info = {.struct_size = sizeof info};
    OK(gr_session_move_start(session, other_device(), NULL, &going, error));
    bool worked;
    for (int i = 0; i < 100000 && info.stage < GR_MOVE_CHECK; i++) { // pages are copied then
        OK(gr_engine_step(model->engine, &worked, error));
        OK(gr_move_info_get(going, &info, error));
    }
    OK(gr_session_rewind(session, 30, error));
    OK(gr_session_append_tokens(session, tokens + 60, 60, error));
    for (int i = 0; i < 100000 && info.stage < GR_MOVE_DONE; i++) {
        OK(gr_engine_step(model->engine, &worked, error));
        OK(gr_move_info_get(going, &info, error));
    }
    assert_int_equal(info.stage, GR_MOVE_DONE);
    gr_move_release(going);
    same_as_fresh(session); // the fresh one lives where it came from: far and ref give the same bits
    gr_session_release(session);
    gr_model_release(model);
}

static bool refuse(void *context, const gr_move_info *info) {
    return info->stage != *(const gr_move_stage *)context;
}

static void a_failure_leaves_it(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("w8-gqa4"), (gr_model_options){.page_tokens = 8});
    int32_t tokens[60];
    fill_tokens(tokens, 60, 1, vocab_of(model));
    gr_session *session = begin(model, 100, tokens, 50);
    logits_of(session);
    assert_int_equal(gr_session_move(session, "nowhere", NULL, NULL, error), GR_ERROR_NOT_FOUND);
    for (gr_move_stage stage = GR_MOVE_PREPARE; stage <= GR_MOVE_CHECK; stage++) {
        const gr_move_options options = {.struct_size = sizeof options, .progress = refuse, .progress_context = &stage};
        assert_int_equal(gr_session_move(session, other_device(), &options, NULL, error), GR_ERROR_CANCELLED);
        assert_string_equal(gr_session_device(session), test_device());
        assert_int_equal(model->site_count, 1);
    }
    gr_move *going = NULL; // let go of at once
    OK(gr_session_move_start(session, other_device(), NULL, &going, error));
    gr_move_release(going);
    assert_int_equal(model->site_count, 1);
    OK(gr_session_append_tokens(session, tokens + 50, 10, error));
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// A device whose answers are not those of the first is found out, and the session stays.
static void a_wrong_device_is_refused(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("w8-gqa4"), (gr_model_options){.page_tokens = 8});
    int32_t tokens[60];
    fill_tokens(tokens, 60, 1, vocab_of(model));
    gr_session *session = begin(model, 100, tokens, 50);
    const gr_move_options exact = {.struct_size = sizeof exact, .bound = 1e-9};
    logits_of(session);
    session->logits[3] += 1; // as if this device had answered otherwise
    assert_int_equal(gr_session_move(session, other_device(), &exact, NULL, error), GR_ERROR_CORRUPT);
    assert_non_null(strstr(error->message, other_device()));
    assert_string_equal(gr_session_device(session), test_device());
    const gr_move_options trusting = {.struct_size = sizeof trusting, .no_check = 1};
    OK(gr_session_move(session, other_device(), &trusting, NULL, error));
    gr_session_release(session);
    gr_model_release(model);
}

// Both devices evaluate every token of an answer; then the session moves, or not, as was asked.
static gr_move_info shadowed(gr_model *model, gr_move_policy policy, double bound, uint32_t guesses, gr_status expected) {
    const char *prompt = "In the beginning God created the heaven and the earth. In the beginning God created";
    const gr_generate_options wanted = {.struct_size = sizeof wanted, .max_tokens = 16 + sampled(44), .seed = 5, .ignore_end = 1, .guesses = guesses};
    const gr_move_options options = {
        .struct_size = sizeof options, .shadow_tokens = 12, .policy = policy, .bound = bound};
    gr_move_info info = {.struct_size = sizeof info};
    gr_session *session = NULL;
    gr_move *going = NULL;
    gr_request *request = NULL;
    OK(gr_session_create(model, NULL, &session, error));
    OK(gr_session_append_text(session, prompt, strlen(prompt), error));
    OK(gr_session_evaluate(session, NULL, NULL, error));
    OK(gr_session_move_start(session, other_device(), &options, &going, error));
    bool worked = true;
    while (info.stage < GR_MOVE_DONE) { // the weights are there when the answer begins
        OK(gr_engine_step(model->engine, &worked, error));
        OK(gr_move_info_get(going, &info, error));
        if (info.stage == GR_MOVE_SHADOW)
            break;
    }
    OK(gr_session_generate(session, &wanted, NULL, NULL, &request, error));
    assert_int_equal(gr_move_info_get(going, &info, error), expected);
    assert_string_equal(gr_session_device(session),
                        expected == GR_OK && policy != GR_MOVE_NEVER ? other_device() : test_device());
    assert_true(!guesses || info_of(request).guessed > info_of(request).guessed_right + 4); // wrong ones come back
    gr_request_release(request);
    gr_move_release(going);
    gr_session_release(session);
    return info;
}

static void a_shadow_compares(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    gr_move_info info = shadowed(model, GR_MOVE_IF_EQUAL, 0, 0, GR_OK);
    assert_int_equal(info.compared, 12);
    assert_int_equal(info.agreed, 12);
    assert_int_equal(info.first_divergence, 0);
    assert_true(info.difference <= info.bound);
    info = shadowed(model, GR_MOVE_NEVER, 0, 0, GR_OK);
    assert_int_equal(info.compared, 12);
    info = shadowed(model, GR_MOVE_IF_EQUAL, 0, 5, GR_OK);
    assert_int_equal(info.agreed, 12);
    gr_model_release(model);
}

// cpu answers a little otherwise than ref and far do, so nothing is allowed to differ in vain.
static void a_shadow_tells_devices_apart(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.device = "cpu"});
    const gr_move_options options = {.struct_size = sizeof options, .shadow_tokens = 3, .bound = 1e-9};
    gr_move_info info = {.struct_size = sizeof info};
    gr_session *session = NULL;
    gr_move *going = NULL;
    gr_status status = GR_OK;
    bool worked;
    OK(gr_session_create(model, NULL, &session, error));
    OK(gr_session_append_text(session, "In the beginning", 16, error));
    OK(gr_session_evaluate(session, NULL, NULL, error));
    OK(gr_session_move_start(session, "ref", &options, &going, error));
    for (uint32_t i = 0; status == GR_OK && i < 100000; i++) {
        gr_engine_step(model->engine, &worked, NULL);
        status = gr_move_info_get(going, &info, error);
        if (info.stage == GR_MOVE_SHADOW)
            OK(gr_session_append_tokens(session, (int32_t[]){5}, 1, error));
    }
    assert_int_equal(status, GR_ERROR_CORRUPT);
    assert_int_equal(info.first_divergence, info.compared ? gr_session_evaluated(session) : 0);
    assert_string_equal(gr_session_device(session), "cpu");
    gr_move_release(going);
    gr_session_release(session);
    gr_model_release(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(goes_on_where_it_was), cmocka_unit_test(window_edges),
                                       cmocka_unit_test(within_a_prompt),      cmocka_unit_test(while_generating),
                                       cmocka_unit_test(a_model_with_its_family), cmocka_unit_test(rewinds_meanwhile),
                                       cmocka_unit_test(a_failure_leaves_it),  cmocka_unit_test(a_wrong_device_is_refused),
                                       cmocka_unit_test(a_shadow_compares),    cmocka_unit_test(a_shadow_tells_devices_apart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
