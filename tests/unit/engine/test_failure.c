// SPDX-License-Identifier: Apache-2.0
// When memory or the file ends: who is told, what survives, and that objects may be let go in any
// order.
#include <signal.h>
#include <unistd.h>

#include "base/os.h"
#include "fixture.h"

// cmocka puts its own handlers in place before each test: this one is put back where it is needed.
static struct sigaction on_sigbus;

static gr_request *start(gr_session *session, uint32_t max_tokens) {
    const gr_generate_options options = {
        .struct_size = sizeof options, .max_tokens = max_tokens, .seed = 1, .ignore_end = 1};
    gr_request *request = NULL;
    OK(gr_request_start(session, &options, &request, error));
    return request;
}

// A cache limit of `pages` pages of 8 positions.
static gr_model *limited(const char *path, uint32_t pages, uint32_t chunk) {
    gr_model *probe = load_alone(path, (gr_model_options){.page_tokens = 8});
    gr_session *session = begin(probe, 64, (int32_t[]){1}, 1);
    logits_of(session);
    uint64_t page_bytes = stats_of(session).cache_bytes;
    gr_session_release(session);
    gr_model_release(probe);
    return load_alone(
        path,
        (gr_model_options){.page_tokens = 8, .cache_bytes = pages * page_bytes, .chunk = chunk});
}

static void out_of_cache_leaves_the_session_usable(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 4, 16);
    int32_t tokens[60];
    gr_error_init(error);
    fill_tokens(tokens, 60, 1, vocab_of(model));
    gr_session *session = begin(model, 200, tokens, 40);
    assert_int_equal(gr_session_evaluate(session, NULL, NULL, error), GR_ERROR_OUT_OF_MEMORY);
    assert_non_null(strstr(error->message, "limit"));
    assert_int_equal(gr_session_evaluated(session), 32); // what fitted stays
    assert_int_equal(gr_session_evaluate(session, NULL, NULL, NULL), GR_ERROR_OUT_OF_MEMORY);
    OK(gr_session_rewind(session, 15, error));
    logits_of(session);
    gr_session *fresh = begin(model, 200, tokens, 15);
    assert_memory_equal(logits_of(session), logits_of(fresh), vocab_of(model) * sizeof(float));
    gr_session_release(fresh);
    gr_session_release(session);
    assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), 0);
    gr_model_release(model);
}

// Two requests; the cache has room for one long answer. The one that comes up short is told, the
// other ends as it would have alone.
static void one_failure_is_one_failure(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 5, 16);
    int32_t tokens[60];
    bool worked = true;
    fill_tokens(tokens, 60, 2, vocab_of(model));
    gr_session *modest = begin(model, 200, tokens, 4), *greedy = begin(model, 200, tokens + 1, 9);
    gr_request *small = start(modest, 11), *large = start(greedy, 100);
    while (worked)
        gr_engine_step(model->engine, &worked, NULL);
    assert_int_equal(info_of(small).stop_reason, GR_STOP_LIMIT);
    assert_int_equal(info_of(small).generated_tokens, 11);
    assert_int_equal(info_of(large).stop_reason, GR_STOP_ERROR);
    const char *text;
    size_t bytes;
    bool done;
    gr_error_init(error);
    assert_int_equal(gr_request_read(large, &text, &bytes, &done, error), GR_ERROR_OUT_OF_MEMORY);
    assert_true(done);
    assert_non_null(strstr(error->message, "limit"));
    int32_t kept[11];
    memcpy(kept, info_of(small).tokens, sizeof kept);
    gr_request_release(small);
    gr_request_release(large);
    gr_session_release(modest);
    gr_session_release(greedy);
    gr_session *alone = begin(model, 200, tokens, 4);
    gr_request *again = start(alone, 11);
    for (worked = true; worked;)
        OK(gr_engine_step(model->engine, &worked, error));
    assert_memory_equal(info_of(again).tokens, kept, sizeof kept);
    gr_request_release(again);
    gr_session_release(alone);
    gr_model_release(model);
}

