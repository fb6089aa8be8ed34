// SPDX-License-Identifier: Apache-2.0
// Devices that fail in the middle of steps: the sessions go on elsewhere, and nobody who reads can tell.
#include "fixture.h"

// One device of the registry, with a fault planted in its table.
static struct fault {
    gr_backend table;
    const gr_backend *real;
    gr_opened_device *device;
    uint32_t steps; // that still go well
    gr_status status;
    bool never; // the step is taken, and its fence never comes
} fault;

static gr_status broken_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *e) {
    if (fault.steps) {
        fault.steps--;
        return fault.real->submit(device, queue, submit, e);
    }
    return fault.never ? GR_OK : gr_fail(e, fault.status, "test", "planted");
}

static gr_status broken_wait(gr_device *device, gr_fence *fence, uint64_t value, uint64_t timeout_ns, gr_error *e) {
    if (fault.never && !fault.steps)
        return gr_fail(e, GR_ERROR_TIMEOUT, "test", "planted: not done after %llu ms",
                       (unsigned long long)(timeout_ns / 1000000));
    return fault.real->fence_wait(device, fence, value, timeout_ns, e);
}

static void plant(gr_model *model, uint32_t steps, gr_status status) {
    fault = (struct fault){.device = (gr_opened_device *)(uintptr_t)model->site->devices[0].opened,
                           .steps = steps,
                           .status = status,
                           .never = status == GR_ERROR_TIMEOUT};
    fault.real = fault.device->backend;
    fault.table = *fault.real;
    fault.table.submit = broken_submit;
    fault.table.fence_wait = broken_wait;
    fault.device->backend = &fault.table;
}

static void cure(void) {
    fault.device->backend = fault.real;
}

static struct seen {
    uint32_t events;
    gr_status status;
    char device[64], next[64];
    uint64_t sessions;
} seen;

static void on_event(void *context, const gr_device_event *event) {
    (void)context;
    seen.events++;
    seen.status = event->status;
    seen.sessions = event->sessions;
    snprintf(seen.device, sizeof seen.device, "%s", event->device);
    snprintf(seen.next, sizeof seen.next, "%s", event->next ? event->next : "");
}

// An engine where ref and far stand before every other device.
static gr_model *load_watched(const char *path, gr_model_options options) {
    const gr_engine_options wanted = {
        .struct_size = sizeof wanted, .plugin_directories = test_directories, .device_event = on_event};
    gr_engine *engine = NULL;
    OK(gr_engine_create(&wanted, &engine, error));
    for (uint32_t i = 0; i < gr_registry_device_count(engine->registry); i++) {
        const gr_device_entry *entry = gr_registry_device(engine->registry, i);
        const gr_opened_device *opened;
        if (!strcmp(entry->name, "ref") || !strcmp(entry->name, "far"))
            continue;
        OK(gr_registry_open(engine->registry, i, &opened, error));
        for (uint32_t times = 0; times < 8; times++)
            gr_registry_quarantine(engine->registry, opened, false, "it would be chosen first");
        gr_registry_close(engine->registry, opened);
    }
    options.struct_size = sizeof options;
    options.device = test_device();
    gr_model *model = load(engine, path, &options);
    gr_engine_release(engine);
    seen = (struct seen){0};
    return model;
}

static const char *survivor(void) {
    return strcmp(test_device(), "ref") ? "ref" : "far";
}

static gr_request *begin_answer(gr_session *session) {
    const gr_generate_options options = {
        .struct_size = sizeof options, .max_tokens = 40, .seed = 9, .ignore_end = 1};
    gr_request *request = NULL;
    OK(gr_request_start(session, &options, &request, error));
    return request;
}

static gr_request_info finish_answer(gr_session *session, gr_request *request) {
    gr_request_info info = {.struct_size = sizeof info};
    bool worked = true;
    while (worked)
        gr_engine_step(session->model->engine, &worked, NULL);
    gr_request_info_get(request, &info);
    return info;
}

