// SPDX-License-Identifier: Apache-2.0
// What the engine makes of faults at each of its calls to a device: a clear error, and sessions as they
// were. A step that fails may also go on elsewhere: then the logits are what they would have been.
#include <math.h>

#include "fault/control.h"
#include "tests/unit/engine/fixture.h"

static const struct wrapped {
    const char *device, *plugin;
} wrapped[] = {{"fault-ref", GREGALE_BINARY_DIR "/backends/gregale-backend-ref.so"},
               {"fault-cpu", GREGALE_BINARY_DIR "/backends/gregale-backend-cpu.so"},
               {"fault-far", GREGALE_BINARY_DIR "/tests/far/gregale-backend-far.so"}};
enum { WRAPPED = 3, LENGTH = 90, AT_FIRST = 6, MOST = 400 };

#define MODEL SMALL("full-gqa4") // no window hides what was once wrong

// An engine whose shim wraps one of those, without a plan.
static gr_engine *engine_of(uint32_t which) {
    setenv("GREGALE_FAR_DELAY_US", "0", 1);
    setenv("GREGALE_FAULT_PLUGIN", wrapped[which].plugin, 1);
    return open_engine(false);
}

static const gr_fault_control *control_of(const gr_engine *engine, uint32_t which) {
    uint32_t index;
    OK(gr_registry_find(engine->registry, wrapped[which].device, &index, error));
    return gr_registry_device(engine->registry, index)->backend->get_extension(GR_FAULT_EXTENSION);
}

static gr_model *load_on(gr_engine *engine, const char *device) {
    const gr_model_options options = {
        .struct_size = sizeof options, .device = device, .page_tokens = 8, .chunk = 30};
    return load(engine, MODEL, &options);
}

// Sets "POINT:N=FAULT".
static void plan(const gr_fault_control *control, const char *format, uint32_t n) {
    char text[64];
    snprintf(text, sizeof text, format, n);
    OK(control->plan_set(text, error));
}

// The error of a call that failed: its code, one line that says something.
static void is_clear(gr_status status) {
    assert_int_equal(error->code, status);
    assert_true(strlen(error->message) > 8);
    assert_null(strchr(error->message, '\n'));
}

// Equal, or as near as other kernels come.
static void same_logits(const float *a, const float *b, uint32_t vocab) {
    for (uint32_t i = 0; i < vocab; i++)
        assert_true(fabsf(a[i] - b[i]) <= 1e-3f * (1 + fabsf(b[i])));
}

// ---- Loading ----

// Fails at the first call, the second... until nothing fails any more: afterwards it works.
static void load_in_spite_of(uint32_t which, const char *format, gr_status expected) {
    gr_engine *engine = engine_of(which);
    const gr_fault_control *control = control_of(engine, which);
    const gr_model_options options = {
        .struct_size = sizeof options, .device = wrapped[which].device, .page_tokens = 8};
    uint32_t failures = 0;
    for (uint32_t n = 1; n < MOST; n++) {
        gr_model *model = (gr_model *)engine;
        plan(control, format, n);
        gr_error_init(error);
        gr_status status = gr_model_load(engine, MODEL, &options, &model, error);
        if (status != GR_OK) {
            assert_int_equal(status, expected);
            assert_null(model);
            is_clear(status);
            failures++;
        }
        gr_model_release(model);
        if (!control->injected(NULL, 0))
            break;
    }
    assert_true(failures > 2);
    OK(control->plan_set(NULL, error));
    gr_model_release(load_on(engine, wrapped[which].device));
    gr_engine_release(engine);
}

static void loading_fails_clearly(void **state) {
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        load_in_spite_of(w, "alloc:%u=oom", GR_ERROR_OUT_OF_MEMORY);
        load_in_spite_of(w, "alloc:%u=lost", GR_ERROR_DEVICE_LOST);
        load_in_spite_of(w, "memory:%u=oom", GR_ERROR_OUT_OF_MEMORY);
    }
}

