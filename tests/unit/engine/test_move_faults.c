// SPDX-License-Identifier: Apache-2.0
// Moves during which a device fails. When it is the new one the session stays; when it is the old one the
// session goes on elsewhere, and so does the move. Either way its logits are those of a session that stayed.
#include "fault.h"

typedef struct scene {
    gr_model *model;
    gr_session *session;
    int32_t tokens[200];
} scene;

static scene open_scene(uint32_t evaluated) {
    scene s = {.model = load_watched(SMALL("w8-gqa4"), (gr_model_options){.page_tokens = 8, .chunk = 16}, 0)};
    fill_tokens(s.tokens, 200, 5, vocab_of(s.model));
    s.session = begin(s.model, 300, s.tokens, evaluated);
    logits_of(s.session);
    return s;
}

// The session is sound, and nothing is left of the move.
static void close_scene(scene *s, const char *device) {
    assert_string_equal(gr_session_device(s->session), device);
    size_t count;
    gr_session_tokens(s->session, &count);
    OK(gr_session_append_tokens(s->session, s->tokens + count, 10, error));
    cure_all();
    same_as_fresh(s->session);
    gr_session_release(s->session);
    assert_int_equal(s->model->site_count, 1);
    assert_int_equal(gr_kv_cache_bytes_used(s->model->site->cache), 0);
    gr_model_release(s->model);
}

static uint64_t quarantine_of(const gr_model *model, const char *device) {
    uint32_t index;
    uint64_t left = 0;
    OK(gr_registry_find(model->engine->registry, device, &index, error));
    gr_registry_quarantined(model->engine->registry, index, &left);
    return left;
}

static void target_fails(fault_call call, uint32_t after, gr_status status) {
    scene s = open_scene(50);
    fault *f = plant(s.model->engine, other_device(), call, after, status);
    assert_int_equal(gr_session_move(s.session, other_device(), NULL, NULL, error), status);
    assert_non_null(strstr(error->message, "planted"));
    assert_true(f->struck > 0);
    assert_int_equal(seen.events, 0);
    assert_int_equal(quarantine_of(s.model, other_device()) > 0, status == GR_ERROR_DEVICE_LOST);
    close_scene(&s, test_device());
}

static void the_target_is_lost(void **state) {
    (void)state;
    for (uint32_t after = 0; after < 8; after += 3)
        target_fails(AT_WRITE, after, GR_ERROR_DEVICE_LOST);
    target_fails(AT_STEP, 0, GR_ERROR_DEVICE_LOST);
    target_fails(AT_RESIZE, 0, GR_ERROR_DEVICE_LOST);
    target_fails(AT_IMPORT, 3, GR_ERROR_DEVICE_LOST);
    target_fails(AT_COMPILE, 0, GR_ERROR_DEVICE_LOST);
}

static void the_target_has_no_memory(void **state) {
    (void)state;
    target_fails(AT_RESIZE, 0, GR_ERROR_OUT_OF_MEMORY);
    target_fails(AT_STEP, 0, GR_ERROR_OUT_OF_MEMORY);
    target_fails(AT_COMPILE, 1, GR_ERROR_OUT_OF_MEMORY);
    for (uint32_t after = 0; after < 12; after += 5)
        target_fails(AT_IMPORT, after, GR_ERROR_OUT_OF_MEMORY);
}

// What it may still write stays where it is, though nobody lives there.
static void the_target_does_not_answer(void **state) {
    (void)state;
    scene s = open_scene(50);
    plant(s.model->engine, other_device(), AT_STEP, 0, GR_ERROR_TIMEOUT);
    assert_int_equal(gr_session_move(s.session, other_device(), NULL, NULL, error), GR_ERROR_TIMEOUT);
    assert_int_equal(s.model->site_count, 2);
    gr_site *hung = s.model->sites[s.model->sites[0] == s.model->site];
    assert_true(hung->abandoned && hung->cache && hung->bucket_count);
    revive(hung);
    close_scene(&s, test_device());
}

// A cache limit that the session's pages fit once: the move needs no more on the target than it had at home.
static void limits_are_each_device_s_own(void **state) {
    (void)state;
    scene s = open_scene(60);
    uint64_t bytes = gr_kv_cache_bytes_used(s.model->site->cache);
    gr_session_release(s.session);
    gr_model_release(s.model);
    const gr_model_options tight = {.page_tokens = 8, .chunk = 16, .cache_bytes = bytes};
    s.model = load_watched(SMALL("w8-gqa4"), tight, 0);
    s.session = begin(s.model, 300, s.tokens, 60);
    logits_of(s.session);
    OK(gr_session_move(s.session, other_device(), NULL, NULL, error));
    assert_string_equal(gr_session_device(s.session), other_device());
    gr_session_release(s.session);
    gr_model_release(s.model);
}

