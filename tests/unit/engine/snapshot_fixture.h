// SPDX-License-Identifier: Apache-2.0
// snapshot_fixture.h: sessions saved, restored and compared. For the tests of snapshots.
#ifndef GREGALE_TESTS_SNAPSHOT_FIXTURE_H
#define GREGALE_TESTS_SNAPSHOT_FIXTURE_H

#include <unistd.h>

#include "fixture.h"

// A name for a file of the running test, and of its children; what lies there goes at the end (forget_file).
static inline const char *file_name(void) {
    static char path[200];
    if (!path[0])
        snprintf(path, sizeof path, GREGALE_BINARY_DIR "/tests/snapshot-%d.grs", (int)getpid());
    return path;
}

static inline void forget_file(void) {
    unlink(file_name());
}

static inline void save(gr_session *session) {
    OK(gr_session_save(session, file_name(), NULL, NULL, error));
}

static inline gr_session *restore(gr_model *model, gr_request **out_request) {
    gr_session *session = NULL;
    OK(gr_session_restore(model, file_name(), NULL, NULL, NULL, &session, out_request, error));
    return session;
}

// Nothing comes of it: an error of this kind that names the file and says both texts; no page is taken.
static inline void refuses(gr_model *model, const gr_session_options *options, gr_status status, const char *says,
                           const char *and_says) {
    gr_session *session = NULL;
    gr_request *request = NULL;
    uint32_t sessions = model->session_count;
    gr_error_init(error);
    gr_status got = gr_session_restore(model, file_name(), options, NULL, NULL, &session, &request, error);
    if (got != status || !strstr(error->message, file_name()) || !strstr(error->message, says) ||
        !strstr(error->message, and_says))
        fail_msg("expected status %d and '%s', '%s'; got %d: %s", status, says, and_says, got, error->message);
    assert_null(strchr(error->message, '\n'));
    assert_null(session);
    assert_null(request);
    assert_int_equal(model->session_count, sessions);
}

static inline void same_logits(gr_session *a, gr_session *b) {
    assert_memory_equal(logits_of(a), logits_of(b), vocab_of(a->model) * sizeof(float));
}

static inline void same_tokens(gr_session *a, gr_session *b) {
    size_t count, other;
    const int32_t *tokens = gr_session_tokens(a, &count), *others = gr_session_tokens(b, &other);
    assert_int_equal(count, other);
    if (count)
        assert_memory_equal(tokens, others, count * sizeof *tokens);
}

// Lets a session say `count` tokens.
static inline void speak(gr_session *session, uint32_t count) {
    const gr_generate_options options = {.struct_size = sizeof options,
                                         .max_tokens = count,
                                         .seed = 7,
                                         .sampler = "top-k(40);temperature(0.9)",
                                         .ignore_end = 1,
                                         .raw = 1};
    OK(gr_session_generate(session, &options, NULL, NULL, NULL, error));
}

#endif