// The plugin says nothing: the host says what the status is called.
static void loading_fails_clearly_without_their_words(void **state) {
    (void)state;
    load_in_spite_of(0, "silent,alloc:%u=oom", GR_ERROR_OUT_OF_MEMORY);
    load_in_spite_of(2, "silent,alloc:%u=lost", GR_ERROR_DEVICE_LOST);
}

// ---- Steps ----

typedef struct scene {
    gr_engine *engine;
    const gr_fault_control *control;
    gr_model *model;
    gr_session *session, *calm, *fork;
    int32_t tokens[LENGTH];
} scene;

// A session with a part evaluated and a part waiting, and beside it others that wait for nothing.
static void scene_make(scene *s, uint32_t which) {
    s->engine = engine_of(which);
    s->control = control_of(s->engine, which);
    s->model = load_on(s->engine, wrapped[which].device);
    fill_tokens(s->tokens, LENGTH, 7, vocab_of(s->model));
    s->session = begin(s->model, 200, s->tokens, AT_FIRST);
    logits_of(s->session);
    OK(gr_session_fork(s->session, &s->fork, error));
    s->calm = begin(s->model, 200, s->tokens, AT_FIRST);
    logits_of(s->calm);
    OK(gr_session_append_tokens(s->session, s->tokens + AT_FIRST, LENGTH - AT_FIRST, error));
}

static void scene_unmake(scene *s) {
    gr_session_release(s->session);
    gr_session_release(s->calm);
    gr_session_release(s->fork);
    gr_model_release(s->model);
    gr_engine_release(s->engine);
}

// The tokens are there, and what is evaluated is a part of them.
static void keeps_its_tokens(const scene *s) {
    size_t count;
    const int32_t *tokens = gr_session_tokens(s->session, &count);
    assert_int_equal(count, LENGTH);
    assert_memory_equal(tokens, s->tokens, sizeof s->tokens);
    assert_true(gr_session_evaluated(s->session) >= AT_FIRST);
}

static void logits_right(gr_session *session, const float *right) {
    same_logits(logits_of(session), right, vocab_of(session->model));
}

// Appends to a session what `session` has, and looks.
static void goes_on(const scene *s, gr_session *session, const float *right) {
    OK(gr_session_append_tokens(session, s->tokens + AT_FIRST, LENGTH - AT_FIRST, error));
    logits_right(session, right);
}

// Logits behind all tokens, from a device that does not fail; free them.
static float *right_logits(void) {
    gr_model *model = load_alone(MODEL, (gr_model_options){.device = "ref"});
    int32_t tokens[LENGTH];
    uint32_t vocab = vocab_of(model);
    fill_tokens(tokens, LENGTH, 7, vocab);
    gr_session *session = begin(model, 200, tokens, LENGTH);
    float *right = malloc(vocab * sizeof *right);
    memcpy(right, logits_of(session), vocab * sizeof *right);
    gr_session_release(session);
    gr_model_release(model);
    return right;
}

// Faults at the first call of a step, the second... each on a model of its own. When memory was
// short, the step is asked for again and everything goes on.
static void steps_in_spite_of(uint32_t which, const char *format, const float *right) {
    bool any = true;
    uint32_t n = 0;
    while (any && n++ < MOST) {
        scene s;
        scene_make(&s, which);
        plan(s.control, format, n);
        gr_error_init(error);
        gr_status status = gr_session_evaluate(s.session, NULL, NULL, error);
        any = s.control->injected(NULL, 0) > 0;
        if (status != GR_OK) {
            assert_int_equal(status, GR_ERROR_OUT_OF_MEMORY);
            is_clear(status);
            keeps_its_tokens(&s);
        }
        OK(s.control->plan_set(NULL, error));
        logits_right(s.session, right);
        goes_on(&s, s.calm, right);
        goes_on(&s, s.fork, right);
        scene_unmake(&s);
    }
    assert_true(n > 3 && n < MOST); // so many calls but one can fail
}

static void steps_without_memory_may_be_retried(void **state) {
    float *right = right_logits();
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        steps_in_spite_of(w, "alloc:%u=oom", right);
        steps_in_spite_of(w, "alloc:%u+=oom", right); // nothing helps, until there is memory again
        steps_in_spite_of(w, "submit:%u=oom", right);
        steps_in_spite_of(w, "memory:%u=oom", right);
    }
    free(right);
}

