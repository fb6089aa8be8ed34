// SPDX-License-Identifier: Apache-2.0
// admission_fixture.h: sessions that share too few pages, and what must be true of them.
#ifndef GREGALE_TESTS_UNIT_ENGINE_ADMISSION_FIXTURE_H
#define GREGALE_TESTS_UNIT_ENGINE_ADMISSION_FIXTURE_H

#include "fault.h"
#include "kv/pool.h"

enum { PAGE = 8, CHUNK = 16 };

static inline uint64_t page_bytes(const char *path) {
    gr_model *probe = load_alone(path, (gr_model_options){.page_tokens = PAGE});
    gr_session *session = begin(probe, 64, (int32_t[]){1}, 1);
    logits_of(session);
    uint64_t bytes = stats_of(session).cache_bytes;
    gr_session_release(session);
    gr_model_release(probe);
    return bytes;
}

// A model whose sessions have `pages` pages together; 0: as many as they want.
static inline gr_model *limited(const char *path, uint64_t pages, uint32_t chunk) {
    return load_alone(path, (gr_model_options){.page_tokens = PAGE,
                                               .rewind_reserve = 8,
                                               .chunk = chunk,
                                               .cache_bytes = pages * page_bytes(path)});
}

static inline gr_session *begin_with(gr_model *model, int32_t priority, const int32_t *tokens, size_t count) {
    const gr_session_options options = {.struct_size = sizeof options, .context = 300, .priority = priority};
    gr_session *session = NULL;
    OK(gr_session_create(model, &options, &session, error));
    OK(gr_session_append_tokens(session, tokens, count, error));
    return session;
}

static inline bool ended(const gr_request *request) {
    return info_of(request).stop_reason != GR_STOP_NONE;
}

static inline uint64_t used(const gr_model *model) {
    return gr_kv_cache_bytes_used(model->site->cache);
}

static inline void step(gr_model *model) {
    bool worked;
    OK(gr_engine_step(model->engine, &worked, error));
    if (model->cache_options.limit_bytes)
        assert_true(used(model) <= model->cache_options.limit_bytes);
}

static inline void finish(gr_model *model, gr_request *request) {
    for (uint32_t i = 0; !ended(request); i++) {
        assert_true(i < 100000); // else it stands still
        step(model);
    }
}

static inline void same_answer(const gr_request *a, const gr_request *b) {
    gr_request_info x = info_of(a), y = info_of(b);
    assert_int_equal(x.stop_reason, y.stop_reason);
    assert_int_equal(x.generated_tokens, y.generated_tokens);
    assert_memory_equal(x.tokens, y.tokens, x.generated_tokens * sizeof *x.tokens);
    assert_memory_equal(x.log_probabilities, y.log_probabilities, x.generated_tokens * sizeof(double));
    assert_string_equal(x.text, y.text);
}

static inline uint64_t preemptions(gr_session *const *sessions, uint32_t count) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += sessions[i] ? stats_of(sessions[i]).preemptions : 0;
    return sum;
}

// The logits of a session are those of one that never had to share.
static inline void as_if_alone(gr_session *session) {
    size_t count;
    const int32_t *tokens = gr_session_tokens(session, &count);
    gr_model *alone = limited(gr_model_file_path(session->model->source->file), 0, CHUNK);
    gr_session *fresh = begin(alone, session->context, tokens, count);
    assert_memory_equal(logits_of(session), logits_of(fresh), vocab_of(alone) * sizeof(float));
    gr_session_release(fresh);
    gr_model_release(alone);
}

#endif
