// SPDX-License-Identifier: Apache-2.0
// case_sessions.c: sessions of a small model whose device changes under them: moved to another plugin's
// device and back at the edges of the window, within a prompt, lost at every submit; and requests that
// are cancelled beside others. What they say stays what transformers says.
#include <string.h>

#include "trial.h"

enum { PROMPT = 3, WINDOW = 8 }; // the prompt of 2W+3 tokens of the model below

static const char model[] = "w8-gqa4";
static const cf_way small_pages = {.page_tokens = 4, .reserve = 1};
static const cf_way small_chunks = {.chunk = 4, .page_tokens = 4, .reserve = 1};

// Opens the model, and finds a device of another plugin: what these cases need.
static bool begin(cf_trial *t, const cf_way *way, const char **out_other) {
    *out_other = NULL;
    if (!cf_trial_open(t, model, way))
        return false;
    *out_other = cf_trial_other(t);
    if (!*out_other)
        cf_skip(t->suite, t->name, false, "no device of another plugin is there");
    return *out_other != NULL;
}

static void say(const cf_trial *t, const gr_error *error) {
    cf_fail(t->suite, t->name, "%s", error->message);
}

// ---- Moves ----

static gr_status there_and_back(cf_trial *t, const char *other, uint64_t at, cf_logits *l, gr_precision *out_class,
                                gr_error *error) {
    gr_session *session = NULL;
    uint64_t back = at + 2 < l->count ? at + 2 : l->count;
    gr_status status = gr_session_create(t->model, NULL, &session, error);
    if (status == GR_OK && at)
        status = cf_trial_feed(t, session, PROMPT, 0, at, l, error);
    if (status == GR_OK)
        status = gr_session_move(session, other, NULL, NULL, error);
    *out_class = cf_trial_class(t); // both devices have a part in it
    if (status == GR_OK)
        status = cf_trial_feed(t, session, PROMPT, at, back, l, error);
    if (status == GR_OK)
        status = gr_session_move(session, t->suite->facts.name, NULL, NULL, error);
    if (status == GR_OK && back < l->count)
        status = cf_trial_feed(t, session, PROMPT, back, l->count, l, error);
    gr_session_release(session);
    return status;
}

static void moved(cf_suite *suite, uint64_t at) {
    char name[96];
    const char *other;
    gr_precision class;
    snprintf(name, sizeof name, "LIVE session moved to another device and back, at %llu", (unsigned long long)at);
    if (!cf_case_begin(suite, name))
        return;
    cf_trial t = {.suite = suite, .name = name};
    if (begin(&t, &small_pages, &other)) {
        gr_error error;
        gr_error_init(&error);
        cf_logits l = cf_logits_make(&t, PROMPT);
        if (there_and_back(&t, other, at, &l, &class, &error) == GR_OK)
            cf_trial_judge(&t, PROMPT, &l, class);
        else
            say(&t, &error);
        cf_logits_free(&l);
    }
    cf_trial_close(&t);
    cf_case_end(suite);
}

// Steps until a move is over.
static gr_status move_on(cf_trial *t, gr_session *session, const char *device, gr_error *error) {
    gr_move *move = NULL;
    gr_move_info info = {.struct_size = sizeof info};
    bool worked;
    gr_status status = gr_session_move_start(session, device, NULL, &move, error);
    while (status == GR_OK && info.stage != GR_MOVE_DONE) {
        status = gr_engine_step(t->engine, &worked, error);
        if (status == GR_OK)
            status = gr_move_info_get(move, &info, error);
    }
    gr_move_release(move);
    return status;
}

// The prompt's last token as the session has it; the others are not looked at.
static gr_status last_logits(cf_trial *t, gr_session *session, cf_logits *l, gr_error *error) {
    const float *row;
    uint32_t vocab;
    gr_status status = gr_session_logits(session, &row, &vocab, NULL, error);
    if (status == GR_OK && vocab == l->vocab)
        memcpy(l->data + (l->count - 1) * vocab, row, vocab * sizeof *row);
    (void)t;
    return status;
}

