// SPDX-License-Identifier: Apache-2.0
// Readings: what the model makes of continuations, many at once, beside answers, while memory is short; and what is left
// behind when they are let go of.
#include <math.h>

#include "admission_fixture.h"
#include "fixture.h"

enum { PREFIX = 40, MOST = 70, MANY = 12 };

static gr_reading *start(gr_session *session, gr_reading_kind kind, const int32_t *tokens, size_t count) {
    const gr_reading_options options = {.struct_size = sizeof options, .kind = kind, .tokens = tokens, .token_count = count};
    gr_reading *reading = NULL;
    OK(gr_reading_start(session, &options, &reading, error));
    return reading;
}

static gr_reading_info found(const gr_reading *reading) {
    gr_reading_info info = {.struct_size = sizeof info};
    assert_int_equal(gr_reading_info_get(reading, &info), GR_OK);
    return info;
}

static void step_until_done(gr_model *model, gr_reading *const *readings, uint32_t count) {
    bool pending = true, worked = true;
    while (pending) {
        assert_true(worked);
        OK(gr_engine_step(model->engine, &worked, error));
        pending = false;
        for (uint32_t i = 0; i < count; i++)
            pending = pending || gr_reading_pending(readings[i]);
    }
}

static size_t length_of(uint32_t i) {
    return 1 + i * 37 % MOST;
}

// Every third is a score, a mean, a last token's; each has the bits of one that was read alone.
static void many_read_at_once(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("w8-gqa4"), (gr_model_options){.page_tokens = 4, .chunk = 32});
    int32_t prefix[PREFIX], tokens[MANY][MOST];
    gr_reading *readings[MANY];
    fill_tokens(prefix, PREFIX, 5, vocab_of(model));
    gr_session *session = begin(model, 200, prefix, PREFIX);
    logits_of(session);
    for (uint32_t i = 0; i < MANY; i++) {
        fill_tokens(tokens[i], MOST, 50 + i, vocab_of(model));
        readings[i] = start(session, i % 3, tokens[i], length_of(i));
    }
    gr_session *other = begin(model, 200, prefix, 9); // somebody else's work in the same steps
    gr_session_ask(other);
    step_until_done(model, readings, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        double scores[MOST];
        float embedding[1024];
        OK(gr_reading_finish(readings[i], error));
        const gr_reading_info info = found(readings[i]);
        assert_int_equal(info.token_count, length_of(i));
        assert_memory_equal(info.tokens, tokens[i], info.token_count * sizeof *info.tokens);
        assert_true(info.dim <= 1024);
        if (i % 3 == GR_READ_SCORE) {
            OK(gr_session_score(session, tokens[i], length_of(i), scores, error));
            assert_memory_equal(info.log_probabilities, scores, info.token_count * sizeof *scores);
            assert_null(info.embedding);
        } else {
            OK(gr_session_embed(session, tokens[i], length_of(i), i % 3, embedding, error));
            assert_memory_equal(info.embedding, embedding, info.dim * sizeof *embedding);
            assert_null(info.log_probabilities);
        }
        gr_reading_release(readings[i]);
    }
    size_t count;
    gr_session_tokens(session, &count);
    assert_int_equal(count, PREFIX);
    same_as_fresh(session);
    same_as_fresh(other);
    gr_session_release(session);
    gr_session_release(other);
    gr_model_release(model);
}

// The session has tokens waiting: they are read, and not counted.
static void what_waits_is_read_before(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 4, .chunk = 16});
    int32_t tokens[PREFIX + 20];
    float mean[1024], after[1024];
    double scores[20];
    fill_tokens(tokens, PREFIX + 20, 8, vocab_of(model));
    gr_session *ready = begin(model, 200, tokens, PREFIX), *waiting = begin(model, 200, tokens, PREFIX);
    OK(gr_session_score(ready, tokens + PREFIX, 20, scores, error));
    OK(gr_session_embed(ready, tokens + PREFIX, 20, GR_READ_MEAN, mean, error));
    gr_reading *score = start(waiting, GR_READ_SCORE, tokens + PREFIX, 20);
    gr_reading *pooled = start(waiting, GR_READ_MEAN, tokens + PREFIX, 20);
    OK(gr_reading_finish(score, error));
    OK(gr_reading_finish(pooled, error));
    assert_memory_equal(found(score).log_probabilities, scores, sizeof scores);
    memcpy(after, found(pooled).embedding, found(pooled).dim * sizeof *after);
    assert_memory_equal(after, mean, found(pooled).dim * sizeof *after);
    gr_reading_release(score);
    gr_reading_release(pooled);
    // The first token of an empty session has nothing before it; no tokens have no scores.
    gr_session *empty = NULL;
    OK(gr_session_create(model, NULL, &empty, error));
    score = start(empty, GR_READ_SCORE, tokens, 2);
    OK(gr_reading_finish(score, error));
    assert_true(isnan(found(score).log_probabilities[0]) && found(score).log_probabilities[1] < 0);
    gr_reading_release(score);
    score = start(empty, GR_READ_SCORE, NULL, 0);
    OK(gr_reading_finish(score, error));
    assert_int_equal(found(score).token_count, 0);
    gr_reading_release(score);
    gr_session_release(empty);
    gr_session_release(ready);
    gr_session_release(waiting);
    gr_model_release(model);
}