static gr_move_info finish(gr_model *model, gr_move *going) {
    gr_move_info info = {.struct_size = sizeof info};
    for (uint32_t i = 0; i < 100000 && info.stage != GR_MOVE_DONE; i++) {
        bool worked;
        gr_engine_step(model->engine, &worked, NULL);
        OK(gr_move_info_get(going, &info, error));
    }
    assert_int_equal(info.stage, GR_MOVE_DONE);
    gr_move_release(going);
    return info;
}

static void source_fails(uint32_t evaluated, uint32_t waiting, fault_call call, uint32_t after, gr_status status) {
    scene s = open_scene(evaluated);
    gr_site *old = s.model->site;
    gr_move *going = NULL;
    OK(gr_session_append_tokens(s.session, s.tokens + evaluated, waiting, error));
    fault *f = plant(s.model->engine, test_device(), call, after, status);
    OK(gr_session_move_start(s.session, other_device(), NULL, &going, error));
    finish(s.model, going);
    logits_of(s.session);
    assert_true(f->struck > 0);
    assert_int_equal(seen.events, 1);
    assert_string_equal(seen.device, test_device());
    if (status == GR_ERROR_TIMEOUT)
        revive(old);
    close_scene(&s, other_device());
}

static void the_source_is_lost(void **state) {
    (void)state;
    source_fails(50, 0, AT_READ, 0, GR_ERROR_DEVICE_LOST);   // copying ahead
    source_fails(50, 0, AT_READ, 7, GR_ERROR_DEVICE_LOST);
    source_fails(50, 100, AT_STEP, 0, GR_ERROR_DEVICE_LOST); // in a step beside the import, or in the check
    source_fails(50, 100, AT_STEP, 2, GR_ERROR_DEVICE_LOST);
    source_fails(50, 100, AT_STEP, 0, GR_ERROR_TIMEOUT);
}

// The check evaluates the last token on both sides when the logits are not at hand, in the middle of a prompt.
static void the_source_fails_in_the_check(void **state) {
    (void)state;
    static const gr_status kinds[] = {GR_ERROR_DEVICE_LOST, GR_ERROR_TIMEOUT};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        scene s = open_scene(50);
        gr_site *old = s.model->site;
        gr_move *going = NULL;
        gr_move_info info = {.struct_size = sizeof info};
        OK(gr_session_move_start(s.session, other_device(), NULL, &going, error));
        while (info.stage < GR_MOVE_COPY) {
            bool worked;
            OK(gr_engine_step(s.model->engine, &worked, error));
            OK(gr_move_info_get(going, &info, error));
        }
        s.session->logits_behind = 0; // as if more were waiting
        plant(s.model->engine, test_device(), AT_STEP, 0, kinds[i]);
        finish(s.model, going);
        assert_int_equal(seen.events, 1);
        assert_string_equal(seen.next, other_device());
        if (kinds[i] == GR_ERROR_TIMEOUT)
            revive(old);
        close_scene(&s, other_device());
    }
}

// Others live where the session is going to; their device fails in a step of theirs.
static void the_target_fails_for_others(void **state) {
    (void)state;
    scene s = open_scene(50);
    gr_session *settled = begin(s.model, 300, s.tokens, 40);
    logits_of(settled);
    OK(gr_session_move(settled, other_device(), NULL, NULL, error));
    gr_move *going = NULL;
    const gr_move_options options = {.struct_size = sizeof options, .shadow_tokens = 30};
    OK(gr_session_move_start(s.session, other_device(), &options, &going, error));
    for (uint32_t i = 0; i < 5; i++) {
        bool worked;
        OK(gr_engine_step(s.model->engine, &worked, error));
    }
    plant(s.model->engine, other_device(), AT_STEP, 0, GR_ERROR_DEVICE_LOST);
    OK(gr_session_append_tokens(settled, s.tokens + 40, 5, error));
    logits_of(settled);
    assert_int_equal(seen.events, 1);
    assert_string_equal(gr_session_device(settled), test_device());
    gr_move_info info = {.struct_size = sizeof info};
    assert_int_equal(gr_move_info_get(going, &info, error), GR_ERROR_DEVICE_LOST);
    assert_non_null(strstr(error->message, other_device()));
    gr_move_release(going);
    gr_session_release(settled);
    close_scene(&s, test_device());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_target_is_lost),
        cmocka_unit_test(the_target_has_no_memory),
        cmocka_unit_test(the_target_does_not_answer),
        cmocka_unit_test(limits_are_each_device_s_own),
        cmocka_unit_test(the_source_is_lost),
        cmocka_unit_test(the_source_fails_in_the_check),
        cmocka_unit_test(the_target_fails_for_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