static gr_status within(cf_trial *t, const char *other, cf_logits *l, gr_error *error) {
    uint64_t count;
    bool worked;
    const int32_t *tokens = cf_trial_tokens(t, PROMPT, &count);
    gr_session *session = NULL;
    gr_status status = gr_session_create(t->model, NULL, &session, error);
    if (status == GR_OK)
        status = gr_session_append_tokens(session, tokens, count, error);
    if (status == GR_OK)
        status = gr_engine_step(t->engine, &worked, error);
    if (status == GR_OK && !gr_session_evaluated(session))
        status = gr_fail(error, GR_ERROR_INTERNAL, "conformance", "nothing was evaluated");
    if (status == GR_OK)
        status = move_on(t, session, other, error);
    if (status == GR_OK)
        status = move_on(t, session, t->suite->facts.name, error);
    if (status == GR_OK)
        status = last_logits(t, session, l, error);
    gr_session_release(session);
    return status;
}

static void within_a_prompt(cf_suite *suite) {
    static const char name[] = "LIVE session moved to another device and back within its prompt";
    const char *other;
    if (!cf_case_begin(suite, name))
        return;
    cf_trial t = {.suite = suite, .name = name};
    if (begin(&t, &small_chunks, &other)) {
        gr_error error;
        cf_logits l;
        gr_error_init(&error);
        gr_precision class = cf_trial_class(&t);
        gr_status status = cf_trial_whole(&t, PROMPT, &l, &error); // here; the last row is replaced
        if (status == GR_OK)
            status = within(&t, other, &l, &error);
        if (status == GR_OK)
            cf_trial_judge(&t, PROMPT, &l, class);
        else
            say(&t, &error);
        cf_logits_free(&l);
    }
    cf_trial_close(&t);
    cf_case_end(suite);
}

// ---- Loss ----

// The device's table with a submit that fails once it has been called `left` times.
static struct shim {
    gr_backend table;
    const gr_backend *real;
    uint32_t left;
    bool hit;
} shim;

static gr_status failing_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *error) {
    if (shim.left) {
        shim.left--;
        return shim.real->submit(device, queue, submit, error);
    }
    shim.hit = true;
    return gr_fail(error, GR_ERROR_DEVICE_LOST, "conformance", "lost, as planned");
}

static void plan_loss(const cf_trial *t, uint32_t at) {
    gr_site *site = t->model->site;
    for (uint32_t i = 0; i < site->device_count; i++) {
        gr_opened_device *opened = (gr_opened_device *)(uintptr_t)site->devices[i].opened;
        if (!opened || strcmp(opened->backend->name, t->suite->backend->name) != 0)
            continue; // a device that the site does not use is closed
        shim = (struct shim){.table = *opened->backend, .real = opened->backend, .left = at};
        shim.table.submit = failing_submit;
        opened->backend = &shim.table;
    }
}

// Every submit of the device fails in turn; true while there are more. Devices are opened anew each time.
static bool lost_at(cf_suite *suite, const char *name, uint32_t at) {
    const char *other;
    cf_trial t = {.suite = suite, .name = name};
    bool more = false;
    if (begin(&t, &small_chunks, &other)) {
        gr_error error;
        cf_logits l;
        gr_error_init(&error);
        gr_precision class = cf_trial_class(&t);
        plan_loss(&t, at);
        if (cf_trial_whole(&t, PROMPT, &l, &error) == GR_OK)
            cf_trial_judge(&t, PROMPT, &l, class);
        else
            say(&t, &error);
        cf_logits_free(&l);
        if (!at && !shim.hit)
            cf_fail(suite, name, "the device was given no step");
        more = shim.hit && error.code == GR_OK;
    }
    cf_trial_close(&t);
    return more;
}

static void lost(cf_suite *suite) {
    static const char name[] = "LIVE device lost at every submit, the session resumed on another";
    uint32_t at = 0;
    if (!cf_case_begin(suite, name))
        return;
    while (lost_at(suite, name, at))
        at++;
    cf_case_end(suite);
}

// ---- Cancelling ----