// A step in which one session comes up short gives back what others had reserved, and they go on
// without it.
static void a_failed_step_takes_nothing(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 4, 64);
    int32_t tokens[60];
    bool worked;
    fill_tokens(tokens, 60, 3, vocab_of(model));
    gr_session *modest = begin(model, 200, tokens, 8), *greedy = begin(model, 200, tokens, 16);
    logits_of(modest);
    logits_of(greedy);
    uint64_t before = gr_kv_cache_bytes_used(model->site->cache);
    OK(gr_session_append_tokens(modest, tokens + 8, 1, error));
    OK(gr_session_append_tokens(greedy, tokens + 16, 20, error)); // more than the limit allows
    gr_status one = gr_engine_step(model->engine, &worked, NULL), other = gr_engine_step(model->engine, &worked, NULL);
    assert_int_equal(one + other, GR_ERROR_OUT_OF_MEMORY); // one of them, and once
    assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), before / 3 * 4); // one page more, that of `modest`
    assert_int_equal(gr_session_evaluated(modest), 9);
    assert_int_equal(gr_session_evaluated(greedy), 16);
    gr_session_release(greedy);
    same_as_fresh(modest);
    gr_session_release(modest);
    gr_model_release(model);
}

static void copy_file(const char *from, const char *to) {
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    char buffer[65536];
    size_t count;
    assert_true(in && out);
    while ((count = fread(buffer, 1, sizeof buffer, in)) > 0)
        assert_int_equal(fwrite(buffer, 1, count, out), count);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

// The file shrinks under a loaded model: an error that names it, no crash; and the same one
// afterwards.
static void a_truncated_file_is_an_error(void **state) {
    static const char *const devices[] = {"ref", "cpu"};
    char path[] = "/tmp/gregale-test-XXXXXX";
    (void)state;
    sigaction(SIGBUS, &on_sigbus, NULL);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (size_t d = 0; d < 2; d++) {
        copy_file(BREEZE, path);
        gr_model *model = load_alone(path, (gr_model_options){.device = devices[d]});
        int32_t tokens[20];
        gr_error_init(error);
        fill_tokens(tokens, 20, 3, vocab_of(model));
        gr_session *session = begin(model, 64, tokens, 10);
        logits_of(session);
        assert_int_equal(truncate(path, 8192), 0);
        OK(gr_session_append_tokens(session, tokens + 10, 10, error));
        assert_int_equal(gr_session_evaluate(session, NULL, NULL, error), GR_ERROR_IO);
        assert_non_null(strstr(error->message, path + 5));
        assert_int_equal(gr_session_evaluated(session), 10);
        assert_int_equal(gr_session_evaluate(session, NULL, NULL, NULL), GR_ERROR_IO);
        gr_session_release(session);
        gr_model_release(model);
    }
    unlink(path);
}

static void objects_go_in_any_order(void **state) {
    (void)state;
    for (uint32_t order = 0; order < 24; order++) {
        gr_engine *engine = open_engine(false);
        const gr_model_options options = {.struct_size = sizeof options, .device = test_device()};
        gr_model *model = load(engine, SMALL("w8-gqa4"), &options);
        int32_t tokens[20];
        fill_tokens(tokens, 20, 4, vocab_of(model));
        gr_session *session = begin(model, 64, tokens, 20);
        gr_request *request = start(session, 3);
        bool worked;
        OK(gr_engine_step(engine, &worked, error));
        uint32_t left[4] = {0, 1, 2, 3}, code = order;
        for (uint32_t n = 4; n > 0; n--) {
            uint32_t pick = code % n, what = left[pick];
            code /= n;
            left[pick] = left[n - 1];
            if (what == 0)
                gr_engine_release(engine);
            else if (what == 1)
                gr_model_release(model);
            else if (what == 2)
                gr_session_release(session);
            else
                gr_request_release(request);
        }
    }
    gr_engine_release(NULL);
    gr_model_release(NULL);
    gr_session_release(NULL);
    gr_request_release(NULL);
}

// The session still works when only it is left.
static void a_session_outlives_the_rest(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("w8-gqa4"), (gr_model_options){.device = test_device()});
    int32_t tokens[20];
    fill_tokens(tokens, 20, 5, vocab_of(model));
    gr_session *session = begin(model, 64, tokens, 10), *fork = NULL;
    gr_model_release(model);
    OK(gr_session_fork(session, &fork, error));
    logits_of(session);
    gr_session_release(session);
    OK(gr_session_append_tokens(fork, tokens + 10, 10, error));
    same_as_fresh(fork);
    gr_session_release(fork);
}

int main(void) {
    gr_mapping mapping;
    if (gr_mapping_open(BREEZE, &mapping, NULL) == GR_OK)
        gr_mapping_close(&mapping);
    sigaction(SIGBUS, NULL, &on_sigbus); // the core's, since a file has been mapped
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(out_of_cache_leaves_the_session_usable),
        cmocka_unit_test(one_failure_is_one_failure),
        cmocka_unit_test(a_failed_step_takes_nothing),
        cmocka_unit_test(a_truncated_file_is_an_error),
        cmocka_unit_test(objects_go_in_any_order),
        cmocka_unit_test(a_session_outlives_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
