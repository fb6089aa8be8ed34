// SPDX-License-Identifier: Apache-2.0
// Devices that fail in the middle of steps: the sessions go on elsewhere, and nobody who reads can tell.
#include "fault.h"

static void same_answer(const char *path, uint32_t prompt, uint32_t after, gr_status status) {
    gr_model *model = load_watched(path, (gr_model_options){.page_tokens = 8, .chunk = 16}, 0);
    int32_t tokens[160];
    fill_tokens(tokens, prompt, 2, vocab_of(model));
    gr_session *calm = begin(model, 300, tokens, prompt), *hurt = begin(model, 300, tokens, prompt), *fork = NULL;
    gr_request *expected = answer(calm, 40, 9);
    gr_request_info a = finish_answer(calm, expected);
    OK(gr_session_fork(hurt, &fork, error));
    gr_request *found = answer(hurt, 40, 9), *other = answer(fork, 40, 9);
    gr_site *failing = model->site;
    plant(model->engine, test_device(), AT_STEP, after, status);
    gr_request_info b = finish_answer(hurt, found), c = finish_answer(fork, other);
    assert_int_equal(seen.events, 1);
    assert_int_equal(seen.status, status);
    assert_string_equal(seen.device, test_device());
    assert_string_equal(seen.next, other_device());
    assert_int_equal(seen.sessions, 3);
    assert_int_equal(b.stop_reason, GR_STOP_LIMIT);
    assert_string_equal(gr_session_device(hurt), other_device());
    assert_int_equal(a.generated_tokens, b.generated_tokens);
    assert_memory_equal(a.tokens, b.tokens, a.generated_tokens * sizeof *a.tokens);
    assert_memory_equal(a.tokens, c.tokens, a.generated_tokens * sizeof *a.tokens);
    assert_string_equal(a.text, b.text);
    gr_request_release(expected);
    gr_request_release(found);
    gr_request_release(other);
    gr_session_release(calm);
    gr_session_release(hurt);
    gr_session_release(fork);
    if (status == GR_ERROR_TIMEOUT) { // it may still write what it was given
        assert_int_equal(model->site_count, 2);
        revive(failing);
    }
    assert_int_equal(model->site_count, 1);
    cure_all();
    gr_model_release(model);
}

static void lost_at_any_step(void **state) {
    (void)state;
    for (uint32_t after = 0; after < 12; after++)
        same_answer(SMALL("full-gqa4"), 50, after, GR_ERROR_DEVICE_LOST);
}

static void lost_behind_the_window(void **state) {
    (void)state;
    same_answer(SMALL("w8-gqa4"), 120, 30, GR_ERROR_DEVICE_LOST);
    same_answer(SMALL("wlist-gqa2"), 100, 20, GR_ERROR_DEVICE_LOST);
}

static void out_of_memory_in_a_step(void **state) {
    (void)state;
    same_answer(SMALL("w8-gqa4"), 50, 7, GR_ERROR_OUT_OF_MEMORY);
}

static void other_errors_stay_where_they_are(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8}, 0);
    int32_t tokens[50];
    fill_tokens(tokens, 50, 2, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 50);
    plant(model->engine, test_device(), AT_STEP, 0, GR_ERROR_UNSUPPORTED);
    assert_int_equal(gr_session_evaluate(session, NULL, NULL, error), GR_ERROR_UNSUPPORTED);
    assert_int_equal(seen.events, 0);
    assert_string_equal(gr_session_device(session), test_device());
    cure_all();
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

static void observe(void *context, uint64_t position, const float *logits, uint32_t vocab) {
    uint32_t *counts = context;
    (void)logits;
    (void)vocab;
    counts[position]++;
}

// Whoever watches the logits sees each position once, though it is evaluated twice.
static void scoring_sees_each_position_once(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8, .chunk = 16}, 0);
    int32_t tokens[90];
    uint32_t counts[90] = {0};
    fill_tokens(tokens, 90, 2, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 20);
    logits_of(session);
    plant(model->engine, test_device(), AT_STEP, 2, GR_ERROR_DEVICE_LOST);
    OK(gr_session_append_observed(session, tokens + 20, 70, observe, counts, error));
    assert_int_equal(seen.events, 1);
    for (uint32_t i = 0; i < 90; i++)
        assert_int_equal(counts[i], i >= 20);
    gr_session_release(session);
    cure_all();
    gr_model_release(model);
}