// Their pages go to others and they begin anew: no row counts twice.
static void short_memory_shows_in_nothing(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 40, CHUNK), *wide = limited(SMALL("full-gqa4"), 0, CHUNK);
    int32_t prefix[PREFIX], tokens[MANY][MOST];
    gr_reading *readings[MANY];
    float expected[1024];
    fill_tokens(prefix, PREFIX, 5, vocab_of(model));
    gr_session *session = begin(model, 200, prefix, PREFIX), *twin = begin(wide, 200, prefix, PREFIX);
    logits_of(session);
    for (uint32_t i = 0; i < MANY; i++) {
        fill_tokens(tokens[i], MOST, 70 + i, vocab_of(model));
        readings[i] = start(session, GR_READ_MEAN, tokens[i], MOST);
    }
    step_until_done(model, readings, MANY);
    uint64_t preempted = 0;
    for (uint32_t i = 0; i < model->session_count; i++)
        preempted += model->sessions[i]->stats.preemptions;
    assert_true(preempted > 0);
    for (uint32_t i = 0; i < MANY; i++) {
        OK(gr_reading_finish(readings[i], error));
        OK(gr_session_embed(twin, tokens[i], MOST, GR_READ_MEAN, expected, error));
        assert_memory_equal(found(readings[i]).embedding, expected, found(readings[i]).dim * sizeof *expected);
        gr_reading_release(readings[i]);
    }
    gr_session_release(session);
    gr_session_release(twin);
    gr_model_release(model);
    gr_model_release(wide);
}

static void released_early(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 4, .chunk = 8});
    int32_t tokens[MOST];
    bool worked;
    fill_tokens(tokens, MOST, 5, vocab_of(model));
    gr_session *session = begin(model, 200, tokens, 10);
    logits_of(session);
    uint32_t sessions = model->session_count;
    gr_reading *reading = start(session, GR_READ_SCORE, tokens, MOST), *never = start(session, GR_READ_MEAN, tokens, 3);
    OK(gr_engine_step(model->engine, &worked, error));
    assert_true(gr_reading_pending(reading));
    gr_reading_release(reading);
    gr_reading_release(never);
    assert_int_equal(model->session_count, sessions);
    OK(gr_engine_step(model->engine, &worked, error));
    assert_false(worked);
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

static void refused(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 4});
    int32_t tokens[MOST];
    const int32_t beyond = (int32_t)vocab_of(model);
    fill_tokens(tokens, MOST, 5, vocab_of(model));
    gr_session *session = begin(model, 32, tokens, 20);
    gr_reading *reading;
    const struct {
        gr_reading_options options;
        gr_status status;
    } cases[] = {{{.kind = GR_READ_SCORE, .tokens = tokens, .token_count = 13}, GR_ERROR_OUT_OF_RANGE},
                 {{.kind = GR_READ_SCORE, .tokens = &beyond, .token_count = 1}, GR_ERROR_OUT_OF_RANGE},
                 {{.kind = 3, .tokens = tokens, .token_count = 1}, GR_ERROR_INVALID_ARGUMENT},
                 {{.kind = GR_READ_MEAN}, GR_ERROR_INVALID_ARGUMENT},
                 {{.kind = GR_READ_LAST, .text = "", .text_bytes = 0}, GR_ERROR_INVALID_ARGUMENT}};
    uint32_t sessions = model->session_count;
    float embedding[1024];
    assert_int_equal(gr_session_embed(session, tokens, 3, GR_READ_SCORE, embedding, NULL), GR_ERROR_INVALID_ARGUMENT);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gr_reading_options options = cases[i].options;
        options.struct_size = sizeof options;
        assert_int_equal(gr_reading_start(session, &options, &reading, NULL), cases[i].status);
        assert_null(reading);
    }
    assert_int_equal(model->session_count, sessions);
    gr_session_release(session);
    gr_model_release(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(many_read_at_once), cmocka_unit_test(what_waits_is_read_before),
                                       cmocka_unit_test(short_memory_shows_in_nothing), cmocka_unit_test(released_early),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