static void same_answer(const char *path, uint32_t prompt, uint32_t after, gr_status status) {
    gr_model *model = load_watched(path, (gr_model_options){.page_tokens = 8, .chunk = 16});
    int32_t tokens[160];
    fill_tokens(tokens, prompt, 2, vocab_of(model));
    gr_session *calm = begin(model, 300, tokens, prompt), *hurt = begin(model, 300, tokens, prompt), *fork = NULL;
    gr_request *expected = begin_answer(calm);
    gr_request_info a = finish_answer(calm, expected);
    OK(gr_session_fork(hurt, &fork, error));
    gr_request *found = begin_answer(hurt), *other = begin_answer(fork);
    plant(model, after, status);
    gr_request_info b = finish_answer(hurt, found), c = finish_answer(fork, other);
    assert_int_equal(seen.events, 1);
    assert_int_equal(seen.status, status);
    assert_string_equal(seen.device, test_device());
    assert_string_equal(seen.next, survivor());
    assert_int_equal(seen.sessions, 3);
    assert_int_equal(b.stop_reason, GR_STOP_LIMIT);
    assert_string_equal(gr_session_device(hurt), survivor());
    assert_int_equal(a.generated_tokens, b.generated_tokens);
    assert_memory_equal(a.tokens, b.tokens, a.generated_tokens * sizeof *a.tokens);
    assert_memory_equal(a.tokens, c.tokens, a.generated_tokens * sizeof *a.tokens);
    assert_string_equal(a.text, b.text);
    if (status != GR_ERROR_TIMEOUT)
        assert_int_equal(model->site_count, 1);
    gr_request_release(expected);
    gr_request_release(found);
    gr_request_release(other);
    gr_session_release(calm);
    gr_session_release(hurt);
    gr_session_release(fork);
    cure();
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
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8});
    int32_t tokens[50];
    fill_tokens(tokens, 50, 2, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 50);
    plant(model, 0, GR_ERROR_UNSUPPORTED);
    assert_int_equal(gr_session_evaluate(session, NULL, NULL, error), GR_ERROR_UNSUPPORTED);
    assert_int_equal(seen.events, 0);
    assert_string_equal(gr_session_device(session), test_device());
    cure();
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
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8, .chunk = 16});
    int32_t tokens[90];
    uint32_t counts[90] = {0};
    fill_tokens(tokens, 90, 2, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 20);
    logits_of(session);
    plant(model, 2, GR_ERROR_DEVICE_LOST);
    OK(gr_session_append_observed(session, tokens + 20, 70, observe, counts, error));
    assert_int_equal(seen.events, 1);
    for (uint32_t i = 0; i < 90; i++)
        assert_int_equal(counts[i], i >= 20);
    gr_session_release(session);
    cure();
    gr_model_release(model);
}

// A rewind to an anchor whose pages were lost evaluates again.
static void anchors_are_kept(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("w8-gqa4"), (gr_model_options){.page_tokens = 8});
    int32_t tokens[200];
    uint64_t anchor;
    fill_tokens(tokens, 200, 2, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 40);
    OK(gr_session_anchor(session, &anchor, error));
    OK(gr_session_append_tokens(session, tokens + 40, 160, error));
    plant(model, 0, GR_ERROR_DEVICE_LOST);
    logits_of(session);
    assert_int_equal(seen.events, 1);
    OK(gr_session_rewind(session, anchor, error));
    same_as_fresh(session);
    gr_session_release(session);
    cure();
    gr_model_release(model);
}

static void the_next_failure_waits_longer(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8});
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
        cmocka_unit_test(lost_at_any_step),         cmocka_unit_test(lost_behind_the_window),
        cmocka_unit_test(out_of_memory_in_a_step),  cmocka_unit_test(other_errors_stay_where_they_are),
        cmocka_unit_test(scoring_sees_each_position_once), cmocka_unit_test(anchors_are_kept),
        cmocka_unit_test(the_next_failure_waits_longer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