static gr_status start(gr_session *session, gr_request **out_request, gr_error *error) {
    const gr_generate_options options = {
        .struct_size = sizeof options, .max_tokens = 12, .seed = 7, .sampler = "greedy", .ignore_end = 1, .raw = 1};
    return gr_request_start(session, &options, out_request, error);
}

static bool is_over(const gr_request *request, gr_request_info *out_info) {
    *out_info = (gr_request_info){.struct_size = sizeof *out_info};
    return gr_request_info_get(request, out_info) == GR_OK && out_info->stop_reason != GR_STOP_NONE;
}

// Two sessions answer in one batch, one of them is cancelled after a few tokens and asked again: why not,
// when the answers are not as they should be. NULL: all is well.
static const char *cancel(cf_trial *t, gr_session *const sessions[2], gr_error *error) {
    gr_request *requests[3] = {NULL};
    gr_request_info kept, gone, again;
    const char *why = NULL;
    bool worked = true, invariant = t->suite->facts.flags & GR_DEVICE_BATCH_INVARIANT;
    uint64_t count;
    cf_trial_tokens(t, PROMPT, &count);
    gr_status status = start(sessions[0], &requests[0], error);
    if (status == GR_OK)
        status = start(sessions[1], &requests[1], error);
    for (uint32_t i = 0; i < 5 && status == GR_OK; i++)
        status = gr_engine_step(t->engine, &worked, error);
    if (requests[1])
        gr_request_cancel(requests[1]);
    while (status == GR_OK && worked)
        status = gr_engine_step(t->engine, &worked, error);
    if (status == GR_OK && (!is_over(requests[0], &kept) || !is_over(requests[1], &gone)))
        why = "a request did not end";
    else if (status == GR_OK && (kept.generated_tokens != 12 || gone.stop_reason != GR_STOP_CANCELLED))
        why = "the wrong request was cancelled, or none";
    if (status == GR_OK && !why)
        status = gr_session_rewind(sessions[1], count, error);
    if (status == GR_OK && !why)
        status = start(sessions[1], &requests[2], error);
    worked = true;
    while (status == GR_OK && !why && worked)
        status = gr_engine_step(t->engine, &worked, error);
    if (status == GR_OK && !why && (!is_over(requests[2], &again) || again.generated_tokens != 12))
        why = "the session that was cancelled does not answer again";
    else if (status == GR_OK && !why && invariant && memcmp(kept.tokens, again.tokens, 12 * sizeof *kept.tokens))
        why = "the session that was cancelled answers otherwise than the other";
    for (uint32_t i = 0; i < 3; i++)
        gr_request_release(requests[i]);
    return status == GR_OK ? why : error->message;
}

static void cancelled(cf_suite *suite) {
    static const char name[] = "LIVE a request cancelled beside another";
    if (!cf_case_begin(suite, name))
        return;
    cf_trial t = {.suite = suite, .name = name};
    if (cf_trial_open(&t, model, &small_pages)) {
        gr_session *sessions[2] = {NULL, NULL};
        gr_error error;
        gr_error_init(&error);
        uint64_t count;
        const int32_t *tokens = cf_trial_tokens(&t, PROMPT, &count);
        gr_status status = GR_OK;
        for (uint32_t i = 0; i < 2 && status == GR_OK; i++) {
            status = gr_session_create(t.model, NULL, &sessions[i], &error);
            if (status == GR_OK)
                status = gr_session_append_tokens(sessions[i], tokens, count, &error);
        }
        const char *why = status == GR_OK ? cancel(&t, sessions, &error) : error.message;
        for (uint32_t i = 0; i < 2; i++)
            gr_session_release(sessions[i]);
        if (!why && gr_kv_cache_bytes_used(t.model->site->cache))
            why = "cache pages are still in use";
        if (why)
            cf_fail(suite, name, "%s", why);
        else
            cf_pass(suite, name);
    }
    cf_trial_close(&t);
    cf_case_end(suite);
}

void cf_cases_sessions(cf_suite *suite) {
    static const uint64_t at[] = {0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 2};
    if (!cf_wanted(suite, "LIVE"))
        return;
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++)
        moved(suite, at[i]);
    within_a_prompt(suite);
    lost(suite);
    cancelled(suite);
}