// A rewind to an anchor whose pages were lost evaluates again.
static void anchors_are_kept(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("w8-gqa4"), (gr_model_options){.page_tokens = 8}, 0);
    int32_t tokens[200];
    uint64_t anchor;
    fill_tokens(tokens, 200, 2, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 40);
    OK(gr_session_anchor(session, &anchor, error));
    OK(gr_session_append_tokens(session, tokens + 40, 160, error));
    plant(model->engine, test_device(), AT_STEP, 0, GR_ERROR_DEVICE_LOST);
    logits_of(session);
    assert_int_equal(seen.events, 1);
    OK(gr_session_rewind(session, anchor, error));
    same_as_fresh(session);
    gr_session_release(session);
    cure_all();
    gr_model_release(model);
}

static void no_answer_in_a_step(void **state) {
    (void)state;
    same_answer(SMALL("w8-gqa4"), 50, 7, GR_ERROR_TIMEOUT);
}

// Not planted: far signals long after it was waited for, and writes to what it was given then.
static void a_device_that_hangs(void **state) {
    (void)state;
    setenv("GREGALE_FAR_LATE_US", "100000", 1);
    gr_model *model = load_watched(SMALL("w8-gqa4"), (gr_model_options){.device = "far", .page_tokens = 8}, 30);
    int32_t tokens[50];
    gr_site *hung = model->site;
    fill_tokens(tokens, 50, 2, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 50);
    logits_of(session);
    assert_int_equal(seen.events, 1);
    assert_int_equal(seen.status, GR_ERROR_TIMEOUT);
    assert_string_equal(gr_session_device(session), "ref");
    gr_session *longer = begin(model, 20000, tokens, 50); // new page tables; not for whom does not answer
    same_as_fresh(session);
    same_as_fresh(longer);
    gr_session_release(session);
    gr_session_release(longer);
    const gr_opened_device *far = hung->devices[0].opened;
    OK(far->backend->fence_wait(far->device, hung->devices[0].fence, hung->devices[0].fence_value, UINT64_MAX, error));
    revive(hung);
    unsetenv("GREGALE_FAR_LATE_US");
    gr_model_release(model);
}

// A device that refuses pages of the cache, in the second half of the layers.
static void pages_cannot_be_had(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("wlist-gqa2"), (gr_model_options){.device = "ref:1,far", .page_tokens = 8, .chunk = 16}, 0);
    int32_t tokens[100];
    fill_tokens(tokens, 100, 2, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 100);
    plant(model->engine, "far", AT_RESIZE, 0, GR_ERROR_DEVICE_LOST);
    logits_of(session);
    assert_int_equal(seen.events, 1);
    assert_string_equal(seen.device, "far");
    assert_string_equal(gr_session_device(session), "ref");
    cure_all();
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// A session that nobody waits for is not evaluated again until somebody does.
static void idle_sessions_wait(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8}, 0);
    int32_t tokens[60];
    bool worked = true;
    gr_session *fork = NULL;
    fill_tokens(tokens, 60, 2, vocab_of(model));
    gr_session *idle = begin(model, 300, tokens, 50);
    logits_of(idle);
    gr_session *busy = begin(model, 300, tokens, 50);
    plant(model->engine, test_device(), AT_STEP, 0, GR_ERROR_DEVICE_LOST);
    logits_of(busy);
    OK(gr_session_fork(idle, &fork, error));
    while (worked)
        OK(gr_engine_step(model->engine, &worked, error));
    assert_string_equal(gr_session_device(idle), other_device());
    assert_int_equal(gr_session_evaluated(idle), 0);
    assert_int_equal(gr_session_evaluated(fork), 0);
    OK(gr_session_append_tokens(idle, tokens + 50, 10, error));
    same_as_fresh(idle);
    same_as_fresh(fork);
    gr_session_release(fork);
    gr_session_release(idle);
    gr_session_release(busy);
    cure_all();
    gr_model_release(model);
}

static void plant_all(gr_model *model, const char *but, fault_call call, gr_status status) {
    for (uint32_t i = 0; i < gr_registry_device_count(model->engine->registry); i++) {
        const char *name = gr_registry_device(model->engine->registry, i)->name;
        if (!but || strcmp(name, but))
            plant(model->engine, name, call, 0, status);
    }
}