// The same where the device is lost: it stays so for whoever lives there, and the tokens go on elsewhere.
static void device_lost(uint32_t which, const char *format, const float *right) {
    bool any = true;
    uint32_t n = 0;
    while (any && n++ < MOST) {
        scene s;
        scene_make(&s, which);
        plan(s.control, format, n);
        gr_error_init(error);
        gr_status status = gr_session_evaluate(s.session, NULL, NULL, error);
        any = s.control->injected(NULL, 0) > 0;
        assert_int_equal(s.control->plan_set(NULL, NULL), GR_OK); // keeps the error
        if (status == GR_OK) {
            logits_right(s.session, right);
        } else {
            assert_int_equal(status, GR_ERROR_DEVICE_LOST);
            is_clear(status);
            assert_non_null(strstr(error->message, "lost"));
            keeps_its_tokens(&s);
            assert_int_equal(gr_session_evaluate(s.session, NULL, NULL, NULL), GR_ERROR_DEVICE_LOST);
            gr_model *other = load_on(s.engine, "ref");
            gr_session *next = begin(other, 200, s.tokens, LENGTH);
            logits_right(next, right);
            gr_session_release(next);
            gr_model_release(other);
        }
        scene_unmake(&s);
    }
    assert_true(n > 1 && n < MOST);
}

static void a_lost_device_is_told(void **state) {
    float *right = right_logits();
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        device_lost(w, "alloc:%u=lost", right);
        device_lost(w, "submit:%u=lost", right);
        device_lost(w, "fence:%u=lost", right);
        device_lost(w, "copy:%u=lost", right);
        device_lost(w, "silent,copy:%u=lost", right);
        device_lost(w, "silent,submit:%u=lost", right);
    }
    free(right);
}

// Late fences change nothing.
static void late_fences_are_waited_for(void **state) {
    float *right = right_logits();
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        scene s;
        scene_make(&s, w);
        OK(s.control->plan_set("fence:1+=late 3ms", error));
        goes_on(&s, s.fork, right);
        logits_right(s.session, right);
        assert_true(s.control->injected(NULL, 0) > 2);
        scene_unmake(&s);
    }
    free(right);
}

// Once everybody has let go of a lost device, it is opened anew.
static void a_lost_device_comes_back(void **state) {
    float *right = right_logits();
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        scene s;
        scene_make(&s, w);
        OK(s.control->plan_set("submit:1=lost", error));
        gr_session_evaluate(s.session, NULL, NULL, NULL);
        OK(s.control->plan_set(NULL, error));
        gr_session_release(s.session);
        gr_session_release(s.calm);
        gr_session_release(s.fork);
        gr_model_release(s.model);
        s.calm = s.fork = NULL;
        s.model = load_on(s.engine, wrapped[w].device);
        s.session = begin(s.model, 200, s.tokens, LENGTH);
        logits_right(s.session, right);
        scene_unmake(&s);
    }
    free(right);
}

// A whole model on plugins that see another version of the interface.
static void versions_may_differ(void **state) {
    static const char *const skews[] = {"short-topology", "old-host", "new-host", "long-structs",
                                        "new-table"};
    float *right = right_logits();
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        for (size_t i = 0; i < sizeof skews / sizeof skews[0]; i++) {
            scene s;
            setenv("GREGALE_FAULT_SKEW", skews[i], 1);
            scene_make(&s, w);
            logits_right(s.session, right);
            goes_on(&s, s.fork, right);
            scene_unmake(&s);
        }
    }
    unsetenv("GREGALE_FAULT_SKEW");
    free(right);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_fails_clearly),
        cmocka_unit_test(loading_fails_clearly_without_their_words),
        cmocka_unit_test(steps_without_memory_may_be_retried),
        cmocka_unit_test(a_lost_device_is_told),
        cmocka_unit_test(late_fences_are_waited_for),
        cmocka_unit_test(a_lost_device_comes_back),
        cmocka_unit_test(versions_may_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
