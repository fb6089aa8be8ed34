// SPDX-License-Identifier: Apache-2.0
// fixture.h: what the tests of the engine share: an engine that sees this build's backends alone,
// the shipped model and the small checkpoints, and sessions with given tokens. A failure ends the
// running test.
#ifndef GREGALE_TESTS_ENGINE_FIXTURE_H
#define GREGALE_TESTS_ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "engine/site.h"
#include "sampled.h"

#define BREEZE GREGALE_SOURCE_DIR "/configs/models/breeze/breeze-q8_0.gguf"
#define SMALL(name) GREGALE_SOURCE_DIR "/tests/golden/models/" name ".gguf"

// Runs a call, whose last argument is `error`, and fails the test with its message.
#define OK(call)                                                                                   \
    do {                                                                                           \
        gr_error_init(&ok_error);                                                                  \
        if ((call) != GR_OK)                                                                       \
            fail_msg("%s", ok_error.message);                                                      \
    } while (0)
static gr_error ok_error, *const error = &ok_error;

static inline gr_engine *open_engine(bool trace) {
    const gr_engine_options options = {
        .struct_size = sizeof options, .plugin_directories = test_directories, .trace = trace};
    gr_engine *engine = NULL;
    OK(gr_engine_create(&options, &engine, error));
    return engine;
}

static inline gr_model *load(gr_engine *engine, const char *path, const gr_model_options *options) {
    gr_model *model = NULL;
    OK(gr_model_load(engine, path, options, &model, error));
    return model;
}

// An engine with one model, which keeps it alive.
static inline gr_model *load_alone(const char *path, gr_model_options options) {
    gr_engine *engine = open_engine(false);
    options.struct_size = sizeof options;
    options.device = options.device ? options.device : test_device();
    gr_model *model = load(engine, path, &options);
    gr_engine_release(engine);
    return model;
}

static inline gr_session *begin(gr_model *model, uint32_t context, const int32_t *tokens,
                                size_t count) {
    const gr_session_options options = {.struct_size = sizeof options, .context = context};
    gr_session *session = NULL;
    OK(gr_session_create(model, &options, &session, error));
    OK(gr_session_append_tokens(session, tokens, count, error));
    return session;
}

// Token i of an endless text; the first is 1, as models want it.
static inline int32_t token_at(uint32_t seed, uint64_t i, uint32_t vocab) {
    uint64_t z = (i + 1) * UINT64_C(0x9e3779b97f4a7c15) + seed * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 31)) * UINT64_C(0x94d049bb133111eb);
    return i ? (int32_t)(3 + (z >> 33) % (vocab - 3)) : 1;
}

static inline void fill_tokens(int32_t *tokens, size_t count, uint32_t seed, uint32_t vocab) {
    for (size_t i = 0; i < count; i++)
        tokens[i] = token_at(seed, i, vocab);
}

static inline uint32_t vocab_of(const gr_model *model) {
    return model->source->hparams.vocab;
}

static inline const float *logits_of(gr_session *session) {
    const float *logits = NULL;
    uint32_t vocab;
    OK(gr_session_logits(session, &logits, &vocab, NULL, error));
    return logits;
}

static inline gr_session_stats stats_of(const gr_session *session) {
    gr_session_stats stats = {.struct_size = sizeof stats};
    gr_session_stats_get(session, &stats);
    return stats;
}

// The session's logits are, bit for bit, those of a new session given the same tokens at once.
static inline void same_as_fresh(gr_session *session) {
    size_t count;
    const int32_t *tokens = gr_session_tokens(session, &count);
    gr_session *fresh = begin(session->model, session->context, tokens, count);
    assert_memory_equal(logits_of(session), logits_of(fresh),
                        vocab_of(session->model) * sizeof(float));
    gr_session_release(fresh);
}

static inline gr_request_info info_of(const gr_request *request) {
    gr_request_info info = {.struct_size = sizeof info};
    gr_request_info_get(request, &info);
    return info;
}

#endif