// What no device has memory for ends, in place of going round for ever; it can be asked again.
static void nobody_has_memory(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8}, 0);
    uint32_t devices = gr_registry_device_count(model->engine->registry);
    int32_t tokens[50];
    fill_tokens(tokens, 50, 2, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 50);
    gr_request *request = answer(session, 40, 9);
    plant_all(model, NULL, AT_STEP, GR_ERROR_OUT_OF_MEMORY);
    gr_request_info info = finish_answer(session, request);
    assert_int_equal(info.stop_reason, GR_STOP_ERROR);
    assert_int_equal(seen.events, devices);
    gr_request_release(request);
    cure_all();
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// Nothing else is there: the answer fails, what the device may still use is left alone, and whoever asks
// again, or moves away, goes on as soon as another device can take over.
static void without_another_device(bool moves) {
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8}, 0);
    gr_site *hung = model->site;
    int32_t tokens[50];
    fill_tokens(tokens, 50, 2, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 50);
    fault *first = plant(model->engine, test_device(), AT_STEP, 0, GR_ERROR_TIMEOUT);
    plant_all(model, test_device(), AT_IMPORT, GR_ERROR_OUT_OF_MEMORY);
    for (uint32_t times = 1; times <= 2; times++) {
        assert_int_equal(gr_session_evaluate(session, NULL, NULL, error), GR_ERROR_TIMEOUT);
        assert_int_equal(seen.events, times);
        assert_string_equal(seen.next, "");
        assert_int_equal(first->struck, 1); // it was not given a second step
    }
    gr_session *longer = begin(model, 20000, tokens, 50); // its tables would not fit those in use
    gr_session_release(longer);
    for (size_t i = 1; i < sizeof faults / sizeof faults[0]; i++)
        faults[i].status = GR_OK;
    if (moves) {
        OK(gr_session_move(session, other_device(), NULL, NULL, error));
        assert_string_equal(gr_session_device(session), other_device());
    }
    same_as_fresh(session);
    assert_int_equal(first->struck, 1);
    assert_int_equal(seen.events, 3);
    gr_session_release(session);
    revive(hung);
    cure_all();
    gr_model_release(model);
}

static void nobody_else_is_there(void **state) {
    (void)state;
    without_another_device(false);
    without_another_device(true);
}

// A device that a site could have fallen back on, and does not, is not held: lost, it can be opened anew.
static void fallbacks_are_let_go_of(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8}, 0);
    gr_registry *registry = model->engine->registry;
    const gr_opened_device *other = NULL;
    uint32_t index;
    OK(gr_registry_find(registry, other_device(), &index, error));
    for (uint32_t times = 0; times < 2; times++) {
        OK(gr_registry_open(registry, index, &other, error));
        gr_registry_quarantine(registry, other, true, "test");
        gr_registry_close(registry, other);
    }
    gr_model_release(model);
}

static void the_next_failure_waits_longer(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8}, 0);
    gr_registry *registry = model->engine->registry;
    uint32_t index;
    uint64_t once, twice;
    OK(gr_registry_find(registry, test_device(), &index, error));
    assert_false(gr_registry_quarantined(registry, index, &once));
    gr_registry_quarantine(registry, model->site->devices[0].opened, false, "test");
    assert_true(gr_registry_quarantined(registry, index, &once));
    gr_registry_quarantine(registry, model->site->devices[0].opened, false, "test");
    assert_true(gr_registry_quarantined(registry, index, &twice));
    assert_true(once <= 1000000000 && twice > 1000000000);
    gr_model_release(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_at_any_step),
        cmocka_unit_test(lost_behind_the_window),
        cmocka_unit_test(out_of_memory_in_a_step),
        cmocka_unit_test(no_answer_in_a_step),
        cmocka_unit_test(a_device_that_hangs),
        cmocka_unit_test(pages_cannot_be_had),
        cmocka_unit_test(other_errors_stay_where_they_are),
        cmocka_unit_test(scoring_sees_each_position_once),
        cmocka_unit_test(anchors_are_kept),
        cmocka_unit_test(idle_sessions_wait),
        cmocka_unit_test(nobody_has_memory),
        cmocka_unit_test(nobody_else_is_there),
        cmocka_unit_test(fallbacks_are_let_go_of),
        cmocka_unit_test(the_next_failure_waits_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
